"""Rows 6 and 17: SIGKILL at random moments, to workers, their children, stations and PostgreSQL, in real processes."""

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest
from cluster_lab import Lab
from fake_workers import write_fake_scan
from faults.fault_station import TRIED, expected_results
from postgres import Database

STATIONS = ("front", "back")
WORKERS = ("gpu1", "gpu2", "gpu3")
LONGEST_PAUSE_SECONDS = 1.0
"""Between two kills; a worker needs about as long from its start to its first result."""
LOADER = "load_timed_100"
"""A tenth of a second for a scan, so that a kill finds work in hand."""
VICTIMS = {"worker": 8, "child": 5, "station": 5, "PostgreSQL": 2}
"""Whom a kill hits, and how often for each other."""
LOOK_EVERY = 5
"""Kills between two looks at everything that was published so far."""


@pytest.fixture(params=["station", pytest.param("worker", marks=pytest.mark.slow)])
def lab(request: pytest.FixtureRequest, tmp_path: Path, own_postgres: Database) -> Iterator[Lab]:
    """`request.param`: who publishes."""
    queue = "max_attempts = 100\nmax_interrupts = 1000\n"
    made = Lab(tmp_path, own_postgres, f'max_losses = 100\npublish = "{request.param}"\n', queue)
    try:
        yield made
    finally:
        made.close()


class Killer:
    """Kills one process after the other, and starts again what was killed, as systemd would. `kills`: of whom."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self._lab = lab
        self._chance = random.Random(seed)
        self.kills: Counter[str] = Counter()

    def pause(self) -> None:
        time.sleep(self._chance.uniform(0, LONGEST_PAUSE_SECONDS))

    def kill_one(self) -> None:
        kind = self._chance.choices(list(VICTIMS), list(VICTIMS.values()))[0]
        self.kills[kind] += 1
        TRIED[f"cluster: random kill of a {kind}"] += 1
        lab, chance = self._lab, self._chance
        if kind == "worker":
            lab.kill_worker(self._busy())
        elif kind == "child":
            with suppress(psutil.Error, IndexError):
                chance.choice(children_of(lab.workers[self._busy()].pid)).kill()
        elif kind == "station":
            process = lab.stations[chance.choice(STATIONS)].processes[-1]
            process.kill()
            process.wait()
        else:
            end = chance.choice([lab.postgres.kill, lab.postgres.stop, lambda: lab.postgres.stop("immediate")])
            end()
            time.sleep(chance.uniform(0, LONGEST_PAUSE_SECONDS))
            lab.postgres.start()
        self.mend()

    def _busy(self) -> str:
        """A worker that has a scan in hand, if there is one: the others have nothing to lose."""
        with suppress(psycopg.Error):
            rows = self._lab.postgres.rows("SELECT worker FROM spotlessd_tickets WHERE state = 'doing' ORDER BY 1")
            return self._chance.choice([str(name) for (name,) in rows] or WORKERS)
        return self._chance.choice(WORKERS)

    def mend(self) -> None:
        """Start what does not run."""
        for name in WORKERS:
            if self._lab.workers[name].poll() is not None:
                self._lab.worker(name, LOADER)
        for name in STATIONS:
            process = self._lab.stations[name].processes[-1]
            if process.poll() is not None:
                assert process.returncode in {0, -signal.SIGKILL}, self._lab.logs()
                self._lab.stations[name].processes.clear()
                self._lab.start_station(name)


def children_of(pid: int) -> list[psutil.Process]:
    """The processes that compute, without multiprocessing's tracker of resources."""
    return [child for child in psutil.Process(pid).children() if "spawn_main" in " ".join(child.cmdline())]


def check_no_partial(lab: Lab) -> None:
    """Whatever everybody is in the middle of: what has a final name is whole, and nothing is there twice."""
    for station in lab.stations.values():
        scans = [path.relative_to(station.scans).as_posix() for path in station.scans.rglob("*.tif")]
        wanted = expected_results(station.scans, scans)
        for name, content in station.results().items():
            if not name.endswith(".part"):
                assert content == wanted.get(name), f"{station.name}: {name} is not what was asked for"


def kill_at_random(lab: Lab, jobs: int, kills: int, seed: int, seconds: float) -> Counter[str]:
    """Let `jobs` scans arrive at two stations while `kills` processes are killed; then all must be done.

    They arrive during the first half of the kills.
    """
    for name in STATIONS:
        lab.station(name)
    for name in WORKERS:
        lab.worker(name, LOADER)
    killer, arriving = Killer(lab, seed), max(kills // 2, 1)
    for number in range(kills):
        for index in range(min(jobs * number // arriving, jobs), min(jobs * (number + 1) // arriving, jobs)):
            scans = lab.stations[STATIONS[index % len(STATIONS)]].scans
            write_fake_scan(scans / f"roll{index // 100}" / f"frame{index:05d}.tif", index, size=500 + index % 300)
        killer.pause()
        killer.kill_one()
        if number % LOOK_EVERY == 0:
            check_no_partial(lab)
    deadline = time.monotonic() + seconds
    while True:
        killer.mend()
        try:
            lab.wait_until_done(1.0)
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        else:
            return killer.kills


def test_kills_at_random_lose_nothing_and_publish_nothing_twice(lab: Lab) -> None:
    kills = kill_at_random(lab, jobs=300, kills=24, seed=1, seconds=60)

    assert kills.total() == 24
    lab.check_promises("cluster: random kills")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_hundreds_of_kills_over_thousands_of_scans_lose_nothing_and_publish_nothing_twice(lab: Lab) -> None:
    begun = time.monotonic()
    kills = kill_at_random(lab, jobs=4000, kills=300, seed=2, seconds=900)

    print(f"4000 scans, {dict(kills)} kills, {time.monotonic() - begun:.0f} s")
    lab.check_promises("cluster: random kills")
