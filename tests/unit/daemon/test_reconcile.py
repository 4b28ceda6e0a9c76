"""From folders to jobs: complete files the ledger does not know, and nothing else."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_workers import check_fake_header, write_fake_scan
from loguru import logger

from spotlessd.configuration.profiles import Profile
from spotlessd.configuration.sections import WatchSettings
from spotlessd.engine import LocalEngine
from spotlessd.errors import LedgerError
from spotlessd.folders.roots import MARKER_NAME, NameRules, Root
from spotlessd.job import JobState, RetryPolicy
from spotlessd.ledger import Ledger
from spotlessd.reconcile import Reconciler, Rules
from spotlessd.settle import LONG_ZERO_TAIL, ZERO_TAIL
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database

SETTLE_SECONDS = 5.0


@dataclass
class Watched:
    """A reconciler on a real folder, with the clock in the test's hand."""

    root: Root
    ledger: Ledger
    board: Board
    engine: LocalEngine
    reconciler: Reconciler
    opened: list[str]
    now: float = 100.0

    def look(self, after: float = 0.0) -> None:
        self.now += after
        self.reconciler.look_soon()
        self.reconciler.tick(self.now)

    def settle(self) -> None:
        self.look(1)
        self.look(SETTLE_SECONDS + 1)

    def states(self) -> dict[str, JobState]:
        return {job.identity.rel: job.state for job in self.ledger.jobs()}


def watch(folder: Path, database: Database, recipe: str = "recipe", *, counts_age: bool = False) -> Watched:
    root = Root("scans", folder / "in", folder / "out", "dark", NameRules((".tif",)), False, False)
    root.profile = Profile(recipe=recipe)
    for place in (root.input, root.output):
        place.mkdir(exist_ok=True)
        (place / MARKER_NAME).write_text("dark\n")
    ledger, board, opened = Ledger(database), Board(database), list[str]()
    engine = LocalEngine(ledger, "me", RetryPolicy())
    reconciler = Reconciler(
        [root],
        Rules(WatchSettings(settle_seconds=SETTLE_SECONDS, incomplete_seconds=30), counts_age=counts_age),
        ledger,
        engine,
        board,
        check=check_fake_header,
        on_open=lambda root: opened.append(root.name),
        clock=time.time,
    )
    return Watched(root, ledger, board, engine, reconciler, opened)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "ledger.sqlite3") as opened:
        yield opened


@pytest.fixture
def watched(tmp_path: Path, database: Database) -> Watched:
    return watch(tmp_path, database)


def test_a_file_that_stays_unchanged_becomes_a_job(watched: Watched) -> None:
    write_fake_scan(watched.root.input / "a.tif")

    watched.look()
    before = watched.states()
    watched.look(SETTLE_SECONDS + 1)

    assert before == {}
    assert watched.states() == {"a.tif": JobState.QUEUED}


def test_the_loop_is_told_when_to_look_again(watched: Watched) -> None:
    write_fake_scan(watched.root.input / "a.tif")

    watched.look()

    assert watched.reconciler.next_look() == pytest.approx(watched.now + SETTLE_SECONDS)
    assert watched.reconciler.tick(watched.reconciler.next_look())
    assert watched.states() == {"a.tif": JobState.QUEUED}


def test_looking_again_and_again_makes_one_job(watched: Watched) -> None:
    write_fake_scan(watched.root.input / "a.tif")

    for _ in range(5):
        watched.settle()

    assert len(watched.ledger.jobs()) == 1


def test_a_new_recipe_does_not_do_the_folder_again(watched: Watched, tmp_path: Path, database: Database) -> None:
    write_fake_scan(watched.root.input / "a.tif")
    watched.settle()

    later = watch(tmp_path, database, recipe="another")
    later.settle()

    assert len(later.ledger.jobs()) == 1


def test_a_rewritten_file_is_a_new_job(watched: Watched) -> None:
    write_fake_scan(watched.root.input / "a.tif")
    watched.settle()
    write_fake_scan(watched.root.input / "a.tif", size=5000)

    watched.settle()

    assert [job.state for job in watched.ledger.jobs()] == [JobState.SUPERSEDED, JobState.QUEUED]


def test_a_file_that_ends_too_early_waits_with_its_reason_and_is_set_aside_in_the_end(watched: Watched) -> None:
    (watched.root.input / "short.tif").write_bytes(b"FAKE SCAN 4000\nabc")

    watched.settle()
    waiting = watched.board.waiting()
    for _ in range(20):
        watched.look(5)

    assert [(file.rel, file.reason) for file in waiting] == [
        ("short.tif", "not complete yet: the file ends too early.")
    ]
    assert watched.states() == {"short.tif": JobState.QUARANTINED}
    assert watched.board.waiting() == []


def test_a_file_of_another_kind_is_quarantined_without_the_worker(watched: Watched) -> None:
    (watched.root.input / "text.tif").write_text("Dear diary")

    watched.settle()

    job = watched.ledger.jobs()[0]
    assert (job.state, job.attempt, job.reason) == (JobState.QUARANTINED, 0, "not a TIFF, PNG or JPEG file.")


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="leases are Linux's")
def test_a_file_that_is_open_for_writing_waits(watched: Watched) -> None:
    path = write_fake_scan(watched.root.input / "a.tif")

    with path.open("ab"):
        watched.settle()
        states = watched.states()
    watched.look(60)
    watched.look(60)

    assert states == {}
    assert watched.states() == {"a.tif": JobState.QUEUED}


def test_a_folder_that_is_away_is_told_and_concludes_nothing(watched: Watched) -> None:
    marker = watched.root.input / MARKER_NAME
    marker.unlink()

    watched.look()
    away = dict(watched.reconciler.away)
    marker.write_text("dark\n")
    watched.look(1)

    assert "scans" in away
    assert watched.reconciler.away == {}
    assert watched.opened == ["scans"]


def test_a_ledger_that_cannot_be_written_loses_no_file(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fake_scan(watched.root.input / "a.tif")
    watched.look()

    def refuse(*_: object, **__: object) -> None:
        raise LedgerError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(watched.ledger, "enqueue", refuse)
        with pytest.raises(LedgerError):
            watched.look(SETTLE_SECONDS + 1)
    watched.settle()
    watched.settle()

    assert watched.states() == {"a.tif": JobState.QUEUED}


def test_with_ages_counted_an_old_file_is_taken_almost_at_once(tmp_path: Path, database: Database) -> None:
    watched = watch(tmp_path, database, counts_age=True)
    write_fake_scan(watched.root.input / "old.tif")
    fresh = write_fake_scan(watched.root.input / "fresh.tif")
    os.utime(fresh)

    watched.look()
    watched.look(0.5)

    assert watched.states() == {"old.tif": JobState.QUEUED}
    assert not watched.reconciler.is_quiet


def test_a_file_dated_in_the_future_waits_no_longer_than_others(tmp_path: Path, database: Database) -> None:
    watched = watch(tmp_path, database, counts_age=True)
    path = write_fake_scan(watched.root.input / "future.tif")
    os.utime(path, (time.time() + 86400, time.time() + 86400))

    watched.settle()

    assert watched.states() == {"future.tif": JobState.QUEUED}


def test_a_job_gets_the_recipe_and_the_priority_of_its_folder(watched: Watched) -> None:
    watched.root.profile = Profile(recipe="large", priority=7)
    write_fake_scan(watched.root.input / "a.tif")

    watched.settle()

    job = watched.ledger.jobs()[0]
    assert (job.recipe, job.priority) == ("large", 7)


def test_what_is_left_out_is_shown_with_its_reason_and_holds_nothing_up(watched: Watched, tmp_path: Path) -> None:
    write_fake_scan(tmp_path / "elsewhere.tif")
    (watched.root.input / "link.tif").symlink_to(tmp_path / "elsewhere.tif")

    watched.look()
    shown = [(file.rel, file.reason) for file in watched.board.waiting()]
    is_quiet = watched.reconciler.is_quiet
    (watched.root.input / "link.tif").unlink()
    watched.look(1)

    assert shown == [("link.tif", "left out: a symbolic link; links are not followed. Put the file itself here")]
    assert is_quiet
    assert watched.board.waiting() == []


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="leases are Linux's")
def test_on_a_share_no_lease_is_asked_for(watched: Watched) -> None:
    # NFS without a delegation and SMB without an oplock refuse every lease: such a file would wait for ever.
    watched.root.is_network = True
    path = write_fake_scan(watched.root.input / "a.tif")

    with path.open("ab"):
        watched.look()
        watched.look(WatchSettings().settle_seconds_network + 1)

    assert watched.states() == {"a.tif": JobState.QUEUED}


def test_a_file_on_a_share_settles_for_longer(watched: Watched) -> None:
    watched.root.is_network = True
    write_fake_scan(watched.root.input / "a.tif")

    watched.look()
    watched.look(SETTLE_SECONDS + 1)
    too_soon = watched.states()
    watched.look(WatchSettings().settle_seconds_network - SETTLE_SECONDS)

    assert too_soon == {}
    assert watched.states() == {"a.tif": JobState.QUEUED}


def test_a_file_that_ends_in_zeros_waits_twice_as_long_and_is_warned_of_once(watched: Watched) -> None:
    path = write_fake_scan(watched.root.input / "a.tif", size=200_000)
    with path.open("r+b") as file:
        file.seek(-70_000, os.SEEK_END)
        file.write(bytes(70_000))
    os.utime(path, (1, 1))
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING", format="{message}")
    watched.settle()
    before = watched.states(), [file.reason for file in watched.board.waiting()]
    for _ in range(4):
        watched.look(SETTLE_SECONDS)
    logger.remove(sink)

    assert before == ({}, [ZERO_TAIL])
    assert watched.states() == {"a.tif": JobState.QUEUED}
    assert len(lines) == 1
    assert "a.tif" in lines[0]


def test_a_file_whose_second_half_is_zero_waits_until_it_changes(watched: Watched) -> None:
    whole = write_fake_scan(watched.root.input / "a.tif", size=1_000_000).read_bytes()
    path = watched.root.input / "a.tif"
    path.write_bytes(whole[:500_000] + bytes(len(whole) - 500_000))
    watched.settle()
    reasons = [file.reason for file in watched.board.waiting()]
    for _ in range(5):
        watched.look(SETTLE_SECONDS)
    while_half = watched.states()

    path.write_bytes(whole)
    watched.settle()

    assert reasons == [LONG_ZERO_TAIL]
    assert while_half == {}
    assert watched.states() == {"a.tif": JobState.QUEUED}


def test_a_scan_that_is_black_at_its_end_is_taken_after_all(watched: Watched) -> None:
    path = write_fake_scan(watched.root.input / "a.tif", size=1_000_000)
    with path.open("r+b") as file:
        file.seek(500_000)
        file.write(bytes(path.stat().st_size - 500_000))
    for _ in range(10):
        watched.look(SETTLE_SECONDS)

    assert watched.states() == {"a.tif": JobState.QUEUED}
