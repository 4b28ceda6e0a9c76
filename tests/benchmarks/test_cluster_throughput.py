"""A cluster of real processes with fake 50-ms jobs: what the engine costs a job, what a second worker brings, and a
station with 100,000 scans queued beside 100,000 tickets of others.

Run with `make bench`. Both sides of each comparison are measured in one run, one after the other, the best of a few
pairs: other programs on the machine only make them worse.
"""

import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from cluster_lab import Lab, LabStation
from cluster_tickets import OTHER_WEIGHTS, ticket
from postgres import Database as Postgres
from postgres import fresh_database, running_server, server_folder
from pytest_benchmark.fixture import BenchmarkFixture

from spotlessd.cluster.overview import read_overview
from spotlessd.cluster.ticket_queue import TicketQueue
from spotlessd.engine import LocalEngine
from spotlessd.job import Identity, RetryPolicy
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME, read_status
from spotlessd.sqlite.database import Database

JOBS = 120
PAIRS = 4
GAIN = 1.9
OVERHEAD_SECONDS = 0.02
ROWS = 100_000
SUBMITTED_PER_SECOND = 500
STATUS_SECONDS = 0.3
SEEN_SECONDS = 5.0
"""In a few beats every machine has been seen by all."""
SERVED_SECONDS = 5.0


@pytest.fixture(scope="module")
def server_of_postgres() -> Iterator[Postgres]:
    with server_folder() as folder, running_server(folder) as server, fresh_database(server) as database:
        yield database


@dataclass(frozen=True)
class Pace:
    """`a_second`: jobs in the middle of a run. `own_seconds`: of that, what one job took in the child itself."""

    a_second: float
    own_seconds: float

    def overhead(self, seats: int) -> float:
        """Seconds a seat spends on a job beside the job itself."""
        return seats / self.a_second - self.own_seconds


def pace_of(station: LabStation, number: int) -> Pace:
    with Database.open(station.state / LEDGER_NAME) as database:
        ends = sorted(job.finished for job in Ledger(database).jobs())
    receipts = (station.restored / "receipts").rglob("*.json")
    own = [json.loads(path.read_text())["seconds"]["total"] for path in receipts]
    assert len(ends) == len(own) == number
    first, last = number // 4, number - 4
    return Pace((last - first) / (ends[last] - ends[first]), statistics.mean(own))


def run_jobs(folder: Path, postgres: Postgres, workers: int, seats: int = 1) -> Pace:
    """Do `JOBS` in a fresh cluster with so many workers of so many seats; 0 workers: in a station of its own."""
    lab = Lab(folder, postgres)
    gpus = f"[device]\ngpus = {list(range(seats))}\n" if seats > 1 else ""
    names = [f"frame{number:04d}.tif" for number in range(JOBS)]
    try:
        if workers:
            station = lab.station("front", is_started=False)
            lab.drop("front", *names)
            for number in range(workers):
                lab.worker(f"gpu{number}", "load_timed_50", gpus)
            lab.start_station("front")
        else:
            station = lab.stations["front"] = LabStation(folder / "front", lab.share, "front", "", gpus)
            lab.drop("front", *names)
            station.start("load_timed_50", is_logged=True)
        lab.wait_until_done()
        return pace_of(station, JOBS)
    finally:
        lab.close()


def test_a_job_in_the_cluster_costs_less_than_20_ms_beside_its_own_time(
    tmp_path: Path, server_of_postgres: Postgres, benchmark: BenchmarkFixture
) -> None:
    folders = (tmp_path / str(number) for number in itertools.count())
    found: list[tuple[float, float]] = []

    def measure() -> None:
        for _ in range(PAIRS):
            alone, cluster = (run_jobs(_made(next(folders)), server_of_postgres, workers) for workers in (0, 1))
            found.append((cluster.overhead(1), alone.overhead(1)))
            if found[-1][0] < OVERHEAD_SECONDS:
                return

    benchmark.pedantic(measure, rounds=1)
    shown = ", ".join(f"{1000 * here:.1f} ms (a station alone: {1000 * alone:.1f} ms)" for here, alone in found)
    print(f"\nbeside a 50-ms job: {shown}; load {os.getloadavg()[0]:.1f}")
    assert min(here for here, _ in found) < OVERHEAD_SECONDS


@pytest.mark.parametrize(("workers", "seats"), [(2, 1), (1, 2)], ids=["two workers", "one worker with two seats"])
def test_twice_the_seats_do_nearly_twice_as_much(
    tmp_path: Path, server_of_postgres: Postgres, benchmark: BenchmarkFixture, workers: int, seats: int
) -> None:
    folders = (tmp_path / str(number) for number in itertools.count())
    found: list[tuple[float, float]] = []

    def measure() -> None:
        for _ in range(PAIRS):
            one = run_jobs(_made(next(folders)), server_of_postgres, 1)
            two = run_jobs(_made(next(folders)), server_of_postgres, workers, seats)
            found.append((two.a_second / one.a_second, one.a_second))
            if found[-1][0] >= GAIN:
                return

    benchmark.pedantic(measure, rounds=1)
    shown = ", ".join(f"{gain:.2f} × {one:.1f} jobs/s" for gain, one in found)
    print(f"\n{workers} × {seats}: {shown}; load {os.getloadavg()[0]:.1f}")
    assert max(gain for gain, _ in found) >= GAIN


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@contextmanager
def crowded(folder: Path, postgres: Postgres) -> Iterator[Lab]:
    """A station with `ROWS` scans queued in a folder that is away, and as many tickets of others in PostgreSQL."""
    lab = Lab(folder, postgres)
    try:
        station = lab.station("front", is_started=False)
        station.state.mkdir(parents=True, exist_ok=True)
        with Database.open(station.state / LEDGER_NAME) as database, database.transaction() as connection:
            connection.executemany(
                "INSERT INTO job (root, rel, size, mtime_ns, inode, recipe, state, not_before, outputs, created)"
                " VALUES ('away', ?, 4000, ?, 1, 'recipe', 'queued', 0, '{}', 100.0)",
                [(f"roll{number // 36:05d}/frame{number % 36:02d}.tif", number) for number in range(ROWS)],
            )
        asyncio.run(ask(postgres, range(ROWS), 5000))
        postgres.rows("VACUUM ANALYZE")
        yield lab
    finally:
        lab.close()


async def ask(postgres: Postgres, jobs: range, at_once: int) -> None:
    """Ask for tickets of 50 other stations, whose weights no worker here has."""
    queue = await TicketQueue.connect(postgres.target)
    for first in range(jobs.start, jobs.stop, at_once):
        some = range(first, min(first + at_once, jobs.stop))
        await queue.ask([ticket(job, station=f"s{job % 50}", weights=OTHER_WEIGHTS) for job in some])
    await queue.close()


def best(call: Callable[[], object]) -> float:
    """Return the seconds of the fastest of three calls."""
    return min(timeit.repeat(call, number=1, repeat=3))


def test_a_station_with_100000_scans_is_quick_beside_100000_tickets(
    tmp_path: Path, server_of_postgres: Postgres, benchmark: BenchmarkFixture
) -> None:
    found: dict[str, float] = {}

    def measure() -> None:
        with crowded(tmp_path, server_of_postgres) as lab:
            station = lab.stations["front"]
            with Database.open(station.state / LEDGER_NAME) as database:
                engine = LocalEngine(ledger := Ledger(database), "bench", RetryPolicy())
                begun = time.perf_counter()
                with ledger.batch():  # as the station does with what it finds
                    for number in range(ROWS, ROWS + 1000):
                        assert engine.submit(Identity("away", f"{number}.tif", 1, number), number, "recipe") is not None
                found["submitted/s"] = 1000 / (time.perf_counter() - begun)
            begun = time.perf_counter()
            asyncio.run(ask(server_of_postgres, range(ROWS, ROWS + 1000), 100))
            found["asked/s"] = 1000 / (time.perf_counter() - begun)
            lab.worker("gpu1")
            lab.start_station("front")
            lab.wait_for(lambda: ["gpu1"] in [list(row) for row in machines(server_of_postgres)])
            time.sleep(SEEN_SECONDS)
            begun = time.perf_counter()
            lab.drop("front", "live.tif")
            lab.wait_for((station.restored / "live.tif").exists)
            found["from file to result, s"] = time.perf_counter() - begun
            found["status, s"] = best(lambda: read_status(station.state, time.time()))
            with server_of_postgres.connect() as connection:
                found["status --cluster, s"] = best(lambda: read_overview(connection, time.time()))
            for words in (["status"], ["status", "--cluster"], ["check-config"]):
                command = [sys.executable, "-m", "spotlessd", *words, "--config", str(station.config)]
                run = partial(subprocess.run, command, check=False, capture_output=True)  # 3: degraded
                found[f"the command {' '.join(words)}, s"] = best(run)

    benchmark.pedantic(measure, rounds=1)
    print("\n" + "; ".join(f"{name}: {number:.2f}" for name, number in found.items()), f"load {os.getloadavg()[0]:.1f}")
    assert min(found["submitted/s"], found["asked/s"]) > SUBMITTED_PER_SECOND
    assert found["from file to result, s"] < SERVED_SECONDS
    assert max(found["status, s"], found["status --cluster, s"]) < STATUS_SECONDS


def machines(postgres: Postgres) -> list[tuple[object, ...]]:
    return postgres.rows("SELECT name FROM spotlessd_machines WHERE role = 'worker'")
