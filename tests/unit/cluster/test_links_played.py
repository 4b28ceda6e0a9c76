"""The links' threads against a cluster that is played: outages, lost replies, refusals, hanging, closing."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_tickets import OTHER_WEIGHTS, WEIGHTS, finished, ticket
from linked import next_of, station, until, worker
from loguru import logger
from played_cluster import PlayedCluster

from spotlessd.cluster import link as link_module
from spotlessd.cluster.machines import SeatFacts, StationMachine, WorkerMachine
from spotlessd.cluster.station_link import Withdrawn, view_of
from spotlessd.cluster.ticket_queue import Answered, Machine, Taken
from spotlessd.cluster.worker_link import Drain, Revoked, Settled

DOWN = "the cluster's PostgreSQL at db.lab:5432 does not answer: connection refused"


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "FIRST_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(link_module, "LONGEST_RETRY_SECONDS", 0.05)


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What is logged from DEBUG up, as `LEVEL message`."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line).strip()), format="{level} {message}", level="INFO")
    yield lines
    logger.remove(sink)


def test_a_ticket_asked_during_an_outage_is_answered_after_it() -> None:
    cluster = PlayedCluster(down=DOWN)
    with station(cluster.connect) as asking, worker(cluster.connect) as working:
        asking.ask(ticket(1))
        working.want(1, large=0)
        until(lambda: "connection refused (since " in asking.trouble, asking, working)

        cluster.down = ""

        working.answer(next_of(working, Taken, asking), finished())
        assert next_of(asking, Answered, working).key == ticket(1).key
        assert asking.trouble == "" == working.trouble


def test_a_worker_tries_again_soon_enough_not_to_look_lost_to_those_who_are_back_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link_module, "FIRST_RETRY_SECONDS", 60.0)
    cluster = PlayedCluster(down=DOWN)
    with worker(cluster.connect, lost_seconds=0.1) as link:
        until(lambda: cluster.calls.count("connect") > 3, link)


def test_an_outage_is_logged_once_when_it_begins_and_once_when_it_ends(told: list[str]) -> None:
    cluster = PlayedCluster()
    with station(cluster.connect) as link:
        until(lambda: not link.trouble, link)
        cluster.down = DOWN
        until(lambda: cluster.calls.count("connect") > 5, link)
        cluster.down = ""
        until(lambda: not link.trouble, link)

    assert len(told) == 2, told
    assert told[0] == f"WARNING {DOWN}; it is tried again"
    assert told[1].startswith("INFO the cluster's PostgreSQL answers again, after ")


def test_a_refusal_is_kept_logged_once_as_an_error_and_tried_again(told: list[str]) -> None:
    cluster = PlayedCluster(refusal="the password is wrong")
    with station(cluster.connect) as link:
        until(lambda: cluster.calls.count("connect") > 3, link)
        assert link.refusal is not None and str(link.refusal) == "the password is wrong"
        cluster.refusal = ""
        until(lambda: not link.trouble and link.refusal is None, link)

    assert [line for line in told if line.startswith("ERROR")] == ["ERROR the password is wrong"]


def test_an_error_of_ours_in_the_thread_is_trouble_and_not_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = PlayedCluster()
    cluster.reply = lambda name: 1 // 0  # type: ignore[assignment,return-value]
    with station(cluster.connect) as link:
        link.ask(ticket(1))
        until(lambda: "ZeroDivisionError" in link.trouble, link)
        del cluster.reply
        until(lambda: not link.trouble, link)


@pytest.mark.parametrize("method", ["ask", "acknowledge", "withdraw"])
def test_a_lost_reply_to_a_station_changes_nothing(method: str) -> None:
    cluster = PlayedCluster(lose_reply=method)
    with station(cluster.connect) as asking, worker(cluster.connect) as working:
        if method == "withdraw":
            asking.ask(ticket(1))
            until(lambda: ticket(1).key in cluster.rows, asking)
            asking.withdraw(ticket(1).key)
            assert next_of(asking, Withdrawn).key == ticket(1).key
        else:
            asking.ask(ticket(1))
            working.want(1, large=0)
            working.answer(next_of(working, Taken, asking), finished())
            asking.acknowledge(next_of(asking, Answered, working).key)
        until(lambda: not cluster.rows and not cluster.lose_reply and not asking.trouble, asking, working)
        assert not [news for news in asking.news() if isinstance(news, Answered | Withdrawn)]


@pytest.mark.parametrize("method", ["take", "answer"])
def test_a_lost_reply_to_a_worker_loses_no_ticket(method: str) -> None:
    cluster = PlayedCluster(lose_reply=method)
    with station(cluster.connect) as asking, worker(cluster.connect) as working:
        asking.ask(ticket(1))
        working.want(1, large=0)
        taken = next_of(working, Taken, asking)
        working.answer(taken, finished())

        assert next_of(asking, Answered, working).turn == taken.turn
        assert next_of(working, Settled, asking) == Settled(taken, is_void=False)


def test_a_worker_whose_main_loop_hangs_sends_no_beats_and_takes_nothing() -> None:
    cluster = PlayedCluster()
    with worker(cluster.connect) as link:
        until(lambda: not link.trouble, link)
        time.sleep(0.35)  # longer than half of LOST_SECONDS without a pulse
        before = len(cluster.calls)
        cluster.rows.clear()
        link.want(1, large=1)
        time.sleep(0.3)

        assert "beat" not in cluster.calls[before:] and "take" not in cluster.calls[before:]
        link.pulse()
        until(lambda: "beat" in cluster.calls[before:], link)


def test_a_ticket_that_was_given_to_another_is_revoked() -> None:
    cluster = PlayedCluster()
    with station(cluster.connect) as asking, worker(cluster.connect) as working:
        asking.ask(ticket(1))
        working.want(1, large=0)
        taken = next_of(working, Taken, asking)

        asking.withdraw(ticket(1).key)

        assert next_of(working, Revoked, asking) == Revoked(taken)
        working.answer(taken, finished())
        assert next_of(working, Settled, asking) == Settled(taken, is_void=True)


def test_large_tickets_are_taken_only_as_far_as_they_are_wanted() -> None:
    cluster = PlayedCluster()
    with station(cluster.connect) as asking, worker(cluster.connect) as working:
        for job in (1, 2):
            asking.ask(ticket(job, is_large=True))
        asking.ask(ticket(3))
        until(lambda: len(cluster.rows) == 3, asking)
        working.want(3, large=1)
        found: list[Taken] = []

        def look() -> bool:
            found.extend(news for news in working.news() if isinstance(news, Taken))
            return len(found) == 2

        until(look, working)
        assert sorted(taken.key.job for taken in found) == [1, 3]
        working.want(1, large=1)
        assert next_of(working, Taken).key.job == 2


def test_a_worker_that_is_to_drain_hears_it_and_its_end() -> None:
    cluster = PlayedCluster()
    with worker(cluster.connect) as link:
        link.tell(WorkerMachine(name="gpu1"))
        cluster.draining.add("gpu1")
        assert next_of(link, Drain) == Drain(is_draining=True)
        cluster.draining.clear()
        assert next_of(link, Drain) == Drain(is_draining=False)


def test_closing_a_worker_sends_its_answers_and_gives_back_the_rest() -> None:
    cluster = PlayedCluster()
    with station(cluster.connect) as asking:
        for job in (1, 2):
            asking.ask(ticket(job))
        with worker(cluster.connect) as working:
            working.want(1, large=0)
            first = next_of(working, Taken, asking)
            working.want(1, large=0)
            next_of(working, Taken, asking)
            working.answer(first, finished())

    assert cluster.rows[ticket(1).key].state == "answered"
    assert cluster.rows[ticket(2).key].state == "asked"
    assert cluster.rows[ticket(2).key].reason == "the worker stopped"


def test_the_last_facts_are_told_when_a_link_closes() -> None:
    cluster = PlayedCluster()
    with worker(cluster.connect) as link:
        link.tell(WorkerMachine(name="gpu1", done=1))
        until(lambda: ("worker", "gpu1") in cluster.told, link)
        link.tell(WorkerMachine(name="gpu1", done=2))

    assert cluster.told["worker", "gpu1"][0]["done"] == 2


@pytest.mark.parametrize("is_hanging", [True, False])
def test_closing_never_takes_longer_than_it_may(is_hanging: bool) -> None:
    cluster = PlayedCluster()
    with station(cluster.connect) as link:
        until(lambda: not link.trouble, link)
        cluster.is_hanging, cluster.down = is_hanging, "" if is_hanging else DOWN
        link.ask(ticket(1))
        started = time.monotonic()

        link.close(0.3)

        assert time.monotonic() - started < 0.3 + 2 * link_module.END_SECONDS
        assert not [thread for thread in threading.enumerate() if thread.name == "link of darkroom"]
        link.ask(ticket(2))
        assert link.news() == []


def test_a_program_that_ends_without_closing_its_link_ends_at_once_and_silently() -> None:
    program = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from played_cluster import PlayedCluster\n"
        "from linked import HEARTBEAT_SECONDS, StationLink\n"
        "link = StationLink(PlayedCluster().connect, 'x', heartbeat_seconds=HEARTBEAT_SECONDS, weights='')\n"
        "link.start()\n"
        "while link.trouble: pass\n"
    )
    folder = Path(__file__).parents[3]

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=folder, capture_output=True, timeout=30, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_link_that_was_never_started_closes() -> None:
    with station(PlayedCluster(is_hanging=True).connect) as link:
        link.close(0.2)
        link.close(0.2)


def test_ten_thousand_wake_ups_that_nobody_reads_hold_up_nothing() -> None:
    cluster = PlayedCluster(down=DOWN)
    with station(cluster.connect) as link:
        for job in range(10_000):
            link.ask(ticket(job))
            link.withdraw(ticket(job).key)

        assert len(link.news()) == 10_000


def test_the_view_counts_live_seats_with_our_weights_and_stations_with_work() -> None:
    def worker_row(name: str, weights: str, silent: float, *, drain: bool = False) -> Machine:
        facts = WorkerMachine(name=name, weights=weights, seats=(SeatFacts(), SeatFacts())).to_facts()
        return Machine("worker", name, facts, silent, drain)

    def station_row(name: str, silent: float, given: int) -> Machine:
        return Machine("station", name, StationMachine(name=name, given=given).to_facts(), silent)

    machines = [
        worker_row("live", WEIGHTS, 1),
        worker_row("lost", WEIGHTS, 31),
        worker_row("draining", WEIGHTS, 1, drain=True),
        worker_row("other", OTHER_WEIGHTS, 1),
        station_row("darkroom", 1, 0),
        station_row("busy", 1, 3),
        station_row("idle", 1, 0),
        station_row("gone", 40, 3),
    ]

    view = view_of(machines, "darkroom", WEIGHTS, seen_seconds=30, lost_seconds=30)

    assert (view.slots, view.other_slots, view.stations) == (2, 2, 2)
    assert {worker.name: worker.is_draining for worker in view.workers} == {
        "live": False,
        "draining": True,
        "other": False,
    }
