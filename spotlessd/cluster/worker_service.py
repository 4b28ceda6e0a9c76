"""`spotlessd worker`: computes what the stations of a cluster ask, with one child for each device of this machine.

Builds the seats and the link and runs the main loop: answers → tickets → checks → children → wait. The link's thread
talks to PostgreSQL; this loop never waits for the network, only for the disks of the shares. While the loop hangs the
link lets no heartbeat out, so that the tickets go to others. Start order: lock, name, link, children. Stop order: no
more tickets, those in hand within their grace (else given back), link, children, lock.

At its start it ends with 78 if PostgreSQL refuses it: somebody is there who can mend that. Later a refusal ends
nothing, for a service that ended so is not started again: the log and systemd are told, and it goes on trying.
"""

import os
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import wait

from loguru import logger

from spotlessd import __version__
from spotlessd.cluster.machines import Rate, WorkerMachine
from spotlessd.cluster.seat_checks import Lack, SeatChecks, Task
from spotlessd.cluster.shares import Shares
from spotlessd.cluster.ticket_files import remove_older_turns
from spotlessd.cluster.ticket_queue import Taken
from spotlessd.cluster.tickets import Answer, AnswerKind, TicketKey, weights_sha256
from spotlessd.cluster.wiring import connector
from spotlessd.cluster.worker_link import Allowed, Drain, Revoked, Settled, WorkerNews
from spotlessd.cluster.worker_name import check_name, worker_name
from spotlessd.cluster.worker_parts import LargeFrames, Link, cluster_setups, link_and_monitor, terms_of
from spotlessd.cluster.worker_publishing import WorkerPublisher
from spotlessd.cluster.worker_seat import WorkerSeat
from spotlessd.commons import Seat, is_stray
from spotlessd.configuration.parts import worker_limits
from spotlessd.configuration.settings import Settings
from spotlessd.errors import ConfigError
from spotlessd.folders import spool
from spotlessd.monitoring.systemd_notify import SystemdNotifier
from spotlessd.signals import Inbox
from spotlessd.station_lock import StationLock
from spotlessd.supervisor import Supervisor
from spotlessd.worker import Loader, load_pipeline

LOCK_NAME = "worker.lock"
LONGEST_WAIT_SECONDS = 0.5
EXIT_OK, EXIT_TRY_AGAIN = 0, 75
STOPPED = "the worker was stopped before it was finished"
STRAY = "it came up on the CPU, for the GPU that is meant for it does not answer. Look at nvidia-smi."


class ClusterWorker:
    """One worker. `link`: a played one in tests; then nobody is asked whether the name is free."""

    def __init__(
        self,
        settings: Settings,
        *,
        loader: Loader = load_pipeline,
        link: Link | None = None,
        notifier: SystemdNotifier | None = None,
        make_supervisor: Callable[..., Supervisor] = Supervisor,
    ) -> None:
        if not (settings.is_clustered and settings.shares):
            raise ConfigError(
                f'{settings.config_path}: `spotlessd worker` came; engine = "postgresql://…" and [[shares]] expected.'
            )
        self._settings = settings
        self._notifier = notifier or SystemdNotifier()
        self._started = time.time()
        self.name = worker_name(settings)
        self._is_played = link is not None
        self._connect = connector(settings, f"spotlessd worker {self.name}")
        self._weights = weights_sha256()
        self._link, self._monitor = link_and_monitor(settings, self.name, self._connect, link)
        setups, limits = cluster_setups(settings), worker_limits(settings)
        seats = [Seat(setup.name, bool(setup.environment), make_supervisor(setup, loader, limits)) for setup in setups]
        shares = Shares({share.name: share.path for share in settings.shares})
        self._spool_dirs = [settings.spool_dir / f"seat-{number}" for number in range(len(seats))]
        self._checks = SeatChecks(terms_of(settings, self.name, shares, setups), seats)
        self._publisher = WorkerPublisher(self._link, shares, self.name, self._alive)
        self.seats = [
            WorkerSeat(seat, self.name if len(seats) == 1 else f"{self.name}/{number}", self._link.progress)
            for number, seat in enumerate(seats)
        ]
        self._unsettled: dict[tuple[TicketKey, int], Task] = {}
        self._is_asked_to_drain = self._was_up = False
        self._stop_asked_at: float | None = None
        self._large = LargeFrames()
        self._rate = Rate()
        self._done = self._failed = 0
        self._told: tuple[object, ...] = ()
        self._told_at = 0.0
        self._link_trouble = self._status = ""

    def run(self) -> int:
        """Work until asked to stop; returns the exit code: 0, 69 if no child can start, 75 if the state folder is lost.

        Raises:
            StationBusyError: another worker has this state folder, or this name.
            ClusterRefusedError: PostgreSQL answers and refuses.
            LedgerError: the state folder cannot be written.
        """
        lock = StationLock(self._settings.state_dir / LOCK_NAME)
        try:
            if not self._is_played:
                check_name(self.name, self._connect, self._settings.cluster.lost_seconds)
            for folder in self._spool_dirs:
                spool.clear(folder)
            with Inbox() as inbox:
                return self._run(inbox, lock)
        finally:
            lock.close()

    def _run(self, inbox: Inbox, lock: StationLock) -> int:
        self._inbox = inbox
        self._link.start()
        self._monitor.start()
        try:
            logger.info("spotlessd {} computes as worker {!r} in {} seats", __version__, self.name, len(self.seats))
            self._notifier.ready("loading the models")
            while True:
                now = time.monotonic()
                self.round(now)
                lost = lock.loss()
                if lost:
                    logger.error("{}. Stopping", lost)
                    return EXIT_TRY_AGAIN
                code = self._exit_code(now)
                if code is not None:
                    return code
                self._wait(now)
        finally:
            self._notifier.stopping()
            self._leave()
            logger.info("stopped")

    @property
    def is_draining(self) -> bool:
        """Whether no more tickets are taken."""
        return self._is_asked_to_drain or self._stop_asked_at is not None

    def round(self, now: float) -> None:
        """Go round once. `now`: monotonic seconds."""
        self._inbox.drain()
        self._take_signals(now)
        self._link.pulse()
        for seat in self.seats:
            answer = seat.tick(now, may_load=self._stop_asked_at is None)
            self._was_up = self._was_up or seat.is_up
            if answer is not None:
                self._answer(seat.let_go(), answer, now)
            if seat.task is None and is_stray(seat.seat, [each.seat for each in self.seats]):
                seat.distrust(STRAY, now)
        for news in self._link.news():
            self._take(news, now)
        self._want(now)
        self._tell(now)
        self._notifier.alive()

    def _take_signals(self, now: float) -> None:
        if self._inbox.is_reload_asked:
            self._inbox.is_reload_asked = False
            logger.warning("a worker reads its config at its start; restart it for a new one to hold")
        if self._inbox.is_state_asked:
            self._inbox.is_state_asked = False
            logger.info("state: {}", self._facts(now))
        if self._inbox.stops and self._stop_asked_at is None:
            self._stop_asked_at = now
            self._notifier.stopping()
            for seat in self.seats:
                if seat.task is not None:
                    grace = self._settings.queue.stop_grace_seconds
                    logger.info("stopping; {} has {:.0f} s to finish", seat.task.name, grace)

    def _answer(self, task: Task, answer: Answer, now: float) -> None:
        """Hand over what became of a task; its parts are kept until it is known whether they count."""
        if answer.kind is AnswerKind.FINISHED:
            self._done += 1
            self._rate.note(now)
            if self._publisher.begin(task, answer):
                return
            self._unsettled[task.taken.ticket.key, task.taken.turn] = task
        else:
            self._failed += 1
        self._link.answer(task.taken, answer)

    def _take(self, news: WorkerNews, now: float) -> None:
        if isinstance(news, Taken):
            self._start(news, now)
        elif isinstance(news, Settled):
            task = self._unsettled.pop((news.taken.ticket.key, news.taken.turn), None)
            if task is not None and news.is_void:
                logger.warning("{}: the result is void; the ticket was given to another worker", task.name)
                task.remove_parts()
        elif isinstance(news, Allowed):
            self._publisher.allowed(news.taken)
        elif isinstance(news, Revoked):
            self._publisher.revoked(news.taken)
            self._revoke(news.taken)
        elif isinstance(news, Drain):
            self._is_asked_to_drain = news.is_draining
            logger.info("draining: no more scans are taken" if news.is_draining else "drained no longer; going on")

    def _start(self, taken: Taken, now: float) -> None:
        """Give a ticket to a free seat, answer it, or give it back."""
        seat = next((seat for seat in self.seats if seat.is_free(now)), None)
        if seat is None or self.is_draining:
            self._link.give_back(taken, "the worker has no free seat any more", 0.0)
            return
        others = {each.seat: each.task for each in self.seats if each.task is not None}
        found: Task | Lack | Answer | None
        found = self._publisher.resume(taken) if taken.plan else self._checks.look(taken, seat.seat, others, now)
        if isinstance(found, Task):
            remove_older_turns(taken, found.output)
            found = self._publisher.in_place(found) or found
        if found is None:
            return
        if isinstance(found, Task):
            seat.begin(found, now)
        elif isinstance(found, Lack):
            key = taken.ticket.key
            logger.warning("job {} of {} is given back: {}", key.job, key.station, found.reason)
            self._link.give_back(taken, f"{self.name}: {found.reason}", found.back_seconds)
            seat.rest(found.reason, found.rest_seconds, now)
        else:
            self._failed += found.kind is not AnswerKind.FINISHED
            self._link.answer(taken, found)

    def _revoke(self, taken: Taken) -> None:
        """Stop what is not ours any more."""
        for seat in self.seats:
            if seat.task is not None and seat.task.taken == taken:
                logger.warning("{}: taken back; its child is ended", seat.kill().name)
        task = self._unsettled.pop((taken.ticket.key, taken.turn), None)
        if task is not None:
            task.remove_parts()

    def _alive(self) -> None:
        """Tell the link and systemd that the main loop goes on, while it copies something large."""
        self._link.pulse()
        self._notifier.alive()

    def _want(self, now: float) -> None:
        """Ask for as many tickets as there are free seats."""
        free = 0 if self.is_draining else sum(seat.is_free(now) for seat in self.seats)
        is_asking = not self._link.trouble
        self._link.want(free, large=self._large.most(self.seats, free, now, is_asking=is_asking))

    def _tell(self, now: float) -> None:
        trouble = self._trouble()
        news = (
            trouble,
            self.is_draining,
            self._done,
            self._failed,
            *((s.supervisor.state, s.task) for s in self.seats),
        )
        if news != self._told or now - self._told_at >= self._settings.cluster.heartbeat_seconds:
            self._told, self._told_at = news, now
            facts = self._facts(now)
            self._link.tell(facts)
            self._monitor.tell(facts)
        busy = sum(seat.task is not None for seat in self.seats)
        problem = "; ".join(text for text in (self._refusal_or_trouble(), trouble) if text)
        self._monitor.beat(problem)
        status = f"{'draining, ' if self.is_draining else ''}{busy} of {len(self.seats)} seats busy, {self._done} done"
        status = f"{status}; {problem}" if problem else status
        if status != self._status:
            self._status = status
            self._notifier.status(status)

    def _refusal_or_trouble(self) -> str:
        """Return what is wrong with PostgreSQL; the log hears of each change once."""
        text = str(self._link.refusal or self._link.trouble)
        if text != self._link_trouble:
            if self._link.refusal is not None:
                logger.error("{}", text)
            elif text:
                logger.warning("{}", text)
            else:
                logger.info("connected to the cluster")
            self._link_trouble = text
        return text

    def _trouble(self) -> str:
        """Return what is wrong with this machine, for people at another one."""
        starts = [f"{s.seat.name} cannot work: {s.start_trouble.reason}" for s in self.seats if s.start_trouble]
        rests = [seat.rest_reason for seat in self.seats if seat.rest_reason]
        return "; ".join(dict.fromkeys([*starts, *rests]))

    def _facts(self, now: float) -> WorkerMachine:
        return WorkerMachine(
            name=self.name,
            host=socket.gethostname(),
            version=__version__,
            weights=self._weights,
            pid=os.getpid(),
            is_draining=self.is_draining,
            seats=tuple(seat.facts() for seat in self.seats),
            done=self._done,
            failed=self._failed,
            frames_per_hour=self._rate.per_hour(now),
            shares=tuple(share.name for share in self._settings.shares),
            trouble=self._trouble(),
            started=self._started,
        )

    def _exit_code(self, now: float) -> int | None:
        """Return the exit code if it is time to end, else None."""
        if self._stop_asked_at is not None:
            is_late = now - self._stop_asked_at > self._settings.queue.stop_grace_seconds
            is_idle = all(seat.task is None for seat in self.seats) and not self._publisher.is_busy
            return EXIT_OK if is_idle or is_late or self._inbox.stops > 1 else None
        if not self._was_up and all(seat.is_hopeless for seat in self.seats):
            trouble = self.seats[0].start_trouble
            return None if trouble is None else trouble.exit_code
        return None

    def _leave(self) -> None:
        """Give back what is in hand, let the link send it, and end the children."""
        for seat in self.seats:
            if seat.task is not None:
                task = seat.kill()
                logger.warning("{}: {}", task.name, STOPPED)
                self._link.give_back(task.taken, STOPPED, 0.0)
            seat.supervisor.ask_to_end()
        self._monitor.close()
        self._link.want(0, large=0)
        self._link.close()
        for news in self._link.news():
            if isinstance(news, Settled):
                self._take(news, time.monotonic())
        for seat in self.seats:
            seat.supervisor.stop()

    def _wait(self, now: float) -> None:
        """Sleep until there is news or something is due."""
        seconds = LONGEST_WAIT_SECONDS if self._stop_asked_at is None else LONGEST_WAIT_SECONDS / 5
        for seat in self.seats:
            due = [seat.supervisor.seconds_to_start(now), seat.rest_seconds(now)]
            seconds = min([seconds, *(each for each in due if each > 0)])
        handles = [handle for seat in self.seats for handle in seat.supervisor.wait_handles()]
        wait([self._inbox.fileno(), self._link.fileno(), *handles], seconds)
