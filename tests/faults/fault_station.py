"""A station that is hurt on purpose, and the one check of what must hold afterwards: the invariants of the daemon.

I1 every complete scan ends done, held or quarantined. I2 results are byte for byte those of an undisturbed run. I3 no
final name ever holds a part of a file. I4 the scans are untouched. I5 nothing is published under two names. I6 the
ledger's own integrity check finds nothing. `check_invariants` asserts all six; each call counts as one try of a fault
in the table that ends the test report. `InlineSupervisor` restores in the daemon's own process, for faults that need
no second process and must be tried by the hundred.
"""

import hashlib
import json
import os
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from daemon_station import Station
from fake_workers import FakeRestorer, check_fake_header, restored_bytes

from spotlessd import computing, crash_points
from spotlessd.configuration.settings import load_settings
from spotlessd.job import JobState
from spotlessd.ledger import Ledger
from spotlessd.log import set_up_log
from spotlessd.messages import Finished, Heartbeat, Ready, WorkerSetup, WorkOrder
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.publishing.result_files import PART_NAME
from spotlessd.service import Service
from spotlessd.sqlite.database import Database
from spotlessd.supervisor import Event, Limits, StartTrouble, WorkerState
from spotlessd.worker import Loader, describe_failure

END_STATES = {JobState.DONE, JobState.HELD, JobState.QUARANTINED}
LONGEST_RECOVERY_RUNS = 6
"""A scan may be killed three times before it is set aside."""
BALLAST_NAME = ".ballast"
"""A file of the test's own, that fills a disk."""
TRIED: Counter[str] = Counter()
VIOLATED: Counter[str] = Counter()
"""By fault: how often it was tried, and how often an invariant did not hold. conftest.py prints them."""


class InlineSupervisor:
    """Does every order at once, in the daemon's own process; the same face as `spotlessd.supervisor.Supervisor`."""

    def __init__(self, setup: WorkerSetup, loader: Loader, limits: Limits) -> None:
        self._restorer = loader(setup)
        self._events: list[Event] = []
        self.state = WorkerState.DOWN
        self.ready: Ready | None = None
        self.heartbeat: Heartbeat | None = None
        self.pid: int | None = None
        self.memory_mb = 0.0
        self.max_memory_mb = limits.max_memory_mb or 1e6
        self.restarts = self.bad_starts = 0

    def start(self, now: float) -> bool:
        if self.state is WorkerState.DOWN:
            self.state = WorkerState.IDLE
            self.ready = Ready(self._restorer.device, self._restorer.precision, self._restorer.models, 1.0)
            self._events.append(self.ready)
        return True

    def submit(self, order: WorkOrder, now: float) -> None:
        try:
            receipt = self._restorer.restore(order, lambda _step, _fraction: None)
        except Exception as error:  # noqa: BLE001 - as in the real child
            self._events.append(describe_failure(order, error))
        else:
            self._events.append(Finished(order.job_id, order.attempt, receipt.to_dict(), 1.0))

    def settle(self) -> None:
        pass

    def poll(self, now: float) -> list[Event]:
        events, self._events = self._events, []
        return events

    def wait_handles(self) -> list[int]:
        return []

    def seconds_to_start(self, now: float) -> float:
        return 0.001 if self._events else 0.0

    def recycle_if_worn(self, now: float) -> bool:
        return False

    def distrust(self, reason: str, exit_code: int, now: float) -> StartTrouble:
        return StartTrouble(reason, exit_code)

    def drop(self) -> None:
        self.state = WorkerState.DOWN

    stop = drop


class FaultStation(Station):
    """A station whose scans are remembered as they were before anything was done to them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder)
        self._before: dict[str, tuple[str, int]] = {}

    def set_queue(self, *lines: str) -> None:
        """Put lines into the config's table `queue`."""
        self.config.write_text(self.config.read_text().replace("[queue]", "\n".join(("[queue]", *lines))))

    def results(self) -> dict[str, bytes]:
        return {name: content for name, content in super().results().items() if name != BALLAST_NAME}

    def remember_scans(self) -> None:
        """Take the scans as they lie there now for what the operator gave us."""
        self._before = self._scans_now()

    def _scans_now(self) -> dict[str, tuple[str, int]]:
        found = {}
        for path in self.scans.rglob("*.tif"):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[path.relative_to(self.scans).as_posix()] = digest, path.stat().st_mtime_ns
        return found

    def run_inline(self, crash_at: str = "", prepare: Callable[[], None] = lambda: None) -> tuple[int, str]:
        """Run the daemon once in a forked process with an `InlineSupervisor`; (exit code, what it wrote).

        `prepare` is called in that process first.
        """
        log = self.folder / "daemon.log"
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
                os.dup2(descriptor, 1)
                os.dup2(descriptor, 2)
                sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
                os.environ[crash_points.VARIABLE] = crash_at
                prepare()
                code = self.serve()
            except BaseException:  # noqa: BLE001 - a forked test must not go on as a second pytest
                traceback.print_exc()
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status), log.read_text(errors="replace")

    def recover(self, run: Callable[[], tuple[int, str]] | None = None) -> str:
        """Start the daemon again until it says that all is done or set aside; returns the last output."""
        for _ in range(LONGEST_RECOVERY_RUNS):
            code, text = (run or self.run_inline)()
            if code in {0, 65}:
                return text
        raise AssertionError(f"the daemon does not get through: exit code {code}\n{text}")

    def check_no_partial(self, *, has_placeholders: bool = False) -> None:
        """Check I3 and I4 at any moment, whatever the daemon is in the middle of."""
        wanted = self.expected(self._before)
        for name, content in self.results().items():
            if PART_NAME.match(Path(name).name) or (has_placeholders and not content):
                continue
            assert name in wanted, f"I5: {name} was published, which nobody asked for"
            assert content == wanted[name], f"I3: {name} holds {len(content)} of {len(wanted[name])} bytes"
        assert self._scans_now() == self._before, "I4: a scan was touched"

    def check_all(self, quarantined: frozenset[str]) -> None:
        """Check I1 to I6 at rest."""
        states = {job.identity.rel: job.state for job in self._jobs()}
        wanted_states = dict.fromkeys(self._before, JobState.DONE) | dict.fromkeys(quarantined, JobState.QUARANTINED)
        assert states == wanted_states, "I1: not every scan ended as it should"
        done = sorted(set(self._before) - quarantined)
        assert self.results() == self.expected(done), "I2, I3, I5: the results are not those of a quiet run"
        receipts = sorted(path.stem for path in (self.restored / "receipts").rglob("*.json"))
        assert receipts == sorted(PurePosixPath(rel).stem for rel in done), "I5: not one receipt for each result"
        for job in self._jobs():
            if job.state is JobState.DONE:
                assert job.plan == "", "a plan was left open"
                self._check_receipt(job.outputs["receipt"])
        assert self._scans_now() == self._before, "I4: a scan was touched"
        with Database.open(self.state / LEDGER_NAME) as database:
            assert database.integrity_problems() == [], "I6: the ledger is damaged"

    def _check_receipt(self, name: str) -> None:
        receipt = json.loads((self.restored / name).read_text())
        for facts in receipt["outputs"].values():
            digest = hashlib.sha256((self.restored / facts["name"]).read_bytes()).hexdigest()
            assert digest == facts["sha256"], f"I3: {facts['name']} is not what its receipt says"

    def _jobs(self) -> list:  # type: ignore[type-arg]
        with Database.open(self.state / LEDGER_NAME) as database:
            return [job for job in Ledger(database).jobs() if job.state not in {JobState.SUPERSEDED, JobState.GONE}]

    def serve(self) -> int:
        """Run the daemon once in this process; returns its exit code."""
        return run_service(self.config)

    def expected(self, rels: Iterable[str]) -> dict[str, bytes]:
        """Return what an undisturbed run publishes of these scans, receipts left out, by path."""
        return expected_results(self.scans, rels)

    def beside(self, folder: Path) -> "FaultStation":
        """Make an empty station of the same kind in another folder."""
        return type(self)(folder)

    def copy_scans_to(self, other: "FaultStation") -> None:
        """Put this station's scans into another one, times and all."""
        shutil.copytree(self.scans, other.scans, dirs_exist_ok=True)
        other._before = dict(self._before)


def run_service(
    config: Path, loader: Loader = lambda _: FakeRestorer(), check: Callable[[Path], None] = check_fake_header
) -> int:
    """Run the daemon once, here, without a worker process."""
    settings = load_settings(config)
    set_up_log(settings.log)
    computing.Supervisor = InlineSupervisor  # type: ignore[assignment, misc]
    return Service(settings, is_once=True, loader=loader, check=check).run()


def expected_results(scans: Path, rels: Iterable[str]) -> dict[str, bytes]:
    """What an undisturbed run publishes of the scans below `scans`, receipts left out, by path."""
    found: dict[str, bytes] = {}
    for rel in rels:
        scan, stem = scans / rel, PurePosixPath(rel).with_suffix("")
        found[rel] = restored_bytes(scan)
        found[f"masks/{stem}.png"] = b"MASK " + scan.read_bytes()[:100]
        found[f"previews/{stem}.jpg"] = b"PREVIEW normal"
    return found


def check_invariants(station: FaultStation, fault: str, quarantined: frozenset[str] = frozenset()) -> None:
    """Assert I1 to I6 on a station at rest, and count this as one try of `fault`. `quarantined`: scans meant to be."""
    TRIED[fault] += 1
    try:
        station.check_all(quarantined)
    except AssertionError:
        VIOLATED[fault] += 1
        raise


def check_while_down(station: FaultStation, fault: str, *, has_placeholders: bool = False) -> None:
    """Assert what must hold even in the ruins, before anything was started again."""
    try:
        station.check_no_partial(has_placeholders=has_placeholders)
    except AssertionError:
        VIOLATED[fault] += 1
        raise
