"""Writes the daemon's snapshot for `spotlessd status` and its line for systemd, when there is something to say."""

import os
import time

import psutil

from spotlessd import __version__
from spotlessd.board import Board
from spotlessd.job import Job, JobState
from spotlessd.ledger import Ledger
from spotlessd.status import SNAPSHOT_KEY, JobInHand, Snapshot
from spotlessd.supervisor import Supervisor, WorkerState
from spotlessd.systemd_notify import SystemdNotifier

SNAPSHOT_SECONDS = 10.0
"""The snapshot is written this often even when nothing changed, as a sign of life."""
PROGRESS_SECONDS = 2.0
"""Progress alone is written this often; every write is synced to disk."""


class Reporter:
    """Remembers what was last said. `started`: seconds since the epoch."""

    def __init__(self, board: Board, ledger: Ledger, notifier: SystemdNotifier, started: float) -> None:
        self._board = board
        self._ledger = ledger
        self._notifier = notifier
        self._started = started
        self._last: Snapshot | None = None
        self._last_at = 0.0

    def tick(self, supervisor: Supervisor, job: Job | None, paused: str, degraded: tuple[str, ...], now: float) -> None:
        """Write a snapshot if it is news or if it is time; `now`: monotonic seconds.

        Raises:
            LedgerError: the ledger could not be written.
        """
        snapshot = take_snapshot(supervisor, job, paused, degraded, self._started)
        last, age = self._last, now - self._last_at
        is_news = last is None or _gist(last) != _gist(snapshot)
        is_progress = last is not None and last.job != snapshot.job and age >= PROGRESS_SECONDS
        if not (is_news or is_progress or age >= SNAPSHOT_SECONDS):
            return
        self._board.note(SNAPSHOT_KEY, snapshot.to_json())
        self._last, self._last_at = snapshot, now
        counts = self._ledger.counts()
        self._notifier.status(
            f"{counts[JobState.QUEUED]} queued, {counts[JobState.RUNNING]} running, "
            f"{counts[JobState.QUARANTINED]} quarantined"
        )


def take_snapshot(
    supervisor: Supervisor, job: Job | None, paused: str, degraded: tuple[str, ...], started: float
) -> Snapshot:
    """Return the daemon as it is now."""
    ready, beat = supervisor.ready, supervisor.heartbeat
    in_hand = None
    if job is not None:
        step = "publish" if supervisor.state is not WorkerState.BUSY else (beat.step if beat else "start")
        fraction = beat.fraction if beat else 0.0
        in_hand = JobInHand(job.id, job.identity.rel, job.attempt, step, fraction, job.started)
    return Snapshot(
        version=__version__,
        pid=os.getpid(),
        started=started,
        written=time.time(),
        worker=str(supervisor.state),
        worker_pid=supervisor.pid,
        device=ready.device if ready else "",
        precision=ready.precision if ready else "",
        models=tuple(model.name for model in ready.models) if ready else (),
        memory_mb=round(psutil.Process().memory_info().rss / 1e6, 1),
        worker_memory_mb=round(supervisor.memory_mb, 1),
        worker_restarts=max(supervisor.restarts, 0),
        job=in_hand,
        paused=paused,
        degraded=degraded,
    )


def _gist(snapshot: Snapshot) -> tuple[object, ...]:
    """Return what makes a snapshot news: everything but clocks, memory and progress."""
    job = None if snapshot.job is None else (snapshot.job.id, snapshot.job.attempt)
    return snapshot.worker, snapshot.worker_pid, snapshot.device, snapshot.paused, snapshot.degraded, job
