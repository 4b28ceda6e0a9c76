"""A lab in a folder: stations and workers as real processes with fake children, on one PostgreSQL.

All stations' folders lie in one share. Each worker sees it under a path of its own (a link), as other machines would.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from daemon_station import DEADLINE_SECONDS, TESTS, Station
from fake_workers import restored_bytes, write_fake_scan
from postgres import Database as Postgres

from spotlessd.folders.roots import MARKER_NAME
from spotlessd.job import JobState

HEARTBEAT_SECONDS = 0.4
LOST_SECONDS = 1.6


class LabStation(Station):
    """One station of the lab."""

    def __init__(self, folder: Path, share: Path, name: str, engine: str, extra: str = "") -> None:
        folder.mkdir(parents=True)
        self.name = name
        super().__init__(folder)
        shared = share / name
        for root_name in ("scans", "restored"):
            target = shared / root_name
            target.mkdir(parents=True)
            (target / MARKER_NAME).write_text(f"{name}\n")
        self.scans, self.restored = shared / "scans", shared / "restored"
        self.config.write_text(
            engine
            + self.config.read_text()
            .replace('station_id = "dark"', f'station_id = "{name}"')
            .replace('input = "scans"', f'input = "{self.scans}"')
            .replace('output = "restored"', f'output = "{self.restored}"')
            + extra
        )


class Lab:
    """Stations and workers on one PostgreSQL; `close` ends them all."""

    def __init__(self, folder: Path, postgres: Postgres, cluster: str = "") -> None:
        self.folder = folder
        self.postgres = postgres
        self.share = folder / "share"
        self.share.mkdir()
        self.stations: dict[str, LabStation] = {}
        self.workers: dict[str, subprocess.Popen[str]] = {}
        self._cluster = (
            f'[cluster]\npassword_file = "{postgres.target.password_file}"\nheartbeat_seconds = {HEARTBEAT_SECONDS}\n'
            f"lost_seconds = {LOST_SECONDS}\n{cluster}"
        )

    def _engine(self, share: Path) -> str:
        return f'engine = "{self.postgres.url}"\nshares = [{{ name = "all", path = "{share}" }}]\n'

    def station(self, name: str, *words: str, is_started: bool = True) -> LabStation:
        """Make a station and start it."""
        station = LabStation(self.folder / name, self.share, name, self._engine(self.share), self._cluster)
        self.stations[name] = station
        if is_started:
            self.start_station(name, *words)
        return station

    def start_station(self, name: str, *words: str, crash_at: str = "") -> subprocess.Popen[str]:
        return self.stations[name].start(*words, crash_at=crash_at, is_logged=True)

    def worker(self, name: str, loader: str = "load_fake", extra: str = "", weights: str = "") -> subprocess.Popen[str]:
        """Start a worker, with a mount of its own; one of this name may have been started before.

        `weights`: what it says its weights are, "" = the truth.
        """
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        mount = folder / "mount"
        if not mount.is_symlink():
            mount.symlink_to(self.share)
        config = folder / "spotlessd.toml"
        config.write_text(
            self._engine(mount)
            + f'state_dir = "{folder}/state"\n[worker]\nname = "{name}"\n[disk]\nreserve_mb = 1\n'
            + f"[queue]\nstall_seconds = 3\nstop_grace_seconds = 20\n{extra}"
            + self._cluster
        )
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SPOTLESSD_")},
            "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent))),
        }
        words = [str(config), loader, *([weights] if weights else [])]
        with (folder / "worker.log").open("a") as log:
            self.workers[name] = subprocess.Popen(
                [
                    sys.executable,
                    str(TESTS / "fake_cluster_worker.py"),
                    str(config),
                    loader,
                    *([weights] * bool(weights)),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
            )
        return self.workers[name]

    def kill_worker(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        process = self.workers[name]
        process.send_signal(number)
        if number in {signal.SIGKILL, signal.SIGTERM}:
            process.wait(DEADLINE_SECONDS)

    def drop(self, station: str, *names: str, size: int = 4000) -> None:
        """Let scans appear in a station's folder."""
        for seed, name in enumerate(names):
            write_fake_scan(self.stations[station].scans / name, seed + len(name), size)

    def wait_until_done(self, seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until every scan of every station is done."""
        for station in self.stations.values():
            names = {path.relative_to(station.scans).as_posix() for path in station.scans.rglob("*.tif")}
            self.wait_for(partial(all_done, station, names), seconds)

    def wait_for(self, claim: Callable[[], bool], seconds: float = DEADLINE_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not claim():
            if time.monotonic() > deadline:
                raise AssertionError(f"it did not happen in time\n{self.logs()}")
            time.sleep(0.05)

    def logs(self) -> str:
        texts = [
            f"--- {path}\n{path.read_text()[-3000:]}"
            for path in [*self.folder.glob("*/daemon.log"), *self.folder.glob("*/worker.log")]
        ]
        return "\n".join(texts)

    def check_promises(self) -> None:
        """Every scan has exactly one result, with the bytes that one machine alone would have made."""
        for station in self.stations.values():
            scans = {path.relative_to(station.scans).as_posix(): path for path in station.scans.rglob("*.tif")}
            results = {name: content for name, content in station.results().items() if name.endswith(".tif")}
            expected = {name: restored_bytes(path) for name, path in scans.items()}
            assert {name: results.get(name) for name in expected} == expected, station.name
            assert set(results) == set(expected), f"{station.name}: published twice"
            station.check_promises(station.input_hashes())

    def close(self) -> None:
        for process in self.workers.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        for station in self.stations.values():
            station.close()


def all_done(station: Station, names: set[str]) -> bool:
    """Whether every one of these scans is done."""
    if not (station.state / "ledger.sqlite3").exists():
        return False
    states = station.states()
    return names <= set(states) and all(state is JobState.DONE for state in states.values())
