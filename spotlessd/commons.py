"""What the lanes of one station share: the queue's rest, the roots that are there, and what their jobs will still take.

Each lane (dispatch.py) asks here before it starts a job. A job that would find room if the others were done waits for
them and costs nobody anything; one that finds none at all lets the whole queue rest. A job that was interrupted again
and again runs alone, so that what brings the station down is not blamed on its neighbours too.
"""

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from loguru import logger

from spotless_core.options import DeviceChoice, RestoreOptions
from spotlessd import publish
from spotlessd.companions.company import Company
from spotlessd.errors import PublishError, RootUnavailableError
from spotlessd.folders.roots import Root
from spotlessd.folders.spool import make_room
from spotlessd.job import Job
from spotlessd.lane_worker import LaneWorker
from spotlessd.start_checks import DISK_FACTOR, LOADED_MB, MemoryGate, Shortage, check_room, peak_mb
from spotlessd.supervisor import WorkerState

RECHECK_SECONDS = 30.0
"""How long the queue rests after something could not be written, before it is tried again."""
DIGITS = re.compile(r"\d+")
SUSPECT_INTERRUPTS = 3
"""After so many interrupted attempts a job may be what brings the station down."""


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """What a lane needs of the configuration. `reserve_bytes` stays free on the output's disk.

    `profiles`: by root's name, where a root has options of its own. `is_eager`: load the models before the first job
    comes. `keeps_timestamp`: image, mask, preview and receipt get the scan's time of change. `seconds_per_megapixel`:
    how long a frame may take at most, 0 = as long as it moves. `spool_dir`: where scans of spooled roots are copied to.
    `feedback_dir`: the state folder that keeps what edits teach, None = it is not kept.
    """

    station_id: str
    options: RestoreOptions
    reserve_bytes: int
    profiles: Mapping[str, RestoreOptions] = field(default_factory=dict)
    is_eager: bool = True
    keeps_timestamp: bool = False
    seconds_per_megapixel: float = 0.0
    spool_dir: Path = Path("spool")
    feedback_dir: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Seat:
    """A worker's place: its name, whether a GPU of its own is meant for it, and who keeps it alive."""

    name: str
    has_own_gpu: bool
    supervisor: LaneWorker


@dataclass(frozen=True, slots=True)
class Hold:
    """A job in a lane's hand. `megapixels`: of the frame its worker has, None if none has it."""

    job: Job
    root: Root
    megapixels: float | None
    seat: Seat

    @property
    def promised_mb(self) -> float:
        """Memory that its worker has not taken yet."""
        if self.megapixels is None:
            return 0.0
        worker = self.seat.supervisor
        return max(peak_mb(self.megapixels, worker.max_memory_mb) - worker.memory_mb, 0.0)


class Commons:
    """Shared by the lanes of `seats`. `now`: monotonic seconds. `away`: by root's name, why it is not there."""

    def __init__(
        self,
        seats: Sequence[Seat],
        roots: Mapping[str, Root],
        settings: DispatchSettings,
        company: Company,
        *,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
        free_memory_mb: Callable[[], float] = lambda: psutil.virtual_memory().available / 1e6,
    ) -> None:
        self.seats = tuple(seats)
        self.roots = roots
        self.settings = settings
        self.company = company
        self._free_bytes = free_bytes
        self._memory_gate = MemoryGate(free_memory_mb)
        self._holds: dict[int, Hold] = {}
        self._rest_until = 0.0
        self._told = ""
        self.pause_reason = ""
        self.away: dict[str, str] = {}

    def rests(self, now: float) -> bool:
        """Whether nothing may be written or started yet; a rest that is over is forgotten."""
        if now < self._rest_until:
            return True
        self.pause_reason = ""
        return False

    def rest(self, reason: str, now: float) -> None:
        """Let the whole queue rest: something could not be written. The log hears it once, not at every new try."""
        told = DIGITS.sub("", reason)  # the free space moves from try to try
        if told != self._told:
            logger.warning("paused: {}", reason)
        self._told = told
        self.pause_reason = reason
        self._rest_until = now + RECHECK_SECONDS

    def note_written(self) -> None:
        """A result was put in its place: what was told of a rest is over."""
        if self._told:
            logger.info("goes on: results can be written again")
        self._told = ""

    def rest_seconds(self, now: float) -> float:
        """Return how long the rest still lasts; 0 or less without one."""
        return self._rest_until - now

    def is_there(self, root: Root) -> bool:
        """Whether a root is there now."""
        try:
            root.ensure_available()
        except RootUnavailableError as error:
            self.away[root.name] = str(error)
            return False
        self.away.pop(root.name, None)
        return True

    def present(self) -> frozenset[str]:
        """Return the roots whose jobs may start now."""
        return frozenset(
            name for name, root in self.roots.items() if self.is_there(root) and self.company.has_looked(root)
        )

    def hold(self, job: Job, root: Root, seat: Seat, megapixels: float | None = None) -> None:
        """Note that a lane has taken a job, and how large the frame is that it gave to its worker."""
        self._holds[job.id] = Hold(job, root, megapixels, seat)

    def release(self, job: Job) -> None:
        """Note that a lane has let go of a job."""
        self._holds.pop(job.id, None)

    def wants_worker(self, unfinished: int) -> bool:
        """Whether the workers that are loaded, or about to be, are too few for the `unfinished` jobs of the queue."""
        busy = {hold.seat for hold in self._holds.values()}
        free = [seat for seat in self.seats if seat not in busy and seat.supervisor.state is not WorkerState.DOWN]
        return unfinished - len(busy) > len(free)

    def is_stray(self, seat: Seat) -> bool:
        """Whether a worker came up on the CPU instead of its own GPU while there is another: one there is enough."""
        return is_stray(seat, self.seats)

    def not_beside(self, job: Job) -> str:
        """Return why a job cannot run beside those in hand, "" if it can."""
        for hold in self._holds.values():
            if hold.job.id != job.id and max(hold.job.interrupts, job.interrupts) >= SUSPECT_INTERRUPTS:
                suspect = max(hold.job, job, key=lambda each: each.interrupts)
                return f"job {suspect.id} was interrupted {suspect.interrupts} times and runs alone"
        return ""

    def lacking_room(self, job: Job, root: Root, now: float) -> str:
        """Look for room on the disks of the result and of the working copy. Returns why there is none now, else "".

        Without any everything rests; where only the others' jobs leave none, this one waits for them.
        """
        reserve, spool = self.settings.reserve_bytes, self.settings.spool_dir
        try:
            publish.make_folders(root.output, job.identity.rel)
            check_room(root.output, job, reserve, self._free_bytes)
            if root.is_spooled:
                make_room(spool, job.identity.size, reserve, self._free_bytes)
        except PublishError as error:
            self.rest(str(error), now)
            return str(error)
        others = [hold for hold in self._holds.values() if hold.job.id != job.id]
        results = sum(hold.job.identity.size for hold in others if _is_same_disk(hold.root.output, root.output))
        copies = sum(hold.job.identity.size for hold in others if hold.root.is_spooled)
        try:
            if results:
                check_room(root.output, job, reserve + DISK_FACTOR * results, self._free_bytes)
            if root.is_spooled and copies:
                make_room(spool, job.identity.size, reserve + copies, self._free_bytes)
        except PublishError as error:
            return f"beside the others' results: {error}"
        return ""

    def shortage(self, job: Job, megapixels: float, seat: Seat, now: float) -> Shortage | None:
        """Return why a job has to wait for memory, None if it may start; what the others will take is counted."""
        holds = [hold for hold in self._holds.values() if hold.seat is not seat]
        starting = [each for each in self.seats if each.supervisor.state is WorkerState.STARTING]
        worker = seat.supervisor
        return self._memory_gate.shortage(
            job.id,
            megapixels,
            worker.memory_mb,
            worker.max_memory_mb,
            now,
            promised_mb=sum(hold.promised_mb for hold in holds) + LOADED_MB * len(starting),
            is_alone=not holds,
        )


def is_stray(seat: Seat, seats: Sequence[Seat]) -> bool:
    """Whether a worker came up on the CPU instead of its own GPU while there is another of `seats`: one is enough."""
    if not (seat.has_own_gpu and _is_on_cpu(seat)):
        return False
    place = seats.index(seat)
    return any(
        other.supervisor.ready is not None and (index < place or not _is_on_cpu(other))
        for index, other in enumerate(seats)
        if other is not seat
    )


def _is_on_cpu(seat: Seat) -> bool:
    ready = seat.supervisor.ready
    return ready is not None and ready.device == DeviceChoice.CPU.value


def _is_same_disk(first: Path, second: Path) -> bool:
    try:
        return first.stat().st_dev == second.stat().st_dev
    except OSError:
        return True
