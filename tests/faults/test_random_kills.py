"""Rows 3, 4, 6: SIGKILL at random moments, to the daemon and to its worker, in real processes."""

import random
import signal
import subprocess
import time
from contextlib import suppress

import psutil
import pytest
from daemon_station import DEADLINE_SECONDS
from fake_workers import write_fake_scan
from faults.fault_station import TRIED, FaultStation, check_invariants, check_while_down

from spotlessd.job import JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.sqlite.database import Database

LONGEST_PAUSE_STARTS = 1.5
"""Between two kills, in times that a daemon takes from its start to its first result: every phase of a run is hit."""
WORKER_SHARE = 0.4
"""How many of the kills hit the worker."""


def bring(station: FaultStation, index: int) -> None:
    write_fake_scan(station.scans / f"frame{index:03d}.tif", index, size=1000 + index)
    station.remember_scans()


def kill_at_random(station: FaultStation, kills: int, scans: int, seed: int) -> None:
    """Run the daemon and kill it, or its worker, `kills` times, while `scans` come one after the other."""
    station.set_queue("max_attempts = 100", "max_interrupts = 1000")
    bring(station, 0)
    chance = random.Random(seed)
    begun = time.monotonic()
    daemon: subprocess.Popen[str] = station.start("load_fake")
    station.wait_for(lambda: bool(station.results()) or daemon.poll() is not None)
    longest_pause = LONGEST_PAUSE_STARTS * (time.monotonic() - begun)
    for number in range(kills):
        for index in range(max(1, scans * number // kills), scans * (number + 1) // kills):
            bring(station, index)
        if daemon.poll() is not None:
            text, _ = daemon.communicate()
            assert daemon.returncode == -signal.SIGKILL, text[-3000:]
            station.processes.clear()
            daemon = station.start("load_fake")
        time.sleep(chance.uniform(0, longest_pause))
        victims = []
        if chance.random() < WORKER_SHARE:
            with suppress(psutil.Error):
                victims = [child for child in psutil.Process(daemon.pid).children() if "spawn_main" in _command(child)]
        with suppress(psutil.Error, ProcessLookupError):
            if victims:
                victims[0].kill()
            else:
                daemon.send_signal(signal.SIGKILL)
                daemon.wait()
        check_while_down(station, "random SIGKILL")
        TRIED["random SIGKILL"] += 1
    daemon.kill()
    daemon.communicate()


def _command(process: psutil.Process) -> str:
    return " ".join(process.cmdline())


def finish(station: FaultStation, seconds: float = DEADLINE_SECONDS) -> None:
    process = station.start("load_fake", "--once")
    text, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, text[-3000:]


def test_kills_at_random_lose_nothing(station: FaultStation) -> None:
    kill_at_random(station, kills=12, scans=12, seed=1)
    finish(station)

    check_invariants(station, "random SIGKILL")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_kills_at_random_over_300_scans_lose_nothing(station: FaultStation) -> None:
    kill_at_random(station, kills=1000, scans=300, seed=2)
    finish(station, seconds=600)

    check_invariants(station, "random SIGKILL")


def test_a_daemon_killed_in_a_job_counts_an_interrupt_and_no_crash_and_its_worker_ends(station: FaultStation) -> None:
    write_fake_scan(station.scans / "hang.tif")
    daemon = station.start("load_fake")
    worker = station.worker_pid()

    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    station.wait_for(lambda: not psutil.pid_exists(worker))
    (station.scans / "hang.tif").rename(station.scans / "good.tif")
    station.remember_scans()
    station.recover(station.run_once)

    with Database.open(station.state / LEDGER_NAME) as database:
        interrupted = Ledger(database).jobs_of("scans", "hang.tif")[0]
    assert (interrupted.state, interrupted.interrupts, interrupted.crashes) == (JobState.GONE, 1, 0)
    check_invariants(station, "daemon killed in a job")
