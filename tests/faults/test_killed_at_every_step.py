"""Rows 1, 2, 4, 5: the daemon ends at a named step as from kill -9, and is started again."""

import re
from pathlib import Path

import pytest
from fake_workers import write_fake_scan
from faults.fault_station import FaultStation, check_invariants, check_while_down

import spotlessd
from spotlessd.companions.names import Part
from spotlessd.folders.roots import MARKER_NAME
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.publishing.result_files import FOLDERS

PACKAGE = Path(spotlessd.__file__).parent
TESTS = Path(__file__).parents[1]
STEPS = (
    "ledger.before_schema",
    "adopt.before_commit",
    "adopt.after_commit",
    "enqueue.before_commit",
    "enqueue.after_commit",
    "batch.before_commit",
    "batch.after_commit",
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
EXCHANGE_STEPS = ("prepared", "newer_named", "pair_named", "receipt_named", "all_synced")
ELSEWHERE = {
    "ledger.moved_aside": "faults/test_lost_ledgers.py",
    "publish.taken_back": "faults/test_killed_at_every_step.py",
    "publish.placeholder": "integration/test_daemon_faults.py",
    "companion.copied": "integration/test_daemon_companions.py",
    **{f"exchange.{step}": "faults/test_killed_edits.py" for step in EXCHANGE_STEPS},
    **{f"edited.{step}": "integration/test_edited_folder.py" for step in ("moved", "noted", "submitted")},
}
"""Points that need a setting of their own, and where the process is killed at them."""
WORKER_FILE = "faults/test_hurt_workers.py"
ROLE_FILES = ("faults/test_killed_at_every_step.py", "integration/test_daemon_companions.py")


def test_every_crash_point_of_the_daemon_is_tried() -> None:
    named = {
        name for path in PACKAGE.rglob("*.py") for name in re.findall(r'crash_point\(\s*f?"([^"]+)"', path.read_text())
    }
    by_role = {step for step in STEPS if re.fullmatch(r"publish\.(image|mask|preview|receipt)_named", step)}

    assert len(by_role) == 4
    assert named == (set(STEPS) - by_role) | set(ELSEWHERE) | {"publish.{step.role}_named"} | {
        f"worker.{step}" for step in WORKER_STEPS
    }


def test_every_crash_point_that_is_left_to_another_file_is_tried_there() -> None:
    killed_at = {file: _tried_in(file) for file in {*ELSEWHERE.values(), *ROLE_FILES}}
    worker_steps = set(re.findall(r'"(?:worker\.)?(\w+)"', (TESTS / WORKER_FILE).read_text()))

    assert {name for name, file in ELSEWHERE.items() if name not in killed_at[file]} == set()
    assert {step for step in WORKER_STEPS if "{" not in step} - worker_steps == set()
    assert any(step.startswith("step_") for step in worker_steps)
    assert {*FOLDERS, Part.INFRARED, Part.PLAIN} <= {
        name.removeprefix("publish.").removesuffix("_named") for file in ROLE_FILES for name in killed_at[file]
    }


def _tried_in(file: str) -> set[str]:
    """Return the crash points that stand in a test file, the lists of this one that only refer to others left out."""
    text = re.sub(r"ELSEWHERE = \{.*?\n\}", "", (TESTS / file).read_text(), flags=re.DOTALL)
    return set(re.findall(r'"(\w+\.\w+)"', text))


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
