"""A look that takes minutes gives signs of life, so that no watchdog takes it for a hang."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_workers import check_fake_header, write_fake_scan

from spotlessd.configuration.settings import load_settings
from spotlessd.engine import LocalEngine
from spotlessd.folders.roots import Root
from spotlessd.folders.station_roots import open_roots
from spotlessd.job import RetryPolicy
from spotlessd.ledger import Ledger
from spotlessd.reconcile import Reconciler, Rules
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database
from spotlessd.station import init_station

FILES = 40


@dataclass
class Looker:
    """A reconciler on a real folder, and how many signs of life it gave."""

    root: Root
    reconciler: Reconciler
    signs: list[int]


@pytest.fixture
def looker(tmp_path: Path) -> Iterator[Looker]:
    settings = load_settings(init_station(tmp_path / "station"))
    (root,) = open_roots(settings)
    signs: list[int] = []
    with Database.open(tmp_path / "ledger.sqlite3") as database:
        ledger = Ledger(database)
        reconciler = Reconciler(
            [root],
            Rules(settings.watch, counts_age=True),
            ledger,
            LocalEngine(ledger, "me", RetryPolicy()),
            Board(database),
            check=check_fake_header,
            on_open=lambda _: None,
            clock=time.time,
            on_progress=lambda: signs.append(1),
        )
        yield Looker(root, reconciler, signs)


def test_each_file_found_and_each_file_queued_is_a_sign_of_life(looker: Looker) -> None:
    for number in range(FILES):
        write_fake_scan(looker.root.input / f"{number}.tif")

    looker.reconciler.tick(10.0)
    found = len(looker.signs)
    looker.reconciler.tick(11.0)

    assert found == FILES
    assert len(looker.signs) == 3 * FILES


def test_each_receipt_that_a_lost_ledger_is_rebuilt_from_is_a_sign_of_life(looker: Looker) -> None:
    receipts = looker.root.output / "receipts"
    receipts.mkdir()
    for number in range(FILES):
        station = {"root": "scans", "rel": f"{number}.tif", "size": 1, "mtime_ns": 1, "recipe": "r"}
        receipt = {"station": station, "outputs": {}, "input": {"sha256": ""}}
        (receipts / f"{number}.json").write_text(json.dumps(receipt))

    looker.reconciler.tick(10.0)

    assert len(looker.signs) == FILES
