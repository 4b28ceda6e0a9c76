"""`output.replace`: the newest version gets the scan's own name, and nothing of the version before it is lost."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_workers import check_fake_header, load_fake, write_fake_scan

from spotlessd.base_versions import base_of
from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.folders.roots import MARKER_NAME
from spotlessd.folders.station_roots import open_roots
from spotlessd.job import Job, JobState, Overrides
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.publishing import exchange
from spotlessd.replacing import PLAN_KEY, SEEN_KEY, Replacer
from spotlessd.service import Service
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database

DECISION = {"choice": "edited", "by": "person", "via": "review page", "at": "2026-11-23T00:00:00+00:00"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in ("scans", "restored"):
        (tmp_path / name).mkdir()
        (tmp_path / name / MARKER_NAME).write_text("dark\n")
    (tmp_path / "edited.png").write_bytes(b"the fake worker does not look")
    return configured(tmp_path, is_on=True)


def configured(folder: Path, *, is_on: bool) -> Settings:
    config = folder / "spotlessd.toml"
    config.write_text(
        'station_id = "dark"\n[[roots]]\nname = "scans"\ninput = "scans"\noutput = "restored"\n'
        "[watch]\nsettle_seconds = 0.2\n[queue]\nretry_seconds = 0.1\n[disk]\nreserve_mb = 1\n"
        f"[output]\nreplace = {str(is_on).lower()}\n"
    )
    return load_settings(config)


def run_once(settings: Settings) -> int:
    return Service(settings, is_once=True, loader=load_fake, check=check_fake_header).run()


def ask(settings: Settings, base_job: int | None, sensitivity: str, rel: str = "frame.tif") -> None:
    """Ask for another version; the fake worker's preview tells the sensitivity, so versions differ."""
    mask = str(settings.state_dir.parent / "edited.png")
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        arguments = {"root": "scans", "rel": rel, "mask": mask, "sensitivity": sensitivity}
        Board(database).ask("reprocess", {**arguments, "base_job": base_job, "decision": DECISION}, time.time())


def restored(settings: Settings) -> Path:
    return settings.roots[0].output


def previews(settings: Settings) -> dict[str, str]:
    return {path.stem: path.read_text().split()[1] for path in (restored(settings) / "previews").glob("*.jpg")}


def jobs(settings: Settings) -> list[Job]:
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        return Ledger(database).jobs()


def receipt_of(settings: Settings, name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((restored(settings) / "receipts" / f"{name}.json").read_text())
    return values


def check_everything_fits(settings: Settings) -> None:
    """Each job's files are those of its receipt; nothing is left aside."""
    folder = restored(settings)
    for job in jobs(settings):
        receipt = json.loads((folder / job.outputs["receipt"]).read_text())
        assert receipt["station"]["job"] == job.id
        assert {role: facts["name"] for role, facts in receipt["outputs"].items()} == {
            role: name for role, name in job.outputs.items() if role != "receipt"
        }
        for facts in receipt["outputs"].values():
            assert hashlib.sha256((folder / facts["name"]).read_bytes()).hexdigest() == facts["sha256"]
    assert not list(folder.rglob(f"{exchange.ASIDE}*"))
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        assert Board(database).noted(PLAN_KEY.format("scans")) is None


def test_the_newest_version_takes_the_scans_name_and_the_ones_before_keep_their_order(settings: Settings) -> None:
    write_fake_scan(settings.roots[0].input / "roll" / "frame.tif")
    run_once(settings)

    for base, sensitivity in ((1, "high"), (2, "low")):
        ask(settings, base, sensitivity, "roll/frame.tif")
        run_once(settings)

    folder = restored(settings) / "previews/roll"
    assert {path.stem: path.read_text().split()[1] for path in folder.glob("*.jpg")} == {
        "frame": "low",
        "frame~2": "normal",
        "frame~3": "high",
    }
    check_everything_fits(settings)


def test_the_receipt_names_the_version_it_came_from_as_it_is_called_now(settings: Settings) -> None:
    write_fake_scan(settings.roots[0].input / "frame.tif")
    run_once(settings)
    ask(settings, 1, "high")

    run_once(settings)

    newest, before = receipt_of(settings, "frame"), receipt_of(settings, "frame~2")
    assert newest["based_on"] == {"name": "frame~2.tif", "sha256": before["outputs"]["image"]["sha256"]}
    assert newest["station"]["rel"] == "frame.tif"


def test_two_edits_asked_for_at_once_are_based_on_the_same_version_and_say_so(settings: Settings) -> None:
    write_fake_scan(settings.roots[0].input / "frame.tif")
    run_once(settings)
    ask(settings, 1, "high")
    ask(settings, 1, "low")

    run_once(settings)

    first = receipt_of(settings, "frame~2")["outputs"]["image"]["sha256"]
    assert previews(settings) == {"frame": "low", "frame~2": "normal", "frame~3": "high"}
    assert [receipt_of(settings, name)["based_on"] for name in ("frame", "frame~3")] == [
        {"name": "frame~2.tif", "sha256": first}
    ] * 2
    assert receipt_of(settings, "frame")["decisions"][0]["via"] == "review page"
    check_everything_fits(settings)


def test_without_the_setting_names_stay_and_what_was_done_then_stays_when_it_is_turned_on(
    settings: Settings, tmp_path: Path
) -> None:
    write_fake_scan(settings.roots[0].input / "frame.tif")
    off = configured(tmp_path, is_on=False)
    run_once(off)
    ask(off, 1, "high")
    run_once(off)
    on = configured(tmp_path, is_on=True)

    run_once(on)

    assert previews(on) == {"frame": "normal", "frame~2": "high"}
    check_everything_fits(on)


def test_an_edit_that_waits_is_led_to_where_its_version_lies_now(settings: Settings) -> None:
    write_fake_scan(settings.roots[0].input / "frame.tif")
    run_once(settings)
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        ledger, board = Ledger(database), Board(database)
        roots = {root.name: root for root in open_roots(settings)}
        first = ledger.jobs()[0]
        overrides = Overrides(base=base_of(ledger, roots["scans"], first.identity, 1), decision=DECISION)
        for number in (1, 2):
            ledger.enqueue(first.identity, 1, f"{first.recipe}+{number}", time.time(), overrides=overrides)
        newer = ledger.claim(2, "me", time.time())
        assert newer is not None
        names = publish_copy(restored(settings), first.outputs)
        ledger.finish(newer, JobState.DONE, names, "", {}, time.time())
        board.note(SEEN_KEY, "0")

        Replacer(board, ledger, roots, is_on=True, clock=time.monotonic).tick()
        waiting = ledger.job(3)

    assert waiting is not None
    assert waiting.overrides.base is not None
    assert waiting.overrides.base.image == restored(settings) / "frame~2.tif"


def publish_copy(folder: Path, outputs: dict[str, str]) -> dict[str, str]:
    """Copy a version's files as a second one; returns its names."""
    names = {role: name.replace("frame", "frame~2") for role, name in outputs.items()}
    for role, name in outputs.items():
        shutil.copy(folder / name, folder / names[role])
    return names


def test_a_file_of_somebody_else_is_never_in_danger(settings: Settings) -> None:
    write_fake_scan(settings.roots[0].input / "frame.tif")
    run_once(settings)
    ask(settings, 1, "high")
    mine = restored(settings) / "frame.tif"
    mine.write_bytes(b"painted on by a person")

    run_once(settings)

    assert (restored(settings) / "frame~2.tif").read_bytes() == b"painted on by a person"
    assert previews(settings) == {"frame": "high", "frame~2": "normal"}


def test_a_lost_ledger_is_rebuilt_from_the_receipts_under_the_names_they_have_now(settings: Settings) -> None:
    write_fake_scan(settings.roots[0].input / "frame.tif")
    run_once(settings)
    ask(settings, 1, "high")
    run_once(settings)
    for path in settings.state_dir.glob(f"{LEDGER_NAME}*"):
        path.unlink()

    run_once(settings)

    found = {job.recipe.partition("+")[2] != "": job.outputs["image"] for job in jobs(settings)}
    assert found == {True: "frame.tif", False: "frame~2.tif"}
    assert previews(settings) == {"frame": "high", "frame~2": "normal"}


def test_where_there_are_no_hard_links_copies_are_laid_aside(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "no hard links here")

    write_fake_scan(settings.roots[0].input / "frame.tif")
    run_once(settings)
    ask(settings, 1, "high")
    monkeypatch.setattr(os, "link", refuse)

    run_once(settings)

    assert previews(settings) == {"frame": "high", "frame~2": "normal"}
    check_everything_fits(settings)


POINTS = [
    *(("prepared", 1), ("newer_named", 1), ("pair_named", 1), ("pair_named", 3), ("receipt_named", 1)),
    *(("receipt_named", 2), ("all_synced", 1)),
]
"""Each with how often it is passed before the end."""


class Cut(BaseException):
    """The process ends here, as from kill -9."""


@pytest.mark.parametrize(("point", "count"), POINTS)
def test_cut_off_between_any_two_steps_the_next_start_ends_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, point: str, count: int
) -> None:
    write_fake_scan(settings.roots[0].input / "frame.tif")
    run_once(settings)
    ask(settings, 1, "high")
    seen: list[str] = []

    def cut(name: str) -> None:
        seen.append(name)
        if seen.count(f"exchange.{point}") == count and name == f"exchange.{point}":
            raise Cut

    monkeypatch.setattr(exchange, "crash_point", cut)
    was_cut = _is_cut(lambda: run_once(settings))
    monkeypatch.undo()

    for name in ("frame.tif", "previews/frame.jpg", "masks/frame.png", "receipts/frame.json"):
        assert (restored(settings) / name).is_file(), "the scan's own name is never missing"
    run_once(settings)
    assert was_cut
    assert previews(settings) == {"frame": "high", "frame~2": "normal"}
    check_everything_fits(settings)


def _is_cut(run: Callable[[], int]) -> bool:
    try:
        run()
    except Cut:
        return True
    return False
