"""Row 6, PostgreSQL's half, and row 17: PostgreSQL goes away under stations and workers that are at work."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_lab import LOST_SECONDS, Lab
from postgres import Database

from spotlessd.job import JobState

LONG_OUTAGE_SECONDS = 20.0
"""Stands for an hour: longer than every patience of the lab, and than some of the pauses between two tries."""


@pytest.fixture
def lab(tmp_path: Path, own_postgres: Database) -> Iterator[Lab]:
    made = Lab(tmp_path, own_postgres)
    try:
        yield made
    finally:
        made.close()


def end(postgres: Database, how: str) -> None:
    """End PostgreSQL: `fast` as a person does, `immediate` as a power cut does, `kill` as the kernel does."""
    if how == "kill":
        postgres.kill()
    else:
        postgres.stop(how)


def trouble_of(lab: Lab, station: str) -> str:
    log = (lab.stations[station].folder / "daemon.log").read_text()
    return log[log.rfind("the cluster's PostgreSQL") :]


@pytest.mark.parametrize(
    ("how", "seconds"),
    [
        ("fast", LOST_SECONDS),
        pytest.param("immediate", LOST_SECONDS, marks=pytest.mark.slow),
        ("kill", LOST_SECONDS),
        pytest.param("fast", LONG_OUTAGE_SECONDS, marks=pytest.mark.slow),
    ],
)
def test_postgresql_goes_away_mid_job_while_scans_arrive_and_all_are_done_once(
    lab: Lab, how: str, seconds: float
) -> None:
    held = ["gated1.tif", "gated2.tif"]
    lab.station("front")
    lab.worker("gpu1")
    lab.worker("gpu2")
    lab.drop("front", *held)
    lab.wait_for(lambda: all(lab.begun("front", name) == 1 for name in held))

    end(lab.postgres, how)
    away_since = time.monotonic()
    arrived = [f"arrived{number}.tif" for number in range(5)]
    lab.drop("front", *arrived)
    lab.wait_for(lambda: set(arrived) <= set(lab.states("front")))
    lab.open_gate()  # both workers finish, and cannot say so
    time.sleep(max(seconds - (time.monotonic() - away_since), 0.0))
    during = lab.states("front")
    lab.postgres.start()
    lab.wait_until_done(90)

    assert {during[name] for name in held} == {JobState.RUNNING}
    assert set(during.values()) == {JobState.RUNNING, JobState.QUEUED}
    assert sum(during[name] is JobState.QUEUED for name in arrived) == len(arrived)
    assert {lab.begun("front", name) for name in held} == {1}, "what was computed meanwhile is not computed again"
    assert {lab.job("front", name).attempt for name in (*held, *arrived)} == {1}
    lab.check_promises(f"cluster: PostgreSQL away, {how}")


def test_everything_is_switched_on_before_postgresql_and_begins_when_it_comes(lab: Lab) -> None:
    lab.postgres.stop()
    lab.station("front")
    lab.worker("gpu1")
    lab.drop("front", "a.tif", "b.tif")
    lab.wait_for(lambda: len(lab.states("front")) == 2)
    lab.wait_for(lambda: "connection refused" in trouble_of(lab, "front").lower())

    lab.postgres.start()

    lab.wait_until_done()
    lab.check_promises("cluster: PostgreSQL comes last")


def test_a_postgresql_that_has_lost_everything_costs_a_repetition_and_no_scan(lab: Lab) -> None:
    lab.station("front")
    lab.worker("gpu1")
    lab.drop("front", "gated.tif", "a.tif", "b.tif")
    lab.wait_for(lambda: lab.begun("front", "gated.tif") == 1)

    lab.postgres.rows("DROP SCHEMA public CASCADE")
    lab.postgres.rows("CREATE SCHEMA public")
    lab.open_gate()

    lab.wait_until_done()
    lab.check_promises("cluster: PostgreSQL lost everything")
