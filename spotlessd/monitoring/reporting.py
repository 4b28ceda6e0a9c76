"""Says how the daemon is, to all who want to know: `spotlessd status`, systemd, monitors, and `notify`.

Called by the main loop each time round. The snapshot for `status` is written when there is news and as a sign of life;
monitors read the ledger themselves. Nothing in here waits for anybody.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
from loguru import logger

from spotlessd import __version__
from spotlessd.configuration.sections import NoticeKind
from spotlessd.configuration.settings import Settings
from spotlessd.job import JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.notices import NoticeBook, Vitals
from spotlessd.monitoring.notify import Messenger, Notice, make_messenger
from spotlessd.monitoring.status import SNAPSHOT_KEY, Snapshot, WorkerFacts
from spotlessd.monitoring.systemd_notify import SystemdNotifier
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.figures import LedgerFigures

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from spotlessd.monitoring.health import HealthServer

SNAPSHOT_SECONDS = 10.0
"""The snapshot is written this often even when nothing changed, as a sign of life."""
BUSIEST_FIRST = ("busy", "idle", "starting", "down")
PROGRESS_SECONDS = 2.0
"""Progress alone is written this often; every write is synced to disk."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong now, and what a person is told of it under; None: only the status tells it."""

    text: str
    kind: NoticeKind | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """What the main loop knows after one round. `now`, `last_look`: monotonic seconds, `last_look` 0 for never.

    `paused`: why no job is started, "" if they are. `is_quiet`: every folder was looked at and no file waits.
    """

    now: float
    paused: str
    troubles: tuple[Trouble, ...]
    last_look: float
    is_quiet: bool
    overflows: int
    config_ok: bool


class Reporter:
    """Remembers what was last said. `started`: seconds since the epoch."""

    def __init__(
        self, board: Board, ledger: Ledger, figures: LedgerFigures, notifier: SystemdNotifier, started: float
    ) -> None:
        self._board = board
        self._ledger = ledger
        self._figures = figures
        self._notifier = notifier
        self._started = started
        self._book = NoticeBook(board, figures, started)
        self._settings: Settings | None = None
        self._messenger: Messenger | None = None
        self._server: HealthServer | None = None
        self.more_figures: Callable[[], Iterable[Metric]] = tuple
        """What /metrics has beside the station's own: a cluster's. Must not wait for anything."""
        self._server_trouble: tuple[Trouble, ...] = ()
        self._turned = time.monotonic()
        self._ledger_trouble = ""
        self._last: Snapshot | None = None
        self._last_at = 0.0

    def configure(self, settings: Settings) -> None:
        """Serve monitors and send notices as these settings say; what has not changed goes on."""
        before, self._settings = self._settings, settings
        if before is None or before.notify != settings.notify:
            if self._messenger is not None:
                self._messenger.close(0.0)
            self._messenger = make_messenger(settings.notify, settings.station_id)
        is_same = before is not None and (before.health, before.roots) == (settings.health, settings.roots)
        if not is_same:
            self._serve(settings)

    def beat(self, ledger_trouble: str) -> None:
        """The main loop went round. `ledger_trouble`: why the ledger cannot be written, "" if it can."""
        self._turned = time.monotonic()
        if ledger_trouble and not self._ledger_trouble:
            self._tell([Notice(NoticeKind.DISK_FULL, f"the ledger: {ledger_trouble}", time.time())])
        self._ledger_trouble = ledger_trouble

    def tick(self, workers: Sequence[WorkerFacts], this: Round) -> None:
        """Tell what happened, and write a snapshot if it is news or if it is time.

        Raises:
            LedgerError: the ledger could not be written.
        """
        self._tell_news(this, has_job=any(worker.job is not None for worker in workers))
        troubles = (*this.troubles, *self._server_trouble)
        snapshot = take_snapshot(workers, this, tuple(trouble.text for trouble in troubles), self._started)
        last, age = self._last, this.now - self._last_at
        is_news = last is None or _gist(last) != _gist(snapshot)
        is_progress = last is not None and last.jobs != snapshot.jobs and age >= PROGRESS_SECONDS
        if not (is_news or is_progress or age >= SNAPSHOT_SECONDS):
            return
        self._board.note(SNAPSHOT_KEY, snapshot.to_json())
        self._last, self._last_at = snapshot, this.now
        counts = self._ledger.counts()
        self._notifier.status(
            f"{counts[JobState.QUEUED]} queued, {counts[JobState.RUNNING]} running, "
            f"{counts[JobState.QUARANTINED]} quarantined"
        )

    def close(self) -> None:
        """Send what is to be sent, and stop serving."""
        if self._server is not None:
            self._server.close()
        if self._messenger is not None:
            self._messenger.close()

    def _serve(self, settings: Settings) -> None:
        if self._server is not None:
            self._server.close()
        self._server, self._server_trouble = None, ()
        if not settings.health.port:
            return
        # Only here: the Prometheus client costs memory that a station without monitors need not pay.
        from spotlessd.monitoring.health import HealthPages, HealthServer

        folders = {root.name: root.output for root in settings.roots} | {"state": settings.state_dir}

        def more() -> "Iterable[Metric]":
            return self.more_figures()

        try:
            self._server = HealthServer(
                settings.health.port, HealthPages(settings.state_dir, folders, self._vitals, more)
            )
        except OSError as error:
            text = f"health.port = {settings.health.port}: cannot be served ({error.strerror}). Choose another port."
            self._server_trouble = (Trouble(text),)
            logger.error("{}", text)
        else:
            logger.info("health: http://127.0.0.1:{}/metrics", settings.health.port)

    def _vitals(self) -> Vitals:
        return Vitals(time.monotonic() - self._turned, self._book.totals.copy())

    def _tell_news(self, this: Round, *, has_job: bool) -> None:
        now = time.time()
        self._tell(self._book.look())
        self._tell(
            self._book.look_at_troubles(
                {trouble.text: trouble.kind for trouble in this.troubles if trouble.kind is not None}, now
            )
        )
        if this.is_quiet and not has_job and self._book.had_work and not self._figures.has_work():
            self._tell([self._book.work_is_done(self._ledger.counts(), now)])

    def _tell(self, notices: list[Notice]) -> None:
        if self._messenger is not None:
            for notice in notices:
                self._messenger.tell(notice)


def take_snapshot(workers: Sequence[WorkerFacts], this: Round, degraded: tuple[str, ...], started: float) -> Snapshot:
    """Return the daemon as it is now. `workers`: at least one."""
    ready = [worker for worker in workers if worker.device]
    written = time.time()
    return Snapshot(
        version=__version__,
        pid=os.getpid(),
        started=started,
        written=written,
        worker=min((worker.state for worker in workers), key=BUSIEST_FIRST.index),
        worker_pid=next((worker.pid for worker in workers if worker.pid is not None), None),
        device=", ".join(dict.fromkeys(worker.device for worker in ready)),
        precision=", ".join(dict.fromkeys(worker.precision for worker in ready)),
        models=ready[0].models if ready else (),
        memory_mb=round(psutil.Process().memory_info().rss / 1e6, 1),
        worker_memory_mb=round(sum(worker.memory_mb for worker in workers), 1),
        worker_restarts=sum(worker.restarts for worker in workers),
        job=next((worker.job for worker in workers if worker.job is not None), None),
        paused=this.paused,
        degraded=degraded,
        last_look=round(written - (this.now - this.last_look), 1) if this.last_look else 0.0,
        overflows=this.overflows,
        config_ok=this.config_ok,
        workers=tuple(workers),
    )


def _gist(snapshot: Snapshot) -> tuple[object, ...]:
    """Return what makes a snapshot news: everything but clocks, memory and progress."""
    workers = tuple(
        (worker.state, worker.pid, worker.device, worker.waits, worker.trouble) for worker in snapshot.workers
    )
    return workers, snapshot.paused, snapshot.degraded, tuple((job.id, job.attempt) for job in snapshot.jobs)
