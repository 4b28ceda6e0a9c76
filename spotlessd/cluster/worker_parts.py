"""What a cluster's worker is made of: its link and monitor, what its children load, which frames it takes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from spotless_core.options import InpaintMethod, InpaintOptions
from spotlessd.cluster.connection import ClusterRefusedError
from spotlessd.cluster.link import Connect
from spotlessd.cluster.machines import WorkerMachine
from spotlessd.cluster.probes import ProbeAnswers
from spotlessd.cluster.seat_checks import Terms, fills_of
from spotlessd.cluster.shares import Shares
from spotlessd.cluster.ticket_queue import Taken
from spotlessd.cluster.tickets import Answer, TicketKey, weights_sha256
from spotlessd.cluster.worker_link import WorkerLink, WorkerNews
from spotlessd.cluster.worker_seat import WorkerSeat
from spotlessd.configuration.parts import worker_setups
from spotlessd.configuration.settings import Settings
from spotlessd.messages import WorkerSetup

PATIENCE_SECONDS = 5.0
"""So long a seat is kept free for small frames of which none waits, before it takes a large one."""


class LargeFrames:
    """Says how many large frames may be taken. Of several seats one is kept for small frames: else all of them would
    wait behind a pile of large ones. Once none has come for so long, that seat takes a large one too.
    """

    def __init__(self) -> None:
        self._free_since: float | None = None

    def most(self, seats: Sequence[WorkerSeat], free: int, now: float, *, is_asking: bool) -> int:
        """Return how many of the `free` seats may take large frames.

        `is_asking`: whether PostgreSQL can be asked for small ones. `now`: monotonic seconds.
        """
        up = sum(seat.is_up for seat in seats)
        held = sum(seat.task.taken.ticket.is_large for seat in seats if seat.task is not None)
        if not (free and is_asking):
            self._free_since = None
        elif self._free_since is None:
            self._free_since = now
        elif now - self._free_since >= PATIENCE_SECONDS:
            return free
        return max(min(free, max(up - 1, 1) - held), 0)


class Link(Protocol):
    """What the main loop needs of `WorkerLink`."""

    trouble: str
    refusal: ClusterRefusedError | None

    def start(self) -> None:
        """Begin to connect."""
        ...

    def close(self, seconds: float = 3.0) -> None:
        """Send what can be sent and end."""
        ...

    def fileno(self) -> int:
        """Return what to wait on for news."""
        ...

    def want(self, number: int, *, large: int) -> None:
        """Say how many tickets can be taken now."""
        ...

    def answer(self, taken: Taken, answer: Answer) -> None:
        """Hand over what became of a ticket."""
        ...

    def give_back(self, taken: Taken, reason: str, seconds: float) -> None:
        """Have a ticket queued again."""
        ...

    def publishing(self, taken: Taken, plan: str) -> None:
        """Ask to give the names of a plan."""
        ...

    def progress(self, key: TicketKey, step: str, fraction: float) -> None:
        """Keep how far a ticket is."""
        ...

    def pulse(self) -> None:
        """Say that the main loop goes round."""
        ...

    def news(self) -> list[WorkerNews]:
        """Return what has happened."""
        ...

    def tell(self, facts: WorkerMachine) -> None:
        """Tell the others how this worker is."""
        ...


class Monitor(Protocol):
    """What the main loop tells whoever watches it."""

    def start(self) -> None:
        """Begin to answer monitors."""
        ...

    def tell(self, facts: WorkerMachine) -> None:
        """Show how the worker is."""
        ...

    def beat(self, problem: str) -> None:
        """The main loop went round; `problem`: what is wrong, "" if nothing is."""
        ...

    def close(self) -> None:
        """End."""
        ...


class NoMonitor:
    """Nobody watches."""

    def start(self) -> None:
        """Do nothing."""

    def tell(self, facts: WorkerMachine) -> None:
        """Do nothing."""

    def beat(self, problem: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def link_and_monitor(settings: Settings, name: str, connect: Connect, played: Link | None) -> tuple[Link, Monitor]:
    """Return what talks to PostgreSQL, with its answers for `doctor --cluster`, and what answers monitors.

    `played`: a test's link, which nobody watches.
    """
    if played is not None:
        return played, NoMonitor()
    cluster = settings.cluster
    link = WorkerLink(
        connect,
        name,
        heartbeat_seconds=cluster.heartbeat_seconds,
        lost_seconds=cluster.lost_seconds,
        weights=weights_sha256(),
    )
    link.errands = (ProbeAnswers("worker", name, {share.name: share.path for share in settings.shares}).answer,)
    if not settings.health.port:
        return link, NoMonitor()
    # Only here: the Prometheus client costs memory that a worker without monitors need not pay.
    from spotlessd.cluster.worker_monitor import WorkerMonitor

    return link, WorkerMonitor(settings, link)


def terms_of(settings: Settings, name: str, shares: Shares, setups: Sequence[WorkerSetup]) -> Terms:
    """Return what each ticket is checked against before a child gets it."""
    return Terms(
        name,
        shares,
        fills_of(setups),
        settings.inpaint.big_lama_path,
        settings.disk.reserve_mb * 1_000_000,
        settings.watch.spool,
        settings.spool_dir,
    )


def cluster_setups(settings: Settings) -> tuple[WorkerSetup, ...]:
    """Return what each child loads: what the config and its roots say, and the classical fills, which cost nothing."""
    own = settings.restore_options().inpaint
    setups = worker_setups(settings)
    wanted = (InpaintOptions(own.method, own.big_lama_path), setups[0].inpaint, *setups[0].more_inpaints)
    fills: dict[InpaintMethod, InpaintOptions] = {}
    for options in (*wanted, InpaintOptions(InpaintMethod.NS), InpaintOptions(InpaintMethod.TELEA)):
        fills.setdefault(options.method, options)
    first, *more = fills.values()
    return tuple(replace(setup, inpaint=first, more_inpaints=tuple(more)) for setup in setups)
