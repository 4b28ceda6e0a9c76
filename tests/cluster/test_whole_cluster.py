"""Stations and workers as real processes on a real PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_lab import Lab
from postgres import Database


@pytest.fixture
def lab(tmp_path: Path, database: Database) -> Iterator[Lab]:
    made = Lab(tmp_path, database)
    try:
        yield made
    finally:
        made.close()


def test_two_stations_are_served_by_two_workers_with_the_bytes_of_one_machine(lab: Lab) -> None:
    for name in ("front", "back"):
        lab.station(name)
    lab.worker("gpu1")
    lab.worker("gpu2")
    for name in ("front", "back"):
        lab.drop(name, *(f"frame{number}.tif" for number in range(6)), "roll/frame1.tif")
    lab.wait_until_done()
    lab.check_promises()
