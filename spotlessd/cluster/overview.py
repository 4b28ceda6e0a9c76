"""The whole cluster as one picture, read from PostgreSQL in five statements: for `status --cluster` and /metrics.

Comes in: an open connection whose rows are tuples. Goes out: a `ClusterOverview`, plain values. Nothing is changed.
All ages are seconds by PostgreSQL's clock, so that a machine with a wrong clock sees the same as the others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spotlessd.cluster.machines import StationMachine, WorkerMachine
from spotlessd.cluster.overview_views import ClusterOverview, QueueView, StationView, TicketView, WorkerView
from spotlessd.cluster.overview_warnings import warnings_of

if TYPE_CHECKING:
    import psycopg

IN_HAND_SHOWN = 2000
RETURNED_SHOWN = 200
STATEMENT_MS = 5000
"""A PostgreSQL that is so busy that the picture takes longer is as good as not there."""

MACHINES = """
SELECT role, name, facts, drain, extract(epoch FROM clock_timestamp() - seen)::float8
  FROM spotlessd_machines ORDER BY role, name"""
COUNTS = """
SELECT station, queue, state, count(*), extract(epoch FROM clock_timestamp() - min(asked_at))::float8
  FROM spotlessd_tickets GROUP BY station, queue, state"""
IN_HAND = f"""
SELECT station, job, attempt, state, worker, turn, losses, step, fraction, reason, ticket::text,
       coalesce(extract(epoch FROM clock_timestamp() - taken_at), 0)::float8
  FROM spotlessd_tickets WHERE state IN ('doing', 'publishing') ORDER BY taken_at LIMIT {IN_HAND_SHOWN}"""  # noqa: S608
RETURNED = f"""
SELECT station, job, attempt, state, '', turn, losses, '', 0.0, reason, ticket::text,
       extract(epoch FROM clock_timestamp() - asked_at)::float8
  FROM spotlessd_tickets WHERE state = 'asked' AND (losses > 0 OR reason <> '')
 ORDER BY losses DESC, id LIMIT {RETURNED_SHOWN}"""  # noqa: S608
POISONED = r"""
SELECT count(*) FROM spotlessd_tickets WHERE state = 'answered' AND answer::text ~* '"kind":\s*"poison"'"""
STATEMENTS = (MACHINES, COUNTS, IN_HAND, RETURNED, POISONED)
LIMIT = f"SET LOCAL statement_timeout = {STATEMENT_MS}"


def read_overview(connection: psycopg.Connection[Any], now: float, *, lost_seconds: float = 30.0) -> ClusterOverview:
    """Read everything. `now`: seconds since the epoch. `lost_seconds`: silence after which a machine counts as lost.

    Raises:
        psycopg.Error: PostgreSQL went away, or the tables are not there.
    """
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(LIMIT)
        rows = [cursor.execute(statement).fetchall() for statement in STATEMENTS]
    return overview_of(rows, now, lost_seconds)


async def read_overview_async(
    connection: psycopg.AsyncConnection[Any], now: float, *, lost_seconds: float = 30.0
) -> ClusterOverview:
    """Read the same over a link's connection, whose rows are tuples.

    Raises:
        psycopg.Error: as `read_overview`.
    """
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.execute(LIMIT)
        rows = []
        for statement in STATEMENTS:
            await cursor.execute(statement)
            rows.append(await cursor.fetchall())
    return overview_of(rows, now, lost_seconds)


def overview_of(rows: Sequence[Sequence[Any]], now: float, lost_seconds: float) -> ClusterOverview:
    """Make the picture of what the statements returned, in their order."""
    machines, counts, in_hand_rows, returned, poisoned = rows
    in_hand = tuple(_ticket(row) for row in in_hand_rows)
    overview = ClusterOverview(
        at=now,
        lost_seconds=lost_seconds,
        stations=_stations(machines, counts, lost_seconds),
        workers=_workers(machines, in_hand, lost_seconds),
        queues=_queues(counts),
        in_hand=in_hand,
        returned=tuple(_ticket(row) for row in returned),
        states=_states(counts),
        poisoned=int(poisoned[0][0]),
    )
    return replace(overview, warnings=tuple(warnings_of(overview)))


def _stations(machines: Sequence[Any], counts: Sequence[Any], silence: float) -> tuple[StationView, ...]:
    """Put each station's tickets to it; one that has tickets but no row is told too."""
    numbers: dict[str, dict[str, int]] = {}
    for station, _, state, number, _ in counts:
        of_station = numbers.setdefault(station, {})
        of_station[state] = of_station.get(state, 0) + number
    rows = {name: (facts, silent) for role, name, facts, _, silent in machines if role == "station"}
    views = []
    for key in sorted(rows.keys() | numbers.keys()):
        facts, silent = rows.get(key, ({}, float("inf")))
        own = numbers.get(key, {})
        views.append(
            StationView(
                key,
                StationMachine.from_facts(facts),
                silent if silent != float("inf") else -1.0,
                silent <= silence,
                own.get("asked", 0),
                own.get("doing", 0) + own.get("publishing", 0),
                own.get("answered", 0),
            )
        )
    return tuple(views)


def _workers(machines: Sequence[Any], in_hand: Sequence[TicketView], silence: float) -> tuple[WorkerView, ...]:
    held: dict[str, int] = {}
    for ticket in in_hand:
        held[ticket.worker] = held.get(ticket.worker, 0) + 1
    views = []
    for role, name, values, drain, silent in machines:
        if role == "worker":
            facts = WorkerMachine.from_facts(values)
            is_draining = bool(drain) or facts.is_draining
            views.append(WorkerView(name, facts, silent, silent <= silence, is_draining, held.get(name, 0)))
    return tuple(views)


def _queues(counts: Sequence[Any]) -> tuple[QueueView, ...]:
    found: dict[str, QueueView] = {}
    for _, name, state, number, oldest in counts:
        parts = name.split("-")
        empty = QueueView(name, parts[1] if len(parts) > 2 else "", parts[-1] == "large", 0, 0, 0.0)
        queue = found.setdefault(name, empty)
        if state == "asked":
            age = max(queue.oldest_seconds, oldest)
            found[name] = replace(queue, waiting=queue.waiting + number, oldest_seconds=age)
        elif state in {"doing", "publishing"}:
            found[name] = replace(queue, in_hand=queue.in_hand + number)
    return tuple(found[name] for name in sorted(found))


def _states(counts: Sequence[Any]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for _, _, state, number, _ in counts:
        numbers[state] = numbers.get(state, 0) + number
    return numbers


def _ticket(row: Sequence[Any]) -> TicketView:
    """Take the scan's name out of the ticket here: PostgreSQL cannot read every name that a file may have."""
    *values, text, seconds = row
    ticket = json.loads(text)
    values += [f"{ticket.get('root', '')}/{ticket.get('rel', '')}", seconds]
    return TicketView(*values)
