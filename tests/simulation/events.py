"""A discrete-event simulation in three parts: a clock with events, a row of servers, and a shared cable.

Own code rather than simpy: the cable (all transfers share its rate, so each arrival moves every end) would be ours
anyway, the rest is a heap, and calls instead of coroutines make a day of 50 stations a matter of seconds.
`test_events.py` holds it against known results of queueing theory.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable

Action = Callable[[], None]


class Clock:
    """Simulated time in seconds, and what is to happen when. Events of one moment happen in the order of asking."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Action]] = []
        self._numbers = itertools.count()

    def at(self, moment: float, action: Action) -> None:
        """Let `action` happen at `moment`, or now if that is over."""
        heapq.heappush(self._events, (max(moment, self.now), next(self._numbers), action))

    def after(self, seconds: float, action: Action) -> None:
        self.at(self.now + seconds, action)

    def run(self, until: float = float("inf")) -> None:
        """Let everything happen that is due by `until`; events may ask for more."""
        while self._events and self._events[0][0] <= until:
            self.now, _, action = heapq.heappop(self._events)
            action()
        if until < float("inf"):
            self.now = until


class Servers:
    """`number` equal servers with one row before them, first come, first served."""

    def __init__(self, clock: Clock, number: int = 1) -> None:
        self._clock = clock
        self._free = number
        self._number = number
        self._row: deque[tuple[float, Action]] = deque()
        self._busy_seconds = 0.0
        self._changed_at = 0.0

    def serve(self, seconds: float, then: Action) -> None:
        """Serve somebody for `seconds` as soon as it is their turn, and call `then` at the end."""
        self._row.append((seconds, then))
        self._start()

    def use(self) -> float:
        """The share of the servers' time so far in which they were busy, 0 to 1."""
        self._count()
        return self._busy_seconds / (self._number * self._clock.now) if self._clock.now else 0.0

    @property
    def waiting(self) -> int:
        return len(self._row)

    def _start(self) -> None:
        while self._row and self._free:
            seconds, then = self._row.popleft()
            self._count()
            self._free -= 1
            self._clock.after(seconds, lambda then=then: self._end(then))  # type: ignore[misc]

    def _end(self, then: Action) -> None:
        self._count()
        self._free += 1
        then()
        self._start()

    def _count(self) -> None:
        self._busy_seconds += (self._number - self._free) * (self._clock.now - self._changed_at)
        self._changed_at = self._clock.now


class Cable:
    """One direction of a network cable: all transfers under way get equal parts of its rate (processor sharing)."""

    def __init__(self, clock: Clock, megabytes_per_second: float) -> None:
        self._clock = clock
        self._rate = megabytes_per_second
        self._ends: list[tuple[float, int, Action]] = []
        self._numbers = itertools.count()
        self._each = 0.0  # megabytes that a transfer which was there from the beginning would have got
        self._counted_at = 0.0
        self._wakes = 0
        self._busy_seconds = 0.0

    def carry(self, megabytes: float, then: Action) -> None:
        """Carry so much beside all else that is under way, and call `then` when the last byte is there."""
        self._count()
        heapq.heappush(self._ends, (self._each + megabytes, next(self._numbers), then))
        self._plan()

    def use(self) -> float:
        """The share of the time so far in which something was under way, 0 to 1."""
        self._count()
        return self._busy_seconds / self._clock.now if self._clock.now else 0.0

    def _count(self) -> None:
        seconds = self._clock.now - self._counted_at
        self._counted_at = self._clock.now
        if self._ends:
            self._each += seconds * self._rate / len(self._ends)
            self._busy_seconds += seconds

    def _plan(self) -> None:
        self._wakes += 1
        if self._ends:
            number, left = self._wakes, max(self._ends[0][0] - self._each, 0.0)
            self._clock.after(left * len(self._ends) / self._rate, lambda: self._wake(number))

    def _wake(self, number: int) -> None:
        if number != self._wakes:
            return  # somebody came or went meanwhile: planned anew
        self._count()
        self._each = max(self._each, self._ends[0][0])  # the first one is there, whatever rounding says
        done = []
        while self._ends and self._ends[0][0] <= self._each + 1e-9:
            done.append(heapq.heappop(self._ends)[2])
        self._plan()
        for then in done:
            then()
