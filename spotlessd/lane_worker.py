"""What a lane needs of whoever computes for it: a child process (supervisor.py), or a stand-in for a cluster's worker.

Time is an argument: monotonic seconds.
"""

from multiprocessing.connection import Connection
from typing import Protocol

from spotlessd.messages import Heartbeat, Ready, WorkOrder
from spotlessd.supervisor import Event, StartTrouble, WorkerState


class LaneWorker(Protocol):
    """Takes one order at a time and tells what became of it. The fields are as `Supervisor` has them."""

    max_memory_mb: float
    memory_mb: float
    restarts: int
    bad_starts: int
    ready: Ready | None
    heartbeat: Heartbeat | None

    @property
    def state(self) -> WorkerState:
        """What it does now; DOWN: it takes no order."""
        ...

    @property
    def pid(self) -> int | None:
        """Its process, None if it has none here."""
        ...

    def start(self, now: float) -> bool:
        """Get ready for orders if that is possible now. Returns whether it is, or will be."""
        ...

    def seconds_to_start(self, now: float) -> float:
        """Return how long it cannot be started yet."""
        ...

    def submit(self, order: WorkOrder, now: float) -> None:
        """Hand over an order; only right while it is IDLE."""
        ...

    def settle(self) -> None:
        """The ledger knows what became of the order that was handed over last."""
        ...

    def wait_handles(self) -> list[Connection | int]:
        """Return what to wait on for news."""
        ...

    def poll(self, now: float) -> list[Event]:
        """Return what has happened since the last call, without waiting."""
        ...

    def recycle_if_worn(self, now: float) -> bool:
        """Be made anew if it is time for it. Returns True if it was."""
        ...

    def distrust(self, reason: str, exit_code: int, now: float) -> StartTrouble:
        """Be made anew, after a back-off: its device or models failed."""
        ...

    def drop(self) -> None:
        """Let go of the order in hand at once."""
        ...

    def ask_to_end(self) -> None:
        """Begin to end, if it is idle, without waiting for it."""
        ...

    def stop(self) -> None:
        """End."""
        ...
