"""The cluster's queue of tickets: what stations ask, what workers take and answer. Every statement is a transaction.

procrastinate keeps the queue (who is next, who is alive, what was lost); our ticket row decides what counts: each claim
gets a `turn` that no other claim ever has, and an answer, a return or a plan counts only with the current one. What
comes twice because a connection broke before the reply came is the same as once.

Every method raises ClusterDownError when the connection is gone (the queue is then closed; connect again), and
ClusterRefusedError if PostgreSQL refuses what only a person can mend.
"""

import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from spotlessd.cluster import claims, reaping
from spotlessd.cluster.connection import Target
from spotlessd.cluster.procrastinate_jobs import begin_jobs, end_job, tell_workers
from spotlessd.cluster.ticket_rows import (
    AMONG,
    Answered,
    Count,
    Machine,
    Standing,
    Taken,
    answered_of,
    kept_json,
    key_columns,
)
from spotlessd.cluster.tickets import Answer, Ticket, TicketKey, queue_of
from spotlessd.cluster.wire import Wire

if TYPE_CHECKING:
    import psycopg

__all__ = ["Answered", "Count", "Machine", "Standing", "Taken", "TicketQueue"]

IS_VOIDABLE = "state IN ('asked', 'doing') AND plan = ''"
"""SQL: nobody has begun to name the ticket's result; who has may have been lost over it."""
WORK = "work"
ANSWERS = "answers:"

T = TypeVar("T")


class TicketQueue:
    """One connection to the cluster. Its methods may be called by several tasks of one event loop."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._given: set[int] = set()

    @classmethod
    async def connect(cls, target: Target) -> "TicketQueue":
        """Connect; make the tables if they are missing.

        Raises:
            ClusterDownError: it cannot be reached now.
            ClusterRefusedError: somebody must mend something first.
        """
        return cls(await Wire.open(target))

    async def close(self) -> None:
        """Hang up."""
        await self._wire.close()

    # Stations.

    async def ask(self, tickets: Sequence[Ticket]) -> None:
        """Add tickets, in the order in which they are to be served; one whose key is known already is left."""
        if tickets:
            await self._wire.transact(partial(self._ask, tickets))

    async def _ask(self, tickets: Sequence[Ticket]) -> None:
        added = await self._wire.rows(
            "INSERT INTO spotlessd_tickets (station, job, attempt, queue, priority, max_losses, ticket)"
            " SELECT * FROM unnest(%s::text[], %s::bigint[], %s::int[], %s::text[], %s::int[], %s::int[], %s::json[])"
            " ON CONFLICT DO NOTHING RETURNING id, queue, priority",
            *key_columns([ticket.key for ticket in tickets]),
            [queue_of(ticket.weights, is_large=ticket.is_large) for ticket in tickets],
            [ticket.priority for ticket in tickets],
            [ticket.max_losses for ticket in tickets],
            [kept_json(ticket.to_json()) for ticket in tickets],
        )
        if added:
            await begin_jobs(self._wire, sorted(tuple(row) for row in added))
            await tell_workers(self._wire)

    async def withdraw(self, keys: Sequence[TicketKey]) -> dict[TicketKey, bool]:
        """Take tickets back. True: it is void, whoever works on it; also if it was unknown. False: it was answered, or
        is being published, or its worker was lost meanwhile: its answer comes.
        """
        return await self._wire.transact(partial(self._withdraw, keys)) if keys else {}

    async def _withdraw(self, keys: Sequence[TicketKey]) -> dict[TicketKey, bool]:
        wire, columns = self._wire, key_columns(keys)
        rows = await wire.rows(
            f"SELECT procrastinate_id FROM spotlessd_tickets WHERE {AMONG} AND {IS_VOIDABLE}",  # noqa: S608
            *columns,
        )
        jobs = [job for (job,) in rows if job is not None]
        locked = await wire.rows(
            "SELECT id, status::text FROM procrastinate_jobs WHERE id = ANY(%s) ORDER BY id FOR UPDATE", jobs
        )
        statuses: dict[int, str] = dict(locked)
        gone = await wire.rows(
            f"DELETE FROM spotlessd_tickets WHERE {AMONG} AND {IS_VOIDABLE} RETURNING procrastinate_id",  # noqa: S608
            *columns,
        )
        for (job,) in gone:
            await end_job(wire, job, statuses.get(job))
        left = await wire.rows(f"SELECT station, job, attempt FROM spotlessd_tickets WHERE {AMONG}", *columns)  # noqa: S608
        stays = {TicketKey(*row) for row in left}
        return {key: key not in stays for key in keys}

    async def answers(self, station: str) -> list[Answered]:
        """Return the answers that this station has not acknowledged, the oldest first."""
        rows = await self._wire.transact(
            lambda: self._wire.rows(
                "SELECT station, job, attempt, turn, worker, answer::text FROM spotlessd_tickets"
                " WHERE station = %s AND state = 'answered' ORDER BY answered_at, id",
                station,
            )
        )
        return [answered_of(tuple(row)) for row in rows]

    async def acknowledge(self, keys: Sequence[TicketKey]) -> None:
        """Forget answered tickets: their station's ledger has them."""
        if keys:
            await self._wire.transact(
                lambda: self._wire.rows(
                    f"WITH gone AS (DELETE FROM spotlessd_tickets WHERE {AMONG} AND state = 'answered' RETURNING turn)"  # noqa: S608
                    " INSERT INTO spotlessd_settled (turn) SELECT turn FROM gone WHERE turn > 0 ON CONFLICT DO NOTHING",
                    *key_columns(keys),
                )
            )

    async def standings(self, station: str) -> list[Standing]:
        """Return where all tickets of a station stand, in the order in which they were asked."""
        rows = await self._wire.transact(
            lambda: self._wire.rows(
                "SELECT station, job, attempt, state, worker, step, fraction,"
                " extract(epoch FROM now() - asked_at)::float8, reason, losses, turn"
                " FROM spotlessd_tickets WHERE station = %s ORDER BY id",
                station,
            )
        )
        return [Standing(TicketKey(*row[:3]), *row[3:]) for row in rows]

    # Workers.

    async def register(self, name: str) -> int:
        """Return a number for a worker that begins; `name` is only for people."""
        return await self._wire.transact(self._wire.manager.register_worker)

    async def beat(
        self, worker_id: int, held: Sequence[Taken], steps: Mapping[TicketKey, tuple[str, float]]
    ) -> list[Taken]:
        """Say that a worker lives and how far it is; return what of `held` it no longer holds and must let go.

        What it holds by the table and not by `held`, because a connection broke before `take` could return, is given
        back. A worker whose row was cleaned away gets it again.
        """
        seen: frozenset[int] = frozenset()

        async def note() -> list[Taken]:
            nonlocal seen
            seen = frozenset(self._given)  # a take may have come between this call and its turn on the connection
            return await claims.beat(self._wire, worker_id, held, steps, seen)

        void = await self._wire.transact(note)
        self._given -= seen
        return void

    async def take(self, worker_id: int, name: str, queues: Sequence[str]) -> Taken | None:
        """Claim the next ticket of `queues` for a worker: highest priority first, then the one asked first."""
        while True:
            is_found, taken = await self._wire.transact(partial(claims.take, self._wire, worker_id, name, list(queues)))
            if taken is not None:
                self._given.add(taken.turn)
            if taken is not None or not is_found:
                return taken

    async def answer(self, taken: Taken, answer: Answer) -> bool:
        """Answer a ticket; False if its turn is over: the answer is void."""
        return await self._wire.transact(partial(claims.answer, self._wire, taken, answer))

    async def give_back(self, taken: Taken, reason: str, seconds: float) -> bool:
        """Queue a ticket again, to be taken in `seconds` or later; no loss is counted. False if its turn is over."""
        return await self._wire.transact(partial(claims.give_back, self._wire, taken, reason, seconds))

    async def publishing(self, taken: Taken, plan: str) -> bool:
        """Note that the worker begins to publish, and how ("": it has taken everything back); False if it must not.

        Then its turn is over; also because another ticket's names may be in its way, and it was given back.
        """
        return await self._wire.transact(partial(claims.publishing, self._wire, taken, plan))

    async def reap(self, lost_seconds: float) -> int:
        """Take back the tickets of workers silent for `lost_seconds`, and mend what does not fit; return how many."""
        return await reaping.reap(self._wire, lost_seconds)

    async def prune(self) -> None:
        """Forget what is long over: workers after a day, failed jobs and silent machines after a week."""
        await reaping.prune(self._wire)

    # Both.

    async def tell(self, role: str, name: str, facts: dict[str, Any]) -> float:
        """Say what a machine (`role`: station, worker) is and does; return its clock minus the server's, in seconds."""
        before = time.time()
        rows = await self._wire.transact(
            lambda: self._wire.rows("SELECT extract(epoch FROM clock_timestamp())::float8")
        )
        after = time.time()
        await self._wire.transact(
            lambda: self._wire.rows(
                "INSERT INTO spotlessd_machines (role, name, facts) VALUES (%s, %s, %s)"
                " ON CONFLICT (role, name) DO UPDATE SET facts = excluded.facts, seen = now()",
                role,
                name,
                json.dumps(facts),
            )
        )
        return (before + after) / 2 - float(rows[0][0])

    async def machines(self) -> list[Machine]:
        """Return all machines of the last week, stations first."""
        rows = await self._wire.transact(
            lambda: self._wire.rows(
                "SELECT role, name, facts::text, extract(epoch FROM now() - seen)::float8, drain"
                " FROM spotlessd_machines ORDER BY role, name"
            )
        )
        return [Machine(role, name, json.loads(facts), silent, drain) for role, name, facts, silent, drain in rows]

    async def lend(self, work: "Callable[[psycopg.AsyncConnection], Awaitable[T]]") -> T:
        """Run what others have to say or ask over this connection, in one transaction."""
        return await self._wire.transact(lambda: work(self._wire.connection))

    async def ask_drain(self, name: str, is_asked: bool) -> bool:
        """Ask a worker to finish what it has and take no more, or no longer ask; False if there is no such worker."""
        return bool(
            await self._wire.transact(
                lambda: self._wire.rows(
                    "UPDATE spotlessd_machines SET drain = %s WHERE role = 'worker' AND name = %s RETURNING 1",
                    is_asked,
                    name,
                )
            )
        )

    async def counts(self) -> list[Count]:
        """Return how many tickets each station has in each state."""
        rows = await self._wire.transact(
            lambda: self._wire.rows(
                "SELECT station, state, count(*), extract(epoch FROM now() - min(asked_at))::float8"
                " FROM spotlessd_tickets GROUP BY station, state ORDER BY station, state"
            )
        )
        return [Count(*row) for row in rows]

    async def wait(self, seconds: float, kind: str) -> None:
        """Return at news of a kind, or after `seconds`. `kind`: "work", or "answers:" and a station's name."""
        if kind == WORK:
            await self._wire.wait(seconds, "spotlessd_work", "")
        elif kind.startswith(ANSWERS):
            await self._wire.wait(seconds, "spotlessd_answers", kind.removeprefix(ANSWERS))
        else:
            raise ValueError(f"{kind}: no kind of news; work or answers:<station> expected")
