"""Requests of people, applied by the daemon to the parts of one station."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from spotlessd.control import Control
from spotlessd.engine import LocalEngine
from spotlessd.folders.file_systems import Mount
from spotlessd.folders.mounted_places import MountedPlaces
from spotlessd.job import Identity, Job, JobState, RetryPolicy
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import PAUSE_KEY, read_pause
from spotlessd.sqlite.board import Board, Command
from spotlessd.sqlite.database import Database

NOW = 1_000_000.0


class FakeCrew:
    """Has jobs in hand, or none; remembers why they were dropped."""

    def __init__(self) -> None:
        self.jobs: tuple[Job, ...] = ()
        self.waiting: tuple[Job, ...] = ()
        self.dropped = ""

    def drop(self, reason: str) -> None:
        self.dropped = reason

    def recall(self, reason: str) -> tuple[Job, ...]:
        return self.waiting


class Desk:
    """A control with real tables, and a clock that stands."""

    def __init__(self, database: Database, scans: Path) -> None:
        self.now = NOW
        self.board, self.ledger = Board(database), Ledger(database)
        self.crew = FakeCrew()
        self.looks = 0
        self.root = root = SimpleNamespace(name="scans", input=scans, profile=SimpleNamespace(recipe="abc"))
        engine = LocalEngine(self.ledger, "me", RetryPolicy(), clock=lambda: self.now, draw=lambda: 0.0)
        self.control = Control(
            self.board,
            self.ledger,
            engine,
            cast(Any, self.crew),
            cast(Any, SimpleNamespace(look_soon=self._look)),
            cast(Any, {"scans": root}),
            clock=lambda: self.now,
            state_dir=scans.parent / "state",
        )

    def _look(self) -> None:
        self.looks += 1

    def ask(self, name: str, **arguments: object) -> Command:
        number = self.board.ask(name, arguments, self.now)
        self.control.tick()
        answered = self.board.command(number)
        assert answered is not None
        assert answered.is_done
        return answered

    def add(self, name: str, *, quarantined_for: str = "") -> int:
        identity = Identity("scans", name, 1, 1)
        if quarantined_for:
            made = self.ledger.refuse(identity, 1, "abc", quarantined_for, self.now)
        else:
            made = self.ledger.enqueue(identity, 1, "abc", self.now)
        assert made is not None
        return made

    def states(self) -> dict[str, JobState]:
        return {job.identity.rel: job.state for job in self.ledger.jobs()}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "scans").mkdir()
    with Database.open(tmp_path / "ledger.sqlite3") as database:
        yield Desk(database, tmp_path / "scans")


def test_a_pause_for_a_time_ends_by_itself_and_is_forgotten(desk: Desk) -> None:
    answer = desk.ask("pause", now=False, until=NOW + 60)
    desk.now += 59
    desk.control.tick()
    is_paused = read_pause(desk.board, desk.now) is not None

    desk.now += 2
    desk.control.tick()

    assert "paused until" in answer.answer
    assert is_paused
    assert desk.board.noted(PAUSE_KEY) is None


def test_a_pause_that_was_over_before_the_daemon_read_it_changes_nothing(desk: Desk) -> None:
    answer = desk.ask("pause", now=False, until=NOW - 1)

    assert "not paused" in answer.answer
    assert desk.board.noted(PAUSE_KEY) is None


@pytest.mark.parametrize(("names", "told"), [(["a.tif"], "job 1"), (["a.tif", "b.tif"], "jobs 1 and 2")])
def test_a_soft_pause_leaves_the_jobs_in_hand_and_a_hard_one_stops_them(
    desk: Desk, names: list[str], told: str
) -> None:
    claimed = [desk.ledger.claim(desk.add(name), "me", NOW) for name in names]
    desk.crew.jobs = tuple(job for job in claimed if job is not None)

    soft = desk.ask("pause", now=False, until=None)
    dropped = desk.crew.dropped
    hard = desk.ask("pause", now=True, until=None)

    assert (dropped, f"after {told}." in soft.answer) == ("", True)
    assert desk.crew.dropped
    assert told in hard.answer
    assert "stopped and will start again" in hard.answer


def test_a_soft_pause_waits_for_no_job_that_nobody_has_begun(desk: Desk) -> None:
    claimed = [desk.ledger.claim(desk.add(name), "me", NOW) for name in ("a.tif", "b.tif")]
    desk.crew.jobs = tuple(job for job in claimed if job is not None)
    desk.crew.waiting = desk.crew.jobs[1:]

    assert desk.ask("pause", now=False, until=None).answer.endswith(", after job 1.")


def test_resume_ends_a_pause(desk: Desk) -> None:
    desk.ask("pause", now=False, until=None)

    desk.ask("resume")

    assert read_pause(desk.board, NOW) is None


def test_retry_with_a_reason_takes_only_those_that_have_it(desk: Desk) -> None:
    desk.add("a.tif", quarantined_for="The device ran out of Memory.")
    desk.add("b.tif", quarantined_for="the scan is damaged.")

    answer = desk.ask("retry", all=True, reason="memory")

    assert (answer.answer, answer.exit_code) == ("1 queued again.", 0)
    assert desk.states() == {"a.tif": JobState.QUEUED, "b.tif": JobState.QUARANTINED}


def test_retry_of_a_job_that_is_done_says_so_with_exit_code_66(desk: Desk) -> None:
    job_id = desk.add("a.tif")
    running = desk.ledger.claim(job_id, "me", NOW)
    assert running is not None
    desk.ledger.finish(running, JobState.DONE, {}, "", {}, NOW)

    answer = desk.ask("retry", jobs=[job_id])

    assert (answer.exit_code, "only quarantined and waiting" in answer.answer) == (66, True)


def test_a_bumped_job_is_next(desk: Desk) -> None:
    desk.add("a.tif")
    last = desk.add("b.tif")

    answer = desk.ask("bump", job=last)

    due = desk.ledger.next_due(NOW, frozenset({"scans"}))
    assert (answer.exit_code, due is not None and due.id == last) == (0, True)


def test_only_a_queued_job_can_be_next(desk: Desk) -> None:
    job_id = desk.add("a.tif", quarantined_for="bad")

    assert desk.ask("bump", job=job_id).exit_code == 66


def test_scan_makes_the_daemon_look(desk: Desk) -> None:
    desk.ask("scan")

    assert desk.looks == 1


def test_scan_accept_takes_a_folder_as_it_lies_now_and_says_which(desk: Desk) -> None:
    folder = desk.root.input
    desk.root.places = MountedPlaces()
    desk.root.places.known[folder] = Mount(folder, "cifs")  # nothing is mounted there
    desk.root.ensure_available = lambda: desk.root.places.check([folder])

    first = desk.ask("scan", accept=True)
    again = desk.ask("scan", accept=True)

    assert first.answer == f"taken as they lie now: {folder}. Looking at the folders."
    assert again.answer == "no folder has left the mount it lay on; nothing was changed."
    assert desk.looks == 2


def test_reprocess_of_a_scan_that_is_gone_says_so(desk: Desk) -> None:
    answer = desk.ask("reprocess", root="scans", rel="gone.tif", mask=None, sensitivity=None)

    assert (answer.exit_code, "No such file" in answer.answer) == (66, True)


@pytest.mark.parametrize(("name", "arguments"), [("dance", {}), ("bump", {}), ("pause", {"until": "soon"})])
def test_a_request_that_makes_no_sense_is_answered_and_stops_nothing(
    desk: Desk, name: str, arguments: dict[str, object]
) -> None:
    answer = desk.ask(name, **arguments)

    assert answer.exit_code == 70
    assert desk.board.open_commands() == []


def test_a_given_mask_stays_while_a_job_may_need_it_and_goes_a_day_after(desk: Desk, tmp_path: Path) -> None:
    kept, unasked, young = (tmp_path / "state" / "given_masks" / f"{name}.png" for name in ("kept", "unasked", "young"))
    kept.parent.mkdir(parents=True)
    for path, age in ((kept, 9e5), (unasked, 9e5), (young, 10.0)):
        path.write_bytes(b"mask")
        os.utime(path, (NOW - age, NOW - age))
    (desk.root.input / "a.tif").write_bytes(b"scan")
    desk.ask("reprocess", root="scans", rel="a.tif", mask=str(kept), sensitivity=None)
    assert kept.exists()
    assert young.exists()
    assert not unasked.exists()

    job = desk.ledger.claim(desk.ledger.jobs()[0].id, "me", NOW)
    assert job is not None
    desk.ledger.finish(job, JobState.DONE, {}, "", {}, NOW)
    desk.control.tick()
    assert kept.exists(), "once a day is enough"
    desk.now = NOW + 2 * 24 * 3600
    desk.control.tick()
    assert not kept.exists()
    assert not young.exists()
