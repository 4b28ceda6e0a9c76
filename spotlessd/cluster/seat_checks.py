"""What a worker looks at before it starts a ticket: its shares, the scan, room on disk and in memory.

Comes in: a ticket as it was taken. Goes out: a `Task` for the child, or why there is none. Two kinds of no are kept
apart. What this machine lacks (a share, a way of filling, room) sends the ticket back, for another machine may have it
or this one may have it soon; what is wrong with the scan is the answer. Promise: a share that is mounted empty never
fails a scan: what is missing counts as gone only beside its root's marker.
"""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import psutil

from spotless_core.errors import MissingInputError
from spotless_core.options import InpaintMethod, InpaintOptions
from spotlessd import publish
from spotlessd.cluster.shares import NoShareError, Shares
from spotlessd.cluster.ticket_queue import Taken
from spotlessd.cluster.tickets import Answer, AnswerKind, RefusedError, Ticket, TicketError, order_of
from spotlessd.commons import Seat
from spotlessd.configuration.profiles import Reading
from spotlessd.errors import PublishError, RootUnavailableError, SpoolError
from spotlessd.folders.disk_space import room_text
from spotlessd.folders.file_systems import mount_of
from spotlessd.folders.roots import MARKER_NAME, check_marker, read_marker
from spotlessd.folders.spool import copy_path, make_room
from spotlessd.messages import WorkerSetup, WorkOrder
from spotlessd.publishing.durable import remove_part
from spotlessd.start_checks import DISK_FACTOR, LOADED_MB, MemoryGate, peak_mb
from spotlessd.supervisor import WorkerState

MTIME_SECONDS = 2.0
"""Machines may see one file's time of change this far apart: FAT keeps every other second, some servers whole ones."""
BACK_SECONDS = 5.0
"""How long a ticket that this machine cannot do rests before another one may take it."""
REST_SECONDS = 30.0
"""How long the seat rests then: one machine without the share must not run through the whole queue."""

BATCH = "batch-"
"""How the ids of batches begin (`spotlessd submit`)."""


@dataclass(frozen=True, slots=True)
class Task:
    """A ticket that can be started: the order for the child."""

    taken: Taken
    order: WorkOrder
    output: Path

    @property
    def name(self) -> str:
        """Return how the log calls it."""
        ticket = self.taken.ticket
        return f"job {ticket.key.job} of {ticket.key.station} ({ticket.root}/{ticket.rel})"

    def remove_parts(self) -> None:
        """Remove what this turn wrote, and its working copy."""
        order = self.order
        for path in (order.image, order.mask, order.preview, order.feedback, order.spool):
            if path is not None:
                remove_part(path)


@dataclass(frozen=True, slots=True)
class Lack:
    """This machine cannot start the ticket now. `back_seconds`: before the ticket may be taken again, by anyone;
    `rest_seconds`: before this seat takes another one.
    """

    reason: str
    back_seconds: float = BACK_SECONDS
    rest_seconds: float = REST_SECONDS


@dataclass(frozen=True, slots=True)
class Terms:
    """What the checks need of the config. `fills`: the ways of filling that the children have loaded, with the path
    of big-lama; `spool_dir`: of this worker alone.
    """

    worker: str
    shares: Shares
    fills: Mapping[InpaintMethod, Path | None]
    big_lama_path: Path | None
    reserve_bytes: int
    spool: str
    spool_dir: Path


def fills_of(setups: Sequence[WorkerSetup]) -> dict[InpaintMethod, Path | None]:
    """Return the ways of filling that every child loads, each with the path of big-lama that it was loaded with."""
    loaded: tuple[InpaintOptions, ...] = (setups[0].inpaint, *setups[0].more_inpaints)
    return {options.method: options.big_lama_path for options in loaded}


class SeatChecks:
    """Looks at tickets for all seats of one worker. `now`: monotonic seconds."""

    def __init__(
        self,
        terms: Terms,
        seats: Sequence[Seat],
        *,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
        free_memory_mb: Callable[[], float] = lambda: psutil.virtual_memory().available / 1e6,
    ) -> None:
        self._terms = terms
        self._seats = tuple(seats)
        self._free_bytes = free_bytes
        self._memory_gate = MemoryGate(free_memory_mb)

    def look(self, taken: Taken, seat: Seat, others: Mapping[Seat, Task], now: float) -> Task | Lack | Answer:
        """Return the task if it can start, why this machine cannot, or the answer if the scan is to blame.

        `others`: what the other seats have in hand.
        """
        ticket, terms = taken.ticket, self._terms
        try:
            order = order_of(ticket, taken.turn, terms.shares, terms.big_lama_path)
            output = terms.shares.path_of(ticket.output)
            order = replace(order, options=replace(order.options, inpaint=self._loaded(order.options.inpaint)))
            check_marker(output, station_id(ticket))
            publish.make_folders(output, ticket.rel)
            trouble = scan_trouble(ticket, order.source, terms.worker)
            if trouble is not None:
                return trouble
            order = self._with_copy(order, ticket, seat)
            self._check_room(ticket, order, output, others.values())
        except (NoShareError, TicketError, RefusedError, RootUnavailableError, PublishError) as error:
            return Lack(str(error))
        return self._lack_of_memory(ticket, seat, others, now) or Task(taken, order, output)

    def _loaded(self, wanted: InpaintOptions) -> InpaintOptions:
        """Return the ticket's way of filling as the children know it.

        Raises:
            RefusedError: they have not loaded it.
        """
        fills = self._terms.fills
        if wanted.method not in fills:
            raise RefusedError(
                f"the fill method {str(wanted.method)!r} came; this worker has loaded {', '.join(map(str, fills))}. "
                "Set inpaint.method in its config, or let another worker do these scans."
            )
        # Only lama-cleaner reads the file; the others were loaded without looking at it.
        is_read = wanted.method is InpaintMethod.LAMA_CLEANER
        return wanted if is_read else replace(wanted, big_lama_path=fills[wanted.method])

    def _with_copy(self, order: WorkOrder, ticket: Ticket, seat: Seat) -> WorkOrder:
        """Let the scan be copied first if it lies across a network. Each seat has a folder: two stations may have a
        job of one number.
        """
        if not Reading(spool=self._terms.spool).is_spooled(is_network=mount_of(order.source).is_network):
            return order
        folder = self._terms.spool_dir / f"seat-{self._seats.index(seat)}"
        return replace(order, spool=copy_path(folder, ticket.key.job, ticket.key.attempt, ticket.rel))

    def _check_room(self, ticket: Ticket, order: WorkOrder, output: Path, others: Iterable[Task]) -> None:
        """Check that result and working copy find room beside those of the other seats.

        Raises:
            PublishError: they do not.
        """
        others = tuple(others)
        results = sum(other.taken.ticket.size for other in others if _is_same_disk(other.output, output))
        wanted = DISK_FACTOR * (ticket.size + results) + self._terms.reserve_bytes
        try:
            free = self._free_bytes(output)
        except OSError as error:
            raise PublishError(f"{output}: cannot be looked at ({error.strerror}).") from error
        if free < wanted:
            raise PublishError(f"{room_text(free, output, wanted)}. Free some space; then it goes on by itself.")
        if order.spool is not None:
            copies = sum(other.taken.ticket.size for other in others if other.order.spool is not None)
            make_room(order.spool.parent, ticket.size, self._terms.reserve_bytes + copies, self._free_bytes)

    def _lack_of_memory(self, ticket: Ticket, seat: Seat, others: Mapping[Seat, Task], now: float) -> Lack | None:
        """Return why a ticket has to wait for memory; what the other seats will still take is counted."""
        worker = seat.supervisor
        starting = [each for each in self._seats if each.supervisor.state is WorkerState.STARTING]
        promised = [
            max(peak_mb(task.taken.ticket.megapixels, other.supervisor.max_memory_mb) - other.supervisor.memory_mb, 0.0)
            for other, task in others.items()
        ]
        shortage = self._memory_gate.shortage(
            hash((ticket.key.station, ticket.key.job)),
            ticket.megapixels,
            worker.memory_mb,
            worker.max_memory_mb,
            now,
            promised_mb=sum(promised) + LOADED_MB * len(starting),
            is_alone=not others,
        )
        if shortage is None:
            return None
        seconds = shortage.seconds or BACK_SECONDS
        return Lack(shortage.reason, seconds, seconds)


def station_id(ticket: Ticket) -> str:
    """Return the id in the markers of the station that asks; its name in the cluster has a mark of its ledger too."""
    return ticket.key.station.partition("#")[0]


def scan_trouble(ticket: Ticket, source: Path, worker: str) -> Lack | Answer | None:
    """Return what is wrong with the scan as this machine sees it; None if it is the one that was asked for.

    It is opened: a server of files tells its true length then, and not always before (close-to-open, RFC 7530 §10).
    """
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return _missing(ticket, source, worker)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return _changed(source, worker, "it is a symbolic link now")
        return Lack(f"{source}: cannot be read on this machine ({error.strerror}).")
    try:
        found = os.fstat(descriptor)
    except OSError as error:
        return Lack(f"{source}: cannot be looked at on this machine ({error.strerror}).")
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(found.st_mode):
        return _changed(source, worker, "it is not a regular file now")
    if found.st_size != ticket.size:
        return _changed(source, worker, f"{found.st_size} bytes came, {ticket.size} expected")
    if abs(found.st_mtime_ns - ticket.mtime_ns) > MTIME_SECONDS * 1e9:
        return _changed(source, worker, "its time of change is another one")
    return None


def _missing(ticket: Ticket, source: Path, worker: str) -> Lack | Answer:
    """Tell a scan that is gone from a share that is away: the marker of its root lies there, or not."""
    depth = len(PurePosixPath(ticket.rel).parts)
    root = source.parents[depth - 1]
    try:
        # A batch may read a folder without a marker; then anything in it shows that it is mounted.
        is_there = read_marker(root) is not None or (station_id(ticket).startswith(BATCH) and any(root.iterdir()))
    except RootUnavailableError as error:
        return Lack(str(error))
    except OSError as error:
        return Lack(f"{root}: cannot be looked at on this machine ({error.strerror}).")
    if not is_there:
        return Lack(f"{source}: not there on this machine, and {root} has no {MARKER_NAME}. Is the share mounted?")
    return Answer(
        AnswerKind.FAILED,
        worker,
        error=MissingInputError.__name__,
        message="no such file.",
        exit_code=MissingInputError.exit_code,
    )


def _changed(source: Path, worker: str, how: str) -> Answer:
    return Answer(
        AnswerKind.FAILED,
        worker,
        error=SpoolError.__name__,
        message=f"{source.name}: the file changed after it was queued: {how}.",
        exit_code=SpoolError.exit_code,
        is_retryable=True,
    )


def _is_same_disk(first: Path, second: Path) -> bool:
    try:
        return first.stat().st_dev == second.stat().st_dev
    except OSError:
        return True
