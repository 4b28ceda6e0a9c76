"""What nobody else would mend: tickets of workers that were lost, tickets and jobs that do not fit, rows of the past.

Any worker may do it at any time, several at once: what one has locked or mended, the others skip. Losses are counted
here, and a ticket over which too many workers were lost is answered as poison.
"""

from functools import partial

from spotlessd.cluster.procrastinate_jobs import TASK, end_job, lock_job, queue_again, tell_station
from spotlessd.cluster.ticket_rows import kept_json, poison
from spotlessd.cluster.wire import Wire

DAY_SECONDS = 86_400
WEEK_HOURS = 7 * 24
SWEPT_AT_ONCE = 500


async def reap(wire: Wire, lost_seconds: float) -> int:
    """Take back the tickets of workers silent for `lost_seconds`; return how many."""
    stalled = await wire.transact(
        lambda: wire.manager.get_stalled_jobs(task_name=TASK, seconds_since_heartbeat=lost_seconds)
    )
    number = 0
    for job in stalled:
        assert job.id is not None  # noqa: S101 - it comes from the table
        number += await wire.transact(partial(_reap_job, wire, job.id, lost_seconds))
    for ticket, job_id in await wire.transact(partial(_torn, wire, lost_seconds)):
        number += await wire.transact(partial(_mend, wire, ticket, job_id, lost_seconds))
    return number


async def lose(wire: Wire, ticket: int, job: int | None, status: str | None) -> None:
    """Count a lost worker over a ticket; queue it again or, if it was one too many, answer it as poison."""
    rows = await wire.rows(
        "UPDATE spotlessd_tickets SET state = 'asked', losses = losses + 1, worker = '', worker_id = NULL, step = '',"
        " fraction = 0, lost_workers = lost_workers || worker, reason = 'worker ' || worker || ' was lost'"
        " WHERE id = %s RETURNING losses, max_losses",
        ticket,
    )
    losses, max_losses = rows[0]
    if losses < max_losses:
        await queue_again(wire, ticket, job, status)
    else:
        await answer_poison(wire, ticket, job, status)


async def answer_poison(wire: Wire, ticket: int, job: int | None, status: str | None) -> None:
    """Answer a ticket for which too many workers were lost. Rows locked."""
    lost, plan = (await wire.rows("SELECT lost_workers, plan FROM spotlessd_tickets WHERE id = %s", ticket))[0]
    rows = await wire.rows(
        "UPDATE spotlessd_tickets SET state = 'answered', answer = %s, answered_at = now(), worker_id = NULL"
        " WHERE id = %s RETURNING station",
        kept_json(poison(lost, plan).to_json()),
        ticket,
    )
    if job is not None:
        await end_job(wire, job, status, has_failed=True)
    await tell_station(wire, rows[0][0])


async def _reap_job(wire: Wire, job: int, lost_seconds: float) -> int:
    """Take one job from a silent worker, unless another reaper has it, or it was answered or taken meanwhile."""
    rows = await wire.rows(
        "SELECT (j.args->>'ticket')::bigint FROM procrastinate_jobs j"
        " WHERE j.id = %s AND j.status = 'doing' AND NOT EXISTS ("
        "  SELECT FROM procrastinate_workers w"
        "  WHERE w.id = j.worker_id AND w.last_heartbeat >= now() - make_interval(secs => %s))"
        " FOR UPDATE OF j SKIP LOCKED",
        job,
        lost_seconds,
    )
    if not rows:
        return 0
    ticket = rows[0][0]
    rows = await wire.rows("SELECT state, procrastinate_id FROM spotlessd_tickets WHERE id = %s FOR UPDATE", ticket)
    if not rows or rows[0][0] == "answered" or rows[0][1] != job:
        await end_job(wire, job, "doing")
        return 0
    if rows[0][0] == "asked":
        await queue_again(wire, ticket, job, "doing")
    else:
        await lose(wire, ticket, job, "doing")
    return 1


_IS_TORN = """
    (t.state = 'asked' AND j.status IS DISTINCT FROM 'todo')
    OR (t.state IN ('doing', 'publishing') AND j.status IS DISTINCT FROM 'doing' AND NOT EXISTS (
        SELECT FROM procrastinate_workers w
        WHERE w.id = t.worker_id AND w.last_heartbeat >= now() - make_interval(secs => %s)))
"""
"""A ticket that nobody will ever take or answer, because its job is missing or over: somebody cleaned the tables."""


async def _torn(wire: Wire, lost_seconds: float) -> list[tuple[int, int | None]]:
    """Return torn tickets with their jobs, and end jobs without a ticket; for all machines once in `lost_seconds`."""
    mine = await wire.rows(
        "UPDATE spotlessd_schema SET swept_at = now()"
        " WHERE NOT swept_at BETWEEN now() - make_interval(secs => %s) AND now() RETURNING 1",
        lost_seconds,
    )
    if not mine:
        return []
    jobs = await wire.rows(
        "SELECT j.id, j.status::text FROM procrastinate_jobs j"
        " WHERE j.task_name = %s AND j.status IN ('todo', 'doing') AND NOT EXISTS ("
        "  SELECT FROM spotlessd_tickets t WHERE t.id = (j.args->>'ticket')::bigint"
        "  AND t.procrastinate_id = j.id AND t.state <> 'answered')"
        " ORDER BY j.id LIMIT %s FOR UPDATE OF j SKIP LOCKED",
        TASK,
        SWEPT_AT_ONCE,
    )
    for job, status in jobs:
        await end_job(wire, job, status)
    rows = await wire.rows(
        "SELECT t.id, t.procrastinate_id FROM spotlessd_tickets t"  # noqa: S608
        f" LEFT JOIN procrastinate_jobs j ON j.id = t.procrastinate_id WHERE {_IS_TORN} ORDER BY t.id LIMIT %s",
        lost_seconds,
        SWEPT_AT_ONCE,
    )
    return [(ticket, job) for ticket, job in rows]


async def _mend(wire: Wire, ticket: int, job: int | None, lost_seconds: float) -> int:
    """Queue one torn ticket again, if it still is torn."""
    status = await lock_job(wire, job)
    rows = await wire.rows(
        "SELECT t.state FROM spotlessd_tickets t LEFT JOIN procrastinate_jobs j ON j.id = t.procrastinate_id"  # noqa: S608
        f" WHERE t.id = %s AND t.procrastinate_id IS NOT DISTINCT FROM %s AND ({_IS_TORN}) FOR UPDATE OF t",
        ticket,
        job,
        lost_seconds,
    )
    if not rows:
        return 0
    if rows[0][0] == "asked":
        await queue_again(wire, ticket, job, status)
    else:
        await lose(wire, ticket, job, status)
    return 1


async def prune(wire: Wire) -> None:
    """Forget workers silent for a day, failed jobs older than a week, and machines silent for a week with theirs."""
    await wire.transact(lambda: wire.manager.prune_stalled_workers(DAY_SECONDS))
    queues = await wire.transact(
        lambda: wire.rows("SELECT DISTINCT queue_name FROM procrastinate_jobs WHERE task_name = %s", TASK)
    )
    for (queue,) in queues:  # others may use procrastinate in this database too
        await wire.transact(
            partial(
                wire.manager.delete_old_jobs,
                WEEK_HOURS,
                queue=queue,
                include_failed=True,
                include_cancelled=True,
                include_aborted=True,
            )
        )
    await wire.transact(partial(_prune_ours, wire))


async def _prune_ours(wire: Wire) -> None:
    await wire.rows("DELETE FROM spotlessd_settled WHERE at < now() - interval '1 day'")
    await wire.rows("DELETE FROM spotlessd_machines WHERE seen < now() - interval '7 days'")
    await wire.rows(  # their jobs end when they are taken or swept
        "DELETE FROM spotlessd_tickets t WHERE asked_at < now() - interval '7 days' AND NOT EXISTS ("
        " SELECT FROM spotlessd_machines m WHERE m.role = 'station' AND m.name = t.station)"
    )
