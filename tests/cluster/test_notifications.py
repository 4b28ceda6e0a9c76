"""News on the connection that statements use too: whoever waits is woken by what concerns it, and by nothing else."""

import asyncio
import time

import pytest
from cluster_tickets import finished, queues, story, taken, ticket
from postgres import Database


@story
async def test_a_notification_ends_the_wait_of_whom_it_concerns_and_of_nobody_else(database: Database) -> None:
    async with queues(database, 2) as (queue, other):
        for kind in ("work", "answers:darkroom", "answers:cellar"):
            await queue.wait(5, kind)  # the first wait begins to listen
        number = await other.register("gpu1")
        loop = asyncio.get_running_loop()

        begun = loop.time()
        work = asyncio.create_task(queue.wait(5, "work"))
        answers = asyncio.create_task(queue.wait(5, "answers:darkroom"))
        cellar = asyncio.create_task(queue.wait(0.5, "answers:cellar"))
        await asyncio.sleep(0.05)
        await other.ask([ticket(1)])
        await work
        await other.answer(await taken(other, number), finished())
        await answers
        woken = loop.time() - begun
        await cellar

        assert woken < 0.45
        assert loop.time() - begun >= 0.49


@story
async def test_a_notification_that_comes_with_a_statement_is_not_missed(database: Database) -> None:
    async with queues(database, 2) as (queue, other):
        await queue.wait(5, "work")
        await other.ask([ticket(1)])
        await queue.standings("darkroom")  # the notification arrives with this reply

        begun = time.monotonic()
        await queue.wait(5, "work")
        assert time.monotonic() - begun < 1
        begun = time.monotonic()
        await queue.wait(0.2, "work")
        assert time.monotonic() - begun >= 0.19


@story
async def test_statements_go_on_while_another_task_waits_and_a_wait_can_be_cancelled(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.wait(5, "answers:darkroom")
        waiting = asyncio.create_task(queue.wait(30, "answers:darkroom"))
        await asyncio.sleep(0.02)

        await queue.ask([ticket(job) for job in range(1, 30)])
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

        assert len(await queue.standings("darkroom")) == 29
    own = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test' AND state <> 'active'"
    assert database.rows(own) == [(0,)]


@story
async def test_one_connection_serves_statements_and_notifications(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.wait(5, "work")
        await queue.wait(5, "answers:darkroom")

        assert database.rows("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test'") == [(1,)]
