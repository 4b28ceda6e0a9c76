"""What PostgreSQL keeps apart while workers publish: plans, names that two results want, and withdrawals."""

import asyncio

import pytest
from cluster_tickets import QUEUES, finished, queues, story, taken, ticket
from postgres import Database

from spotlessd.cluster.tickets import AnswerKind


def named(job: int, rel: str, **changed: object):  # noqa: ANN201 - as `ticket`
    return ticket(job, rel=rel, publishes="worker", **changed)


@story
async def test_two_results_that_want_the_same_names_are_not_published_at_once(database: Database) -> None:
    async with queues(database, 2) as (queue, other):
        await queue.ask([named(1, "roll/a.tif"), named(2, "roll/A~2.jpg"), named(3, "other/a.tif")])
        number, second = await queue.register("gpu1"), await other.register("gpu2")
        first, beside = await taken(queue, number), await taken(other, second, "gpu2")
        elsewhere = await taken(queue, number)

        answers = await asyncio.gather(queue.publishing(first, "plan"), other.publishing(beside, "plan"))
        assert sorted(answers) == [False, True]
        assert await queue.publishing(elsewhere, "plan")
        assert (await queue.standings("darkroom"))[answers.index(False)].state == "asked"


@story
async def test_names_that_a_lost_worker_was_giving_stay_kept_for_its_successor(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([named(1, "a.tif"), named(2, "a.jpg", station="another")])
        number = await queue.register("gpu1")
        first, beside = await taken(queue, number), await taken(queue, number)
        assert await queue.publishing(first, "plan")
        assert await queue.give_back(first, "its share went away", 60)

        assert not await queue.publishing(beside, "plan")


@story
async def test_names_are_free_once_the_result_is_published_or_taken_back(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([named(job, f"a.{job}") for job in (1, 2, 3)])
        number = await queue.register("gpu1")
        first, second, third = [await taken(queue, number) for _ in range(3)]
        assert await queue.publishing(first, "plan")
        assert await queue.answer(first, finished())
        assert await queue.publishing(second, "plan")
        assert await queue.publishing(second, "")
        assert [standing.state for standing in await queue.standings("darkroom")][1] == "doing"
        assert await queue.publishing(third, "plan")


@story
async def test_a_ticket_whose_names_were_begun_is_not_withdrawn_until_they_are_taken_back(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([named(1, "a.tif")])
        number = await queue.register("gpu1")
        first = await taken(queue, number)
        await queue.publishing(first, "plan")
        await queue.give_back(first, "lost its share", 0)
        assert await queue.withdraw([first.key]) == {first.key: False}

        again = await taken(queue, number)
        assert again.plan == "plan"
        await queue.publishing(again, "")

        assert await queue.withdraw([first.key]) == {first.key: True}


@story
async def test_poison_tells_the_station_which_names_were_begun(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([named(1, "a.tif", max_losses=1)])
        number = await queue.register("gpu1")
        await queue.publishing(await taken(queue, number), "plan")
        database.rows("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 minute'")
        await queue.reap(30)

        (answered,) = await queue.answers("darkroom")
        assert (answered.answer.kind, answered.answer.receipt) == (AnswerKind.POISON, {"plan": "plan"})
        assert await queue.take(number, "gpu1", QUEUES) is None


@pytest.mark.parametrize("rel", ["\udcff.tif", "a'%s\".tif"])
def test_any_name_can_be_kept_apart(database: Database, rel: str) -> None:
    @story
    async def run(database: Database) -> None:
        async with queues(database) as (queue,):
            await queue.ask([named(1, rel), named(2, rel.replace("tif", "jpg"))])
            number = await queue.register("gpu1")
            first, second = await taken(queue, number), await taken(queue, number)
            assert await queue.publishing(first, "plan")
            assert not await queue.publishing(second, "plan")

    run(database)
