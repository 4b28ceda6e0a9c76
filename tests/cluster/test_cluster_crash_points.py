"""Rows 1, 2 and 17: a cluster's station ends at a named step as from kill -9, and is started again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_lab import Lab
from postgres import Database

from spotlessd.crash_points import STATUS

CORE = ("dispatch.mid_job", "publish.planned", "publish.image_named", "finish.after_commit")
OTHERS = (
    "enqueue.after_commit",
    "claim.before_commit",
    "claim.after_commit",
    "publish.receipt_written",
    "publish.parts_synced",
    "publish.linked",
    "publish.mask_named",
    "publish.folders_synced",
    "publish.receipt_named",
    "publish.all_synced",
    "move.before_commit",
    "move.after_commit",
)


@pytest.fixture
def lab(tmp_path: Path, database: Database) -> Iterator[Lab]:
    made = Lab(tmp_path, database)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("step", [*CORE, *(pytest.param(step, marks=pytest.mark.slow) for step in OTHERS)])
def test_a_station_killed_at_any_step_publishes_each_scan_once(lab: Lab, step: str) -> None:
    names = ("a.tif", "roll/b.tif", "c.tif")
    station = lab.station("front", is_started=False)
    lab.worker("gpu1")
    lab.drop("front", *names)
    crashed = lab.start_station("front", crash_at=step)
    assert crashed.wait(60) == STATUS, lab.logs()

    lab.start_station("front")

    lab.wait_until_done()
    jobs = [lab.job("front", name) for name in names]
    assert [job.strikes for job in jobs] == [0, 0, 0]
    assert sum(job.interrupts for job in jobs) <= (0 if step == "dispatch.mid_job" else 1)
    assert {job.plan for job in jobs} == {""}
    assert not lab.postgres.rows("SELECT 1 FROM spotlessd_tickets WHERE state <> 'answered'"), "a ticket is left"
    lab.check_promises(f"cluster: station killed at {step}")
    assert station.processes[-1].poll() is None
