"""A worker's link to the cluster: tickets come in, answers go out, and the worker's heart beats.

Comes in from the main loop: how many tickets it wants, what became of them, how far they are, a pulse, the worker's
facts. Goes out: news. Every method returns at once and none raises for the network. Only while the main loop shows its
pulse is a beat sent or a ticket taken, so that a hung worker counts as lost. Every worker also queues the tickets of
lost workers again, but not in the first `lost_seconds` of a connection: after an outage all others are on their way.
"""

import time
from dataclasses import replace

from loguru import logger

from spotlessd.cluster.link import POLL_SECONDS, Connect, Link
from spotlessd.cluster.machines import WorkerMachine
from spotlessd.cluster.ticket_queue import Taken, TicketQueue
from spotlessd.cluster.tickets import Answer, TicketKey, queue_of
from spotlessd.cluster.worker_book import Allowed, Drain, Errand, Revoked, Settled, WorkerBook, WorkerNews

__all__ = ["Allowed", "Drain", "Revoked", "Settled", "WorkerLink", "WorkerNews"]

PRUNE_SECONDS = 3600.0
"""How often rows that nobody needs any more are deleted."""


class WorkerLink(Link):
    """The worker's thread to PostgreSQL. `weights`: SHA-256 (hex) of its weights; it takes tickets for these only."""

    def __init__(
        self, connect: Connect, name: str, *, heartbeat_seconds: float, lost_seconds: float, weights: str
    ) -> None:
        super().__init__(connect, name)
        self._heartbeat_seconds = heartbeat_seconds
        self._lost_seconds = lost_seconds
        self._longest_retry_seconds = lost_seconds / 2  # after an outage nobody may look lost to those who are back
        self._small = queue_of(weights, is_large=False)
        self._large = queue_of(weights, is_large=True)
        self._book = WorkerBook()
        self._worker_id: int | None = None
        self._facts: WorkerMachine | None = None
        self._told: WorkerMachine | None = None
        self._skew_seconds = 0.0
        self._pulsed = time.monotonic()
        self._next_beat = self._next_look = self._next_reap = 0.0
        self._next_prune = time.monotonic() + PRUNE_SECONDS

    # For the main thread.

    def start(self) -> None:
        """Start the thread; it connects by itself, and again and again while it cannot."""
        self.pulse()
        super().start()

    def close(self, seconds: float = 3.0) -> None:
        """Send what is still to be sent and give back what is still held, for at most `seconds`; end the thread."""
        self._book.leave("the worker stopped")
        super().close(seconds)

    def want(self, number: int, *, large: int) -> None:
        """Say how many tickets can be taken now, at most `large` of them large ones; each one told lowers it."""
        if self._book.want(number, large=large):
            self._stir()

    def answer(self, taken: Taken, answer: Answer) -> None:
        """Hand over what became of a ticket; the news is `Settled`."""
        self._book.add(Errand(taken, answer=answer))
        self._stir()

    def give_back(self, taken: Taken, reason: str, seconds: float) -> None:
        """Have a ticket queued again, for others at once or after `seconds`; there is no news of it."""
        self._book.add(Errand(taken, reason=reason, seconds=seconds))
        self._stir()

    def publishing(self, taken: Taken, plan: str) -> None:
        """Ask to give the names of `plan`; the news is `Allowed` or `Revoked`."""
        self._book.add(Errand(taken, plan=plan))
        self._stir()

    def progress(self, key: TicketKey, step: str, fraction: float) -> None:
        """Keep how far a ticket is (0 to 1); sent with the next beat."""
        self._book.progress(key, step, fraction)

    def pulse(self) -> None:
        """Say that the main loop still goes round."""
        self._pulsed = time.monotonic()

    def news(self) -> list[WorkerNews]:
        """Return what has happened since the last call."""
        self._drain()
        return self._book.read()

    def tell(self, facts: WorkerMachine) -> None:
        """Send the worker's facts with the next beat."""
        self._facts = facts

    # The thread.

    def _greet(self) -> None:
        self._next_beat = self._next_look = 0.0
        self._next_reap = time.monotonic() + self._lost_seconds

    def _has_errands(self) -> bool:
        return self._book.has_errands

    def _listens_to(self) -> str:
        return "work" if self._book.is_hungry and self._is_alive(time.monotonic()) else ""

    def _noticed(self) -> None:
        self._book.look_again()

    async def _round(self, queue: TicketQueue, *, is_last: bool) -> float:
        now = time.monotonic()
        if self._worker_id is None:
            self._worker_id = await queue.register(self.name)
        if (now >= self._next_beat and self._is_alive(now)) or (is_last and self._facts is not self._told):
            self._next_beat = now + self._heartbeat_seconds
            await self._beat(queue, self._worker_id)
        if now >= self._next_look:
            self._next_look = now + POLL_SECONDS
            self._book.look_again()
        if self._book.is_look_due and self._is_alive(now):  # before the answers: a child waits for it, they can wait
            await self._take(queue, self._worker_id)
        await self._send(queue)
        await self._tidy(queue, now)
        if not self._is_alive(now):
            return POLL_SECONDS
        if self._book.is_look_due or self._book.has_errands:
            return 0.0
        return max(min(self._next_look, self._next_reap, self._next_beat) - time.monotonic(), 0.0)

    def _is_alive(self, now: float) -> bool:
        return now - self._pulsed < self._lost_seconds / 2

    async def _beat(self, queue: TicketQueue, worker_id: int) -> None:
        held, steps = self._book.held()
        self._book.revoked(await queue.beat(worker_id, held, steps))
        facts = self._facts
        if facts is not None:
            told = replace(facts, skew_seconds=self._skew_seconds).to_facts()
            self._skew_seconds = await queue.tell("worker", self.name, told)
            self._told = facts
        for machine in await queue.machines():
            if machine.role == "worker" and machine.name == self.name:
                self._book.drain(is_draining=machine.drain)
        await self._run_errands(queue)
        if self._book.has_news:
            self._wake_main()

    async def _send(self, queue: TicketQueue) -> None:
        while (errand := self._book.next_errand()) is not None:
            if errand.answer is not None:
                is_done = await queue.answer(errand.taken, errand.answer)
            elif errand.plan is not None:
                is_done = await queue.publishing(errand.taken, errand.plan)
            else:
                is_done = await queue.give_back(errand.taken, errand.reason, errand.seconds)
            self._book.settled(errand, is_done=is_done)
            self._wake_main()

    async def _take(self, queue: TicketQueue, worker_id: int) -> None:
        """Take one ticket if there is one; if there was, another is looked for in the next round."""
        queues = [self._small, self._large] if self._book.begin_look() else [self._small]
        taken = await queue.take(worker_id, self.name, queues)
        if taken is not None:
            self._book.took(taken)
            self._wake_main()

    async def _tidy(self, queue: TicketQueue, now: float) -> None:
        if now >= self._next_reap:
            self._next_reap = now + self._lost_seconds / 3
            number = await queue.reap(self._lost_seconds)
            if number:
                logger.warning("{} tickets of workers that were lost are queued again", number)
        if now >= self._next_prune:
            self._next_prune = now + PRUNE_SECONDS
            await queue.prune()
