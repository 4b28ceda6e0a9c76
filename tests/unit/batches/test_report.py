"""The report of a batch: one line for each scan, safe for spreadsheets, replaced as a whole."""

import csv
import json
import time
from pathlib import Path

import pytest
from PIL import Image

from spotlessd.batches import report
from spotlessd.batches.place import FOLDER_NAME, Batch
from spotlessd.batches.replacing import replaced
from spotlessd.batches.report import SHEET_MARK, clear_leftovers, write_report
from spotlessd.batches.terms import settings_of
from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.errors import UnknownJobError
from spotlessd.job import Identity, JobState, Tally
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.sqlite.board import Board, WaitingFile
from spotlessd.sqlite.database import Database


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    output = tmp_path / "out"
    (output / FOLDER_NAME).mkdir(parents=True)
    (tmp_path / "in").mkdir()
    return Batch("batch-in-1", "in", tmp_path / "in", output, "batch-in-1", "host", output / FOLDER_NAME)


@pytest.fixture
def settings(tmp_path: Path, batch: Batch) -> Settings:
    config = tmp_path / "spotlessd.toml"
    config.write_text('station_id = "dark"\n[[roots]]\ninput = "scans"\noutput = "restored"\n')
    return settings_of(batch, load_settings(config), -50)


def add(batch: Batch, rel: str, state: JobState, *, worker: str = "", root: str = "batch") -> None:
    with Database.open(batch.state_dir / LEDGER_NAME) as database:
        ledger = Ledger(database)
        number = ledger.enqueue(Identity(root, rel, 10, 10), 1, "recipe", time.time())
        assert number is not None
        if state is JobState.QUARANTINED:
            ledger.give_up(number, state, '=HYPERLINK("http://x")', time.time())
        elif state is not JobState.QUEUED:
            job = ledger.claim(number, "owner", time.time())
            assert job is not None
            names = {"image": rel, "preview": f"previews/{rel}.jpg", "receipt": f"receipts/{rel}.json"}
            for name in names.values():
                (batch.output / name).parent.mkdir(parents=True, exist_ok=True)
            station = {"worker": worker} if worker else {}
            (batch.output / names["receipt"]).write_text(json.dumps({"software": "spotless 1", "station": station}))
            Image.new("RGB", (90, 20)).save(batch.output / names["preview"])
            ledger.finish(job, state, names, "00", {"total": 2.5}, time.time(), Tally(3, 0.01, "too much"))


def rows(batch: Batch) -> list[dict[str, str]]:
    with (batch.output / "report.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_scan_has_one_line_and_the_totals_are_their_sum(batch: Batch, settings: Settings) -> None:
    add(batch, "b/two.tif", JobState.DONE, worker="gpu-box")
    add(batch, "a.tif", JobState.HELD)
    add(batch, "c.tif", JobState.QUARANTINED)
    add(batch, "d.tif", JobState.QUEUED)
    with Database.open(batch.state_dir / LEDGER_NAME) as database:
        Board(database).show_waiting([WaitingFile("batch", "link.tif", "left out: a symbolic link", 0.0)])

    totals = write_report(batch, settings, began=time.time())
    values = json.loads((batch.output / "report.json").read_text(encoding="utf-8"))

    assert [(row["scan"], row["state"]) for row in rows(batch)] == [
        ("a.tif", "held"),
        ("b/two.tif", "done"),
        ("c.tif", "quarantined"),
        ("d.tif", "queued"),
        ("link.tif", "left out"),
    ]
    assert rows(batch)[1]["worker"] == "gpu-box"
    assert values["workers"] == {"gpu-box": 1, "this machine": 1}
    assert values["totals"]["scans"] == len(values["scans"]) == 5
    assert values["totals"]["work_seconds"] == 5.0
    assert (totals.unfinished, totals.defects) == (1, 6)


def test_a_cell_that_would_be_a_formula_is_text(batch: Batch, settings: Settings) -> None:
    add(batch, "=1+1.tif", JobState.QUARANTINED)
    add(batch, "@sum, “ü”\n.tif", JobState.QUARANTINED)

    write_report(batch, settings, began=None)

    assert [row["scan"] for row in rows(batch)] == ["'=1+1.tif", "'@sum, “ü”\n.tif"]
    assert rows(batch)[0]["reason"].startswith("'=HYPERLINK")


def test_more_scans_than_are_read_at_once_are_all_there(
    batch: Batch, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "ROWS_AT_ONCE", 2)
    for number in range(5):
        add(batch, f"s{number}.tif", JobState.QUEUED)

    write_report(batch, settings, began=None)

    assert [row["scan"] for row in rows(batch)] == [f"s{number}.tif" for number in range(5)]


def test_the_contact_sheet_is_replaced_and_shows_so_many_frames_at_most(
    batch: Batch, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "SHEET_FRAMES", 2)
    add(batch, "a.tif", JobState.DONE)
    write_report(batch, settings, began=None)
    first = (batch.output / "contact-sheet" / "index.html").read_text()
    for name in ("b.tif", "c.tif"):
        add(batch, name, JobState.DONE)

    write_report(batch, settings, began=None)

    assert "b.tif" not in first
    assert sorted(path.name for path in (batch.output / "contact-sheet" / "frames").iterdir()) == [
        "00001.html",
        "00002.html",
    ]
    assert not list((batch.output / FOLDER_NAME).glob("sheet-*"))


def test_results_in_a_folder_called_contact_sheet_are_left_alone(batch: Batch, settings: Settings) -> None:
    add(batch, "contact-sheet/a.tif", JobState.DONE)
    (batch.output / "contact-sheet" / "a.tif").write_bytes(b"result")

    write_report(batch, settings, began=None)

    assert (batch.output / "contact-sheet" / "a.tif").read_bytes() == b"result"
    assert (batch.output / "contact-sheet~2" / SHEET_MARK).exists()


def test_a_batch_that_was_never_begun_has_no_report(batch: Batch, settings: Settings) -> None:
    with pytest.raises(UnknownJobError, match="no batch was begun"):
        write_report(batch, settings, began=None)

    assert not batch.state_dir.exists()


def test_a_report_that_breaks_off_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "report.csv"
    path.write_text("before")

    with pytest.raises(ZeroDivisionError), replaced(path) as file:
        file.write("half")
        raise ZeroDivisionError

    assert [each.name for each in tmp_path.iterdir()] == ["report.csv"]
    assert path.read_text() == "before"


def test_what_a_killed_run_left_of_its_report_is_removed(batch: Batch) -> None:
    (batch.output / ".report.csv.0123.part").touch()
    (batch.output / FOLDER_NAME / "sheet-0123").mkdir()

    clear_leftovers(batch)

    assert [path.name for path in batch.output.iterdir()] == [FOLDER_NAME]
    assert not list((batch.output / FOLDER_NAME).iterdir())
