"""Builds the station's parts, wires them, and runs the main loop: commands → look → dispatch → report → wait.

Start order: lock, ledger (orphans of the last run requeued), roots, watcher, first look, ready. Stop order: no new job,
the jobs in hand within their grace, workers, watcher, ledger, lock. The loop survives a ledger that cannot be written
(full disk) and workers that cannot start; it tells both in the status. One loop, one thread; the watcher only wakes it.
"""

import time
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path

from loguru import logger

from spotlessd import __version__, publish
from spotlessd.commons import Commons
from spotlessd.companions.companion_copy import Copier
from spotlessd.computing import computing_for
from spotlessd.configuration.in_force import keep_in_force
from spotlessd.configuration.keeper import ConfigKeeper
from spotlessd.configuration.parts import dispatch_settings, retry_policy
from spotlessd.configuration.sections import NoticeKind
from spotlessd.configuration.settings import Settings
from spotlessd.control import Control
from spotlessd.edited_masks import EditedMasks
from spotlessd.errors import LedgerError
from spotlessd.folders import spool
from spotlessd.folders.headers import check_header, measure_scan
from spotlessd.folders.own_folders import refuse_remote_ledger
from spotlessd.folders.roots import Root
from spotlessd.folders.station_roots import open_roots
from spotlessd.job import FailureKind
from spotlessd.ledger import Ledger
from spotlessd.log import change_log
from spotlessd.monitoring.reporting import Reporter, Round, Trouble
from spotlessd.monitoring.state_report import describe_state, write_state
from spotlessd.monitoring.status import BY_A_PERSON, LEDGER_NAME, LOCK_NAME, STOPPING, WorkerFacts, read_pause
from spotlessd.monitoring.systemd_notify import SystemdNotifier
from spotlessd.publishing.feedback_files import tidy_feedback
from spotlessd.reconcile import Reconciler, Rules
from spotlessd.review.daemon_page import DaemonPage
from spotlessd.signals import Inbox
from spotlessd.single_run import EXIT_OK, EXIT_TRY_AGAIN, SingleRun
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database
from spotlessd.sqlite.figures import LedgerFigures
from spotlessd.station_lock import StationLock
from spotlessd.watch import Watcher
from spotlessd.worker import Loader, load_pipeline

LONGEST_WAIT_SECONDS = 0.5
"""How soon a command in the ledger is seen."""
LEDGER_PAUSE_SECONDS = 5.0
NEWS = "it waits for the new config"
STOPPED = "the station was stopped before it was finished"
LOST = "{}. Stopping, for another spotlessd may start there. Put the folder back, then start again"


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
        self._config = ConfigKeeper(settings)
        self._ledger_trouble = ""
        self._stop_asked_at: float | None = None
        self._ledger_rest_until = 0.0
        self._is_paused = False
        self._lost = ""
        self._review = DaemonPage()

    def run(self) -> int:
        """Work until asked to stop, or until everything is done with `is_once`; returns the exit code.

        Raises:
            StationBusyError: another daemon serves this station.
            ConfigError: the roots contain each other, or the ledger lies across a network.
            LedgerError: the ledger cannot be opened, or the state folder not be written.
        """
        refuse_remote_ledger(self._settings)
        lock = self._lock = StationLock(self._settings.state_dir / LOCK_NAME)
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
        self._board, self._database = Board(database), database
        self._watcher = Watcher((), inbox.ask_look)
        self._ledger = Ledger(database)
        self._reporter = Reporter(self._board, self._ledger, LedgerFigures(database), self._notifier, self._started)
        self._computing = computing_for(self._settings, self._ledger, self._board, self._loader, self._started)
        self._engine, self._reporter.more_figures = self._computing.engine, self._computing.figures
        self._engine.recover()
        spool.clear(self._settings.spool_dir)
        tidy_feedback(self._settings.state_dir, self._ledger.job)
        self._single_run = SingleRun(self._ledger)
        self._build(self._settings, open_roots(self._settings))
        ends_by = FailureKind.CUT_OFF
        try:
            logger.info("spotlessd {} serves {}", __version__, ", ".join(str(root.input) for root in self._roots))
            self._notifier.ready("looking at the folders")
            while True:
                self._round()
                code = self._exit_code()
                if code is not None:
                    ends_by = FailureKind.STOPPED
                    return code
                self._wait()
        finally:
            self._notifier.stopping()
            try:
                self._crew.leave(STOPPED, ends_by)
            except LedgerError as error:
                logger.error("{}; the next start finds the jobs in hand by itself", error)
            self._crew.stop()
            self._computing.close()
            self._watcher.stop()
            self._edited.close()
            self._review.close()
            self._reporter.close()
            logger.info("stopped")

    def _build(self, settings: Settings, roots: list[Root]) -> None:
        """Make everything that depends on the configuration, around the ledger, the engine and the workers."""
        self._settings = settings
        keep_in_force(settings)
        self._engine.policy = retry_policy(settings)
        self._roots = roots
        opened: dict[str, Root] = {}

        def open_root(root: Root) -> None:
            self._clean(root)
            opened[root.name] = root

        self._reconciler = Reconciler(
            self._roots,
            Rules(settings.watch, counts_age=self._is_once),
            self._ledger,
            self._engine,
            self._board,
            check=self._check,
            on_open=open_root,
            clock=time.time,
            on_progress=self._sign_of_life,
        )
        self._edited = EditedMasks(opened, self._ledger, self._engine, self._board, settings, counts_age=self._is_once)
        self._reconciler.others_waiting = lambda: self._edited.waiting
        commons = Commons(
            self._computing.seats,
            opened,
            dispatch_settings(settings, roots, is_eager=not self._is_once),
            self._reconciler.company,
        )
        copier = Copier(measure_scan, self._notifier.alive, keeps_timestamp=settings.output.keep_timestamp)
        self._crew = self._computing.crew(commons, copier)
        self._control = Control(
            self._board,
            self._ledger,
            self._engine,
            self._crew,
            self._reconciler,
            {root.name: root for root in self._roots},
            clock=time.time,
            replaces=settings.output.replace,
            state_dir=settings.state_dir,
        )
        # Watching starts before the first look, so that nothing falls between the two.
        self._watcher.watch(self._roots)
        self._reporter.configure(settings)
        if not self._is_once:
            self._review.configure(settings)

    def _clean(self, root: Root) -> None:
        """Remove what dead attempts left in a root's output folder."""
        keep = [publish.PublishPlan.from_json(job.plan) for job in self._ledger.planned()]
        in_hand = tuple(f".spotlessd-{job.id}-{job.attempt}-" for job in self._crew.jobs)
        for part in publish.stale_parts(root.output, keep):
            if part.name.startswith(in_hand):
                continue
            logger.debug("{}: removed, left by an attempt that ended", part)
            part.unlink(missing_ok=True)

    def _round(self) -> None:
        now = time.monotonic()
        self._lost = self._lock.loss() or self._database.loss()
        if self._lost:
            return
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
        self._sign_of_life()

    def _sign_of_life(self) -> None:
        """Tell systemd and monitors that the main loop goes on."""
        self._reporter.beat(self._ledger_trouble)
        self._notifier.alive()

    def _work(self, now: float) -> None:
        self._control.tick()
        if self._config.has_news:
            self._crew.recall(NEWS)
        if not self._crew.jobs:
            self._apply_news()
        if self._watcher.tend():
            self._reconciler.look_soon()
        is_stopping = self._stop_asked_at is not None
        if not is_stopping:
            self._reconciler.tick(now)
            if self._edited.tick(now):
                self._reconciler.show_waiting(now)
        self._is_paused = read_pause(self._board, time.time()) is not None
        is_held_back = is_stopping or self._is_paused or self._config.has_news
        self._crew.tick(now, may_start=not is_held_back)
        self._control.exchange_names()
        paused = STOPPING if is_stopping else self._crew.pause_reason or (BY_A_PERSON if self._is_paused else "")
        workers = self._crew.workers()
        self._reporter.tick(
            workers,
            Round(
                now=now,
                paused=paused,
                troubles=self._troubles(workers),
                last_look=self._reconciler.last_complete_look,
                is_quiet=self._reconciler.is_quiet,
                overflows=self._watcher.overflows,
                config_ok=not self._config.trouble,
            ),
        )

    def _take_signals(self, now: float) -> None:
        if self._inbox.is_look_asked:
            self._inbox.is_look_asked = False
            self._reconciler.look_soon()
        if self._inbox.is_state_asked:
            self._inbox.is_state_asked = False
            self._write_state(now)
        if self._inbox.is_reload_asked:
            self._inbox.is_reload_asked = False
            self._config.read()
        else:
            self._config.look(now)
        if self._inbox.stops and self._stop_asked_at is None:
            self._stop_asked_at = now
            self._notifier.stopping()
            grace = self._settings.queue.stop_grace_seconds
            for job in self._crew.unfinished:
                logger.info("stopping; job {} has {:.0f} s to finish", job.id, grace)

    def _write_state(self, now: float) -> None:
        state = describe_state(self._roots, self._reconciler, self._crew, self._config, now)
        try:
            logger.info("state written: {}", write_state(state, self._settings.state_dir))
        except OSError as error:
            logger.error("{}: the state cannot be written: {}", self._settings.state_dir, error.strerror)

    def _apply_news(self) -> None:
        """Swap in a new configuration between jobs; the workers are kept if nothing they loaded has changed."""
        news = self._config.take()
        if news is None:
            return
        settings, roots = news
        before = self._settings
        self._watcher.stop()
        self._edited.close()
        self._computing.change(settings)
        if settings.log != before.log:
            change_log(settings.log, before.log)
        self._build(settings, roots)
        logger.info("config read again; it holds from the next job on")

    def _exit_code(self) -> int | None:
        """Return the exit code if it is time to end, else None."""
        now = time.monotonic()
        if self._lost:
            logger.error(LOST, self._lost)
            return EXIT_TRY_AGAIN
        if self._stop_asked_at is not None:
            is_late = now - self._stop_asked_at > self._settings.queue.stop_grace_seconds
            if not self._crew.unfinished or self._inbox.stops > 1 or is_late:
                return EXIT_OK
        if not self._is_once:
            return None
        return self._single_run.exit_code(
            self._crew,
            self._reconciler,
            self._roots,
            ledger_trouble=self._ledger_trouble,
            is_paused=self._is_paused,
            is_quiet=self._edited.is_quiet,
        )

    def _wait(self) -> None:
        """Sleep until there is news or something is due."""
        now = time.monotonic()
        seconds = min(LONGEST_WAIT_SECONDS, max(self._reconciler.next_look() - now, 0.0))
        next_step = self._crew.seconds_to_next(now)
        if next_step is not None:
            seconds = min(seconds, next_step)
        if self._stop_asked_at is not None:
            seconds = min(seconds, LONGEST_WAIT_SECONDS / 5)
        wait([self._inbox.fileno(), *self._crew.wait_handles()], seconds)

    def _troubles(self, workers: tuple[WorkerFacts, ...]) -> tuple[Trouble, ...]:
        found = [
            Trouble(f"root {name}: {reason}", NoticeKind.FOLDER_AWAY)
            for name, reason in sorted(self._reconciler.away.items())
        ]
        found += [Trouble(text) for text in (self._config.trouble, self._review.trouble) if text]
        found += [Trouble(text, NoticeKind.WORKER_DOWN) for text in self._crew.troubles]
        if self._crew.pause_reason:
            found.append(Trouble(f"paused: {self._crew.pause_reason}", NoticeKind.DISK_FULL))
        found += [Trouble(worker.trouble, NoticeKind.WORKER_DOWN) for worker in workers if worker.trouble]
        return tuple(found)
