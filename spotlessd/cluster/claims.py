"""A worker's claims: take, beat, answer, give back. Every function is the inside of one transaction (`Wire.transact`).

Each claim gets a `turn` that no other claim ever has; what a worker sends counts only with the ticket's current one.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from spotlessd.cluster import reaping
from spotlessd.cluster.procrastinate_jobs import end_job, lock_job, queue_again, tell_station
from spotlessd.cluster.ticket_rows import KEY, Taken, kept_json, key_columns, key_values, plain, taken_of
from spotlessd.cluster.tickets import Answer, AnswerKind, Ticket, TicketError, TicketKey
from spotlessd.cluster.wire import Wire

NAMES_LOCK = 7_071_736
"""The first half of the advisory locks under which plans are noted; any number that nobody else uses."""
NAMES_SECONDS = 2.0
"""How long a result whose names may be in another's way rests before it is computed again."""
VERSION = re.compile(r"(~\d+)+\Z")
UNREADABLE_SECONDS = 60.0
"""A ticket that this version cannot read is left to others for so long."""


async def take(wire: Wire, worker_id: int, name: str, queues: list[str]) -> tuple[bool, Taken | None]:
    """Claim one job; (whether there was one, what it is if it can be done)."""
    await _revive(wire, worker_id)
    job = await wire.manager.fetch_job(queues, worker_id)
    if job is None or job.id is None:
        return False, None
    rows = await wire.rows(
        "UPDATE spotlessd_tickets SET state = 'doing', turn = nextval('spotlessd_turns'), worker = %s,"
        " worker_id = %s, step = '', fraction = 0, taken_at = now()"
        " WHERE id = %s AND procrastinate_id = %s AND state = 'asked'"
        " RETURNING id, losses >= max_losses, ticket::text, turn, procrastinate_id, losses, plan, worker",
        name,
        worker_id,
        job.task_kwargs.get("ticket"),
        job.id,
    )
    if not rows:  # withdrawn or answered, or not ours
        await end_job(wire, job.id, "doing")
        return True, None
    ticket, is_poison, *row = rows[0]
    if is_poison:
        await reaping.answer_poison(wire, ticket, job.id, "doing")
        return True, None
    try:
        return True, taken_of(tuple(row), worker_id)
    except TicketError as error:
        await _return(wire, ticket, row[1], str(error), UNREADABLE_SECONDS)
        return True, None


async def beat(
    wire: Wire,
    worker_id: int,
    held: Sequence[Taken],
    steps: Mapping[TicketKey, tuple[str, float]],
    given: frozenset[int],
) -> list[Taken]:
    """Note a worker's life and progress; return what it no longer holds.

    `given`: turns that were handed out since the last beat, which `held` need not know yet.
    """
    await _revive(wire, worker_id)
    await wire.manager.update_heartbeat(worker_id)
    if steps:
        await wire.rows(
            "UPDATE spotlessd_tickets t SET step = s.step, fraction = s.fraction"
            " FROM unnest(%s::text[], %s::bigint[], %s::int[], %s::text[], %s::real[])"
            " AS s (station, job, attempt, step, fraction)"
            " WHERE (t.station, t.job, t.attempt) = (s.station, s.job, s.attempt)"
            " AND t.worker_id = %s AND t.state IN ('doing', 'publishing')",
            *key_columns(list(steps)),
            [plain(step) for step, _ in steps.values()],
            [fraction for _, fraction in steps.values()],
            worker_id,
        )
    mine = await wire.rows("SELECT turn, state, id FROM spotlessd_tickets WHERE worker_id = %s", worker_id)
    current = {turn for turn, _, _ in mine}
    known = {taken.turn for taken in held} | given
    for turn, state, ticket in mine:
        if state == "doing" and turn not in known:
            await _return(wire, ticket, turn, "its worker did not hear that it had it", 0.0)
    doubtful = [taken.turn for taken in held if taken.turn not in current]
    if not doubtful:
        return []
    settled = await wire.rows("SELECT turn FROM spotlessd_settled WHERE turn = ANY(%s)", doubtful)
    void = set(doubtful) - {turn for (turn,) in settled}
    return [taken for taken in held if taken.turn in void]


async def answer(wire: Wire, taken: Taken, given: Answer) -> bool:
    """Keep an answer if its turn is the current one; also True if it was kept before."""
    key = taken.ticket.key
    status = await lock_job(wire, taken.procrastinate_id)
    rows = await wire.rows(
        "UPDATE spotlessd_tickets SET state = 'answered', answer = %s, answered_at = now(), step = '', fraction = 1,"  # noqa: S608
        " plan = ''"
        f" WHERE {KEY} AND turn = %s AND state IN ('doing', 'publishing') RETURNING procrastinate_id",
        kept_json(given.to_json()),
        *key_values(key),
        taken.turn,
    )
    if rows:
        if rows[0][0] == taken.procrastinate_id:
            is_done = given.kind is AnswerKind.FINISHED
            await end_job(wire, taken.procrastinate_id, status, has_failed=not is_done)
        await tell_station(wire, key.station)
        return True
    rows = await wire.rows(
        f"SELECT 1 FROM spotlessd_tickets WHERE {KEY} AND turn = %s AND state = 'answered'"  # noqa: S608
        " UNION ALL SELECT 1 FROM spotlessd_settled WHERE turn = %s",
        *key_values(key),
        taken.turn,
        taken.turn,
    )
    return bool(rows)


async def publishing(wire: Wire, taken: Taken, plan: str) -> bool:
    """Note a plan, if its turn is the current one and nobody else's names can be in its way.

    Two scans of one stem (`a.tif`, `a.jpg`), or one scan of two ledgers, want the same names. While one of them is
    named, or was when its worker was lost, the other is given back: their files may be equal, byte for byte, and could
    not be told apart.
    """
    await wire.rows("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", NAMES_LOCK, plain(repr(_names_of(taken.ticket))))
    key = key_values(taken.ticket.key)
    mine = await wire.rows(
        f"SELECT id FROM spotlessd_tickets WHERE {KEY} AND turn = %s AND state IN ('doing', 'publishing')",  # noqa: S608
        *key,
        taken.turn,
    )
    if not mine:
        return False
    others = await wire.rows("SELECT ticket::text FROM spotlessd_tickets WHERE plan <> '' AND id <> %s", mine[0][0])
    if plan and any(_are_beside(text, taken.ticket) for (text,) in others):
        await _return(wire, mine[0][0], taken.turn, "a scan of the same name is being published", NAMES_SECONDS)
        return False
    rows = await wire.rows(
        "UPDATE spotlessd_tickets SET state = CASE WHEN %s = '' THEN 'doing' ELSE 'publishing' END, plan = %s"  # noqa: S608
        f" WHERE {KEY} AND turn = %s AND state IN ('doing', 'publishing') RETURNING 1",
        plain(plan),
        plain(plan),
        *key,
        taken.turn,
    )
    return bool(rows)


def _names_of(ticket: Ticket) -> tuple[str, str, str]:
    """Return what results have in common whose names may be the same: folder, and stem without a version's number."""
    rel = PurePosixPath(ticket.rel)
    return ticket.output.share, str(PurePosixPath(ticket.output.rel, rel.parent)), VERSION.sub("", rel.stem).casefold()


def _are_beside(text: str, ticket: Ticket) -> bool:
    try:
        return _names_of(Ticket.from_json(text)) == _names_of(ticket)
    except TicketError:
        return True  # of another version: better wait for it


async def give_back(wire: Wire, taken: Taken, reason: str, seconds: float) -> bool:
    """Queue a ticket again if its turn is the current one."""
    rows = await wire.rows(
        f"SELECT id, state FROM spotlessd_tickets WHERE {KEY} AND turn = %s",  # noqa: S608
        *key_values(taken.ticket.key),
        taken.turn,
    )
    if not rows or rows[0][1] == "asked":  # given back before, and the reply did not come
        return bool(rows)
    return await _return(wire, rows[0][0], taken.turn, reason, seconds)


async def _return(wire: Wire, ticket: int, turn: int, reason: str, seconds: float) -> bool:
    job = (await wire.rows("SELECT procrastinate_id FROM spotlessd_tickets WHERE id = %s", ticket))[0][0]
    status = await lock_job(wire, job)
    rows = await wire.rows(
        "UPDATE spotlessd_tickets SET state = 'asked', worker = '', worker_id = NULL, step = '', fraction = 0,"
        " reason = %s WHERE id = %s AND turn = %s AND state IN ('doing', 'publishing') RETURNING 1",
        plain(reason),
        ticket,
        turn,
    )
    if rows:
        await queue_again(wire, ticket, job, status, seconds)
    return bool(rows)


async def _revive(wire: Wire, worker_id: int) -> None:
    """Put a worker's row back if somebody cleaned it away, and its name on the jobs that it still holds."""
    was_gone = await wire.rows(
        "INSERT INTO procrastinate_workers (id) OVERRIDING SYSTEM VALUE VALUES (%s) ON CONFLICT DO NOTHING RETURNING 1",
        worker_id,
    )
    if was_gone:
        await wire.rows(
            "UPDATE procrastinate_jobs j SET worker_id = t.worker_id FROM spotlessd_tickets t"
            " WHERE t.worker_id = %s AND t.state IN ('doing', 'publishing') AND j.id = t.procrastinate_id"
            " AND j.status = 'doing' AND j.worker_id IS NULL",
            worker_id,
        )
