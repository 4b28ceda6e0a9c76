"""The pure decisions about a job: whose fault a failure is and what it leads to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotless_core import errors
from spotlessd.job import (
    Failure,
    FailureKind,
    Identity,
    Job,
    JobState,
    RetryPolicy,
    back_off_seconds,
    classify_failure,
    decide,
    is_legal_move,
)

POLICY = RetryPolicy(max_attempts=3, max_interrupts=10, retry_seconds=30, retry_max_seconds=1800)


def running_job(**counts: int) -> Job:
    identity = Identity("scans", "frame.tif", 10, 20)
    return Job(1, identity, inode=3, recipe="r", state=JobState.RUNNING, attempt=1, **counts)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.ScanError, FailureKind.PHOTO),
        (errors.TruncatedScanError, FailureKind.PHOTO),
        (errors.UnsupportedScanError, FailureKind.PHOTO),
        (errors.MissingInputError, FailureKind.PHOTO),
        (errors.PreservationError, FailureKind.PHOTO),
        (errors.OptionsError, FailureKind.PHOTO),
        (errors.DeviceMemoryError, FailureKind.TRANSIENT),
        (errors.DeviceError, FailureKind.MACHINE),
        (errors.ModelError, FailureKind.MACHINE),
        (errors.OutputError, FailureKind.OUTPUT),
    ],
)
def test_each_error_of_the_core_is_blamed_on_the_right_one(
    error: type[errors.SpotlessError], kind: FailureKind
) -> None:
    assert classify_failure(error.exit_code, is_retryable=error.is_retryable) is kind


def test_a_bad_photo_is_quarantined_at_once_with_its_sentence() -> None:
    decision = decide(running_job(), Failure(FailureKind.PHOTO, "it is damaged."), POLICY, jitter=0)

    assert (decision.state, decision.reason) == (JobState.QUARANTINED, "it is damaged.")


def test_the_first_crash_is_tried_again_at_once() -> None:
    decision = decide(running_job(), Failure(FailureKind.CRASH, "died"), POLICY, jitter=1)

    assert (decision.state, decision.delay_seconds, decision.crashes) == (JobState.QUEUED, 0, 1)


def test_crashes_and_failures_together_make_three_strikes() -> None:
    decision = decide(running_job(crashes=1, failures=1), Failure(FailureKind.CRASH, "died"), POLICY, jitter=0)

    assert decision.state is JobState.QUARANTINED
    assert decision.reason == "3 attempts failed; the last one: died"


def test_nine_interrupts_are_forgiven_and_the_tenth_is_not() -> None:
    failure = Failure(FailureKind.CUT_OFF, "power cut")

    ninth = decide(running_job(interrupts=8, crashes=2), failure, POLICY, jitter=0)
    tenth = decide(running_job(interrupts=9), failure, POLICY, jitter=0)

    assert (ninth.state, ninth.crashes, ninth.interrupts) == (JobState.QUEUED, 2, 9)
    assert tenth.state is JobState.QUARANTINED


def test_what_a_person_stopped_counts_for_nothing_and_starts_again_at_once() -> None:
    job = running_job(crashes=2, interrupts=9, setbacks=3)

    decision = decide(job, Failure(FailureKind.STOPPED, "paused by a person, at once"), POLICY, jitter=0)

    assert (decision.state, decision.delay_seconds) == (JobState.QUEUED, 0.0)
    assert (decision.crashes, decision.failures, decision.interrupts, decision.setbacks) == (2, 0, 9, 3)


@pytest.mark.parametrize("kind", [FailureKind.OUTPUT, FailureKind.MACHINE])
def test_the_machines_failures_never_count_against_the_photo(kind: FailureKind) -> None:
    job = running_job(crashes=2, setbacks=50, interrupts=9)

    decision = decide(job, Failure(kind, "disk full"), POLICY, jitter=0)

    assert decision.state is JobState.QUEUED
    assert (decision.crashes, decision.failures, decision.interrupts) == (2, 0, 9)
    assert decision.delay_seconds > 30


@given(count=st.integers(1, 10_000), jitter=st.floats(0, 1))
def test_the_back_off_doubles_up_to_its_limit(count: int, jitter: float) -> None:
    delay = back_off_seconds(count, POLICY, jitter)

    assert 30 <= delay <= 1800 * 1.25
    assert delay <= back_off_seconds(count + 1, POLICY, jitter)


@given(
    kind=st.sampled_from(FailureKind),
    crashes=st.integers(0, 2),
    interrupts=st.integers(0, 9),
    jitter=st.floats(0, 1),
)
def test_every_decision_is_a_legal_move(kind: FailureKind, crashes: int, interrupts: int, jitter: float) -> None:
    job = running_job(crashes=crashes, interrupts=interrupts)

    decision = decide(job, Failure(kind, "why"), POLICY, jitter)

    assert is_legal_move(JobState.RUNNING, decision.state)


@pytest.mark.parametrize("exit_code", [65, 69, 70, 73])
def test_too_little_memory_is_nobodys_fault_whatever_else_the_error_says(exit_code: int) -> None:
    kind = classify_failure(exit_code, is_retryable=True, is_out_of_memory=True)

    assert kind is FailureKind.MEMORY


@pytest.mark.parametrize(("may_use_cpu", "tries"), [(False, 2), (True, 3)])
def test_a_scan_that_never_finds_enough_memory_is_held_after_its_last_way(may_use_cpu: bool, tries: int) -> None:
    policy = RetryPolicy(max_attempts=1, may_use_cpu=may_use_cpu)
    failure = Failure(FailureKind.MEMORY, "the device ran out of memory.")

    states = []
    for shortages in range(tries):
        decision = decide(running_job(shortages=shortages), failure, policy, 0.0)
        states.append(decision.state)

    assert states == [JobState.QUEUED] * (tries - 1) + [JobState.HELD]
    assert (decision.shortages, decision.crashes, decision.failures) == (tries, 0, 0)
    assert ("on the CPU" in decision.reason) is may_use_cpu
    assert decision.reason.endswith("the device ran out of memory.")
