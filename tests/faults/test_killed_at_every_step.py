"""Rows 1, 2, 4, 5: the daemon ends at a named step as from kill -9, and is started again."""

import re
from pathlib import Path

import pytest
from fake_workers import write_fake_scan
from faults.fault_station import FaultStation, check_invariants, check_while_down

import spotlessd
from spotlessd.folders.roots import MARKER_NAME
from spotlessd.monitoring.status import LEDGER_NAME

PACKAGE = Path(spotlessd.__file__).parent
STEPS = (
    "ledger.before_schema",
    "adopt.before_commit",
    "adopt.after_commit",
    "enqueue.before_commit",
    "enqueue.after_commit",
    "claim.before_commit",
    "claim.after_commit",
    "dispatch.mid_job",
    "publish.receipt_written",
    "publish.parts_synced",
    "publish.planned",
    "publish.linked",
    "publish.image_named",
    "publish.mask_named",
    "publish.preview_named",
    "publish.folders_synced",
    "publish.receipt_named",
    "publish.all_synced",
    "companion.noted",
    "move.before_commit",
    "move.after_commit",
    "finish.after_commit",
)
WORKER_STEPS = ("started", "loaded", "ordered", "step_{step}", "before_answer", "answered")
ELSEWHERE = {"ledger.moved_aside", "publish.taken_back", "publish.placeholder", "companion.copied"}
"""Points that need a setting of their own: below, in test_broken_ledgers.py and test_daemon_companions.py."""


def test_every_crash_point_of_the_daemon_is_tried() -> None:
    named = {
        name for path in PACKAGE.glob("*.py") for name in re.findall(r'crash_point\(\s*f?"([^"]+)"', path.read_text())
    }
    by_role = {step for step in STEPS if re.fullmatch(r"publish\.(image|mask|preview|receipt)_named", step)}

    assert len(by_role) == 4
    assert named == (set(STEPS) - by_role) | ELSEWHERE | {"publish.{step.role}_named"} | {
        f"worker.{step}" for step in WORKER_STEPS
    }


@pytest.mark.parametrize("step", STEPS)
def test_a_daemon_killed_at_any_step_loses_nothing(station: FaultStation, step: str) -> None:
    for number in range(3):
        write_fake_scan(station.scans / f"frame{number}.tif", number)
    station.remember_scans()

    code, text = station.run_inline(crash_at=step)
    assert code == 137, text
    check_while_down(station, f"killed at {step}")
    station.recover()

    check_invariants(station, f"killed at {step}")


@pytest.mark.parametrize("first", ["claim.after_commit", "publish.planned", "publish.linked"])
@pytest.mark.parametrize("second", ["claim.after_commit", "publish.all_synced"])
def test_a_daemon_killed_again_while_it_picks_up_the_pieces_loses_nothing(
    station: FaultStation, first: str, second: str
) -> None:
    write_fake_scan(station.scans / "frame.tif")
    station.remember_scans()

    codes = [station.run_inline(crash_at=step)[0] for step in (first, second, second)]
    check_while_down(station, "killed twice")
    station.recover()

    assert codes[:2] == [137, 137]
    check_invariants(station, "killed twice")


def test_a_daemon_killed_while_it_takes_names_back_finds_the_next_ones(station: FaultStation) -> None:
    write_fake_scan(station.scans / "frame.tif")
    assert station.run_inline(crash_at="publish.planned")[0] == 137
    somebodys = station.restored / "masks" / "frame.png"
    somebodys.write_bytes(b"not ours")

    code, text = station.run_inline(crash_at="publish.taken_back")
    assert code == 137, text
    station.recover()

    results = station.results()
    assert somebodys.read_bytes() == b"not ours"
    assert {name for name in results if results[name] != b"not ours"} == {
        "frame~2.tif",
        "masks/frame~2.png",
        "previews/frame~2.jpg",
    }


def test_an_empty_folder_in_place_of_a_crashed_state_is_a_new_start(station: FaultStation) -> None:
    write_fake_scan(station.scans / "frame.tif")
    station.remember_scans()
    assert station.run_inline(crash_at="publish.all_synced")[0] == 137
    for path in station.state.iterdir():
        path.unlink()

    station.recover()

    check_invariants(station, "killed, and the ledger lost")
    assert (station.state / LEDGER_NAME).exists()
    assert (station.restored / MARKER_NAME).exists()
