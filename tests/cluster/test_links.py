"""Both links over a real PostgreSQL: one station and one worker in one process."""

import time
from collections import Counter
from functools import partial

from cluster_tickets import finished, ticket
from linked import file_away, next_of, station, until, work, worker
from postgres import Database

from spotlessd.cluster.machines import SeatFacts, StationMachine, WorkerMachine
from spotlessd.cluster.station_link import Withdrawn
from spotlessd.cluster.ticket_queue import Answered, Standing, Taken, TicketQueue
from spotlessd.cluster.worker_link import Allowed, Revoked, Settled

LATENCIES = 200


def test_two_hundred_tickets_go_round_within_milliseconds(database: Database) -> None:
    connect = partial(TicketQueue.connect, database.target)
    seconds: list[float] = []
    with station(connect) as asking, worker(connect, lost_seconds=30) as working:
        until(lambda: not asking.trouble and not working.trouble, asking, working)
        for job in range(LATENCIES):
            working.want(1, large=0)
            started = time.monotonic()
            asking.ask(ticket(job))
            working.answer(next_of(working, Taken), finished())
            answered = next_of(asking, Answered)
            seconds.append(time.monotonic() - started)
            assert answered.key.job == job
            asking.acknowledge(answered.key)
        until(lambda: not database.rows("SELECT 1 FROM spotlessd_tickets"), asking)

    seconds.sort()
    print(f"ask to news: p50 {1e3 * seconds[LATENCIES // 2]:.1f} ms, p99 {1e3 * seconds[-3]:.1f} ms")
    assert seconds[LATENCIES // 2] < 0.25, "a notification is missed: the poll is every second"


def test_a_withdrawn_ticket_is_void_before_and_while_it_is_done(database: Database) -> None:
    connect = partial(TicketQueue.connect, database.target)
    with station(connect) as asking, worker(connect, lost_seconds=30) as working:
        until(lambda: not asking.trouble, asking, working)
        asking.ask(ticket(1))
        until(lambda: database.rows("SELECT 1 FROM spotlessd_tickets"), asking)
        asking.withdraw(ticket(1).key)
        assert next_of(asking, Withdrawn).key == ticket(1).key

        asking.ask(ticket(2))
        working.want(1, large=0)
        taken = next_of(working, Taken, asking)
        asking.withdraw(ticket(2).key)
        assert next_of(asking, Withdrawn, working).key == ticket(2).key
        assert next_of(working, Revoked, asking) == Revoked(taken)


def test_a_withdrawal_after_the_answer_ends_with_the_answer(database: Database) -> None:
    connect = partial(TicketQueue.connect, database.target)
    with station(connect) as asking, worker(connect, lost_seconds=30) as working:
        asking.ask(ticket(1))
        working.want(1, large=0)
        taken = next_of(working, Taken, asking)
        working.publishing(taken, "names")
        assert next_of(working, Allowed, asking) == Allowed(taken)

        asking.withdraw(ticket(1).key)
        working.answer(taken, finished())

        assert next_of(working, Settled, asking) == Settled(taken, is_void=False)
        assert next_of(asking, Answered, working).key == ticket(1).key


def test_a_station_that_starts_again_finds_the_answer_of_the_run_before(database: Database) -> None:
    connect = partial(TicketQueue.connect, database.target)
    with worker(connect, lost_seconds=30) as working:
        with station(connect) as asking:
            asking.ask(ticket(1))
            working.want(1, large=0)
            taken = next_of(working, Taken, asking)
        working.answer(taken, finished())
        until(lambda: database.rows("SELECT 1 FROM spotlessd_tickets WHERE state = 'answered'"), working)

        with station(connect) as asking:
            assert next_of(asking, Answered, working) == Answered(ticket(1).key, taken.turn, finished())
            asking.acknowledge(ticket(1).key)
            until(lambda: not database.rows("SELECT 1 FROM spotlessd_tickets"), asking)


def test_a_ticket_given_back_is_taken_by_another_and_its_progress_seen(database: Database) -> None:
    connect = partial(TicketQueue.connect, database.target)
    with station(connect) as asking, worker(connect, "gpu1", lost_seconds=30) as one:
        asking.ask(ticket(1))
        one.want(1, large=0)
        one.give_back(next_of(one, Taken, asking), "no share here", 0.0)
        with worker(connect, "gpu2", lost_seconds=30) as two:
            two.want(1, large=0)
            taken = next_of(two, Taken, asking, one)
            two.progress(taken.key, "inpaint", 0.5)
            steps: list[Standing] = []

            def look() -> bool:
                steps.extend(news for news in asking.news() if isinstance(news, Standing))
                return any(step.step == "inpaint" for step in steps)

            until(look, asking, two)
            assert (steps[-1].worker, steps[-1].state, steps[-1].reason) == ("gpu2", "doing", "no share here")


def test_a_worker_that_hangs_loses_its_ticket_to_another(database: Database) -> None:
    connect = partial(TicketQueue.connect, database.target)
    with station(connect) as asking, worker(connect, "hung") as hung, worker(connect, "live") as live:
        asking.ask(ticket(1))
        hung.want(1, large=0)
        lost = next_of(hung, Taken, asking)

        live.want(1, large=0)
        taken = next_of(live, Taken, asking)  # only `live` pulses

        assert taken.losses == 1
        assert next_of(hung, Revoked, live) == Revoked(lost)
        hung.answer(lost, finished("hung"))
        live.answer(taken, finished("live"))
        assert next_of(asking, Answered, hung, live).answer.worker == "live"
        assert next_of(hung, Settled, live) == Settled(lost, is_void=True)


def test_a_station_sees_who_is_there(database: Database) -> None:
    connect = partial(TicketQueue.connect, database.target)
    with station(connect) as asking, worker(connect, lost_seconds=30) as working:
        asking.tell(StationMachine(name="darkroom", given=1))
        weights = ticket(1).weights
        working.tell(WorkerMachine(name="gpu1", weights=weights, seats=(SeatFacts(), SeatFacts())))

        until(lambda: asking.view.slots == 2, asking, working)

        assert asking.view.stations == 1
        assert abs(asking.view.skew_seconds) < 0.5
        asking.ask(ticket(1))
        until(lambda: asking.view.oldest_waiting_seconds > 0, asking, working)


def test_many_tickets_through_two_workers_are_answered_once_each(database: Database) -> None:
    connect = partial(TicketQueue.connect, database.target)
    number = 300
    found: Counter[int] = Counter()
    with station(connect) as asking, worker(connect, "a", lost_seconds=30) as a, worker(connect, "b") as b:
        for job in range(number):
            asking.ask(ticket(job, is_large=job % 5 == 0))

        def turn() -> bool:
            for one in (a, b):
                work(one, lambda taken: finished())
            found.update(answered.key.job for answered in file_away(asking))
            return len(found) == number

        until(turn, asking, a, b)

    assert set(found.values()) == {1}
    assert not database.rows("SELECT 1 FROM spotlessd_tickets")
