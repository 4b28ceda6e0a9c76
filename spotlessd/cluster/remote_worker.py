"""Stands in for a child process in a station's lane: the worker is somewhere in the cluster.

Comes in: a ticket. Goes out: the events that a child would cause. The answer says which turn's part files are meant: a
ticket that was given to a second worker has parts of both.
"""

import math
from multiprocessing.connection import Connection

from spotlessd.cluster.station_link import Withdrawn
from spotlessd.cluster.tickets import Answer, AnswerKind, Ticket, TicketKey
from spotlessd.engine_procrastinate import ProcrastinateEngine
from spotlessd.errors import WorkerDiedError, WorkerStartError
from spotlessd.job import EXIT_BAD_INPUT
from spotlessd.messages import Failed, Finished, Heartbeat, Ready, WorkOrder
from spotlessd.supervisor import Event, StartTrouble, WorkerLost, WorkerState


class RemoteWorker:
    """One ticket at a time. After an answer, `turn`: whose parts count; `answer`: as it came; None before it.

    `is_withdrawn`: the ticket was taken back, and no answer will come.
    """

    max_memory_mb = math.inf
    memory_mb = 0.0
    restarts = 0
    bad_starts = 0
    pid: int | None = None
    ready: Ready | None = None
    heartbeat: Heartbeat | None = None

    def __init__(self, engine: ProcrastinateEngine) -> None:
        self._engine = engine
        self._order: WorkOrder | None = None
        self.key: TicketKey | None = None
        self.turn = 0
        self.answer: Answer | None = None
        self.is_withdrawn = False

    @property
    def state(self) -> WorkerState:
        """BUSY with a ticket; DOWN while the cluster takes no more of this station."""
        if self.key is not None:
            return WorkerState.BUSY
        return WorkerState.DOWN if self._engine.why_not else WorkerState.IDLE

    def ask(self, ticket: Ticket, order: WorkOrder) -> None:
        """Ask the cluster for `order`; only right without a ticket in hand."""
        self.key, self._order = ticket.key, order
        self._engine.ask(ticket)

    def submit(self, order: WorkOrder, now: float) -> None:
        """An order alone does not say enough to other machines; lanes call `ask`."""
        raise NotImplementedError

    def poll(self, now: float) -> list[Event]:
        """Return what became of the ticket since the last call."""
        events: list[Event] = []
        if self.key is None or self.answer is not None:
            return events
        for news in self._engine.news_of(self.key):
            if isinstance(news, Withdrawn):
                self.is_withdrawn = True
            else:
                self.turn, self.answer = news.turn, news.answer
                events.append(self._event(news.answer))
                break
        standing = self._engine.standing_of(self.key)
        if standing is not None:
            self.heartbeat = Heartbeat(self.key.job, self.key.attempt, standing.step, standing.fraction, 0.0, 0.0)
        return events

    def _event(self, answer: Answer) -> Event:
        assert self.key is not None and self._order is not None  # noqa: S101 - our own logic
        job_id, attempt = self.key.job, self.key.attempt
        if answer.kind is AnswerKind.FINISHED:
            return Finished(job_id, attempt, answer.receipt, answer.memory_mb)
        if answer.kind is AnswerKind.LOST:
            return WorkerLost(self._order, WorkerDiedError(f"{answer.worker}: {answer.message}"))
        is_poison = answer.kind is AnswerKind.POISON
        return Failed(
            job_id=job_id,
            attempt=attempt,
            error=answer.error,
            message=answer.message,
            exit_code=EXIT_BAD_INPUT if is_poison else answer.exit_code,
            is_retryable=answer.is_retryable and not is_poison,
            memory_mb=answer.memory_mb,
            is_out_of_memory=answer.is_out_of_memory,
        )

    def drop(self) -> None:
        """Take the ticket back; `is_withdrawn` or an answer says how that went."""
        if self.key is not None and self.answer is None:
            self._engine.withdraw(self.key)

    def settle(self) -> None:
        """The ledger knows what became of the ticket: the cluster may forget it."""
        if self.key is not None:
            self._engine.settle(self.key)
        self.key = self._order = self.answer = self.heartbeat = None
        self.turn = 0
        self.is_withdrawn = False

    def start(self, now: float) -> bool:
        """Tell whether the cluster takes one more; nothing is started here."""
        return self.state is not WorkerState.DOWN

    def seconds_to_start(self, now: float) -> float:
        """Nothing is timed here."""
        return 0.0

    def wait_handles(self) -> list[Connection | int]:
        """The crew waits on the link for all of them."""
        return []

    def recycle_if_worn(self, now: float) -> bool:
        """Workers see to that themselves."""
        return False

    def distrust(self, reason: str, exit_code: int, now: float) -> StartTrouble:
        """Workers see to that themselves."""
        return StartTrouble(reason, exit_code or WorkerStartError.exit_code)

    def ask_to_end(self) -> None:
        """Nothing runs here."""

    def stop(self) -> None:
        """Nothing runs here."""
