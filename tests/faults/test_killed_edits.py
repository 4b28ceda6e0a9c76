"""A person's decision survives kills: made once, based on the same version, told in the receipt."""

import json
import time
from pathlib import Path

import pytest
from daemon_station import Station
from fake_workers import write_fake_scan

from spotlessd.job import JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database

KILLED = 128 + 9
"""How a crash point ends the daemon, as a shell would tell it."""
EXCHANGE_POINTS = (
    "exchange.prepared",
    "exchange.newer_named",
    "exchange.pair_named",
    "exchange.receipt_named",
    "exchange.all_synced",
)
DECISION = {"choice": "edited", "by": "person", "via": "review page", "at": "2026-11-23T00:00:00+00:00"}


@pytest.mark.parametrize(
    "crash_at", ["enqueue.after_commit", "claim.after_commit", "publish.image_named", "finish.after_commit"]
)
def test_an_edit_cut_off_anywhere_is_made_once_and_keeps_its_base_and_decision(tmp_path: Path, crash_at: str) -> None:
    station = Station(tmp_path)
    write_fake_scan(station.scans / "frame.tif")
    (tmp_path / "edited.png").write_bytes(b"a mask")
    station.run_once()
    with Database.open(station.state / LEDGER_NAME) as database:
        arguments = {"root": "scans", "rel": "frame.tif", "mask": str(tmp_path / "edited.png"), "sensitivity": None}
        Board(database).ask("reprocess", {**arguments, "base_job": 1, "decision": DECISION}, time.time())

    killed, _ = station.run_once(crash_at=crash_at)
    code, text = station.run_once()

    assert killed == KILLED
    assert code == 0, text
    with Database.open(station.state / LEDGER_NAME) as database:
        jobs = Ledger(database).jobs()
    assert [job.state for job in jobs] == [JobState.DONE, JobState.DONE]
    assert sorted(path.name for path in station.restored.glob("*.tif")) == ["frame.tif", "frame~2.tif"]
    first, second = (
        json.loads((station.restored / f"receipts/{name}.json").read_text()) for name in ("frame", "frame~2")
    )
    assert second["based_on"] == {"name": "frame.tif", "sha256": first["outputs"]["image"]["sha256"]}
    assert {key: second["decisions"][0][key] for key in DECISION} == DECISION
    station.check_promises(station.input_hashes())


@pytest.mark.parametrize("crash_at", EXCHANGE_POINTS)
def test_a_daemon_killed_while_two_versions_exchange_names_ends_it_at_the_next_start(
    tmp_path: Path, crash_at: str
) -> None:
    station = Station(tmp_path)
    station.config.write_text(station.config.read_text() + "[output]\nreplace = true\n")
    write_fake_scan(station.scans / "frame.tif")
    station.run_once()
    with Database.open(station.state / LEDGER_NAME) as database:
        arguments = {"root": "scans", "rel": "frame.tif", "mask": None, "sensitivity": "high"}
        Board(database).ask("reprocess", {**arguments, "decision": {**DECISION, "choice": "again"}}, time.time())

    killed, _ = station.run_once(crash_at=crash_at)
    meanwhile = [
        (station.restored / name).is_file() for name in ("frame.tif", "masks/frame.png", "receipts/frame.json")
    ]
    code, text = station.run_once()

    assert (killed, meanwhile) == (KILLED, [True, True, True])
    assert code == 0, text
    previews = {path.name: path.read_bytes() for path in (station.restored / "previews").iterdir()}
    assert previews == {"frame.jpg": b"PREVIEW high", "frame~2.jpg": b"PREVIEW normal"}
    with Database.open(station.state / LEDGER_NAME) as database:
        outputs = [job.outputs["image"] for job in Ledger(database).jobs()]
    assert outputs == ["frame~2.tif", "frame.tif"]
    station.check_promises(station.input_hashes())
