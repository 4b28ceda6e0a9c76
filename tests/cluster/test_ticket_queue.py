"""What a station asks and a worker answers, on a real PostgreSQL: once, in order, only with the current turn."""

import asyncio
from dataclasses import replace
from itertools import pairwise

from cluster_tickets import LARGE, OTHER_WEIGHTS, QUEUES, SMALL, finished, queues, story, taken, ticket
from postgres import Database

from spotlessd.cluster.tickets import Answer, AnswerKind, TicketKey


@story
async def test_a_ticket_goes_round_unchanged_and_its_answer_comes_back(database: Database) -> None:
    asked = ticket(7, rel="Röll 1/\udcffbad\u0000name\\u0000.tif", priority=3)
    async with queues(database, 2) as (station, worker):
        number = await worker.register("gpu1")
        await station.ask([asked])

        found = await taken(worker, number)
        answer = finished(name="\udcff\u0000 'quoted' \\")
        assert await worker.answer(found, answer)

        assert found.ticket == asked
        assert found.losses == 0
        (answered,) = await station.answers("darkroom")
        assert (answered.key, answered.turn, answered.answer) == (asked.key, found.turn, answer)


@story
async def test_asking_twice_adds_nothing_and_changes_nothing(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(1), ticket(2)])
        number = await queue.register("gpu1")
        first = await taken(queue, number)

        await queue.ask([ticket(1, priority=9), ticket(2), ticket(3)])

        assert [standing.state for standing in await queue.standings("darkroom")] == ["doing", "asked", "asked"]
        assert await queue.answer(first, finished())
        assert [(await taken(queue, number)).ticket.key.job for _ in range(2)] == [2, 3]
        assert await queue.take(number, "gpu1", QUEUES) is None


@story
async def test_the_highest_priority_is_taken_first_and_then_the_one_asked_first(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(1), ticket(2, priority=5), ticket(3, priority=-1), ticket(4, priority=5), ticket(5)])
        number = await queue.register("gpu1")

        assert [(await taken(queue, number)).ticket.key.job for _ in range(5)] == [2, 4, 1, 5, 3]


@story
async def test_a_worker_takes_only_from_its_queues(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(1, weights=OTHER_WEIGHTS), ticket(2, is_large=True), ticket(3)])
        number = await queue.register("gpu1")

        assert (await queue.take(number, "gpu1", [SMALL])).ticket.key.job == 3  # type: ignore[union-attr]
        assert await queue.take(number, "gpu1", [SMALL]) is None
        assert (await queue.take(number, "gpu1", [LARGE])).ticket.key.job == 2  # type: ignore[union-attr]


@story
async def test_four_workers_at_once_take_2000_tickets_once_each_and_each_in_order(database: Database) -> None:
    async with queues(database, 5) as (station, *workers):
        await station.ask([ticket(job, priority=job % 3) for job in range(1, 2001)])

        async def work(worker: object) -> list[tuple[int, int]]:
            number = await worker.register("gpu")  # type: ignore[attr-defined]
            found = []
            while (got := await worker.take(number, "gpu", QUEUES)) is not None:  # type: ignore[attr-defined]
                found.append((-got.ticket.priority, got.ticket.key.job))
            return found

        hauls = await asyncio.gather(*[work(worker) for worker in workers])

    assert sorted(job for haul in hauls for _, job in haul) == list(range(1, 2001))
    assert all(len(haul) > 100 for haul in hauls)
    assert all(before < after for haul in hauls for before, after in pairwise(haul))
    turns = database.rows("SELECT count(DISTINCT turn), bool_and(state = 'doing') FROM spotlessd_tickets")
    assert turns == [(2000, True)]


@story
async def test_a_zombies_answer_changes_nothing_once_its_ticket_was_taken_again(database: Database) -> None:
    async with queues(database, 2) as (queue, other):
        await queue.ask([ticket(1)])
        zombie, heir = await queue.register("zombie"), await other.register("heir")
        old = await taken(queue, zombie, "zombie")
        database.rows(
            "UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 minute' WHERE id = %s", zombie
        )
        assert await other.reap(30) == 1
        new = await taken(other, heir, "heir")

        assert new.turn > old.turn
        assert not await queue.answer(old, finished("zombie"))
        assert not await queue.publishing(old, "{}")
        assert not await queue.give_back(old, "late", 0)
        assert await queue.beat(zombie, [old], {old.key: ("fill", 0.9)}) == [old]
        (standing,) = await queue.standings("darkroom")
        assert (standing.state, standing.worker, standing.step) == ("doing", "heir", "")
        assert database.rows("SELECT status::text, worker_id FROM procrastinate_jobs") == [("doing", heir)]
        assert await other.answer(new, finished("heir"))
        assert [answered.answer.worker for answered in await queue.answers("darkroom")] == ["heir"]


@story
async def test_what_is_sent_twice_because_the_reply_was_lost_counts_once_and_is_no_failure(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(1), ticket(2)])
        number = await queue.register("gpu1")
        first, second = await taken(queue, number), await taken(queue, number)

        assert await queue.publishing(first, "plan") and await queue.publishing(first, "plan")
        assert await queue.answer(first, finished(a=1)) and await queue.answer(first, finished(a=2))
        assert await queue.give_back(second, "full disk", 0) and await queue.give_back(second, "full disk", 0)

        (answered,) = await queue.answers("darkroom")
        assert answered.answer == finished(a=1)
        await queue.acknowledge([first.key])
        assert await queue.answer(first, finished())
        assert await queue.beat(number, [first], {}) == []
        assert await queue.answers("darkroom") == []


@story
async def test_an_answer_that_failed_leaves_a_failed_job_and_one_that_finished_leaves_none(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(1), ticket(2)])
        number = await queue.register("gpu1")
        await queue.answer(await taken(queue, number), finished())
        await queue.answer(await taken(queue, number), Answer(AnswerKind.FAILED, "gpu1", error="E", message="CMYK"))

    assert database.rows("SELECT status::text FROM procrastinate_jobs") == [("failed",)]


@story
async def test_a_given_back_ticket_rests_and_shows_why_and_counts_no_loss(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(1), ticket(2)])
        number = await queue.register("gpu1")
        first = await taken(queue, number)
        assert await queue.publishing(first, "the plan")

        assert await queue.give_back(first, "no share named archive here\0", 0.4)
        others = [(await taken(queue, number)).key, await queue.take(number, "gpu1", QUEUES)]

        assert others == [ticket(2).key, None]
        standing = (await queue.standings("darkroom"))[0]
        assert (standing.state, standing.reason, standing.losses) == ("asked", "no share named archive here", 0)
        await asyncio.sleep(0.45)
        again = await taken(queue, number)
        assert (again.key, again.losses, again.plan) == (first.key, 0, "the plan")


@story
async def test_withdrawing_voids_what_is_asked_or_done_but_not_what_is_published_or_answered(
    database: Database,
) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(job) for job in range(1, 5)])
        number = await queue.register("gpu1")
        doing, publishing, answered = [await taken(queue, number) for _ in range(3)]
        await queue.publishing(publishing, "{}")
        await queue.answer(answered, finished())
        unknown = TicketKey("darkroom", 99, 1)

        void = await queue.withdraw([ticket(4).key, doing.key, publishing.key, answered.key, unknown])

        assert void == {ticket(4).key: True, doing.key: True, publishing.key: False, answered.key: False, unknown: True}
        assert await queue.beat(number, [doing, publishing, answered], {}) == [doing]
        assert not await queue.answer(doing, finished())
        assert await queue.answer(publishing, finished())
        assert await queue.take(number, "gpu1", QUEUES) is None
        assert database.rows("SELECT count(*) FROM procrastinate_jobs") == [(0,)]


@story
async def test_a_withdrawn_ticket_may_be_asked_again_and_its_old_turn_stays_over(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(1)])
        number = await queue.register("gpu1")
        old = await taken(queue, number)
        await queue.withdraw([old.key])

        await queue.ask([ticket(1)])
        new = await taken(queue, number)

        assert new.turn > old.turn
        assert not await queue.answer(old, finished())
        assert await queue.answer(new, finished())


@story
async def test_progress_is_seen_by_the_station(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(1), ticket(2)])
        number = await queue.register("gpu1")
        first = await taken(queue, number)

        assert await queue.beat(number, [first], {first.key: ("inpainting\0", 0.25), ticket(2).key: ("lie", 1.0)}) == []

        standings = await queue.standings("darkroom")
        assert [(s.worker, s.step, s.fraction) for s in standings] == [("gpu1", "inpainting", 0.25), ("", "", 0.0)]
        assert 0 < standings[0].waiting_seconds < 10


@story
async def test_a_ticket_taken_without_its_worker_hearing_of_it_is_given_back_at_the_next_beat(
    database: Database,
) -> None:
    async with queues(database, 2) as (queue, later):
        await queue.ask([ticket(1)])
        number = await queue.register("gpu1")
        lost = await taken(queue, number)  # the connection broke here: the reply never came

        assert await later.beat(number, [], {}) == []

        again = await taken(later, number)
        assert (again.key, again.losses) == (lost.key, 0)
        assert again.turn > lost.turn


@story
async def test_a_beat_that_overlaps_a_take_does_not_give_the_ticket_back(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(1)])
        number = await queue.register("gpu1")
        found = await taken(queue, number)

        await queue.beat(number, [], {})  # what it held was counted before the take

        assert await queue.beat(number, [found], {}) == []


@story
async def test_a_ticket_of_another_version_is_left_to_workers_that_can_read_it(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(1), ticket(2)])
        database.rows("UPDATE spotlessd_tickets SET ticket = '{\"unknown\": 1}' WHERE job = 1")
        number = await queue.register("gpu1")

        assert (await taken(queue, number)).key == ticket(2).key

        standing = (await queue.standings("darkroom"))[0]
        assert (standing.state, standing.losses) == ("asked", 0)
        assert standing.reason


@story
async def test_an_answer_of_another_version_is_a_failure_that_may_be_tried_again(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(1)])
        await queue.answer(await taken(queue, await queue.register("gpu1")), finished())
        database.rows("UPDATE spotlessd_tickets SET answer = '{\"unknown\": 1}'")

        (answered,) = await queue.answers("darkroom")

        assert (answered.answer.kind, answered.answer.is_retryable) == (AnswerKind.FAILED, True)


@story
async def test_machines_tell_of_themselves_and_telling_does_not_undo_a_drain(database: Database) -> None:
    async with queues(database) as (queue,):
        skew = await queue.tell("worker", "gpu1", {"text": "\udcff\u0000"})
        await queue.tell("station", "darkroom", {"queued": 1})
        assert await queue.ask_drain("gpu1", True)
        assert not await queue.ask_drain("darkroom", True)
        await queue.tell("worker", "gpu1", {"seats": []})

        station, worker = await queue.machines()

        assert abs(skew) < 0.05
        assert (station.role, station.name, station.facts, station.drain) == (
            "station",
            "darkroom",
            {"queued": 1},
            False,
        )
        assert (worker.role, worker.name, worker.facts, worker.drain) == ("worker", "gpu1", {"seats": []}, True)
        assert 0 <= worker.silent_seconds < 5
        assert await queue.ask_drain("gpu1", False)
        assert not (await queue.machines())[1].drain


@story
async def test_the_counts_are_those_of_each_station(database: Database) -> None:
    async with queues(database) as (queue,):
        await queue.ask([ticket(1), ticket(2), replace(ticket(1), key=TicketKey("cellar", 1, 1))])
        await taken(queue, await queue.register("gpu1"))

        counts = [(count.station, count.state, count.number) for count in await queue.counts()]

        assert counts == [("cellar", "asked", 1), ("darkroom", "asked", 1), ("darkroom", "doing", 1)]
