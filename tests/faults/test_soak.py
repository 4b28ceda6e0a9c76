"""Row 18 and the long run: many scans through one daemon, with flat memory and no descriptor left open."""

import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from fake_workers import write_fake_scan
from faults.fault_station import FaultStation, check_invariants

from spotlessd.job import JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME, read_status
from spotlessd.sqlite.database import Database

PARENT_MB = 120.0
GROWTH_MB = {"parent": 12.0, "worker": 4.0}
"""Over 2,000 scans, by a line through the second half of the measurements. The scans stay where they are, so the
parent's share holds what a look at 2,000 more files takes (some kilobytes each), beside the caches of SQLite.
"""
PICKED_UP_SECONDS = 1.0


def done(station: FaultStation) -> int:
    with Database.open(station.state / LEDGER_NAME) as database:
        return Ledger(database).counts()[JobState.DONE]


def loaded_files(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_thousand_scans_through_one_daemon_leave_memory_and_descriptors_flat(station: FaultStation) -> None:
    station.set_queue("recycle_jobs = 0")
    number, batch = 2000, 100
    daemon = station.start("load_fake", is_logged=True)
    station.wait_for(lambda: read_status(station.state, time.time()).snapshot is not None)
    parent = psutil.Process(daemon.pid)
    measured: dict[str, list[float]] = {"parent": [], "worker": [], "parent files": [], "worker files": []}

    for begin in range(0, number, batch):
        for index in range(begin, begin + batch):
            write_fake_scan(station.scans / f"frame{index:04d}.tif", index)
        station.wait_for(lambda wanted=begin + batch: done(station) == wanted, 600)  # type: ignore[misc]
        snapshot = read_status(station.state, time.time()).snapshot
        assert snapshot is not None
        for name, process in (("parent", parent), ("worker", psutil.Process(snapshot.worker_pid))):
            measured[name].append(process.memory_info().rss / 1e6)
            measured[f"{name} files"].append(process.num_fds())

    station.remember_scans()
    check_invariants(station, "soak of 2,000 scans")
    half = len(measured["parent"]) // 2
    growth = {
        name: float(np.polyfit(np.arange(half), measured[name][half:], 1)[0]) * number / batch for name in GROWTH_MB
    }
    print(f"\n2,000 scans: growth {growth} MB, {measured}")
    assert max(measured["parent"]) < PARENT_MB
    assert all(growth[name] < limit for name, limit in GROWTH_MB.items())
    assert max(measured["parent files"][1:]) <= measured["parent files"][0] + 1
    assert max(measured["worker files"][1:]) <= measured["worker files"][0] + 1


def test_the_parent_stays_small_and_never_loads_torch(station: FaultStation) -> None:
    for number in range(10):
        write_fake_scan(station.scans / f"frame{number}.tif", number)
    daemon = station.start("load_fake", is_logged=True)
    station.wait_for_states({f"frame{number}.tif": JobState.DONE for number in range(10)})

    assert psutil.Process(daemon.pid).memory_info().rss / 1e6 < PARENT_MB
    assert "libtorch" not in loaded_files(daemon.pid)
    assert "libpython" in loaded_files(daemon.pid) or "python" in loaded_files(daemon.pid)


def test_a_settled_file_is_claimed_within_a_second(station: FaultStation) -> None:
    """From the end of its settle time to the start of its job, in a daemon whose worker is ready."""
    station.start("load_fake", is_logged=True)
    station.wait_for(
        lambda: (snapshot := read_status(station.state, time.time()).snapshot) is not None and snapshot.worker == "idle"
    )
    came = []
    for number in range(5):
        came.append(time.time())
        write_fake_scan(station.scans / f"frame{number}.tif", number)
        station.wait_for_states({f"frame{index}.tif": JobState.DONE for index in range(number + 1)})

    with Database.open(station.state / LEDGER_NAME) as database:
        started = [job.started for job in Ledger(database).jobs()]
    settle_seconds = 0.3
    waits = sorted(at - came_at - settle_seconds for at, came_at in zip(started, came, strict=True))
    print(f"\nfrom settled to claimed: {waits}")
    assert waits[len(waits) // 2] < PICKED_UP_SECONDS
