"""One file's journey: its identity, its states, the legal moves, and what a failure leads to.

Values and pure functions only: no clock, no disk, no randomness. The attempt is counted before the work starts, so a
file that kills its worker is counted too. A failure is blamed on the photo, on the machine, or on nobody, and only the
first can end in quarantine early; being cut off (power cut, kill) is counted apart from crashing, and so is a device
without enough memory: the scan is tried with less, then held. What a person stopped counts for nothing.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

MAX_BACK_OFF_DOUBLINGS = 16
"""Keeps 2**n a sane number; every real limit is reached far earlier."""
JITTER_FRACTION = 0.25
"""A delay is lengthened by up to this fraction, so that many jobs do not come back in the same second."""
LEAN_TRIES = 1
"""Attempts with smaller tiles after the first shortage of memory; one on the CPU follows where it is allowed."""
COMPANION_RECIPE = "companion"
"""The recipe of an infrared sidecar: nothing is done to it, it is put beside the result of its scan."""
EXIT_BAD_INPUT = 65
EXIT_MISSING_INPUT = 66
EXIT_UNAVAILABLE = 69
EXIT_CANNOT_WRITE = 73


class JobState(StrEnum):
    """Where a job is. DONE, HELD and QUARANTINED are ends that a person sees; SUPERSEDED and GONE need no one."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    HELD = "held"
    QUARANTINED = "quarantined"
    SUPERSEDED = "superseded"
    GONE = "gone"


LEGAL_MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.QUARANTINED, JobState.SUPERSEDED, JobState.GONE}),
    JobState.RUNNING: frozenset(
        {
            JobState.QUEUED,
            JobState.DONE,
            JobState.HELD,
            JobState.QUARANTINED,
            JobState.SUPERSEDED,
            JobState.GONE,
        }
    ),
    JobState.DONE: frozenset(),
    JobState.HELD: frozenset(),
    JobState.QUARANTINED: frozenset({JobState.QUEUED, JobState.SUPERSEDED}),
    JobState.SUPERSEDED: frozenset({JobState.QUEUED}),
    JobState.GONE: frozenset({JobState.QUEUED}),
}
"""From each state, the states a job may go to. DONE and HELD stay: `reprocess` makes a new job."""


def is_legal_move(before: JobState, after: JobState) -> bool:
    """Tell whether a job may go from `before` to `after`."""
    return after in LEGAL_MOVES[before]


@dataclass(frozen=True, slots=True)
class Identity:
    """Which bytes a job is about: a root's name, the path in it, and the size and mtime the file had."""

    root: str
    rel: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Base:
    """The version whose repairs an edited one keeps: the files of `job`. `image`: None of a held frame.

    `name`: as its receipt has it. `sha256`: of the image, "" if there is none.
    """

    job: int
    mask: Path
    image: Path | None = None
    receipt: Path | None = None
    name: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Overrides:
    """What `reprocess` asks for beside the config: a mask drawn by a person, another sensitivity.

    `base`: the version that was edited. `decision`: who asked, as in a receipt: choice, by, via, at; empty if unknown.
    """

    mask: Path | None = None
    sensitivity: str | None = None
    base: Base | None = None
    decision: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the ledger.

    `attempt`: how often it was started, also the fencing token. `crashes`, `failures`: attempts blamed on the file.
    `interrupts`: attempts in which the station went down. `setbacks`: failures of the machine, only for the back-off.
    `shortages`: attempts that ran out of memory; each makes the next one ask for less.
    Times are seconds since the epoch, 0.0 where it has not happened. `plan`: the publishing under way, as JSON.
    """

    id: int
    identity: Identity
    inode: int
    recipe: str
    state: JobState
    priority: int = 0
    attempt: int = 0
    crashes: int = 0
    failures: int = 0
    interrupts: int = 0
    setbacks: int = 0
    shortages: int = 0
    not_before: float = 0.0
    owner: str = ""
    sha256: str = ""
    reason: str = ""
    plan: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    overrides: Overrides = field(default_factory=Overrides)
    created: float = 0.0
    started: float = 0.0
    finished: float = 0.0

    @property
    def strikes(self) -> int:
        """Attempts that are blamed on the file."""
        return self.crashes + self.failures


@dataclass(frozen=True, slots=True)
class Tally:
    """A receipt in short: how many defects it lists, and the fraction of the frame under the mask, 0 to 1.

    `held`: why a frame is held, "" if it is not.
    """

    defects: int
    coverage: float
    held: str = ""


class FailureKind(StrEnum):
    """Whose fault a failed attempt is.

    PHOTO: the file, and trying again cannot help. TRANSIENT: perhaps the file, try again. CRASH: the worker died or
    hung on it. MEMORY: the device or the machine has too little for it as it was tried. OUTPUT: the result cannot be
    written. MACHINE: the worker cannot work at all. CUT_OFF: the station went down in the middle of it (power cut,
    kill). STOPPED: somebody asked for it (a pause at once, a clean stop); it counts for nothing.
    """

    PHOTO = "photo"
    TRANSIENT = "transient"
    CRASH = "crash"
    MEMORY = "memory"
    OUTPUT = "output"
    MACHINE = "machine"
    CUT_OFF = "cut off"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt: whose fault, and the sentence a person will read."""

    kind: FailureKind
    reason: str


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Limits of trying again: blamed attempts, interrupted attempts, first and longest delay in seconds.

    `may_use_cpu`: a scan for which the device has too little memory may be done on the CPU.
    """

    max_attempts: int = 3
    max_interrupts: int = 10
    retry_seconds: float = 30.0
    retry_max_seconds: float = 1800.0
    may_use_cpu: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a job: its next state, the delay before it may start again, its new counts, and the reason."""

    state: JobState
    reason: str
    delay_seconds: float = 0.0
    crashes: int = 0
    failures: int = 0
    interrupts: int = 0
    setbacks: int = 0
    shortages: int = 0


def classify_failure(exit_code: int, *, is_retryable: bool, is_out_of_memory: bool = False) -> FailureKind:
    """Tell whose fault an error is from what its class says about itself.

    A truncated scan calls itself retryable, but a job is only made once the file has settled, so here it is the photo.
    """
    if is_out_of_memory:
        return FailureKind.MEMORY
    if exit_code in {EXIT_BAD_INPUT, EXIT_MISSING_INPUT}:
        return FailureKind.PHOTO
    if exit_code == EXIT_CANNOT_WRITE:
        return FailureKind.OUTPUT
    if is_retryable:
        return FailureKind.TRANSIENT
    if exit_code == EXIT_UNAVAILABLE:
        return FailureKind.MACHINE
    return FailureKind.PHOTO


def back_off_seconds(count: int, policy: RetryPolicy, jitter: float) -> float:
    """Return the delay after the `count`-th failure: doubling, capped, lengthened by `jitter` (0 to 1)."""
    doublings = min(max(count - 1, 0), MAX_BACK_OFF_DOUBLINGS)
    delay = min(policy.retry_seconds * 2.0**doublings, policy.retry_max_seconds)
    return delay * (1.0 + JITTER_FRACTION * jitter)


def decide(job: Job, failure: Failure, policy: RetryPolicy, jitter: float) -> Decision:
    """Decide what becomes of a running job after `failure`. `jitter`: a number in [0, 1], drawn by the caller."""
    crashes, failures, interrupts, setbacks = job.crashes, job.failures, job.interrupts, job.setbacks
    shortages = job.shortages
    delay = 0.0
    is_over = False
    end = JobState.QUARANTINED
    reason = failure.reason
    if failure.kind is FailureKind.PHOTO:
        failures += 1
        is_over = True
    elif failure.kind in {FailureKind.TRANSIENT, FailureKind.CRASH}:
        is_crash = failure.kind is FailureKind.CRASH
        crashes += is_crash
        failures += not is_crash
        strikes = crashes + failures
        is_over = strikes >= policy.max_attempts
        if is_over:
            reason = f"{strikes} attempts failed; the last one: {failure.reason}"
        # The first crash may have come from outside (an out-of-memory kill): try again at once, the rest wait.
        delay = 0.0 if is_crash and strikes == 1 else back_off_seconds(strikes, policy, jitter)
    elif failure.kind is FailureKind.MEMORY:
        shortages += 1
        is_over = shortages > (LEAN_TRIES + 1 if policy.may_use_cpu else LEAN_TRIES)
        if is_over:
            end = JobState.HELD
            reason = (
                f"too little memory in {shortages} attempts, with smaller tiles"
                f"{' and on the CPU' if policy.may_use_cpu else ''} too. "
                f"Set detect.tile_px lower or free memory, then type: spotlessd reprocess "
                f"{shlex.quote(job.identity.rel)}. {failure.reason}"
            )
    elif failure.kind is FailureKind.CUT_OFF:
        interrupts += 1
        is_over = interrupts >= policy.max_interrupts
        if is_over:
            reason = f"interrupted {interrupts} times, so it may be what brings the station down. {failure.reason}"
    elif failure.kind is not FailureKind.STOPPED:
        setbacks += 1
        # Twice the pause of the queue, so that a name which alone cannot be written does not hold up the others.
        delay = 2 * back_off_seconds(setbacks, policy, jitter)
    return Decision(
        state=end if is_over else JobState.QUEUED,
        reason=reason,
        delay_seconds=0.0 if is_over else delay,
        crashes=crashes,
        failures=failures,
        interrupts=interrupts,
        setbacks=setbacks,
        shortages=shortages,
    )
