"""A lab in a folder: stations and workers as real processes with fake children, on one PostgreSQL.

All stations' folders lie in one share. Each worker sees it under a path of its own (a link), as other machines would.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from daemon_station import DEADLINE_SECONDS, TESTS, Station
from fake_workers import write_fake_scan
from faults.fault_station import TRIED, VIOLATED, expected_results
from postgres import Database as Postgres

from spotlessd.folders.roots import MARKER_NAME
from spotlessd.job import Job, JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.sqlite.database import Database

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
    """Stations and workers on one PostgreSQL; `close` ends them all.

    `cluster`, `queue`: more lines for these tables of the configs; `queue` only for the stations'.
    """

    def __init__(self, folder: Path, postgres: Postgres, cluster: str = "", queue: str = "") -> None:
        self._queue = queue
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

    def _engine(self, share: Path, port: int = 0) -> str:
        own = self.postgres.server.port
        url = self.postgres.url.replace(f":{own}/", f":{port or own}/")
        return f'engine = "{url}"\nshares = [{{ name = "all", path = "{share}" }}]\n'

    def station(self, name: str, *words: str, is_started: bool = True, port: int = 0) -> LabStation:
        """Make a station and start it. `port`: where it finds PostgreSQL, if not at the server's own."""
        station = LabStation(self.folder / name, self.share, name, self._engine(self.share, port), self._cluster)
        station.config.write_text(station.config.read_text().replace("[queue]\n", f"[queue]\n{self._queue}"))
        self.stations[name] = station
        if is_started:
            self.start_station(name, *words)
        return station

    def start_station(self, name: str, *words: str, crash_at: str = "") -> subprocess.Popen[str]:
        return self.stations[name].start(*words, crash_at=crash_at, is_logged=True)

    def worker(
        self,
        name: str,
        loader: str = "load_fake",
        extra: str = "",
        weights: str = "",
        *,
        port: int = 0,
        answer_seconds: float = 35.0,
        state: str = "state",
    ) -> subprocess.Popen[str]:
        """Start a worker, with a mount of its own; one of this name may have been started before.

        `weights`: what it says its weights are, "" = the truth. `port`: where it finds PostgreSQL, if not at the
        server's own. `answer_seconds`: how long it waits for PostgreSQL's answers. `state`: its state folder's name. It
        leads a process group, so that it can be stopped with its children, as a machine is.
        """
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        mount = folder / "mount"
        if not os.path.lexists(mount):
            mount.symlink_to(self.share)
        config = folder / "spotlessd.toml"
        config.write_text(
            self._engine(mount, port)
            + f'state_dir = "{folder}/{state}"\n[worker]\nname = "{name}"\n[disk]\nreserve_mb = 1\n'
            + f"[queue]\nstall_seconds = 3\nstop_grace_seconds = 20\n{extra}"
            + self._cluster
        )
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SPOTLESSD_")},
            "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent))),
            "LAB_ANSWER_SECONDS": str(answer_seconds),
        }
        words = [str(config), loader, *([weights] if weights else [])]
        with (folder / "worker.log").open("a") as log:
            self.workers[name] = subprocess.Popen(
                [sys.executable, str(TESTS / "fake_cluster_worker.py"), *words],
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
                start_new_session=True,
            )
        return self.workers[name]

    def kill_worker(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a worker and its children; SIGKILL is a machine that goes off."""
        process = self.workers[name]
        if number is signal.SIGTERM:
            process.send_signal(number)
        else:
            os.killpg(process.pid, number)
        if number in {signal.SIGKILL, signal.SIGTERM}:
            process.wait(DEADLINE_SECONDS)

    def kill(self, process: "subprocess.Popen[str]") -> None:
        """End a worker of which another has taken the name in `workers`."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
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

    def job(self, station: str, rel: str) -> Job:
        """The newest job of a scan."""
        with Database.open(self.stations[station].state / LEDGER_NAME) as database:
            return Ledger(database).jobs_of("scans", rel)[-1]

    def states(self, station: str) -> dict[str, JobState]:
        """The states of a station's scans, by name; nothing before it has a ledger."""
        found = self.stations[station]
        return found.states() if (found.state / LEDGER_NAME).exists() else {}

    def log(self, worker: str) -> str:
        return (self.folder / worker / "worker.log").read_text()

    def waiting_answers(self) -> int:
        """How many answers no station has acknowledged."""
        return len(self.postgres.rows("SELECT 1 FROM spotlessd_tickets WHERE state = 'answered'"))

    def holder(self, rel: str) -> str:
        """The worker that has a scan's ticket now, "" without one."""
        rows = self.postgres.rows("SELECT worker FROM spotlessd_tickets WHERE ticket->>'rel' = %s", rel)
        return str(rows[-1][0]) if rows else ""

    def begun(self, station: str, rel: str) -> int:
        """How often a scan named `gated…` was begun."""
        path = self.stations[station].scans.parent / f"begun-{rel}"
        return len(path.read_text().split()) if path.exists() else 0

    def open_gate(self) -> None:
        """Let the scans named `gated…` end."""
        for station in self.stations.values():
            (station.scans.parent / "gate").touch()

    def check_promises(self, fault: str = "cluster: none", quarantined: frozenset[str] = frozenset()) -> None:
        """Assert I1 to I6 at rest, and count this as one try of `fault`. `quarantined`: scans meant to be.

        Every other scan has exactly one result, with the bytes that one machine alone would have made.
        """
        TRIED[fault] += 1
        try:
            for station in self.stations.values():
                check_station(station, quarantined)
        except AssertionError:
            VIOLATED[fault] += 1
            raise

    def close(self) -> None:
        for process in self.workers.values():
            self.kill(process)
        for station in self.stations.values():
            station.close()


def check_station(station: LabStation, quarantined: frozenset[str]) -> None:
    """Assert I1 to I6 of one station at rest."""
    scans = {path.relative_to(station.scans).as_posix() for path in station.scans.rglob("*.tif")}
    wanted = {name: JobState.QUARANTINED if name in quarantined else JobState.DONE for name in scans}
    assert station.states() == wanted, f"I1: {station.name}: not every scan ended as it should"
    expected = expected_results(station.scans, sorted(scans - quarantined))
    assert station.results() == expected, f"I2, I3, I5: {station.name}: not the results of a quiet run"
    station.check_promises(station.input_hashes())


def all_done(station: Station, names: set[str]) -> bool:
    """Whether every one of these scans is done."""
    if not (station.state / "ledger.sqlite3").exists():
        return False
    states = station.states()
    return names <= set(states) and all(state is JobState.DONE for state in states.values())
