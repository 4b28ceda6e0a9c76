"""A station's link to the cluster: tickets go out, answers come in, and the picture of the cluster is kept.

Comes in from the main loop: tickets to ask, to withdraw, to acknowledge, and the station's facts. Goes out: news, and
`view`. Every method returns at once and none raises for the network. After a lost connection everything that was not
answered is asked again in one batch (asking is idempotent) and answers that were missed are fetched.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from spotlessd.cluster.link import POLL_SECONDS, Connect, Link
from spotlessd.cluster.machines import StationMachine, WorkerMachine
from spotlessd.cluster.station_book import StationBook, StationNews, Withdrawn
from spotlessd.cluster.ticket_queue import Machine, Standing, TicketQueue
from spotlessd.cluster.tickets import Ticket, TicketKey

__all__ = ["ClusterView", "StationLink", "StationNews", "Withdrawn", "view_of"]

BEATS_TO_BE_SEEN = 3
"""A machine that was silent for this many heartbeats is not counted as there."""
STANDINGS_SECONDS = 2.0
"""How often it is asked at most where the tickets stand."""


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The cluster as this station saw it last.

    `slots`: seats of live workers with this station's weights that are not draining; `other_slots`: those of live
    workers with other weights. `stations`: live ones with work, this one always included.
    `oldest_waiting_seconds`: of this station's tickets. `skew_seconds`: this machine's clock minus PostgreSQL's.
    """

    slots: int = 0
    other_slots: int = 0
    stations: int = 1
    oldest_waiting_seconds: float = 0.0
    skew_seconds: float = 0.0
    workers: tuple[WorkerMachine, ...] = ()


class StationLink(Link):
    """The station's thread to PostgreSQL. `lost_seconds`: silence after which a worker is not counted, 0 = 3 beats."""

    def __init__(
        self,
        connect: Connect,
        station: str,
        *,
        heartbeat_seconds: float,
        weights: str,
        lost_seconds: float = 0.0,
    ) -> None:
        super().__init__(connect, station)
        self.view = ClusterView()
        self._weights = weights
        self._heartbeat_seconds = heartbeat_seconds
        self._seen_seconds = BEATS_TO_BE_SEEN * heartbeat_seconds
        self._lost_seconds = lost_seconds or self._seen_seconds
        self._book = StationBook()
        self._facts: StationMachine | None = None
        self._told: StationMachine | None = None
        self._is_answer_due = True
        self._next_beat = self._next_standings = self._next_poll = 0.0

    # For the main thread.

    def ask(self, ticket: Ticket) -> None:
        """Have a ticket answered: kept until PostgreSQL has it, asked again over every new connection."""
        self._book.ask(ticket)
        self._stir()

    def withdraw(self, key: TicketKey) -> None:
        """Have a ticket made void; the news is `Withdrawn`, or its answer if it is too late."""
        self._book.withdraw(key)
        self._settle()

    def acknowledge(self, key: TicketKey) -> None:
        """Have a ticket deleted, because the ledger has its answer or nobody wants it."""
        self._book.acknowledge(key)
        self._stir()

    def news(self) -> list[StationNews]:
        """Return what has happened since the last call: answers, withdrawals, changed standings."""
        self._drain()
        return self._book.read()

    def tell(self, facts: StationMachine) -> None:
        """Send the station's facts with the next beat."""
        self._facts = facts

    def _settle(self) -> None:
        if self._book.has_news:
            self._wake_main()
        self._stir()

    # The thread.

    def _greet(self) -> None:
        self._book.ask_all_again()
        self._is_answer_due = True
        self._next_beat = self._next_standings = 0.0

    def _has_errands(self) -> bool:
        return self._book.has_errands

    def _listens_to(self) -> str:
        return f"answers:{self.name}"

    def _noticed(self) -> None:
        self._is_answer_due = True

    async def _round(self, queue: TicketQueue, *, is_last: bool) -> float:
        now = time.monotonic()
        if now >= self._next_beat:
            self._book.remind()
        await self._send(queue)
        if self._is_answer_due or now >= self._next_poll:
            self._is_answer_due = False
            self._next_poll = now + POLL_SECONDS
            self._book.answered(await queue.answers(self.name))
        if self._book.has_news:
            self._wake_main()
        if now >= self._next_standings:
            self._next_standings = now + min(STANDINGS_SECONDS, self._heartbeat_seconds)
            self._look(await queue.standings(self.name))
        if now >= self._next_beat or (is_last and self._facts is not self._told):
            self._next_beat = now + self._heartbeat_seconds
            await self._beat(queue)
        due = min(self._next_beat, self._next_standings, self._next_poll)
        return 0.0 if self._book.has_errands else max(due - time.monotonic(), 0.0)

    async def _send(self, queue: TicketQueue) -> None:
        """Delete before withdrawing before asking: a ticket asked anew must not meet what is left of its last life."""
        if keys := self._book.to_acknowledge():
            await queue.acknowledge(keys)
            self._book.acknowledged(keys)
        if keys := self._book.to_withdraw():
            results = await queue.withdraw(keys)
            self._book.withdrawn(results)
            self._is_answer_due |= not all(results.values())
        if tickets := self._book.to_ask():
            await queue.ask(tickets)
            self._book.asked(tickets)

    def _look(self, standings: Sequence[Standing]) -> None:
        self._book.stood(standings)
        if self._book.has_news:
            self._wake_main()
        waiting = [standing.waiting_seconds for standing in standings if standing.state == "asked"]
        self.view = replace(self.view, oldest_waiting_seconds=max(waiting, default=0.0))

    async def _beat(self, queue: TicketQueue) -> None:
        facts = self._facts
        skew = self.view.skew_seconds
        if facts is not None:
            skew = await queue.tell("station", self.name, replace(facts, skew_seconds=skew).to_facts())
            self._told = facts
        view = view_of(
            await queue.machines(),
            self.name,
            self._weights,
            seen_seconds=self._seen_seconds,
            lost_seconds=self._lost_seconds,
        )
        self.view = replace(view, oldest_waiting_seconds=self.view.oldest_waiting_seconds, skew_seconds=skew)
        await self._run_errands(queue)


def view_of(
    machines: Sequence[Machine], station: str, weights: str, *, seen_seconds: float, lost_seconds: float
) -> ClusterView:
    """Work out who is there. `seen_seconds`, `lost_seconds`: silence after which a station, a worker is not counted."""
    workers = tuple(
        replace(facts, is_draining=facts.is_draining or machine.drain)
        for machine in machines
        if machine.role == "worker" and machine.silent_seconds <= lost_seconds
        for facts in (WorkerMachine.from_facts(machine.facts),)
    )
    others = 0
    for machine in machines:
        if machine.role == "station" and machine.name != station and machine.silent_seconds <= seen_seconds:
            facts = StationMachine.from_facts(machine.facts)
            others += facts.given + facts.queued > 0
    ready = [worker for worker in workers if not worker.is_draining]
    return ClusterView(
        slots=sum(len(worker.seats) for worker in ready if worker.weights == weights),
        other_slots=sum(len(worker.seats) for worker in ready if worker.weights != weights),
        stations=others + 1,
        workers=workers,
    )
