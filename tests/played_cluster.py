"""A cluster in memory with the methods of TicketQueue: it can go down, hang, refuse, and lose a reply.

`PlayedCluster` is the database, shared by all connections; `connect` makes one, as the links want it. While `down`
holds words every call fails with them; `is_hanging` makes calls never return; `lose_reply` names a method whose next
call is carried out and then fails. Times are the test's own clock, moved with `clock`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spotlessd.cluster.connection import ClusterDownError, ClusterRefusedError
from spotlessd.cluster.ticket_queue import Answered, Machine, Standing, Taken
from spotlessd.cluster.tickets import Answer, Ticket, TicketKey, queue_of


@dataclass
class PlayedRow:
    ticket: Ticket
    number: int
    state: str = "asked"
    turn: int = 0
    worker_id: int = 0
    worker: str = ""
    step: str = ""
    fraction: float = 0.0
    answer: Answer | None = None
    reason: str = ""


@dataclass
class PlayedCluster:
    down: str = ""
    refusal: str = ""
    is_hanging: bool = False
    lose_reply: str = ""
    clock: float = 0.0
    rows: dict[TicketKey, PlayedRow] = field(default_factory=dict)
    told: dict[tuple[str, str], tuple[dict[str, Any], float]] = field(default_factory=dict)
    draining: set[str] = field(default_factory=set)
    settled: set[int] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def connect(self) -> PlayedQueue:
        await self.step("connect")
        return PlayedQueue(self)

    async def step(self, name: str) -> None:
        self.calls.append(name)
        await asyncio.sleep(0)
        while self.is_hanging:
            await asyncio.sleep(0.01)
        if self.refusal:
            raise ClusterRefusedError(self.refusal)
        if self.down:
            raise ClusterDownError(self.down)

    def reply(self, name: str) -> None:
        if self.lose_reply == name:
            self.lose_reply = ""
            raise ClusterDownError("the connection broke before the reply")


class PlayedQueue:
    """One connection to the played cluster."""

    def __init__(self, cluster: PlayedCluster) -> None:
        self._cluster = cluster

    async def close(self) -> None:
        self._cluster.calls.append("close")

    async def ask(self, tickets: Sequence[Ticket]) -> None:
        await self._cluster.step("ask")
        for ticket in tickets:
            self._cluster.rows.setdefault(ticket.key, PlayedRow(ticket, next(self._cluster.numbers)))
        self._cluster.reply("ask")

    async def withdraw(self, keys: Sequence[TicketKey]) -> dict[TicketKey, bool]:
        await self._cluster.step("withdraw")
        found = {}
        for key in keys:
            row = self._cluster.rows.get(key)
            found[key] = row is None or row.state in {"asked", "doing"}
            if found[key]:
                self._cluster.rows.pop(key, None)
        self._cluster.reply("withdraw")
        return found

    async def answers(self, station: str) -> list[Answered]:
        await self._cluster.step("answers")
        return [
            Answered(key, row.turn, row.answer)
            for key, row in self._cluster.rows.items()
            if key.station == station and row.answer is not None
        ]

    async def acknowledge(self, keys: Sequence[TicketKey]) -> None:
        await self._cluster.step("acknowledge")
        for key in keys:
            row = self._cluster.rows.get(key)
            if row is not None and row.answer is not None:
                self._cluster.settled.add(self._cluster.rows.pop(key).turn)
        self._cluster.reply("acknowledge")

    async def standings(self, station: str) -> list[Standing]:
        await self._cluster.step("standings")
        return [
            Standing(key, row.state, row.worker, row.step, row.fraction, self._cluster.clock)
            for key, row in self._cluster.rows.items()
            if key.station == station
        ]

    async def register(self, name: str) -> int:
        await self._cluster.step("register")
        return next(self._cluster.numbers)

    async def beat(
        self, worker_id: int, held: Sequence[Taken], steps: Mapping[TicketKey, tuple[str, float]]
    ) -> list[Taken]:
        await self._cluster.step("beat")
        for key, (step, fraction) in steps.items():
            if (row := self._cluster.rows.get(key)) is not None:
                row.step, row.fraction = step, fraction
        turns = {row.turn for row in self._cluster.rows.values()} | self._cluster.settled
        known = {taken.turn for taken in held}
        for row in self._cluster.rows.values():
            if row.worker_id == worker_id and row.state == "doing" and row.turn not in known:
                row.state, row.worker_id = "asked", 0
        return [taken for taken in held if taken.turn not in turns]

    async def take(self, worker_id: int, name: str, queues: Sequence[str]) -> Taken | None:
        await self._cluster.step("take")
        rows = [
            row
            for row in self._cluster.rows.values()
            if row.state == "asked" and queue_of(row.ticket.weights, is_large=row.ticket.is_large) in queues
        ]
        if not rows:
            return None
        row = min(rows, key=lambda row: (-row.ticket.priority, row.number))
        row.state, row.turn = "doing", next(self._cluster.numbers)
        row.worker_id, row.worker = worker_id, name
        self._cluster.reply("take")
        return Taken(row.ticket, row.turn, row.number, worker=name, worker_id=worker_id)

    async def answer(self, taken: Taken, answer: Answer) -> bool:
        await self._cluster.step("answer")
        row = self._cluster.rows.get(taken.ticket.key)
        if row is None or row.turn != taken.turn:
            return taken.turn in self._cluster.settled
        row.state, row.answer = "answered", answer
        self._cluster.reply("answer")
        return True

    async def give_back(self, taken: Taken, reason: str, seconds: float) -> bool:
        await self._cluster.step("give_back")
        row = self._cluster.rows.get(taken.ticket.key)
        if row is None or row.turn != taken.turn or row.state != "doing":
            return False
        row.state, row.worker_id, row.worker, row.reason = "asked", 0, "", reason
        return True

    async def publishing(self, taken: Taken, plan: str) -> bool:
        await self._cluster.step("publishing")
        row = self._cluster.rows.get(taken.ticket.key)
        if row is None or row.turn != taken.turn:
            return False
        row.state = "publishing"
        return True

    async def reap(self, lost_seconds: float) -> int:
        await self._cluster.step("reap")
        return 0

    async def prune(self) -> None:
        await self._cluster.step("prune")

    async def tell(self, role: str, name: str, facts: dict[str, Any]) -> float:
        await self._cluster.step("tell")
        self._cluster.told[role, name] = facts, self._cluster.clock
        return 0.5

    async def machines(self) -> list[Machine]:
        await self._cluster.step("machines")
        return [
            Machine(role, name, facts, self._cluster.clock - seen, name in self._cluster.draining)
            for (role, name), (facts, seen) in self._cluster.told.items()
        ]

    async def wait(self, seconds: float, kind: str) -> None:
        await asyncio.sleep(min(seconds, 0.005))
