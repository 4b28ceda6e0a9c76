"""Which job is next and what becomes of it: the seam between the station and whatever queue computes.

`Engine` is what the station needs of a queue; `LocalEngine` gives it from the ledger alone. Clock and randomness are
arguments. Every change of a job's state leaves one INFO line (ERROR where a file did not get through) from here.
"""

import random
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from loguru import logger

from spotlessd.job import (
    Decision,
    Failure,
    FailureKind,
    Identity,
    Job,
    JobState,
    Overrides,
    RetryPolicy,
    Tally,
    decide,
)
from spotlessd.ledger import FoundScan, Ledger

if TYPE_CHECKING:
    from loguru import Logger

INTERRUPTED = "the station stopped while it was worked on"


class Engine(Protocol):
    """A queue of jobs. `take` counts the attempt before the work starts; the others return False for a void attempt."""

    def submit(
        self, identity: Identity, inode: int, recipe: str, *, priority: int = 0, overrides: Overrides | None = None
    ) -> int | None:
        """Queue a file; None if it has a job already."""
        ...

    def refuse(self, identity: Identity, inode: int, recipe: str, reason: str) -> int | None:
        """Quarantine a file without an attempt; None if it has a job already."""
        ...

    def status(self, job_id: int) -> Job | None:
        """Return a job as it is now."""
        ...

    def cancel(self, job: Job, state: JobState, reason: str) -> bool:
        """End a queued job that need not run any more: SUPERSEDED or GONE."""
        ...

    def next_due(self, roots: frozenset[str]) -> Job | None:
        """Look at the job that should start now, without taking it."""
        ...

    def unfinished(self, roots: frozenset[str]) -> int:
        """Return how many jobs of `roots` are queued or running."""
        ...

    def take(self, job: Job) -> Job | None:
        """Claim it; None if it is not queued any more."""
        ...

    def postpone(self, job: Job, seconds: float, reason: str) -> bool:
        """Let a queued job wait, without an attempt; the reason is shown. False if it is not queued any more."""
        ...

    def plan(self, job: Job, plan: str) -> bool:
        """Write down which names a running job's result is about to get."""
        ...

    def finish(
        self,
        job: Job,
        state: JobState,
        outputs: dict[str, str],
        sha256: str,
        seconds: dict[str, float],
        tally: Tally | None = None,
    ) -> bool:
        """End a running job as DONE or HELD."""
        ...

    def note_companions(self, companions: Sequence[FoundScan]) -> None:
        """Write down the sidecars that were published with a scan; may be repeated."""
        ...

    def fail(self, job: Job, failure: Failure) -> Decision | None:
        """Decide and write down what a failed attempt leads to; None for a void attempt."""
        ...

    def drop(self, job: Job, state: JobState, reason: str) -> bool:
        """End a running job whose file is not what it was."""
        ...


class LocalEngine:
    """The queue of one station, in its own ledger. `owner` names this run of the daemon in every claim."""

    def __init__(
        self,
        ledger: Ledger,
        owner: str,
        policy: RetryPolicy,
        *,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._ledger = ledger
        self._owner = owner
        self._clock = clock
        self._draw = draw
        self.policy = policy

    def submit(
        self, identity: Identity, inode: int, recipe: str, *, priority: int = 0, overrides: Overrides | None = None
    ) -> int | None:
        """Queue a file; None if it has a job already."""
        job_id = self._ledger.enqueue(identity, inode, recipe, self._clock(), priority=priority, overrides=overrides)
        if job_id is not None:
            _log_of(job_id, identity).info("{}: queued, {:.1f} MB", _title(job_id, identity), identity.size / 1e6)
        return job_id

    def refuse(self, identity: Identity, inode: int, recipe: str, reason: str) -> int | None:
        """Quarantine a file without an attempt; None if it has a job already."""
        job_id = self._ledger.refuse(identity, inode, recipe, reason, self._clock())
        if job_id is not None:
            _log_of(job_id, identity).error("{}: quarantined: {}", _title(job_id, identity), reason)
        return job_id

    def status(self, job_id: int) -> Job | None:
        """Return a job as it is now."""
        return self._ledger.job(job_id)

    def cancel(self, job: Job, state: JobState, reason: str) -> bool:
        """End a queued job that need not run any more."""
        is_done = self._ledger.give_up(job.id, state, reason, self._clock())
        if is_done:
            _log_of(job.id, job.identity).info("{}: {}: {}", _title(job.id, job.identity), state, reason)
        return is_done

    def next_due(self, roots: frozenset[str]) -> Job | None:
        """Look at the job that should start now, without taking it.

        One whose result was being given its names comes first: another's must not be given the same ones meanwhile.
        """
        for job in self._ledger.planned():
            if job.state is JobState.QUEUED and job.identity.root in roots:
                return job
        return self._ledger.next_due(self._clock(), roots)

    def unfinished(self, roots: frozenset[str]) -> int:
        """Return how many jobs of `roots` are queued or running."""
        return self._ledger.unfinished(roots)

    def take(self, job: Job) -> Job | None:
        """Claim it; None if it is not queued any more."""
        taken = self._ledger.claim(job.id, self._owner, self._clock())
        if taken is not None:
            _log_of(taken.id, taken.identity).info(
                "{}: running, attempt {}", _title(taken.id, taken.identity), taken.attempt
            )
        return taken

    def postpone(self, job: Job, seconds: float, reason: str) -> bool:
        """Let a queued job wait, without an attempt; the reason is shown. False if it is not queued any more."""
        is_done = self._ledger.postpone(job.id, self._clock() + seconds, reason)
        if is_done and reason != job.reason:
            _log_of(job.id, job.identity).info("{}: {}", _title(job.id, job.identity), reason)
        return is_done

    def plan(self, job: Job, plan: str) -> bool:
        """Write down which names a running job's result is about to get."""
        return self._ledger.plan(job, plan)

    def finish(
        self,
        job: Job,
        state: JobState,
        outputs: dict[str, str],
        sha256: str,
        seconds: dict[str, float],
        tally: Tally | None = None,
    ) -> bool:
        """End a running job as DONE or HELD."""
        now = self._clock()
        is_ours = self._ledger.finish(job, state, outputs, sha256, seconds, now, tally)
        if is_ours:
            name = outputs.get("image") or outputs.get("receipt", "")
            name += f" ({tally.held})" if tally is not None and tally.held else ""
            _log_of(job.id, job.identity).info(
                "{}: {} in {:.1f} s: {}", _title(job.id, job.identity), state, max(now - job.started, 0.0), name
            )
        return is_ours

    def note_companions(self, companions: Sequence[FoundScan]) -> None:
        """Write down the sidecars that were published with a scan; may be repeated."""
        if companions:
            self._ledger.note_companions(companions, self._clock())

    def fail(self, job: Job, failure: Failure) -> Decision | None:
        """Decide and write down what a failed attempt leads to; None for a void attempt."""
        now = self._clock()
        decision = decide(job, failure, self.policy, self._draw())
        if not self._ledger.fail(job, decision, now):
            return None
        seconds = max(now - job.started, 0.0)
        if decision.state is not JobState.QUEUED:
            _log_of(job.id, job.identity).error(
                "{}: {} after {:.1f} s: {}",
                _title(job.id, job.identity),
                decision.state,
                seconds,
                decision.reason,
            )
        else:
            _log_of(job.id, job.identity).info(
                "{}: queued again after {:.1f} s{}: {}",
                _title(job.id, job.identity),
                seconds,
                f", starts in {decision.delay_seconds:.0f} s" if decision.delay_seconds >= 1 else "",
                decision.reason,
            )
        return decision

    def drop(self, job: Job, state: JobState, reason: str) -> bool:
        """End a running job whose file is not what it was."""
        now = self._clock()
        is_ours = self._ledger.drop(job, state, reason, now)
        if is_ours:
            _log_of(job.id, job.identity).info(
                "{}: {} after {:.1f} s: {}", _title(job.id, job.identity), state, max(now - job.started, 0.0), reason
            )
        return is_ours

    def recover(self) -> int:
        """Requeue what the last run left running; only right while the station's lock is held. Returns how many."""
        orphans = self._ledger.orphans()
        for job in orphans:
            self._put_back(job)
        return len(orphans)

    def _put_back(self, job: Job) -> None:
        """Requeue a job that was running when the last run ended."""
        decision = decide(job, Failure(FailureKind.CUT_OFF, INTERRUPTED), self.policy, self._draw())
        if job.plan:
            # A result that was being published is complete; it is only put in its place, so nothing is counted.
            decision = Decision(
                JobState.QUEUED,
                INTERRUPTED,
                0.0,
                job.crashes,
                job.failures,
                job.interrupts,
                job.setbacks,
                job.shortages,
            )
        self._ledger.fail(job, decision, self._clock())
        _log_of(job.id, job.identity).info("{}: {}: {}", _title(job.id, job.identity), decision.state, decision.reason)


def _log_of(job_id: int, identity: Identity) -> "Logger":
    return logger.bind(job=job_id, file=identity.rel)


def _title(job_id: int, identity: Identity) -> str:
    return f"job {job_id}, {identity.rel}"
