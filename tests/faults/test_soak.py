"""Row 18 and the long run: many scans through one daemon, with flat memory and no descriptor left open.

The folder is held at a constant size: the test takes away the scans and results of the round before, as an operator
who moves finished rolls away. What still grows is then a leak, or the ledger, which keeps a row of every scan.
"""

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import psutil
import pytest
from fake_workers import write_fake_scan
from faults.fault_station import TRIED, FaultStation, expected_results

from spotlessd.job import JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME, read_status
from spotlessd.sqlite.database import Database

PARENT_MB = 120.0
WARM_SCANS = 6000
"""First scans, not measured: SQLite's page cache fills until the ledger is larger than its two megabytes (about 3,000
scans), the garbage of Python's oldest generation reaches its level, and the heap finds its size.
"""
MEASURED_SCANS = 2000
ROUND_SCANS = 50
GROWTH_MB = 1.0
"""Over `MEASURED_SCANS`, by the line through all measurements; the bound is for the low end of its confidence interval,
so that one step of the heap cannot fail it. A leak of one kilobyte a scan would be 2 MB.
"""
CONFIDENCE = 0.95
LEDGER_BYTES_PER_SCAN = 1500.0
"""A row, four lines of history and their indexes."""
PICKED_UP_SECONDS = 1.0


@dataclass(frozen=True)
class Slope:
    """Growth over `MEASURED_SCANS`, in the unit of what was measured, with the ends of its confidence interval."""

    growth: float
    low: float
    high: float


def slope_of(values: list[float]) -> Slope:
    """Fit a line to measurements taken every `ROUND_SCANS` scans."""
    (slope, _), covariance = np.polyfit(np.arange(len(values)), values, 1, cov=True)
    half = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) * float(np.sqrt(covariance[0, 0]))
    rounds = MEASURED_SCANS / ROUND_SCANS
    return Slope(float(slope) * rounds, (float(slope) - half) * rounds, (float(slope) + half) * rounds)


def done(station: FaultStation) -> int:
    with Database.open(station.state / LEDGER_NAME) as database:
        return Ledger(database).counts()[JobState.DONE]


def loaded_files(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def clear_round(station: FaultStation) -> None:
    """Take away every scan and every result."""
    for scan in station.scans.glob("*.tif"):
        scan.unlink()
    for path in station.restored.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.suffix == ".tif":
            path.unlink()


def do_round(station: FaultStation, begin: int) -> None:
    """Let the daemon restore `ROUND_SCANS` new scans and check every result."""
    clear_round(station)
    rels = [f"frame{index:05d}.tif" for index in range(begin, begin + ROUND_SCANS)]
    for index, rel in enumerate(rels, start=begin):
        write_fake_scan(station.scans / rel, index)
    station.wait_for(lambda: done(station) == begin + ROUND_SCANS, 600)
    assert station.results() == expected_results(station.scans, rels)


def measure(station: FaultStation, daemon: "subprocess.Popen[str]") -> dict[str, float]:
    snapshot = read_status(station.state, time.time()).snapshot
    assert snapshot is not None
    measured = {"ledger": float((station.state / LEDGER_NAME).stat().st_size)}
    for name, process in (("parent", psutil.Process(daemon.pid)), ("worker", psutil.Process(snapshot.worker_pid))):
        measured[name] = process.memory_info().rss / 1e6
        measured[f"{name} files"] = process.num_fds()
        measured[f"{name} threads"] = process.num_threads()
    return measured


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_thousand_scans_through_one_daemon_leave_memory_and_descriptors_flat(station: FaultStation) -> None:
    station.set_queue("recycle_jobs = 0")
    daemon = station.start("load_fake", is_logged=True)
    station.wait_for(lambda: read_status(station.state, time.time()).snapshot is not None)

    rows = []
    for begin in range(0, WARM_SCANS + MEASURED_SCANS, ROUND_SCANS):
        do_round(station, begin)
        if begin >= WARM_SCANS:
            rows.append(measure(station, daemon))
            TRIED["soak: a round of 50 scans"] += 1

    measured = {name: [row[name] for row in rows] for name in rows[0]}
    slopes = {name: slope_of(measured[name]) for name in ("parent", "worker", "ledger")}
    print(f"\n{MEASURED_SCANS} scans, folder of constant size: {slopes}\n{measured}")
    with Database.open(station.state / LEDGER_NAME) as database:
        assert database.integrity_problems() == []
        assert Ledger(database).counts()[JobState.DONE] == WARM_SCANS + MEASURED_SCANS
    assert max(measured["parent"]) < PARENT_MB
    assert slopes["parent"].low < GROWTH_MB
    assert slopes["worker"].low < GROWTH_MB
    assert slopes["ledger"].growth / MEASURED_SCANS < LEDGER_BYTES_PER_SCAN
    for name in ("parent", "worker"):
        for kind in ("files", "threads"):
            values = measured[f"{name} {kind}"]
            assert max(values) <= values[0] + 1, f"{name}: {kind} grow"


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
