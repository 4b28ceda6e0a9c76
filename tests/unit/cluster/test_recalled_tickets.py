"""A pause takes back what no worker of the cluster has begun."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from played_link import RemoteBench, open_remote_bench

from spotlessd.cluster.station_link import Withdrawn
from spotlessd.cluster.ticket_queue import Standing
from spotlessd.job import JobState


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[RemoteBench]:
    with open_remote_bench(tmp_path) as made:
        yield made


def test_a_pause_takes_back_what_waits_for_a_worker_and_leaves_what_one_has_begun(bench: RemoteBench) -> None:
    ids = [bench.queue(f"frame{number}.tif") for number in range(3)]
    bench.tick()
    begun, waiting, unheard = (ticket.key for ticket in bench.link.asked)
    bench.link.coming += [
        Standing(begun, "doing", "gpu1", "detect", 0.5, 0.0),
        Standing(waiting, "asked", "", "", 0.0, 5.0),
    ]
    bench.tick(may_start=False)
    recalled = [*bench.crew.recall("paused by a person"), *bench.crew.recall("paused by a person")]
    assert [job.id for job in recalled] == [ids[1]]
    assert bench.link.withdrawn == [waiting]
    bench.link.coming.append(Withdrawn(waiting))
    bench.tick(may_start=False)
    assert [bench.job(number).state for number in ids] == [JobState.RUNNING, JobState.QUEUED, JobState.RUNNING]
    assert unheard.job == ids[2]


def test_a_ticket_that_is_heard_of_during_the_pause_is_taken_back_then(bench: RemoteBench) -> None:
    bench.queue("frame.tif")
    bench.tick()
    [key] = (ticket.key for ticket in bench.link.asked)
    assert bench.crew.recall("paused by a person") == ()
    bench.link.coming.append(Standing(key, "asked", "", "", 0.0, 5.0))
    bench.tick(may_start=False)
    assert bench.link.withdrawn == [key]
    bench.tick()
    bench.link.coming.append(Standing(key, "asked", "", "", 0.0, 6.0))
    bench.tick(may_start=False)
    assert bench.link.withdrawn == [key], "the pause was over; another one asks anew"
