"""What the daemon says of itself, and what `spotlessd status` makes of it together with the ledger.

The daemon writes a `Snapshot` into the ledger's notice board; whether it runs at all is told by its lock, which ends
with the process. Nothing here changes a job.
"""

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from spotlessd.folders.disk_space import FreeBytes, free_bytes, state_trouble, told_anew
from spotlessd.job import Job, JobState
from spotlessd.ledger import Ledger
from spotlessd.sqlite.board import Board, WaitingFile
from spotlessd.sqlite.database import Database
from spotlessd.sqlite.figures import LedgerFigures, QueueFigures, Rate

LEDGER_NAME = "ledger.sqlite3"
LOCK_NAME = "lock"
SNAPSHOT_KEY = "snapshot"
PAUSE_KEY = "pause"
BY_A_PERSON = "by a person"
STOPPING = "stopping"
SILENT_SECONDS = 60.0
"""A running daemon whose snapshot is older than this is stuck."""
QUEUE_SHOWN = 5
"""So many of the queued jobs are told one by one."""
UP_STATES = frozenset({"idle", "busy"})
"""Of a worker: it is loaded."""
NO_QUEUE = QueueFigures(0, 0)
EXIT_OK = 0
EXIT_QUARANTINED = 1
EXIT_NOT_RUNNING = 2
EXIT_DEGRADED = 3

Health = Literal["ok", "quarantined", "not running", "degraded"]


@dataclass(frozen=True, slots=True)
class JobInHand:
    """The job under way: `step` and `fraction` (0 to 1) as last heard from the worker."""

    id: int
    file: str
    attempt: int
    step: str
    fraction: float
    since: float


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """One of the station's workers. `device`, `precision`, `models`: what really runs, empty until it is loaded.

    `waits`: why an idle one does not start the next job, `trouble`: why it cannot start; "" if nothing is wrong.
    """

    name: str
    state: str
    pid: int | None
    device: str
    precision: str
    models: tuple[str, ...]
    memory_mb: float
    restarts: int
    job: JobInHand | None
    waits: str = ""
    trouble: str = ""

    @property
    def is_up(self) -> bool:
        """Whether it is loaded."""
        return self.state in UP_STATES

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> "WorkerFacts":
        """Return it from its JSON values; what another version wrote beside is left out."""
        names = {each.name for each in fields(cls)}
        job = values["job"]
        changed = {"models": tuple(values["models"]), "job": None if job is None else JobInHand(**job)}
        return cls(**{name: value for name, value in (values | changed).items() if name in names})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The daemon at one moment. Times are seconds since the epoch, memory is resident MB.

    With several workers `worker` to `worker_restarts` and `job` are those of all together: the busiest state, the sums,
    the first of the jobs and processes; `workers` has each by itself.

    `paused`: why no job is started, "" if they are. `degraded`: what is wrong, a sentence each. `last_look`: when all
    folders were last looked at, 0 if not yet. `overflows`: how often the kernel lost events.
    """

    version: str
    pid: int
    started: float
    written: float
    worker: str
    worker_pid: int | None
    device: str
    precision: str
    models: tuple[str, ...]
    memory_mb: float
    worker_memory_mb: float
    worker_restarts: int
    job: JobInHand | None
    paused: str
    degraded: tuple[str, ...] = field(default_factory=tuple)
    last_look: float = 0.0
    overflows: int = 0
    config_ok: bool = True
    workers: tuple[WorkerFacts, ...] = ()

    @property
    def jobs(self) -> tuple[JobInHand, ...]:
        """The jobs of all workers."""
        found = tuple(worker.job for worker in self.workers if worker.job is not None)
        return found or (() if self.job is None else (self.job,))

    def to_json(self) -> str:
        """Return it as the notice board keeps it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Snapshot":
        """Return what `to_json` wrote; what another version wrote beside is left out."""
        names = {each.name for each in fields(cls)}
        values = {name: value for name, value in json.loads(text).items() if name in names}
        job = values.pop("job")
        models, degraded = tuple(values.pop("models")), tuple(values.pop("degraded"))
        workers = tuple(WorkerFacts.from_values(each) for each in values.pop("workers", ()))
        in_hand = None if job is None else JobInHand(**job)
        return cls(**values, job=in_hand, models=models, degraded=degraded, workers=workers)


@dataclass(frozen=True, slots=True)
class Pause:
    """A person's pause: since when, and until when (None: until `resume`)."""

    since: float
    until: float | None = None

    def to_json(self) -> str:
        """Return it as the notice board keeps it."""
        return json.dumps(asdict(self))


def read_pause(board: Board, now: float) -> Pause | None:
    """Return the pause in force at `now`, or None."""
    text = board.noted(PAUSE_KEY)
    if text is None:
        return None
    pause = Pause(**json.loads(text))
    return None if pause.until is not None and pause.until <= now else pause


@dataclass(frozen=True, slots=True)
class StationStatus:
    """Everything `spotlessd status` shows. `at`: when it was read, seconds since the epoch.

    `requests`: what people asked for and no daemon has read yet. `rate`: None before the first job.
    """

    is_running: bool
    snapshot: Snapshot | None
    counts: dict[JobState, int]
    waiting: tuple[WaitingFile, ...]
    oldest_queued_seconds: float | None
    paused: str
    degraded: tuple[str, ...]
    at: float = 0.0
    requests: tuple[str, ...] = ()
    rate: Rate | None = None
    queue: QueueFigures = NO_QUEUE
    pause: Pause | None = None

    @property
    def health(self) -> Health:
        """Return the one word for it; the worst counts."""
        if not self.is_running:
            return "not running"
        if self.degraded:
            return "degraded"
        return "quarantined" if self.counts[JobState.QUARANTINED] else "ok"

    @property
    def exit_code(self) -> int:
        """Return the command's exit code, for cron and monitors."""
        codes = {
            "ok": EXIT_OK,
            "quarantined": EXIT_QUARANTINED,
            "not running": EXIT_NOT_RUNNING,
            "degraded": EXIT_DEGRADED,
        }
        return codes[self.health]

    @property
    def eta_seconds(self) -> float | None:
        """Return how long the queue and the jobs in hand should take; None where nothing tells or nothing runs."""
        if self.rate is None or not self.is_running or self.paused:
            return None
        seconds = self.rate.seconds_for(self.queue.size)
        if self.snapshot is not None:
            left = (self.rate.seconds_per_job - (self.at - job.since) for job in self.snapshot.jobs)
            seconds += sum(max(each, 0.0) for each in left)
            seconds /= max(sum(worker.is_up for worker in self.snapshot.workers), 1)
        waits = (queued.not_before - self.at + self.rate.seconds_per_job for queued in self.queue.first)
        return max(seconds, *waits, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        snapshot = self.snapshot if self.is_running else None
        return {
            "health": self.health,
            "running": self.is_running,
            "paused": self.paused,
            "degraded": list(self.degraded),
            "counts": {str(state): number for state, number in self.counts.items()},
            "oldest_queued_seconds": self.oldest_queued_seconds,
            "eta_seconds": self.eta_seconds,
            "seconds_per_job": None if self.rate is None else round(self.rate.seconds_per_job, 3),
            "pause_until": None if self.pause is None else self.pause.until,
            "next": [_queued(job) for job in self.queue.first],
            "requests": list(self.requests),
            "waiting": [asdict(file) for file in self.waiting],
            "daemon": None if snapshot is None else asdict(snapshot),
        }


def read_status(state_dir: Path, now: float, free: FreeBytes = free_bytes) -> StationStatus:
    """Read a station's status; `now`: seconds since the epoch. Room on disks is told as it is now, not as it was.

    Raises:
        LedgerError: the ledger is there and cannot be read.
    """
    is_running = is_locked(state_dir)
    path = state_dir / LEDGER_NAME
    if not path.exists():
        return StationStatus(is_running, None, dict.fromkeys(JobState, 0), (), None, "", (), now)
    with Database.open(path) as database:
        ledger, board, figures = Ledger(database), Board(database), LedgerFigures(database)
        text = board.noted(SNAPSHOT_KEY)
        snapshot = None if text is None else Snapshot.from_json(text)
        pause = read_pause(board, now)
        oldest = ledger.oldest_queued()
        degraded = () if snapshot is None or not is_running else snapshot.degraded
        if snapshot is not None and is_running and now - snapshot.written > SILENT_SECONDS:
            degraded += (f"the daemon's main loop has not reported for {now - snapshot.written:.0f} s.",)
        paused = "" if snapshot is None or not is_running else snapshot.paused
        if snapshot is not None and now - snapshot.written <= SILENT_SECONDS:  # else it may hang on that very disk
            paused, degraded = told_anew(paused, free), tuple(told_anew(reason, free) for reason in degraded)
        trouble = state_trouble(state_dir, free)
        degraded += (trouble,) if trouble else ()
        if pause is not None:
            paused = paused or BY_A_PERSON
        return StationStatus(
            is_running=is_running,
            snapshot=snapshot,
            counts=ledger.counts(),
            waiting=tuple(board.waiting()) if is_running else (),
            oldest_queued_seconds=None if oldest is None else max(now - oldest, 0.0),
            paused=paused,
            degraded=degraded,
            at=now,
            requests=tuple(command.name for command in board.open_commands()),
            rate=figures.rate(),
            queue=figures.queue(QUEUE_SHOWN),
            pause=pause,
        )


def _queued(job: Job) -> dict[str, Any]:
    identity = job.identity
    return {
        "id": job.id,
        "root": identity.root,
        "file": identity.rel,
        "not_before": job.not_before,
        "reason": job.reason,
    }


def is_locked(state_dir: Path) -> bool:
    """Tell whether a daemon serves this station."""
    try:
        descriptor = os.open(state_dir / LOCK_NAME, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
