"""Builds the station's parts, wires them, and runs the main loop: commands → look → dispatch → report → wait.

Start order: lock, ledger (orphans of the last run requeued), roots, watcher, first look, ready. Stop order: no new job,
the job in hand within its grace, worker, watcher, ledger, lock. The loop survives a ledger that cannot be written (full
disk) and a worker that cannot start; both are told in the status. One loop, one thread; the watcher only wakes it.
"""

import os
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path

from loguru import logger

from spotlessd import __version__, publish
from spotlessd.board import Board
from spotlessd.companion_copy import Copier
from spotlessd.control import Control
from spotlessd.database import Database
from spotlessd.dispatch import Dispatcher, DispatchSettings
from spotlessd.engine import LocalEngine
from spotlessd.errors import ConfigError, LedgerError, StationBusyError
from spotlessd.job import JobState, RetryPolicy
from spotlessd.ledger import Ledger
from spotlessd.messages import WorkerSetup
from spotlessd.reconcile import Reconciler, Rules
from spotlessd.reporting import Reporter
from spotlessd.roots import Root, open_roots
from spotlessd.settings import Settings, load_settings
from spotlessd.signals import Inbox
from spotlessd.station_lock import StationLock
from spotlessd.status import BY_A_PERSON, LEDGER_NAME, LOCK_NAME, STOPPING, read_pause
from spotlessd.supervisor import Limits, Supervisor
from spotlessd.systemd_notify import SystemdNotifier
from spotlessd.watch import Watcher
from spotlessd.worker import Loader, load_pipeline

LONGEST_WAIT_SECONDS = 0.5
"""How soon a command in the ledger is seen."""
LEDGER_PAUSE_SECONDS = 5.0
BAD_STARTS = 3
"""A single run gives up after so many children that ended while they started."""
EXIT_OK = 0
EXIT_QUARANTINED = 65
EXIT_CANNOT_WRITE = 73
EXIT_TRY_AGAIN = 75
STOPPED = "the station was stopped before it was finished"


def check_header(path: Path) -> None:
    """Open a scan's header and close it; raises the core's errors. Never loads torch.

    What only the config's allow_transcode lets through is passed on: the worker, which has the config, refuses it.
    """
    from spotless_core.image_io.opening import open_scan

    open_scan(path, allow_transcode=True).close()


def measure_scan(path: Path) -> tuple[int, int]:
    """Return width and height from a scan's header; raises the core's errors. Never loads torch."""
    from spotless_core.image_io.opening import open_scan

    scan = open_scan(path, allow_transcode=True)
    try:
        return scan.info.width, scan.info.height
    finally:
        scan.close()


class Service:
    """One station at work. `is_once`: do everything that is there now, then end."""

    def __init__(
        self,
        settings: Settings,
        *,
        is_once: bool = False,
        loader: Loader = load_pipeline,
        check: Callable[[Path], None] = check_header,
        notifier: SystemdNotifier | None = None,
    ) -> None:
        self._settings = settings
        self._is_once = is_once
        self._loader = loader
        self._check = check
        self._notifier = notifier or SystemdNotifier()
        self._started = time.time()
        self._config_trouble = ""
        self._ledger_trouble = ""
        self._pending: Settings | None = None
        self._stop_asked_at: float | None = None
        self._ledger_rest_until = 0.0
        self._is_paused = False

    def run(self) -> int:
        """Work until asked to stop, or until everything is done with `is_once`; returns the exit code.

        Raises:
            StationBusyError: another daemon serves this station.
            ConfigError: the roots contain each other.
            LedgerError: the ledger cannot be opened.
        """
        lock = StationLock(self._settings.state_dir / LOCK_NAME)
        try:
            database, aside = Database.open_or_start_over(self._settings.state_dir / LEDGER_NAME, self._started)
            if aside is not None:
                logger.error("the ledger was damaged; it is kept as {} and rebuilt from the receipts", aside)
            with database, Inbox() as inbox:
                return self._run(database, inbox)
        finally:
            lock.close()

    def _run(self, database: Database, inbox: Inbox) -> int:
        self._inbox = inbox
        self._board = Board(database)
        self._ledger = Ledger(database)
        self._reporter = Reporter(self._board, self._ledger, self._notifier, self._started)
        owner = f"{self._settings.station_id}/{os.getpid()}/{self._started:.3f}"
        self._engine = LocalEngine(self._ledger, owner, _policy(self._settings))
        self._engine.recover()
        self._quarantined_before = self._ledger.counts()[JobState.QUARANTINED]
        self._supervisor = self._make_supervisor(self._settings)
        self._build(self._settings, open_roots(self._settings))
        try:
            logger.info("spotlessd {} serves {}", __version__, ", ".join(str(root.input) for root in self._roots))
            self._notifier.ready("looking at the folders")
            while True:
                self._round()
                code = self._exit_code()
                if code is not None:
                    return code
                self._wait()
        finally:
            self._notifier.stopping()
            try:
                self._dispatcher.drop(STOPPED)
            except LedgerError as error:
                logger.error("{}; the next start finds the job in hand by itself", error)
            self._supervisor.stop()
            self._watcher.stop()
            logger.info("stopped")

    def _make_supervisor(self, settings: Settings) -> Supervisor:
        queue = settings.queue
        limits = Limits(queue.stall_seconds, queue.recycle_jobs, queue.max_worker_mb)
        return Supervisor(_worker_setup(settings), self._loader, limits)

    def _build(self, settings: Settings, roots: list[Root]) -> None:
        """Make everything that depends on the configuration, around the ledger, the engine and the supervisor."""
        self._settings = settings
        self._engine.policy = _policy(settings)
        self._roots = roots
        opened: dict[str, Root] = {}

        def open_root(root: Root) -> None:
            self._clean(root)
            opened[root.name] = root

        recipe = settings.recipe()
        self._reconciler = Reconciler(
            self._roots,
            Rules(settings.watch, recipe, counts_age=self._is_once),
            self._ledger,
            self._engine,
            self._board,
            check=self._check,
            on_open=open_root,
            clock=time.time,
        )
        self._dispatcher = Dispatcher(
            self._engine,
            self._supervisor,
            opened,
            DispatchSettings(
                station_id=settings.station_id,
                options=settings.restore_options(),
                reserve_bytes=settings.disk.reserve_mb * 1_000_000,
                is_eager=not self._is_once,
                keeps_timestamp=settings.output.keep_timestamp,
            ),
            self._reconciler.company,
            Copier(measure_scan, self._notifier.alive, keeps_timestamp=settings.output.keep_timestamp),
        )
        self._control = Control(
            self._board,
            self._ledger,
            self._engine,
            self._dispatcher,
            self._reconciler,
            {root.name: root for root in self._roots},
            recipe=recipe,
            clock=time.time,
        )
        # Watching starts before the first look, so that nothing falls between the two.
        self._watcher = Watcher(self._roots, self._inbox.ask_look)
        self._watcher.start()

    def _clean(self, root: Root) -> None:
        """Remove what dead attempts left in a root's output folder."""
        keep = [publish.PublishPlan.from_json(job.plan) for job in self._ledger.planned()]
        job = self._dispatcher.job
        for part in publish.stale_parts(root.output, keep):
            if job is not None and part.name.startswith(f".spotlessd-{job.id}-{job.attempt}-"):
                continue
            logger.debug("{}: removed, left by an attempt that ended", part)
            part.unlink(missing_ok=True)

    def _round(self) -> None:
        now = time.monotonic()
        self._inbox.drain()
        self._take_signals(now)
        try:
            if now >= self._ledger_rest_until:
                self._work(now)
                self._ledger_trouble = ""
        except LedgerError as error:
            if not self._ledger_trouble:
                logger.error("the ledger cannot be written; everything waits: {}", error)
            self._ledger_trouble = str(error)
            self._ledger_rest_until = now + LEDGER_PAUSE_SECONDS
        self._notifier.alive()

    def _work(self, now: float) -> None:
        self._control.tick()
        if self._pending is not None and self._dispatcher.job is None:
            self._apply(self._pending)
            self._pending = None
        if self._watcher.tend():
            self._reconciler.look_soon()
        is_stopping = self._stop_asked_at is not None
        if not is_stopping:
            self._reconciler.tick(now)
        self._is_paused = read_pause(self._board, time.time()) is not None
        is_held_back = is_stopping or self._is_paused or self._pending is not None
        self._dispatcher.tick(now, may_start=not is_held_back)
        paused = self._dispatcher.pause_reason or (BY_A_PERSON if self._is_paused else "")
        paused = STOPPING if is_stopping else paused
        self._reporter.tick(self._supervisor, self._dispatcher.job, paused, self._troubles(), now)

    def _take_signals(self, now: float) -> None:
        if self._inbox.is_look_asked:
            self._inbox.is_look_asked = False
            self._reconciler.look_soon()
        if self._inbox.is_reload_asked:
            self._inbox.is_reload_asked = False
            self._reload()
        if self._inbox.stops and self._stop_asked_at is None:
            self._stop_asked_at = now
            self._notifier.stopping()
            job = self._dispatcher.job
            if job is not None:
                grace = self._settings.queue.stop_grace_seconds
                logger.info("stopping; job {} has {:.0f} s to finish", job.id, grace)

    def _reload(self) -> None:
        """Read the config again; a bad one changes nothing but the status."""
        try:
            settings = load_settings(self._settings.config_path)
        except ConfigError as error:
            self._config_trouble = f"the new config is wrong, the old one stays in force: {error}"
            logger.error("{}", self._config_trouble)
            return
        fixed = ("state_dir", "station_id")
        changed = [name for name in fixed if getattr(settings, name) != getattr(self._settings, name)]
        if changed:
            self._config_trouble = f"{' and '.join(changed)} changed; that needs a restart. The old config stays."
            logger.error("{}", self._config_trouble)
            return
        self._pending = settings
        self._config_trouble = ""

    def _apply(self, settings: Settings) -> None:
        """Swap in a new configuration between two jobs; the worker is kept if nothing it loaded has changed."""
        before = self._settings
        try:
            roots = open_roots(settings)
        except (ConfigError, StationBusyError) as error:
            self._config_trouble = f"the new config cannot be used, the old one stays in force: {error}"
            logger.error("{}", self._config_trouble)
            return
        self._watcher.stop()
        if (_worker_setup(settings), settings.queue) != (_worker_setup(before), before.queue):
            self._supervisor.stop()
            self._supervisor = self._make_supervisor(settings)
        self._build(settings, roots)
        logger.info("config read again")

    def _exit_code(self) -> int | None:
        """Return the exit code if it is time to end, else None."""
        now = time.monotonic()
        if self._stop_asked_at is not None:
            is_late = now - self._stop_asked_at > self._settings.queue.stop_grace_seconds
            if self._dispatcher.job is None or self._inbox.stops > 1 or is_late:
                return EXIT_OK
        if not self._is_once:
            return None
        trouble = self._dispatcher.start_trouble
        # A child that merely died may have been killed from outside: one that says why is believed at once.
        if trouble is not None and (trouble.is_told or self._supervisor.bad_starts >= BAD_STARTS):
            return trouble.exit_code
        if self._ledger_trouble or self._dispatcher.pause_reason:
            logger.error("cannot go on: {}", self._ledger_trouble or self._dispatcher.pause_reason)
            return EXIT_CANNOT_WRITE
        if self._is_paused and self._dispatcher.job is None:
            logger.error("paused by a person; `spotlessd resume` goes on")
            return EXIT_TRY_AGAIN
        away = self._reconciler.away
        present = frozenset(root.name for root in self._roots if root.name not in away)
        if not self._reconciler.is_quiet or self._ledger.unfinished(present):
            return None
        if away:
            return EXIT_TRY_AGAIN
        has_new = self._ledger.counts()[JobState.QUARANTINED] > self._quarantined_before
        return EXIT_QUARANTINED if has_new else EXIT_OK

    def _wait(self) -> None:
        """Sleep until there is news or something is due."""
        now = time.monotonic()
        seconds = min(LONGEST_WAIT_SECONDS, max(self._reconciler.next_look() - now, 0.0))
        next_step = self._dispatcher.seconds_to_next(now)
        if next_step is not None:
            seconds = min(seconds, next_step)
        if self._stop_asked_at is not None:
            seconds = min(seconds, LONGEST_WAIT_SECONDS / 5)
        wait([self._inbox.fileno(), *self._supervisor.wait_handles()], seconds)

    def _troubles(self) -> tuple[str, ...]:
        found = [f"root {name}: {reason}" for name, reason in sorted(self._reconciler.away.items())]
        if self._config_trouble:
            found.append(self._config_trouble)
        if self._dispatcher.pause_reason:
            found.append(f"paused: {self._dispatcher.pause_reason}")
        if self._dispatcher.start_trouble is not None:
            found.append(f"the worker cannot start: {self._dispatcher.start_trouble.reason}")
        return tuple(found)


def _policy(settings: Settings) -> RetryPolicy:
    queue = settings.queue
    return RetryPolicy(queue.max_attempts, queue.max_interrupts, queue.retry_seconds, queue.retry_max_seconds)


def _worker_setup(settings: Settings) -> WorkerSetup:
    return WorkerSetup(
        device=settings.device_options(),
        inpaint=settings.restore_options().inpaint,
        stall_seconds=settings.queue.stall_seconds,
        log_level=settings.log.level,
    )
