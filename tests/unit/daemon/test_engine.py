"""The local engine: decisions written down, orphans taken up again, a line in the log for each change of state."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from spotlessd.engine import Engine, LocalEngine
from spotlessd.job import Failure, FailureKind, Identity, Job, JobState, RetryPolicy
from spotlessd.ledger import Ledger
from spotlessd.sqlite.database import Database

FRAME = Identity("scans", "frame.tif", 10, 100)
ROOTS = frozenset({"scans"})


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Database.open(tmp_path / "ledger.sqlite3") as database:
        yield Ledger(database)


@pytest.fixture
def engine(ledger: Ledger) -> LocalEngine:
    return engine_at(ledger, 1000.0)


def engine_at(ledger: Ledger, now: float) -> LocalEngine:
    return LocalEngine(ledger, "me", RetryPolicy(), clock=lambda: now, draw=lambda: 0.0)


def taken(engine: Engine) -> Job:
    engine.submit(FRAME, 1, "recipe")
    due = engine.next_due(ROOTS)
    assert due is not None
    job = engine.take(due)
    assert job is not None
    return job


def test_a_file_goes_from_submitted_to_done(engine: LocalEngine) -> None:
    job = taken(engine)

    assert engine.finish(job, JobState.DONE, {"image": "frame.tif"}, "f" * 64, {"total": 1.0})

    done = engine.status(job.id)
    assert done is not None
    assert done.state is JobState.DONE
    assert engine.next_due(ROOTS) is None


def test_looking_at_the_next_job_does_not_count_an_attempt(engine: LocalEngine) -> None:
    job_id = engine.submit(FRAME, 1, "recipe")
    assert job_id is not None

    engine.next_due(ROOTS)

    job = engine.status(job_id)
    assert job is not None
    assert job.attempt == 0


def test_a_transient_failure_comes_back_after_its_delay(engine: LocalEngine, ledger: Ledger) -> None:
    engine.fail(taken(engine), Failure(FailureKind.TRANSIENT, "device memory"))

    assert engine_at(ledger, 1029.0).next_due(ROOTS) is None
    assert engine_at(ledger, 1031.0).next_due(ROOTS) is not None


def test_a_failure_of_a_void_attempt_changes_nothing(engine: LocalEngine) -> None:
    job = taken(engine)
    engine.finish(job, JobState.DONE, {}, "", {})

    assert engine.fail(job, Failure(FailureKind.CRASH, "late")) is None


def test_orphans_of_the_last_run_count_as_interrupted_and_are_due_at_once(engine: LocalEngine) -> None:
    job = taken(engine)

    assert engine.recover() == 1

    again = engine.next_due(ROOTS)
    assert again is not None
    assert (again.id, again.interrupts, again.crashes) == (job.id, 1, 0)


def test_an_orphan_that_was_being_published_keeps_its_plan_and_is_not_counted(engine: LocalEngine) -> None:
    job = taken(engine)
    engine.plan(job, "[1]")

    engine.recover()

    again = engine.next_due(ROOTS)
    assert again is not None
    assert (again.plan, again.interrupts) == ("[1]", 0)


def test_a_scan_that_brings_the_station_down_ten_times_is_quarantined(engine: LocalEngine) -> None:
    taken(engine)
    for _ in range(9):
        engine.recover()
        due = engine.next_due(ROOTS)
        assert due is not None
        engine.take(due)

    engine.recover()

    assert engine.next_due(ROOTS) is None


def test_a_refused_file_is_quarantined_without_an_attempt(engine: LocalEngine) -> None:
    job_id = engine.refuse(FRAME, 1, "recipe", "not a scan.")
    assert job_id is not None

    job = engine.status(job_id)

    assert job is not None
    assert (job.state, job.attempt, job.reason) == (JobState.QUARANTINED, 0, "not a scan.")


def test_every_change_of_state_is_one_line_with_job_and_file(engine: LocalEngine) -> None:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")

    engine.finish(taken(engine), JobState.DONE, {"image": "frame.tif"}, "", {})
    logger.remove(sink)

    assert [line.split(": ", 1)[1].split(",")[0].split(" ")[0] for line in lines] == ["queued", "running", "done"]
    assert all(line.startswith("job 1, frame.tif: ") for line in lines)
