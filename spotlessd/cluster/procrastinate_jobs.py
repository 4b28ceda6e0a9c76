"""A ticket's job in procrastinate: begun, ended, queued again. Everything here runs within `Wire.transact`.

A job's row is always locked before its ticket's, so that no two transactions wait for each other.
"""

from collections.abc import Sequence

from spotlessd.cluster.wire import Wire

TASK = "spotlessd"
"""procrastinate's name of the task; it is never run by procrastinate's own worker."""
OPEN = frozenset({"todo", "doing"})


async def begin_jobs(wire: Wire, tickets: Sequence[tuple[int, str, int]]) -> None:
    """Queue tickets that have no job: (id, queue, priority) each, in the order in which they are to be served."""
    from procrastinate.jobs import Job

    if not tickets:
        return
    jobs = [
        Job(
            queue=queue,
            priority=priority,
            lock=None,
            queueing_lock=None,
            task_name=TASK,
            task_kwargs={"ticket": number},
        )
        for number, queue, priority in tickets
    ]
    begun = await wire.manager.batch_defer_jobs_async(jobs, connection=wire.connection)
    await wire.rows(
        "UPDATE spotlessd_tickets t SET procrastinate_id = j.id FROM procrastinate_jobs j"
        " WHERE j.id = ANY(%s) AND t.id = (j.args->>'ticket')::bigint",
        [job.id for job in begun],
    )


async def lock_job(wire: Wire, job: int | None) -> str | None:
    """Lock a job's row until the transaction ends, and return its status; None if there is no such job."""
    if job is None:
        return None
    rows = await wire.rows("SELECT status::text FROM procrastinate_jobs WHERE id = %s FOR UPDATE", job)
    return str(rows[0][0]) if rows else None


async def end_job(wire: Wire, job: int, status: str | None, *, has_failed: bool = False) -> None:
    """End a job whose row is locked. One that failed is kept for a week, for `procrastinate shell`."""
    from procrastinate.jobs import Status

    if status in OPEN:
        end = Status.FAILED if has_failed else Status.SUCCEEDED
        await wire.manager.finish_job_by_id_async(job, end, delete_job=not has_failed)


async def queue_again(wire: Wire, ticket: int, job: int | None, status: str | None, seconds: float = 0.0) -> None:
    """Let a ticket that is `asked` again be taken, in `seconds` from now, at its old place in the queue.

    `job`, `status`: its job, locked; one that is missing or over is replaced.
    """
    if job is not None and status == "doing":
        rows = await wire.rows("SELECT now() + make_interval(secs => %s)", seconds)  # the server's clock, not ours
        await wire.manager.retry_job_by_id_async(job, retry_at=rows[0][0])
    elif status != "todo":
        rows = await wire.rows("SELECT id, queue, priority FROM spotlessd_tickets WHERE id = %s", ticket)
        await begin_jobs(wire, [(number, queue, priority) for number, queue, priority in rows])
    await tell_workers(wire)


async def tell_workers(wire: Wire) -> None:
    """Wake all workers when the transaction is done."""
    await wire.rows("SELECT pg_notify('spotlessd_work', '')")


async def tell_station(wire: Wire, station: str) -> None:
    """Wake a station when the transaction is done: it has an answer."""
    await wire.rows("SELECT pg_notify('spotlessd_answers', %s)", station)
