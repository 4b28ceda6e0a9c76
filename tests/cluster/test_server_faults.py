"""PostgreSQL stops, is killed, hangs or drops connections: ClusterDownError at once, and nothing committed is lost."""

import asyncio
import signal
import time

import pytest
from cluster_tickets import QUEUES, finished, queues, story, taken, ticket
from postgres import Database

from spotlessd.cluster import wire
from spotlessd.cluster.connection import ClusterDownError
from spotlessd.cluster.ticket_queue import TicketQueue

DROP = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test'"


@story
async def test_a_dropped_connection_is_seen_and_every_later_call_says_so(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(1)])
        database.rows(DROP)

        for _ in range(2):
            with pytest.raises(ClusterDownError, match=r"the cluster's PostgreSQL at 127\.0\.0\.1:\d+/spotless_"):
                await queue.ask([ticket(2)])
        with pytest.raises(ClusterDownError):
            await queue.wait(1, "work")


@story
async def test_a_connection_dropped_while_waiting_for_news_ends_the_wait_at_once(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.wait(5, "work")
        waiting = asyncio.create_task(queue.wait(30, "work"))
        await asyncio.sleep(0.05)
        database.rows(DROP)

        with pytest.raises(ClusterDownError):
            await asyncio.wait_for(waiting, 2)


@story
async def test_closing_ends_a_wait(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.wait(5, "work")
        waiting = asyncio.create_task(queue.wait(30, "work"))
        await asyncio.sleep(0.05)
        await queue.close()
        await queue.close()

        with pytest.raises(ClusterDownError):
            await asyncio.wait_for(waiting, 2)


@story
async def test_a_statement_that_is_cancelled_leaves_a_connection_that_works(database: Database) -> None:
    async with queues(database) as (queue,):
        with database.connect() as blocker:
            blocker.execute("BEGIN")
            blocker.execute("LOCK spotlessd_tickets")
            asking = asyncio.create_task(queue.ask([ticket(1)]))
            await asyncio.sleep(0.1)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            blocker.execute("ROLLBACK")

        await queue.ask([ticket(2)])
        assert [standing.key.job for standing in await queue.standings("darkroom")] == [2]


@story
async def test_two_transactions_that_wait_for_each_other_both_get_through(database: Database) -> None:
    database.server.administrate(f"ALTER DATABASE {database.name} SET deadlock_timeout = '50ms'")
    async with queues(database) as (queue,):
        await queue.ask([ticket(1), ticket(2)])
        number = await queue.register("gpu1")
        held = [await taken(queue, number), await taken(queue, number)]
        with database.connect() as other:
            other.execute("SET deadlock_timeout = '10s'")
            other.execute("BEGIN")
            other.execute("SELECT 1 FROM spotlessd_tickets WHERE job = 1 FOR UPDATE")
            answering = asyncio.create_task(queue.answer(held[0], finished()))  # locks the job, waits for the ticket
            await asyncio.sleep(0.02)
            await asyncio.to_thread(other.execute, "SELECT 1 FROM procrastinate_jobs ORDER BY id FOR UPDATE")
            other.execute("COMMIT")

        assert await asyncio.wait_for(answering, 5)
        assert "deadlock detected" in database.server.log


@story
async def test_a_server_that_hangs_counts_as_down_after_a_while(
    own_postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "ANSWER_SECONDS", 0.3)
    queue = await TicketQueue.connect(own_postgres.target)
    own_postgres.server.signal_all(signal.SIGSTOP)
    asyncio.get_running_loop().call_later(1.0, own_postgres.server.signal_all, signal.SIGCONT)

    with pytest.raises(ClusterDownError, match=r"gave no answer for 0\.3 s"):
        await queue.counts()

    await asyncio.sleep(0.8)


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
@story
async def test_a_server_that_stops_and_comes_back_has_everything_that_was_committed(
    own_postgres: Database, how: str
) -> None:
    queue = await TicketQueue.connect(own_postgres.target)
    number = await queue.register("gpu1")
    await queue.ask([ticket(job) for job in range(1, 4)])
    answered, held = await taken(queue, number), await taken(queue, number)
    assert await queue.answer(answered, finished())
    waiting = asyncio.create_task(queue.wait(0, "work"))
    await waiting
    waiting = asyncio.create_task(queue.wait(30, "work"))

    await asyncio.to_thread(
        own_postgres.kill if how == "kill" else own_postgres.stop, *(() if how == "kill" else (how,))
    )
    begun = time.monotonic()
    with pytest.raises(ClusterDownError):
        await asyncio.wait_for(waiting, 2)
    with pytest.raises(ClusterDownError):
        await queue.answer(held, finished())
    with pytest.raises(ClusterDownError):
        await TicketQueue.connect(own_postgres.target)
    assert time.monotonic() - begun < 3
    await asyncio.to_thread(own_postgres.start)

    async with queues(own_postgres) as (again,):
        assert await again.beat(number, [held], {}) == []
        assert await again.answer(held, finished())
        assert [answer.key.job for answer in await again.answers("darkroom")] == [1, 2]
        assert (await taken(again, number)).key.job == 3
        assert await again.take(number, "gpu1", QUEUES) is None
