"""Real workers of a cluster with fake children, on one share in a folder, and a test that plays the station.

Run as a program it is one worker: `cluster_workers.py CONFIG [LOADER]`.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fake_workers import write_fake_scan

from spotless_core.options import RestoreOptions
from spotlessd.cluster.shares import Shares
from spotlessd.cluster.ticket_queue import Answered, Machine, Standing, TicketQueue
from spotlessd.cluster.tickets import Ticket, TicketFacts, TicketKey, make_ticket
from spotlessd.folders.roots import MARKER_NAME
from spotlessd.messages import WorkOrder
from spotlessd.publishing.result_files import part_paths

if TYPE_CHECKING:
    from postgres import Database

TESTS = Path(__file__).parent
STATION = "dark#00aa11bb"
"""A station's name in the cluster: its id, and a mark of its ledger."""
LIMIT_SECONDS = 30.0


@dataclass
class Lab:
    """A share, a PostgreSQL, and the workers started on them. The test asks as the station `dark`."""

    folder: Path
    database: "Database"
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.share = self.folder / "share"
        self.scans, self.restored = self.share / "scans", self.share / "restored"
        for root in (self.scans, self.restored):
            root.mkdir(parents=True)
            (root / MARKER_NAME).write_text("dark\n")
        self.restored_folders()

    def restored_folders(self) -> None:
        for name in ("masks", "previews", "receipts"):
            (self.restored / name).mkdir(exist_ok=True)

    def config(self, name: str, *, gpus: int = 0, lost_seconds: float = 1.5) -> Path:
        path = self.folder / f"{name}.toml"
        path.write_text(
            f'engine = "{self.database.url}"\nstate_dir = "state-{name}"\n'
            f'[[shares]]\nname = "archive"\npath = "{self.share}"\n'
            f'[cluster]\npassword_file = "{self.database.target.password_file}"\n'
            f"heartbeat_seconds = 0.3\nlost_seconds = {lost_seconds}\n"
            f'[worker]\nname = "{name}"\n[disk]\nreserve_mb = 1\n[device]\ngpus = {list(range(gpus))}\n'
            "[queue]\nstop_grace_seconds = 20\nstall_seconds = 3\n"
        )
        return path

    def start(
        self, name: str, loader: str = "load_fake", *, gpus: int = 0, lost_seconds: float = 1.5
    ) -> subprocess.Popen[str]:
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("SPOTLESSD_")},
            "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent))),
        }
        command = [
            sys.executable,
            str(TESTS / "cluster_workers.py"),
            str(self.config(name, gpus=gpus, lost_seconds=lost_seconds)),
            loader,
        ]
        with self.log(name).open("a") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True, env=environment)
        self.processes.append(process)
        return process

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    def ticket(self, job: int, name: str, **changed: Any) -> Ticket:
        """A ticket for a scan that is written now, unless it is there."""
        scan = self.scans / name
        if not scan.exists():
            write_fake_scan(scan, seed=job)
        parts = part_paths(self.restored, name, job, 1)
        order = WorkOrder(job, 1, scan, name, parts.image, parts.mask, parts.preview, RestoreOptions())
        status = scan.stat()
        values: dict[str, Any] = {
            "station": STATION,
            "root": "scans",
            "rel": name,
            "size": status.st_size,
            "mtime_ns": status.st_mtime_ns,
            "priority": 0,
            "megapixels": 1.0,
            "is_large": False,
            "max_losses": 3,
            "publishes": "station",
            "output": self.restored,
        }
        return make_ticket(order, TicketFacts(**{**values, **changed}), Shares({"archive": self.share}))

    def part(self, job: int, turn: int, name: str) -> Path:
        return self.restored / Path(name).parent / f".spotlessd-{job}-1-image_t{turn}.part"

    def parts(self) -> list[Path]:
        return sorted(self.restored.rglob("*.part"))

    # The station, a question at a time.

    def _do(self, work: Callable[[TicketQueue], Any]) -> Any:
        async def run() -> Any:
            queue = await TicketQueue.connect(self.database.target)
            try:
                return await work(queue)
            finally:
                await queue.close()

        return asyncio.run(run())

    def ask(self, *tickets: Ticket) -> None:
        self._do(lambda queue: queue.ask(tickets))

    def answers(self, number: int, seconds: float = LIMIT_SECONDS) -> dict[int, Answered]:
        """Wait for so many answers; by job."""

        async def wait(queue: TicketQueue) -> Sequence[Answered]:
            deadline = time.monotonic() + seconds
            while len(found := await queue.answers(STATION)) < number:
                assert time.monotonic() < deadline, f"{len(found)} of {number} answers came in {seconds} s"
                await asyncio.sleep(0.02)
            return found

        return {found.key.job: found for found in self._do(wait)}

    def standings(self) -> dict[int, Standing]:
        return {found.key.job: found for found in self._do(lambda queue: queue.standings(STATION))}

    def wait_for(self, claim: Callable[[dict[int, Standing]], bool], seconds: float = LIMIT_SECONDS) -> None:
        """Wait until `claim` holds for the standings by job."""

        async def wait(queue: TicketQueue) -> None:
            deadline = time.monotonic() + seconds
            while not claim(found := {each.key.job: each for each in await queue.standings(STATION)}):
                assert time.monotonic() < deadline, f"it did not come to that in {seconds} s: {found}"
                await asyncio.sleep(0.02)

        self._do(wait)

    def machine(self, claim: Callable[[Machine], bool], seconds: float = LIMIT_SECONDS) -> Machine:
        """Wait for a machine of which `claim` holds."""

        async def wait(queue: TicketQueue) -> Machine:
            deadline = time.monotonic() + seconds
            while True:
                found = [machine for machine in await queue.machines() if claim(machine)]
                if found:
                    return found[0]
                assert time.monotonic() < deadline, "no machine came to be so"
                await asyncio.sleep(0.05)

        return self._do(wait)

    def drain(self, name: str, *, is_asked: bool) -> None:
        assert self._do(lambda queue: queue.ask_drain(name, is_asked))

    def tell(self, name: str, facts: dict[str, Any]) -> None:
        self._do(lambda queue: queue.tell("worker", name, facts))

    def withdraw(self, key: TicketKey) -> None:
        self._do(lambda queue: queue.withdraw([key]))


def main() -> int:
    import fake_workers

    from spotlessd.cluster.worker_service import ClusterWorker
    from spotlessd.configuration.settings import load_settings
    from spotlessd.errors import DaemonError
    from spotlessd.log import set_up_log

    settings = load_settings(Path(sys.argv[1]))
    set_up_log(settings.log)
    try:
        return ClusterWorker(settings, loader=getattr(fake_workers, sys.argv[2])).run()
    except DaemonError as error:
        print(error)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
