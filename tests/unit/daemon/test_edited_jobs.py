"""From a person's decision on the board to the order for the worker and the receipt: a station with a fake worker."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from fake_workers import check_fake_header, load_fake, write_fake_scan

from spotlessd.base_versions import newest_version
from spotlessd.commands import station_commands as commands
from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.folders.roots import MARKER_NAME
from spotlessd.job import Base, Identity, Job, JobState, Overrides
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.service import Service
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import MIGRATIONS, Database

DECISION = {"choice": "edited", "by": "person", "via": "review page", "at": "2026-11-23T00:00:00+00:00"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in ("scans", "restored"):
        (tmp_path / name).mkdir()
        (tmp_path / name / MARKER_NAME).write_text("dark\n")
    config = tmp_path / "spotlessd.toml"
    config.write_text(
        'station_id = "dark"\n[[roots]]\nname = "scans"\ninput = "scans"\noutput = "restored"\n'
        "[watch]\nsettle_seconds = 0.2\n[queue]\nretry_seconds = 0.1\n[disk]\nreserve_mb = 1\n"
    )
    (tmp_path / "edited.png").write_bytes(b"the fake worker does not look")
    return load_settings(config)


def run_once(settings: Settings) -> int:
    return Service(settings, is_once=True, loader=load_fake, check=check_fake_header).run()


def restored(settings: Settings) -> Path:
    return settings.roots[0].output


def ask(settings: Settings, **arguments: Any) -> str:
    """Ask for `frame.tif` or another scan to be done again, run the station, and return its answer."""
    mask = str(settings.state_dir.parent / "edited.png")
    wanted = {"root": "scans", "rel": "frame.tif", "mask": mask, "sensitivity": None, "decision": DECISION}
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        number = Board(database).ask("reprocess", {**wanted, **arguments}, time.time())
    run_once(settings)
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        command = Board(database).command(number)
    assert command is not None
    return command.answer


def jobs(settings: Settings) -> list[Job]:
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        return Ledger(database).jobs()


def receipt_of(settings: Settings, name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((restored(settings) / "receipts" / f"{name}.json").read_text())
    return values


def test_the_worker_gets_the_version_that_was_edited_and_the_receipt_tells_who_decided(settings: Settings) -> None:
    write_fake_scan(settings.roots[0].input / "frame.tif")
    run_once(settings)

    answer = ask(settings, base_job=1)

    first, second = receipt_of(settings, "frame"), receipt_of(settings, "frame~2")
    assert answer == "job 2 queued."
    assert [(one["choice"], one["by"], one["via"]) for one in first["decisions"]] == [
        ("detected", "program", "detector")
    ]
    assert second["based_on"] == {"name": "frame.tif", "sha256": first["outputs"]["image"]["sha256"]}
    assert {key: second["decisions"][0][key] for key in DECISION} == DECISION
    assert jobs(settings)[1].overrides.base == Base(
        1,
        restored(settings) / "masks/frame.png",
        restored(settings) / "frame.tif",
        restored(settings) / "receipts/frame.json",
        "frame.tif",
        first["outputs"]["image"]["sha256"],
    )


def test_show_tells_what_a_job_is_based_on_and_who_decided(settings: Settings) -> None:
    write_fake_scan(settings.roots[0].input / "frame.tif")
    run_once(settings)
    ask(settings, base_job=1)

    shown = commands.show_job(settings, "2", as_json=False).text

    assert "based on: frame.tif (job 1)" in shown
    assert "decided: edited, person, review page, 2026-11-23T00:00:00+00:00" in shown


def test_an_edit_of_an_edit_is_based_on_the_newest_result(settings: Settings) -> None:
    scan = write_fake_scan(settings.roots[0].input / "frame.tif")
    run_once(settings)
    ask(settings, base_job=1)
    status = scan.stat()
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        newest = newest_version(Ledger(database), Identity("scans", "frame.tif", status.st_size, status.st_mtime_ns))

    ask(settings, base_job=newest)

    assert newest == 2
    assert receipt_of(settings, "frame~3")["based_on"]["name"] == "frame~2.tif"


def test_a_held_frame_has_a_mask_to_decide_on_and_no_image(settings: Settings) -> None:
    write_fake_scan(settings.roots[0].input / "held.tif")
    run_once(settings)

    answer = ask(settings, rel="held.tif", base_job=1, mask=None, decision={**DECISION, "choice": "proposed"})

    base = jobs(settings)[1].overrides.base
    assert answer == "job 2 queued."
    assert base is not None
    assert (base.image, base.name) == (None, "masks/held.png")


def test_a_request_of_an_earlier_release_still_makes_a_job(settings: Settings) -> None:
    write_fake_scan(settings.roots[0].input / "frame.tif")
    run_once(settings)

    answer = ask(settings, decision=None)

    assert answer == "job 2 queued."
    assert receipt_of(settings, "frame~2")["decisions"] == []


@pytest.mark.parametrize("role", ["image", "mask"])
def test_a_version_whose_files_are_gone_is_told_and_the_frame_is_filled_anew(settings: Settings, role: str) -> None:
    write_fake_scan(settings.roots[0].input / "frame.tif")
    run_once(settings)
    lost = restored(settings) / jobs(settings)[0].outputs[role]
    lost.unlink()

    answer = ask(settings, base_job=1)

    assert answer == f"job 2 queued. {lost.name} of job 1 not found, so every repair is made anew."


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"base_job": 99}, "job 99 is not one of frame.tif; a job of this scan expected."),
        ({"base_job": 2}, "job 2 is not one of frame.tif; a job of this scan expected."),
        ({"mask": None}, "an edited mask belongs to the choice 'edited'; none came with it."),
        ({"mask": None, "decision": {**DECISION, "choice": "proposed"}}, "the mask that was proposed is not there"),
    ],
)
def test_a_decision_that_cannot_be_carried_out_is_answered_with_a_sentence(
    settings: Settings, arguments: dict[str, Any], told: str
) -> None:
    write_fake_scan(settings.roots[0].input / "frame.tif", 1)
    write_fake_scan(settings.roots[0].input / "other.tif", 2)
    run_once(settings)

    answer = ask(settings, **arguments)

    assert told in answer
    assert len(jobs(settings)) == 2


def test_a_version_of_another_scan_under_the_same_name_is_refused(settings: Settings) -> None:
    write_fake_scan(settings.roots[0].input / "frame.tif", 1)
    run_once(settings)
    write_fake_scan(settings.roots[0].input / "frame.tif", 2, size=5000)

    answer = ask(settings, base_job=1)

    assert answer == "frame.tif changed since job 1; a version of the scan as it is now expected."


def test_a_quarantined_job_is_no_base(settings: Settings) -> None:
    write_fake_scan(settings.roots[0].input / "bad.tif")
    run_once(settings)

    answer = ask(settings, rel="bad.tif", base_job=1)

    assert answer == "job 1 is quarantined and has no mask; one that is done or held expected."


def test_what_a_job_is_based_on_comes_back_from_the_ledger_as_it_was(tmp_path: Path) -> None:
    overrides = Overrides(tmp_path / "mask.png", None, Base(3, tmp_path / "m.png", name="masks/a.png"), DECISION)

    with Database.open(tmp_path / "ledger.sqlite3") as database:
        ledger = Ledger(database)
        edited = ledger.enqueue(Identity("scans", "a.tif", 1, 1), 1, "abc+1", 1.0, overrides=overrides)
        plain = ledger.enqueue(Identity("scans", "b.tif", 1, 1), 1, "abc", 1.0)
        assert edited is not None
        assert plain is not None
        found = [ledger.job(number) for number in (edited, plain)]

    assert [job.overrides for job in found if job is not None] == [overrides, Overrides()]


def test_rows_of_a_ledger_from_before_are_read_without_a_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit = next(number for number, script in enumerate(MIGRATIONS) if "override_edit" in script)
    monkeypatch.setattr("spotlessd.sqlite.database.MIGRATIONS", MIGRATIONS[:edit])
    with Database.open(tmp_path / "ledger.sqlite3") as database, database.transaction() as connection:
        connection.execute(
            "INSERT INTO job (root, rel, size, mtime_ns, inode, recipe, state, override_mask, created)"
            " VALUES ('scans', 'a.tif', 1, 1, 1, 'abc', 'queued', '/given.png', 1)"
        )
        before = Ledger(database).jobs(JobState.QUEUED)
    monkeypatch.undo()

    with Database.open(tmp_path / "ledger.sqlite3") as database:
        after = Ledger(database).jobs(JobState.QUEUED)

    assert [job.overrides for job in (*before, *after)] == [Overrides(Path("/given.png"))] * 2
