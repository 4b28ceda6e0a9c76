"""A station in a folder, with real daemons started on it and fake workers: for tests of faults."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from spotlessd.folders.roots import MARKER_NAME
from spotlessd.job import JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME, read_status
from spotlessd.sqlite.database import Database

TESTS = Path(__file__).parent
DEADLINE_SECONDS = 60.0


class Station:
    """One station in a folder, and the daemons started on it by `program` with its `loader`.

    `launcher`: what stands before the program, to start it with other rights.
    """

    launcher: tuple[str, ...] = ()
    program = "fake_workers.py"
    loader = "load_fake"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scans, self.restored, self.state = folder / "scans", folder / "restored", folder / "state"
        self.config = folder / "spotlessd.toml"
        for root in (self.scans, self.restored):
            root.mkdir()
            (root / MARKER_NAME).write_text("dark\n")
        self.config.write_text(
            'station_id = "dark"\n'
            '[[roots]]\nname = "scans"\ninput = "scans"\noutput = "restored"\n'
            "[watch]\nsettle_seconds = 0.3\nrescan_seconds = 1\nincomplete_seconds = 2\n"
            "[queue]\nretry_seconds = 0.1\nretry_max_seconds = 0.2\nstop_grace_seconds = 20\nstall_seconds = 3\n"
            "[disk]\nreserve_mb = 1\n"
        )
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *words: str, crash_at: str = "", is_logged: bool = False) -> subprocess.Popen[str]:
        """Start a daemon. `is_logged`: it writes to `daemon.log`, for runs that would fill a pipe nobody reads."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SPOTLESSD_")},
            "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent))),
        }
        if crash_at:
            environment["SPOTLESSD_CRASH_AT"] = crash_at
        command = [*self.launcher, sys.executable, str(TESTS / self.program), str(self.config), *words]
        with (self.folder / "daemon.log").open("a") as log:
            process = subprocess.Popen(
                command,
                stdout=log if is_logged else subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
            )
        self.processes.append(process)
        return process

    def run_once(self, *words: str, crash_at: str = "") -> tuple[int, str]:
        process = self.start(self.loader, "--once", *words, crash_at=crash_at)
        text, _ = process.communicate(timeout=DEADLINE_SECONDS)
        return process.returncode, text

    def states(self) -> dict[str, JobState]:
        with Database.open(self.state / LEDGER_NAME) as database:
            return {job.identity.rel: job.state for job in Ledger(database).jobs()}

    def wait_for(self, claim: Callable[[], bool], seconds: float = DEADLINE_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not claim():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.05)

    def wait_for_states(self, wanted: dict[str, JobState]) -> None:
        self.wait_for(lambda: (self.state / LEDGER_NAME).exists() and self.states() == wanted)

    def worker_pid(self) -> int:
        found: list[int] = []

        def is_busy() -> bool:
            snapshot = read_status(self.state, time.time()).snapshot
            if snapshot is None or snapshot.job is None or snapshot.worker_pid is None:
                return False
            found.append(snapshot.worker_pid)
            return True

        self.wait_for(is_busy)
        return found[-1]

    def results(self) -> dict[str, bytes]:
        """Every published file but the receipts, by its path."""
        return {
            path.relative_to(self.restored).as_posix(): path.read_bytes()
            for path in sorted(self.restored.rglob("*"))
            if path.is_file() and path.name != MARKER_NAME and path.suffix != ".json"
        }

    def check_promises(self, inputs: dict[str, str]) -> None:
        """Check inputs, leftovers, receipts and the ledger's own soundness."""
        assert inputs == self.input_hashes()
        assert not list(self.restored.rglob("*.part"))
        for path in (self.restored / "receipts").rglob("*.json"):
            receipt = json.loads(path.read_text())
            for facts in receipt["outputs"].values():
                assert hashlib.sha256((self.restored / facts["name"]).read_bytes()).hexdigest() == facts["sha256"]
        with Database.open(self.state / LEDGER_NAME) as database:
            assert database.integrity_problems() == []

    def input_hashes(self) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in self.scans.glob("*.tif")}

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            if process.stdout is not None and not process.stdout.closed:
                process.communicate()
            process.wait()
