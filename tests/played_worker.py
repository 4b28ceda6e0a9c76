"""A cluster's worker with played children and a played link, on a real share in a folder."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fake_workers import load_fake, write_fake_scan

from spotless_core.options import RestoreOptions
from spotlessd.cluster.machines import WorkerMachine
from spotlessd.cluster.shares import Shares
from spotlessd.cluster.ticket_queue import Taken
from spotlessd.cluster.tickets import Answer, TicketFacts, TicketKey, make_ticket
from spotlessd.cluster.worker_link import WorkerNews
from spotlessd.cluster.worker_service import ClusterWorker
from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.errors import WorkerDiedError
from spotlessd.folders.roots import MARKER_NAME
from spotlessd.messages import Finished, Heartbeat, Ready, WorkOrder
from spotlessd.publishing.result_files import part_paths
from spotlessd.supervisor import Event, WorkerLost, WorkerState


class PlayedChild:
    """A child that does what the test says."""

    def __init__(self, *_: object) -> None:
        self.state = WorkerState.IDLE
        self.ready = Ready("fake", "float32", (), 1.0)
        self.heartbeat: Heartbeat | None = None
        self.memory_mb = self.bad_starts = 0
        self.max_memory_mb = 1e6
        self.order: WorkOrder | None = None
        self.events: list[Event] = []
        self.is_dropped = False

    def start(self, now: float) -> bool:
        return True

    def submit(self, order: WorkOrder, now: float) -> None:
        self.order, self.state = order, WorkerState.BUSY
        for path in (order.image, order.mask, order.preview):
            path.write_bytes(b"part")

    def finish(self) -> None:
        assert self.order is not None
        self.state = WorkerState.IDLE
        self.events.append(Finished(self.order.job_id, self.order.attempt, {"software": "fake"}, 12.0))

    def die(self) -> None:
        assert self.order is not None
        self.state = WorkerState.IDLE
        self.events.append(WorkerLost(self.order, WorkerDiedError("killed by SIGKILL")))

    def poll(self, now: float) -> list[Event]:
        events, self.events = self.events, []
        return events

    def recycle_if_worn(self, now: float) -> bool:
        return False

    def drop(self) -> None:
        self.is_dropped = True
        self.state = WorkerState.IDLE


class PlayedLink:
    """A `WorkerLink` whose news the test makes up; `said` is what came in."""

    trouble = ""
    refusal = None

    def __init__(self) -> None:
        self.coming: list[WorkerNews] = []
        self.wanted = (0, 0)
        self.answers: list[tuple[Taken, Answer]] = []
        self.returned: list[tuple[Taken, str, float]] = []
        self.plans: list[tuple[Taken, str]] = []
        self.progressed: list[tuple[TicketKey, str, float]] = []
        self.facts = WorkerMachine()
        self.pulses = 0

    def want(self, number: int, *, large: int) -> None:
        self.wanted = (number, large)

    def answer(self, taken: Taken, answer: Answer) -> None:
        self.answers.append((taken, answer))

    def give_back(self, taken: Taken, reason: str, seconds: float) -> None:
        self.returned.append((taken, reason, seconds))

    def publishing(self, taken: Taken, plan: str) -> None:
        self.plans.append((taken, plan))

    def progress(self, key: TicketKey, step: str, fraction: float) -> None:
        self.progressed.append((key, step, fraction))

    def pulse(self) -> None:
        self.pulses += 1

    def news(self) -> list[WorkerNews]:
        news, self.coming = self.coming, []
        return news

    def tell(self, facts: WorkerMachine) -> None:
        self.facts = facts


class Stage:
    """A share with one station's folders, and a worker of `seats` played children."""

    def __init__(self, folder: Path, seats: int = 1) -> None:
        self.share = folder / "share"
        self.scans, self.restored = self.share / "scans", self.share / "restored"
        for root in (self.scans, self.restored):
            root.mkdir(parents=True)
            (root / MARKER_NAME).write_text("dark\n")
        self.settings = self.settings_of(folder, f"[device]\ngpus = {list(range(seats)) if seats > 1 else []}\n")
        self.link = PlayedLink()
        self.worker = ClusterWorker(
            self.settings,
            loader=load_fake,
            link=self.link,  # type: ignore[arg-type]
            make_supervisor=PlayedChild,  # type: ignore[arg-type]
        )
        self.inbox = SimpleNamespace(drain=lambda: None, is_reload_asked=False, is_state_asked=False, stops=0)
        self.worker._inbox = self.inbox  # type: ignore[assignment]
        self.children: list[Any] = [seat.supervisor for seat in self.worker.seats]
        self.now = 1000.0

    def settings_of(self, folder: Path, more: str = "") -> Settings:
        path = folder / "worker.toml"
        path.write_text(
            'engine = "postgresql://me@db:5432/spotless"\nstate_dir = "state"\n'
            f'[[shares]]\nname = "archive"\npath = "{self.share}"\n[worker]\nname = "gpu1"\n'
            f"[disk]\nreserve_mb = 1\n{more}"
        )
        return load_settings(path)

    def taken(self, job: int = 1, *, turn: int = 7, options: RestoreOptions | None = None, **changed: Any) -> Taken:
        name = f"roll/scan{job}.tif"
        scan = self.scans / name
        if not scan.exists():
            write_fake_scan(scan)
        parts = part_paths(self.restored, name, job, 1)
        order = WorkOrder(job, 1, scan, scan.name, parts.image, parts.mask, parts.preview, options or RestoreOptions())
        status = scan.stat()
        values: dict[str, Any] = {
            "station": "dark#00aa11bb",
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
        facts = TicketFacts(**{**values, **changed})
        return Taken(make_ticket(order, facts, Shares({"archive": self.share})), turn, job)

    def round(self, *news: WorkerNews, seconds: float = 1.0) -> None:
        self.now += seconds
        self.link.coming = list(news)
        self.worker.round(self.now)

    def parts(self) -> list[str]:
        return sorted(path.name for path in self.restored.rglob("*.part"))
