"""PostgreSQL goes away while tickets are asked, taken and answered: everything arrives exactly once."""

import time
from collections import Counter
from functools import partial

import pytest
from cluster_tickets import finished, ticket
from linked import file_away, station, until, work, worker
from postgres import Database

from spotlessd.cluster import link as link_module
from spotlessd.cluster.station_link import Withdrawn
from spotlessd.cluster.ticket_queue import Taken, TicketQueue

pytestmark = pytest.mark.slow  # test_cluster_outages.py has the same with whole processes

AWAY_SECONDS = 2.0
DROPS = 5
DROP = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test'"


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "FIRST_RETRY_SECONDS", 0.1)
    monkeypatch.setattr(link_module, "LONGEST_RETRY_SECONDS", 0.3)


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_an_outage_in_the_middle_loses_and_doubles_nothing(own_postgres: Database, way: str) -> None:
    connect = partial(TicketQueue.connect, own_postgres.target)
    number, done = 200, Counter[int]()
    taken_turns: Counter[int] = Counter()
    with station(connect) as asking, worker(connect, "a", lost_seconds=6) as a, worker(connect, "b") as b:
        until(lambda: not (asking.trouble or a.trouble or b.trouble), asking, a, b)

        def turn() -> int:
            for one in (a, b):
                taken_turns.update(taken.turn for taken in work(one, lambda taken: finished()))
            done.update(answered.key.job for answered in file_away(asking))
            return len(done)

        for job in range(number // 2):
            asking.ask(ticket(job))
        until(lambda: turn() > 20, asking, a, b)
        getattr(own_postgres, way)()
        for job in range(number // 2, number):
            asking.ask(ticket(job))
        away = time.monotonic() + AWAY_SECONDS
        until(lambda: turn() and time.monotonic() > away, asking, a, b)
        assert "does not answer" in asking.trouble and "(since " in a.trouble

        own_postgres.start()

        until(lambda: turn() == number, asking, a, b)
        until(lambda: not own_postgres.rows("SELECT 1 FROM spotlessd_tickets"), asking, a, b)
        assert not asking.trouble
    assert set(done.values()) == {1}
    assert set(taken_turns.values()) == {1}


def test_a_ticket_in_hand_keeps_its_turn_over_an_outage_longer_than_the_patience(own_postgres: Database) -> None:
    connect = partial(TicketQueue.connect, own_postgres.target)
    with station(connect) as asking, worker(connect, "a") as a, worker(connect, "b") as b:
        asking.ask(ticket(1))
        a.want(1, large=0)
        held: list[Taken] = []
        until(lambda: held.extend(n for n in a.news() if isinstance(n, Taken)) or held, asking, a, b)
        b.want(1, large=0)
        own_postgres.stop()
        until(lambda: asking.trouble, asking, a, b)
        asking.ask(ticket(2))
        asking.withdraw(ticket(2).key)
        assert Withdrawn(ticket(2).key) in asking.news()
        away = time.monotonic() + AWAY_SECONDS
        until(lambda: time.monotonic() > away, asking, a, b)
        own_postgres.start()
        until(lambda: not (asking.trouble or a.trouble or b.trouble), asking, a, b)
        time.sleep(0.3)

        assert b.news() == [], "its tickets are not given away to the first who comes back"
        a.answer(held[0], finished("a"))
        answers: list[str] = []
        until(lambda: answers.extend(x.answer.worker for x in file_away(asking)) or answers, asking, a, b)
        assert answers == ["a"]


def test_dropped_connections_again_and_again_lose_and_double_nothing(database: Database) -> None:
    connect = partial(TicketQueue.connect, database.target)
    number, done = 300, Counter[int]()
    drops, next_drop = DROPS, time.monotonic() + 0.2
    with station(connect) as asking, worker(connect, "a", lost_seconds=6) as a:
        for job in range(number):
            asking.ask(ticket(job))

        def turn() -> bool:
            nonlocal drops, next_drop
            work(a, lambda taken: finished())
            done.update(answered.key.job for answered in file_away(asking))
            if drops and time.monotonic() > next_drop:
                drops -= 1
                database.rows(DROP)
                next_drop = time.monotonic() + 0.3
            return len(done) == number and not drops

        until(turn, asking, a)
        until(lambda: not database.rows("SELECT 1 FROM spotlessd_tickets"), asking, a)
    assert set(done.values()) == {1}
