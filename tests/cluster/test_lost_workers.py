"""Workers that are lost, tables that somebody cleaned, jobs and tickets that do not fit: each must end well."""

import asyncio

import pytest
from cluster_tickets import QUEUES, finished, queues, story, taken, ticket
from postgres import Database

from spotlessd.cluster.tickets import AnswerKind

LOST = 30.0


def silence(database: Database, *workers: int) -> None:
    """As if these workers had been silent for a minute, and nobody had swept since."""
    database.rows(
        "UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 minute' WHERE id = ANY(%s)",
        list(workers),
    )
    database.rows("UPDATE spotlessd_schema SET swept_at = 'epoch'")


@story
async def test_a_lost_workers_ticket_is_queued_again_with_its_plan_and_one_loss(database: Database) -> None:
    async with queues(database, 2) as (queue, other):
        await queue.ask([ticket(1), ticket(2)])
        lost, alive = await queue.register("lost"), await other.register("alive")
        first = await taken(queue, lost, "lost")
        await queue.publishing(first, "half published")
        kept = await taken(other, alive, "alive")
        silence(database, lost)

        assert await other.reap(LOST) == 1

        again = await taken(other, alive, "alive")
        assert (again.key, again.losses, again.plan) == (first.key, 1, "half published")
        assert await other.beat(alive, [kept, again], {}) == []


@story
async def test_two_reapers_at_once_count_one_loss(database: Database) -> None:
    async with queues(database, 5) as (queue, *reapers):
        await queue.ask([ticket(job) for job in range(1, 21)])
        lost = await queue.register("lost")
        for _ in range(20):
            await taken(queue, lost, "lost")
        silence(database, lost)

        numbers = await asyncio.gather(*[reaper.reap(LOST) for reaper in reapers])

        assert sum(numbers) == 20
        assert {standing.losses for standing in await queue.standings("darkroom")} == {1}


@story
async def test_a_worker_that_takes_while_another_is_reaped_loses_nothing(database: Database) -> None:
    async with queues(database, 3) as (queue, reaper, other):
        await queue.ask([ticket(job) for job in range(1, 31)])
        lost, alive = await queue.register("lost"), await other.register("alive")
        for _ in range(30):
            await taken(queue, lost, "lost")
        silence(database, lost)

        async def work() -> list[int]:
            found = []
            while len(found) < 30:
                got = await other.take(alive, "alive", QUEUES)
                if got is not None:
                    found.append(got.ticket.key.job)
            return found

        done, _ = await asyncio.gather(asyncio.wait_for(work(), 10), reaper.reap(LOST))
        assert await reaper.reap(LOST) == 0

        assert sorted(done) == list(range(1, 31))
        assert {standing.worker for standing in await queue.standings("darkroom")} == {"alive"}


@story
async def test_after_max_losses_a_ticket_is_answered_as_poison_and_names_the_workers(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.wait(5, "answers:darkroom")
        await queue.ask([ticket(1, max_losses=3)])
        for name in ("gpu1", "gpu2", "gpu1"):
            number = await queue.register(name)
            await taken(queue, number, name)
            silence(database, number)
            assert await queue.reap(LOST) == 1

        await asyncio.wait_for(queue.wait(5, "answers:darkroom"), 1)
        (answered,) = await queue.answers("darkroom")
        assert answered.answer.kind is AnswerKind.POISON
        assert "3 workers were lost over this scan (gpu1, gpu2, gpu1)" in answered.answer.message
        assert await queue.take(await queue.register("gpu3"), "gpu3", QUEUES) is None
        assert database.rows("SELECT status::text FROM procrastinate_jobs") == [("failed",)]


@story
async def test_giving_back_never_makes_poison(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(1, max_losses=1)])
        number = await queue.register("gpu1")

        for _ in range(5):
            assert await queue.give_back(await taken(queue, number), "drained", 0)

        assert (await taken(queue, number)).losses == 0


@story
async def test_a_ticket_that_is_poison_already_is_answered_on_the_way_of_a_take(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(1), ticket(2)])
        database.rows("UPDATE spotlessd_tickets SET losses = 3, lost_workers = '{a,b,c}' WHERE job = 1")

        assert (await taken(queue, await queue.register("gpu1"))).key == ticket(2).key

        (answered,) = await queue.answers("darkroom")
        assert (answered.key, answered.answer.kind) == (ticket(1).key, AnswerKind.POISON)


@story
async def test_a_worker_whose_row_was_cleaned_away_gets_it_back_and_keeps_its_ticket(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(1), ticket(2)])
        number = await queue.register("gpu1")
        held = await taken(queue, number)
        database.rows("DELETE FROM procrastinate_workers")

        assert await queue.beat(number, [held], {}) == []

        assert await queue.reap(LOST) == 0
        database.rows("DELETE FROM procrastinate_workers")
        assert (await taken(queue, number)).key == ticket(2).key
        assert await queue.answer(held, finished())


@story
async def test_a_lost_worker_whose_row_was_pruned_loses_its_ticket_all_the_same(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(1)])
        held = await taken(queue, await queue.register("gone"))
        database.rows("DELETE FROM procrastinate_workers")

        assert await queue.reap(LOST) == 1

        again = await taken(queue, await queue.register("gpu1"))
        assert (again.key, again.losses) == (held.key, 1)


@pytest.mark.parametrize(
    "how", ["DELETE FROM procrastinate_jobs", "UPDATE procrastinate_jobs SET status = 'cancelled'"]
)
@pytest.mark.parametrize("state", ["asked", "doing", "publishing"])
@story
async def test_tickets_whose_job_somebody_removed_are_queued_again(database: Database, how: str, state: str) -> None:
    async with queues(database, 2) as (queue, other):
        await queue.ask([ticket(1)])
        lost = await queue.register("lost")
        if state != "asked":
            held = await taken(queue, lost, "lost")
            if state == "publishing":
                await queue.publishing(held, "{}")
        database.rows(how)
        silence(database, lost)

        assert await other.reap(LOST) == 1
        assert await other.reap(LOST) == 0

        again = await taken(other, await other.register("gpu1"))
        assert again.losses == (0 if state == "asked" else 1)
        assert await other.answer(again, finished())


@story
async def test_a_ticket_without_job_stays_with_a_worker_that_lives_and_its_answer_counts(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(1)])
        held = await taken(queue, await queue.register("gpu1"))
        database.rows("DELETE FROM procrastinate_jobs")

        assert await queue.reap(LOST) == 0

        assert await queue.answer(held, finished())


@story
async def test_jobs_of_tickets_that_are_answered_or_gone_end_and_are_not_given_to_workers(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(job) for job in range(1, 5)])
        database.rows("UPDATE spotlessd_tickets SET state = 'answered', answer = '{}' WHERE job = 1")
        database.rows("DELETE FROM spotlessd_tickets WHERE job = 2")
        number = await queue.register("gpu1")
        assert (await taken(queue, number)).key == ticket(3).key  # 1 and 2 end on the way
        assert database.rows("SELECT count(*) FROM procrastinate_jobs") == [(2,)]
        database.rows("DELETE FROM spotlessd_tickets")

        assert await queue.reap(LOST) == 0

        assert database.rows("SELECT count(*) FROM procrastinate_jobs") == [(0,)]


@story
async def test_a_job_that_somebody_put_back_by_hand_is_not_computed_twice(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(1)])
        number = await queue.register("gpu1")
        held = await taken(queue, number)
        database.rows("UPDATE procrastinate_jobs SET status = 'todo'")

        assert await queue.take(number, "gpu1", QUEUES) is None

        assert await queue.answer(held, finished())


@story
async def test_jobs_of_other_programs_in_the_same_database_are_left_alone(database: Database) -> None:
    async with queues(database) as (queue,):
        database.rows(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, status) VALUES"
            " ('mail', 'send', 'doing'), ('mail', 'send', 'todo'), ('mail', 'send', 'failed')"
        )
        database.rows("UPDATE procrastinate_events SET at = now() - interval '1 month'")

        assert await queue.reap(LOST) == 0
        await queue.prune()

    assert database.rows("SELECT count(*) FROM procrastinate_jobs") == [(3,)]


@story
async def test_pruning_forgets_what_is_long_over_and_nothing_else(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(1), ticket(2, station="gone"), ticket(3)])
        number = await queue.register("gpu1")
        await queue.register("old")
        await queue.answer(await taken(queue, number), finished())
        await queue.acknowledge([ticket(1).key])
        for role, name in (("station", "darkroom"), ("worker", "gpu1"), ("worker", "old")):
            await queue.tell(role, name, {})
        database.rows(
            "UPDATE procrastinate_workers SET last_heartbeat = now() - interval '2 days' WHERE id > %s", number
        )
        database.rows("UPDATE spotlessd_machines SET seen = now() - interval '8 days' WHERE name = 'old'")
        database.rows("UPDATE spotlessd_tickets SET asked_at = now() - interval '8 days'")
        database.rows("UPDATE spotlessd_settled SET at = now() - interval '2 days'")
        database.rows("UPDATE spotlessd_schema SET swept_at = 'epoch'")

        await queue.prune()
        await queue.reap(LOST)

        assert database.rows("SELECT id FROM procrastinate_workers") == [(number,)]
        assert [machine.name for machine in await queue.machines()] == ["darkroom", "gpu1"]
        assert database.rows("SELECT station FROM spotlessd_tickets") == [("darkroom",)]
        assert database.rows("SELECT count(*) FROM spotlessd_settled") == [(0,)]
        assert database.rows("SELECT count(*) FROM procrastinate_jobs") == [(1,)]
