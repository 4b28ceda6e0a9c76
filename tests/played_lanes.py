"""Lanes whose workers are played by the test, on a real ledger and real folders: for tests of dispatch and crew."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from fake_workers import FakeRestorer, check_fake_header, write_fake_scan

from spotless_core.options import RestoreOptions
from spotlessd.commons import Commons, DispatchSettings, Seat
from spotlessd.companions.companion_copy import Copier
from spotlessd.companions.company import Company
from spotlessd.crew import Crew
from spotlessd.dispatch import Dispatcher
from spotlessd.engine import LocalEngine
from spotlessd.folders.roots import MARKER_NAME, NameRules, Root
from spotlessd.job import Identity, Job, Overrides, RetryPolicy
from spotlessd.ledger import Ledger
from spotlessd.messages import Failed, Finished, Heartbeat, Ready, WorkOrder
from spotlessd.settle import Settler
from spotlessd.sqlite.database import Database
from spotlessd.supervisor import Event, StartTrouble, WorkerState

SECONDS_PER_MEGAPIXEL = 60.0


class PlayedSupervisor:
    """Takes orders; what has become of them is put into `events` by the test."""

    pid: int | None = 1
    max_memory_mb = 10_000.0
    restarts = 0
    bad_starts = 0
    heartbeat: Heartbeat | None = None

    def __init__(self, state: WorkerState = WorkerState.IDLE) -> None:
        self.state = state
        self.ready: Ready | None = None
        self.memory_mb = 0.0
        self.starts = 0
        self.stops = 0
        self.events: list[Event] = []
        self.orders: list[WorkOrder] = []
        self.is_dropped = False

    def start(self, now: float) -> bool:
        self.starts += 1
        if self.state is WorkerState.DOWN:
            self.state = WorkerState.STARTING
        return True

    def submit(self, order: WorkOrder, now: float) -> None:
        self.orders.append(order)
        self.state = WorkerState.BUSY

    def poll(self, now: float) -> list[Event]:
        events, self.events = self.events, []
        for event in events:
            self.state = WorkerState.DOWN if isinstance(event, StartTrouble) else WorkerState.IDLE
            if isinstance(event, Ready):
                self.ready = event
        return events

    def wait_handles(self) -> list[int]:
        return []

    def settle(self) -> None:
        pass

    def ask_to_end(self) -> None:
        pass

    def recycle_if_worn(self, now: float) -> bool:
        return False

    def seconds_to_start(self, now: float) -> float:
        return 0.0

    def stop(self) -> None:
        self.stops += 1

    def drop(self) -> None:
        self.is_dropped = True
        self.state = WorkerState.DOWN

    def distrust(self, reason: str, exit_code: int, now: float) -> StartTrouble:
        self.state, self.ready = WorkerState.DOWN, None
        return StartTrouble(reason, exit_code)


@dataclass
class Bench:
    """A crew on a real ledger and folders. `root`, `supervisor`, `dispatcher`: the first ones."""

    roots: dict[str, Root]
    ledger: Ledger
    engine: LocalEngine
    supervisors: list[PlayedSupervisor]
    commons: Commons
    crew: Crew
    company: Company
    free: list[int] = field(default_factory=lambda: [10**12])
    wall: list[float] = field(default_factory=lambda: [1000.0])
    free_memory: list[float] = field(default_factory=lambda: [1e6])
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def root(self) -> Root:
        return self.roots["scans"]

    @property
    def supervisor(self) -> PlayedSupervisor:
        return self.supervisors[0]

    @property
    def dispatcher(self) -> Dispatcher:
        return self.crew._lanes[0]

    def queue(
        self,
        name: str = "frame.tif",
        overrides: Overrides | None = None,
        recipe: str = "recipe",
        root: str = "scans",
    ) -> int:
        path = self.roots[root].input / name
        if not path.exists():
            write_fake_scan(path)
        self.look()
        status = path.stat()
        identity = Identity(root, name, status.st_size, status.st_mtime_ns)
        job_id = self.engine.submit(identity, status.st_ino, recipe, overrides=overrides)
        assert job_id is not None
        return job_id

    def change(self, **settings: object) -> None:
        """Let the lanes work by other settings."""
        self.commons.settings = replace(self.commons.settings, **settings)  # type: ignore[arg-type]
        for lane in self.crew._lanes:
            lane._settings = self.commons.settings

    def look(self) -> None:
        """Let the company see the folders."""
        for root in self.roots.values():
            list(self.company.choose(root, root.scan()))

    def tick(self, now: float = 0.0, *, may_start: bool = True) -> None:
        self.crew.tick(now, may_start=may_start)

    def work(self, lane: int = 0) -> None:
        """Do what the last order of a lane says, as its worker would."""
        order = self.supervisors[lane].orders[-1]
        receipt = FakeRestorer().restore(order, lambda step, fraction: None)
        self.supervisors[lane].events.append(Finished(order.job_id, order.attempt, receipt.to_dict(), 1.0))

    def fail(
        self, exit_code: int, *, is_retryable: bool, message: str = "why.", is_out_of_memory: bool = False
    ) -> None:
        order = self.supervisor.orders[-1]
        self.supervisor.events.append(
            Failed(order.job_id, order.attempt, "Error", message, exit_code, is_retryable, 1.0, is_out_of_memory)
        )

    def job(self, job_id: int) -> Job:
        found = self.ledger.job(job_id)
        assert found is not None
        return found

    def published(self) -> set[str]:
        return {
            path.relative_to(self.root.output).as_posix()
            for path in self.root.output.rglob("*")
            if path.is_file() and path.name != MARKER_NAME
        }


def make_root(folder: Path, name: str, output: Path) -> Root:
    root = Root(name, folder / f"in_{name}", output, "dark", NameRules((".tif",)), False, False)
    for each in (root.input, root.output):
        each.mkdir(exist_ok=True)
        (each / MARKER_NAME).write_text("dark\n")
    return root


@contextmanager
def open_bench(
    folder: Path, lanes: int = 1, roots: tuple[str, ...] = ("scans",), **settings: object
) -> Iterator[Bench]:
    """Make a crew of so many lanes. All roots have one output folder."""
    opened = {name: make_root(folder, name, folder / "out") for name in roots}
    with Database.open(folder / "ledger.sqlite3") as database:
        ledger, supervisors = Ledger(database), [PlayedSupervisor() for _ in range(lanes)]
        wall, free, free_memory = [1000.0], [10**12], [1e6]
        sizes: dict[str, tuple[int, int]] = {}
        engine = LocalEngine(ledger, "me", RetryPolicy(), clock=lambda: wall[0], draw=lambda: 0.0)
        company = Company(
            ledger,
            engine,
            Settler(30.0),
            check=check_fake_header,
            settle_seconds=lambda _: 5.0,
            patience_seconds=30.0,
            clock=time.time,
        )
        commons = Commons(
            [
                Seat("worker" if lanes == 1 else f"GPU {number}", lanes > 1, played)  # type: ignore[arg-type]
                for number, played in enumerate(supervisors)
            ],
            opened,
            replace(
                DispatchSettings("dark", RestoreOptions(), 1000, seconds_per_megapixel=SECONDS_PER_MEGAPIXEL),
                **settings,  # type: ignore[arg-type]
            ),
            company,
            free_bytes=lambda _: free[0],
            free_memory_mb=lambda: free_memory[0],
        )
        crew = Crew(engine, commons, Copier(lambda path: sizes.get(path.name, (1, 1)), lambda: None))
        yield Bench(opened, ledger, engine, supervisors, commons, crew, company, free, wall, free_memory, sizes)
