"""What a cluster's worker is made of: what its children load, and what its main loop needs of the link."""

from dataclasses import replace
from typing import Protocol

from spotless_core.options import InpaintMethod, InpaintOptions
from spotlessd.cluster.connection import ClusterRefusedError
from spotlessd.cluster.machines import WorkerMachine
from spotlessd.cluster.ticket_queue import Taken
from spotlessd.cluster.tickets import Answer, TicketKey
from spotlessd.cluster.worker_link import WorkerNews
from spotlessd.configuration.parts import worker_setups
from spotlessd.configuration.settings import Settings
from spotlessd.messages import WorkerSetup


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
