"""What a station and a worker tell the cluster about themselves, as plain values that go through JSON.

Each machine writes its facts with every beat; the others show them. Machines of different versions talk to each other
during a rolling update, so reading is tolerant: an unknown key is dropped, a missing one or one of another type is its
default.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

RATE_SECONDS = 15 * 60.0  # frames per hour are worked out from this long
_RATE_LEAST_SECONDS = 60.0  # a rate over a shorter time says nothing


class _Facts:
    """JSON both ways for a frozen dataclass whose fields are str, int, float, bool, tuples of str or of such facts."""

    __slots__ = ()

    def to_facts(self) -> dict[str, Any]:
        """Give the values as JSON can hold them."""
        facts: dict[str, Any] = asdict(self)  # type: ignore[call-overload]  # each child class is a dataclass
        return facts

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Self:
        """Read what `to_facts` of this or another version gave; a missing, unknown or odd key never raises."""
        values: dict[str, Any] = {}
        for field in fields(cls):  # type: ignore[arg-type]  # each child class is a dataclass
            if field.name in facts:
                value = _read(field.name, facts[field.name], field.default)
                if value is not None:
                    values[field.name] = value
        return cls(**values)


@dataclass(frozen=True, slots=True)
class SeatFacts(_Facts):
    """One place of a worker where a frame can be restored: a child process on one device."""

    name: str = ""
    device: str = ""
    precision: str = ""
    state: str = ""
    job: str = ""
    """Root and relative path of the frame it works on, as in `archive/box-3/scan_0001.tif`; empty if idle."""
    station: str = ""
    step: str = ""
    fraction: float = 0.0
    started: float = 0.0
    """When the frame in hand was begun, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class WorkerMachine(_Facts):
    """A worker's facts. `weights` is the SHA-256 (hex) of its weights; `skew_seconds` its clock minus PostgreSQL's."""

    name: str = ""
    host: str = ""
    version: str = ""
    weights: str = ""
    pid: int = 0
    is_draining: bool = False
    seats: tuple[SeatFacts, ...] = ()
    done: int = 0
    failed: int = 0
    frames_per_hour: float = 0.0
    skew_seconds: float = 0.0
    shares: tuple[str, ...] = ()
    trouble: str = ""
    started: float = 0.0


@dataclass(frozen=True, slots=True)
class StationMachine(_Facts):
    """A station's facts. `given` is how many tickets it has in the cluster; the other numbers are its own ledger's."""

    name: str = ""
    host: str = ""
    version: str = ""
    weights: str = ""
    pid: int = 0
    window: int = 0
    given: int = 0
    queued: int = 0
    running: int = 0
    done: int = 0
    held: int = 0
    quarantined: int = 0
    oldest_seconds: float = 0.0
    is_paused: bool = False
    skew_seconds: float = 0.0
    shares: tuple[str, ...] = ()
    trouble: str = ""
    started: float = 0.0
    is_batch: bool = False


class Rate:
    """How many things were noted per hour over the last 15 minutes. `now` is any steadily growing clock in seconds."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self._first: float | None = None

    def note(self, now: float) -> None:
        """Count one thing at `now`."""
        if self._first is None:
            self._first = now
        self._times.append(now)
        self._forget(now)

    def per_hour(self, now: float) -> float:
        """Give the rate; 0.0 while nothing was noted. In the first 15 minutes it counts from the first one noted."""
        self._forget(now)
        if self._first is None or not self._times:
            return 0.0
        seconds = min(max(now - self._first, _RATE_LEAST_SECONDS), RATE_SECONDS)
        return len(self._times) * 3600.0 / seconds

    def _forget(self, now: float) -> None:
        while self._times and self._times[0] <= now - RATE_SECONDS:
            self._times.popleft()


def _read(name: str, value: object, default: object) -> object:
    """Give the value in the type of its default, or None if it is of another one."""
    if name == "seats":
        if not isinstance(value, list | tuple):
            return None
        return tuple(SeatFacts.from_facts(seat) for seat in value if isinstance(seat, Mapping))
    if isinstance(default, tuple):
        if not isinstance(value, list | tuple):
            return None
        return tuple(item for item in value if isinstance(item, str))
    if isinstance(default, bool) or isinstance(value, bool):
        return value if isinstance(default, bool) and isinstance(value, bool) else None
    if isinstance(default, float) and isinstance(value, int | float):
        return float(value)
    return value if isinstance(value, type(default)) else None
