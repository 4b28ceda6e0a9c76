"""One seat of a cluster's worker: a child on one device, and the ticket in its hand.

Comes in: tasks. Goes out: answers. As a lane of a station (dispatch.py) does, it keeps the child alive and replaces it
when it is worn or its device fails. What a failed or revoked turn wrote is removed here; the parts of a finished one
belong to the station, unless the answer turns out to be void. `now`: monotonic seconds.
"""

import time
from collections.abc import Callable

from loguru import logger

from spotlessd.cluster.machines import SeatFacts
from spotlessd.cluster.seat_checks import Task
from spotlessd.cluster.tickets import Answer, AnswerKind, TicketKey
from spotlessd.commons import Seat
from spotlessd.job import EXIT_UNAVAILABLE, FailureKind, classify_failure
from spotlessd.lane_worker import LaneWorker
from spotlessd.messages import Failed, Finished, Ready
from spotlessd.supervisor import Event, StartTrouble, WorkerLost, WorkerState

PROGRESS_SECONDS = 1.0
"""How often the progress of a frame is passed on at most."""
BAD_STARTS = 3
"""A child that merely dies while it starts may have been killed from outside; so many of them were not."""

OnProgress = Callable[[TicketKey, str, float], None]


class WorkerSeat:
    """Keeps one child at work. `worker`: the name that answers carry. `task`: what is in hand."""

    def __init__(self, seat: Seat, worker: str, on_progress: OnProgress) -> None:
        self.seat = seat
        self.worker = worker
        self.task: Task | None = None
        self.start_trouble: StartTrouble | None = None
        self.rest_reason = ""
        self._rest_until = 0.0
        self._on_progress = on_progress
        self._begun = self._started = self._progress_at = 0.0
        self._progress: tuple[str, float] = ("", 0.0)

    @property
    def supervisor(self) -> LaneWorker:
        """Who keeps the child alive."""
        return self.seat.supervisor

    @property
    def is_up(self) -> bool:
        """Whether its child has loaded its models."""
        return self.supervisor.state in {WorkerState.IDLE, WorkerState.BUSY}

    @property
    def is_hopeless(self) -> bool:
        """Whether its child cannot start, and said why or failed too often; one that says why is believed at once."""
        trouble = self.start_trouble
        return trouble is not None and (trouble.is_told or self.supervisor.bad_starts >= BAD_STARTS)

    def is_free(self, now: float) -> bool:
        """Whether it can take a ticket now."""
        return self.task is None and self.supervisor.state is WorkerState.IDLE and self.rest_seconds(now) <= 0

    def rest_seconds(self, now: float) -> float:
        """Return how long it still rests; 0 or less if it does not. A rest that is over is forgotten."""
        left = self._rest_until - now
        if left <= 0:
            self.rest_reason = ""
        return left

    def rest(self, reason: str, seconds: float, now: float) -> None:
        """Take no ticket for a while."""
        self.rest_reason, self._rest_until = reason, now + seconds

    def tick(self, now: float, *, may_load: bool) -> Answer | None:
        """Take the child's news; returns the answer to the ticket in hand when there is one.

        The task stays in hand until `let_go`. `may_load`: start a child if there is none.
        """
        answer = None
        for event in self.supervisor.poll(now):
            answer = self._handle(event, now) or answer
        if answer is not None:
            return answer
        if self.task is None:
            if not self.supervisor.recycle_if_worn(now) and may_load:
                self.supervisor.start(now)
        elif self.supervisor.state is WorkerState.BUSY:
            self._pass_on(self.task, now)
        return None

    def begin(self, task: Task, now: float) -> None:
        """Hand a task to the idle child."""
        self.task, self._begun, self._started = task, now, time.time()
        self._progress, self._progress_at = ("", 0.0), now - PROGRESS_SECONDS
        logger.info("{}: begun on {}", task.name, self.seat.name)
        self.supervisor.submit(task.order, now)

    def let_go(self) -> Task:
        """Return the task in hand, which has its answer."""
        task = self.task
        assert task is not None  # noqa: S101 - our own logic
        self.task = None
        return task

    def kill(self) -> Task:
        """End the child and return the task that was in its hand; nothing of it is left."""
        self.supervisor.drop()
        task = self.let_go()
        task.remove_parts()
        return task

    def distrust(self, reason: str, now: float) -> None:
        """Start the child anew after a back-off: it runs, but not where it should."""
        self.start_trouble = self.supervisor.distrust(reason, EXIT_UNAVAILABLE, now)
        logger.error("{}: {}", self.seat.name, reason)

    def facts(self) -> SeatFacts:
        """Return what the others are told of this seat."""
        ready, task = self.supervisor.ready, self.task
        key = None if task is None else task.taken.ticket
        return SeatFacts(
            name=self.seat.name,
            device=ready.device if ready else "",
            precision=ready.precision if ready else "",
            state="resting" if self.rest_reason and task is None else str(self.supervisor.state),
            job="" if key is None else f"{key.root}/{key.rel}",
            station="" if key is None else key.key.station,
            step=self._progress[0] if task is not None else "",
            fraction=self._progress[1] if task is not None else 0.0,
            started=self._started if task is not None else 0.0,
        )

    def _pass_on(self, task: Task, now: float) -> None:
        beat = self.supervisor.heartbeat
        if beat is None or now - self._progress_at < PROGRESS_SECONDS or (beat.step, beat.fraction) == self._progress:
            return
        self._progress, self._progress_at = (beat.step, beat.fraction), now
        self._on_progress(task.taken.ticket.key, *self._progress)

    def _handle(self, event: Event, now: float) -> Answer | None:
        if isinstance(event, Ready):
            self.start_trouble = None
            logger.info("{} ready on {} ({})", self.seat.name, event.device, event.precision)
        elif isinstance(event, StartTrouble):
            self.start_trouble = event
            logger.error("{} cannot start: {}", self.seat.name, event.reason)
        elif self.task is not None:
            return self._answer(event, self.task, now)
        return None

    def _answer(self, event: Finished | Failed | WorkerLost, task: Task, now: float) -> Answer:
        seconds = round(now - self._begun, 3)
        if isinstance(event, Finished):
            logger.info("{}: finished in {:.1f} s on {}", task.name, seconds, self.seat.name)
            return Answer(
                AnswerKind.FINISHED, self.worker, receipt=event.receipt, memory_mb=event.memory_mb, seconds=seconds
            )
        task.remove_parts()
        if isinstance(event, WorkerLost):
            logger.error("{}: {}", task.name, event.error)
            return Answer(
                AnswerKind.LOST,
                self.worker,
                error=type(event.error).__name__,
                message=str(event.error),
                exit_code=event.error.exit_code,
                is_retryable=event.error.is_retryable,
                seconds=seconds,
            )
        logger.warning("{}: failed after {:.1f} s: {}", task.name, seconds, event.message)
        self._mend_child(event, now)
        return Answer(
            AnswerKind.FAILED,
            self.worker,
            error=event.error,
            message=event.message,
            exit_code=event.exit_code,
            is_retryable=event.is_retryable,
            is_out_of_memory=event.is_out_of_memory,
            memory_mb=event.memory_mb,
            seconds=seconds,
        )

    def _mend_child(self, event: Failed, now: float) -> None:
        """Replace a child whose device failed under a scan; one that ran out of memory gets the whole device anew."""
        kind = classify_failure(
            event.exit_code, is_retryable=event.is_retryable, is_out_of_memory=event.is_out_of_memory
        )
        if kind is FailureKind.MACHINE:
            self.start_trouble = self.supervisor.distrust(event.message, event.exit_code, now)
        elif kind is FailureKind.MEMORY:
            self.supervisor.stop()
