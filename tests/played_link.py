"""A station's lanes with a cluster that is played by the test, on a real ledger and real folders."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fake_workers import FakeRestorer, check_fake_header, write_fake_scan
from played_lanes import make_root

from spotless_core.options import RestoreOptions
from spotlessd.cluster.machines import StationMachine
from spotlessd.cluster.remote_crew import RemoteCrew
from spotlessd.cluster.remote_lane import RemoteTerms
from spotlessd.cluster.remote_worker import RemoteWorker
from spotlessd.cluster.shares import Shares
from spotlessd.cluster.station_facts import StationCard
from spotlessd.cluster.station_link import ClusterView, StationNews, Withdrawn
from spotlessd.cluster.ticket_queue import Answered, Standing
from spotlessd.cluster.tickets import Answer, AnswerKind, Ticket, TicketKey, order_of
from spotlessd.commons import Commons, DispatchSettings, Seat
from spotlessd.companions.companion_copy import Copier
from spotlessd.companions.company import Company
from spotlessd.engine_procrastinate import ProcrastinateEngine
from spotlessd.errors import DaemonError
from spotlessd.folders.roots import Root
from spotlessd.job import Identity, Job, Overrides, RetryPolicy
from spotlessd.ledger import Ledger
from spotlessd.publishing.result_files import PART_NAME
from spotlessd.settle import Settler
from spotlessd.sqlite.database import Database

STATION = "dark#1234"


class PlayedLink:
    """Keeps what a station sends; what comes back is put into `coming` by the test."""

    def __init__(self) -> None:
        self.trouble = ""
        self.refusal: DaemonError | None = None
        self.view = ClusterView(slots=2, stations=1)
        self.asked: list[Ticket] = []
        self.withdrawn: list[TicketKey] = []
        self.acknowledged: list[TicketKey] = []
        self.told: list[StationMachine] = []
        self.coming: list[StationNews] = []

    def fileno(self) -> int:
        return -1

    def ask(self, ticket: Ticket) -> None:
        self.asked.append(ticket)

    def withdraw(self, key: TicketKey) -> None:
        self.withdrawn.append(key)

    def acknowledge(self, key: TicketKey) -> None:
        self.acknowledged.append(key)

    def news(self) -> list[StationNews]:
        coming, self.coming = self.coming, []
        return coming

    def tell(self, facts: StationMachine) -> None:
        self.told.append(facts)


@dataclass
class RemoteBench:
    """A station on a real ledger and folders, whose cluster is played. `worker`: what this machine maps shares to."""

    root: Root
    ledger: Ledger
    engine: ProcrastinateEngine
    link: PlayedLink
    crew: RemoteCrew
    company: Company
    commons: Commons
    shares: Shares
    now: float = 0.0
    wall: list[float] = field(default_factory=lambda: [1000.0])

    def queue(self, name: str = "frame.tif", overrides: Overrides | None = None, recipe: str = "recipe") -> int:
        path = self.root.input / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_fake_scan(path)
        list(self.company.choose(self.root, self.root.scan()))
        status = path.stat()
        identity = Identity("scans", name, status.st_size, status.st_mtime_ns)
        job_id = self.engine.submit(identity, status.st_ino, recipe, overrides=overrides)
        assert job_id is not None
        return job_id

    def tick(self, *, may_start: bool = True) -> None:
        self.now += 1.0
        self.crew.tick(self.now, may_start=may_start)

    def job(self, job_id: int) -> Job:
        found = self.ledger.job(job_id)
        assert found is not None
        return found

    def work(self, ticket: Ticket, turn: int = 1, worker: str = "gpu1") -> None:
        """Do what a ticket says, as the worker with this turn would, and let the answer come."""
        order = order_of(ticket, turn, self.shares, None)
        receipt = FakeRestorer().restore(order, lambda step, fraction: None)
        self.answer(ticket, Answer(AnswerKind.FINISHED, worker, receipt.to_dict()), turn)

    def answer(self, ticket: Ticket, answer: Answer, turn: int = 1) -> None:
        self.link.coming.append(Answered(ticket.key, turn, answer))

    def fail(self, ticket: Ticket, **fields: Any) -> None:
        values = {"kind": AnswerKind.FAILED, "worker": "gpu1", "error": "Error", "message": "why.", **fields}
        self.answer(ticket, Answer(**values))

    def published(self) -> set[str]:
        return {
            path.relative_to(self.root.output).as_posix()
            for path in self.root.output.rglob("*")
            if path.is_file() and not path.name.startswith(".spotlessd-root")
        }

    def parts(self) -> set[str]:
        return {path.name for path in self.root.output.rglob("*") if PART_NAME.match(path.name)}


@contextmanager
def open_remote_bench(
    folder: Path, *, lanes: int = 8, configured: frozenset[str] = frozenset({"scans"}), **settings: object
) -> Iterator[RemoteBench]:
    """Make a station of one root; may be made again on the same folder, as a station that starts again."""
    root = make_root(folder, "scans", folder / "out")
    with Database.open(folder / "ledger.sqlite3") as database:
        ledger, link, wall = Ledger(database), PlayedLink(), [1000.0]
        engine = ProcrastinateEngine(ledger, STATION, RetryPolicy(), link, clock=lambda: wall[0], draw=lambda: 0.0)
        engine.recover()
        company = Company(
            ledger,
            engine,
            Settler(30.0),
            check=check_fake_header,
            settle_seconds=lambda _: 5.0,
            patience_seconds=30.0,
            clock=lambda: wall[0],
        )
        commons = Commons(
            [Seat(f"cluster {number}", False, RemoteWorker(engine)) for number in range(lanes)],
            {"scans": root},
            replace(DispatchSettings("dark", RestoreOptions(), 1000), **settings),  # type: ignore[arg-type]
            company,
            free_bytes=lambda _: 10**12,
            free_memory_mb=lambda: 0.0,
        )
        shares = Shares({"all": folder})
        crew = RemoteCrew(
            engine,
            commons,
            Copier(lambda path: (1, 1), lambda: None),
            RemoteTerms(STATION, shares),
            StationCard("dark", "00", ("all",), 0.0),
            configured,
        )
        list(company.choose(root, root.scan()))
        yield RemoteBench(root, ledger, engine, link, crew, company, commons, shares, wall=wall)


__all__ = ["RemoteBench", "Standing", "Withdrawn", "open_remote_bench"]
