"""Stations and workers as real processes on a real PostgreSQL."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_lab import Lab
from fake_workers import write_fake_scan
from postgres import Database
from submitting import start_submit


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


def cluster_status(lab: Lab, station: str = "front") -> dict[str, Any]:
    """What `spotlessd status --cluster --json` says."""
    arguments = ["status", "--cluster", "--json", "--config", str(lab.stations[station].config)]
    done = subprocess.run([sys.executable, "-m", "spotlessd", *arguments], capture_output=True, text=True, check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_worker_with_other_weights_gets_nothing_and_the_status_says_why(lab: Lab) -> None:
    lab.station("front")
    lab.worker("old", weights="of an older version")
    lab.drop("front", "frame.tif")
    lab.wait_for(lambda: "weights" in json.dumps(cluster_status(lab)["warnings"]))
    queue = cluster_status(lab)["queue"]
    assert (queue["waiting"], queue["in_hand"]) == (1, 0)
    lab.worker("new")
    lab.wait_until_done()
    lab.check_promises()
    receipt = json.loads((lab.stations["front"].restored / "receipts" / "frame.json").read_text())
    assert receipt["station"]["worker"] == "new"


def test_a_single_scan_does_not_wait_behind_another_stations_pile(lab: Lab) -> None:
    for name in ("pile", "front"):
        lab.station(name)
    lab.worker("gpu1", "load_timed_100")
    lab.drop("pile", *(f"frame{number}.tif" for number in range(60)))
    pile, front = lab.stations["pile"], lab.stations["front"]
    lab.wait_for(lambda: sum(name.endswith(".tif") for name in pile.results()) >= 5)
    lab.drop("front", "single.tif")
    lab.wait_for(lambda: "single.tif" in front.results())
    assert sum(name.endswith(".tif") for name in pile.results()) < 40
    lab.wait_until_done()
    lab.check_promises()


def test_a_batch_is_one_more_station_of_the_cluster(lab: Lab) -> None:
    lab.station("front", is_started=False)
    lab.worker("gpu1")
    archive, results = lab.share / "1998", lab.share / "1998-restored"
    for number in range(5):
        write_fake_scan(archive / "box" / f"frame{number}.tif", number)
    process = start_submit(lab.stations["front"].config, str(archive))
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0, text
    assert {path.name for path in (results / "box").glob("*.tif")} == {f"frame{number}.tif" for number in range(5)}
    rows = list(csv.DictReader((results / "report.csv").read_text().splitlines()))
    assert [row["worker"] for row in rows] == ["gpu1"] * 5
