"""The cluster as a model: the same steps in the same order as the program, each with its time.

scan → station's queue → (window) → asked → queue of PostgreSQL → taken by a seat → copied from the share → computed →
written to the share → answered → published by the station. A seat does one frame at a time and its copying itself. The
queue is by priority, then by the order of asking. Not in the model: settling, config, people, a full disk.
"""

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from simulation.costs import GIGABIT, GPU, Costs, Speed
from simulation.events import Cable, Clock, Servers
from spotlessd.cluster.worker_parts import PATIENCE_SECONDS

LARGE_MEGAPIXELS = 80.0


@dataclass(frozen=True, slots=True)
class Layout:
    """What machines there are. `machines`: the seats of each worker machine. `share_rate`: MB/s, in each direction."""

    stations: int
    machines: tuple[int, ...]
    speed: Speed = GPU
    share_rate: float = GIGABIT

    @property
    def seats(self) -> int:
        return sum(self.machines)


@dataclass(frozen=True, slots=True)
class Policy:
    """`window`: from slots of live machines, stations with work and all stations, how many tickets each may have.

    `keeps_a_seat`: at most seats − 1 of a machine hold large frames, unless a seat was free for `patience_seconds`.
    """

    window: Callable[[int, int, int], float]
    keeps_a_seat: bool = True
    patience_seconds: float = PATIENCE_SECONDS


@dataclass(slots=True, eq=False)
class Frame:
    """One scan with the moments it lived through, in seconds; -1 = not yet.

    `is_found`: its file lies on the share already; else the scanner has to write it there first.
    """

    station: int
    scanned: float
    megapixels: float
    priority: int = 0
    kind: str = ""
    is_found: bool = False
    arrived: float = -1.0
    asked: float = -1.0
    taken: float = -1.0
    done: float = -1.0
    attempts: int = 0
    turn: int = 0
    times_done: int = 0

    @property
    def is_large(self) -> bool:
        return self.megapixels > LARGE_MEGAPIXELS

    @property
    def wait(self) -> float:
        """Seconds until a worker took it (at last)."""
        return self.taken - self.arrived


@dataclass(slots=True)
class _Station:
    publisher: Servers
    queue: list[tuple[int, float, int, Frame]] = field(default_factory=list)
    uploads: deque[Frame] = field(default_factory=deque)
    is_uploading: bool = False
    given: int = 0


@dataclass(slots=True, eq=False)
class _Machine:
    seats: int
    is_alive: bool = True
    life: int = 0
    large: int = 0
    idle: int = 0
    computing: int = 0
    free_since: float = 0.0  # infinite while no seat is free
    held: dict[int, Frame] = field(default_factory=dict)


class Cluster:
    """Runs frames through a layout under a policy. All random numbers come from `seed`."""

    def __init__(self, layout: Layout, policy: Policy, costs: Costs | None = None, seed: int = 1) -> None:
        self.clock = Clock()
        self.costs = costs = costs or Costs()
        self.frames: list[Frame] = []
        self.database = Servers(self.clock)
        self.reading, self.writing = Cable(self.clock, layout.share_rate), Cable(self.clock, layout.share_rate)
        self._layout, self._policy = layout, policy
        self._random = random.Random(seed)
        self._stations = [_Station(Servers(self.clock)) for _ in range(layout.stations)]
        self._machines = [_Machine(seats) for seats in layout.machines]
        self._tickets: dict[bool, list[tuple[int, int, Frame]]] = {False: [], True: []}  # by is_large
        self._numbers = itertools.count()
        self._slots, self._active = layout.seats, 1
        self._backlog = 0  # frames that wait in stations
        self._counted_at = 0.0
        self._alive_seconds = self._held_seconds = self._computed_seconds = self._starved_seconds = 0.0
        for machine in self._machines:
            for _ in range(machine.seats):
                self._claim(machine, machine.life)
        self._look()

    # What happens from outside

    def scan(self, frame: Frame) -> None:
        """Let a frame be scanned at its time, or be there already if it was `found`."""
        self.frames.append(frame)

        def scanned() -> None:
            station = self._stations[frame.station]
            station.uploads.append(frame)
            if not station.is_uploading:
                self._upload(station)

        self.clock.at(frame.scanned, (lambda: self._arrive(frame)) if frame.is_found else scanned)

    def lose(self, machine: int, at: float, back_after: float) -> None:
        """Cut a machine off at a moment, and bring it back so many seconds later."""
        self.clock.at(at, lambda: self._lose(self._machines[machine], back_after))

    def run(self, until: float) -> None:
        self.clock.run(until)
        self._count()

    # What it says

    @property
    def undone(self) -> int:
        """Frames that were scanned and are not done: on their way, in a queue, in a hand, or being published."""
        return sum(frame.done < 0 and frame.scanned <= self.clock.now for frame in self.frames)

    @property
    def seat_use(self) -> float:
        """The share of the live seats' time in which they held a frame."""
        return self._held_seconds / self._alive_seconds

    @property
    def compute_use(self) -> float:
        """The share of the live seats' time in which they computed; the rest of `seat_use` is copying."""
        return self._computed_seconds / self._alive_seconds

    @property
    def starved(self) -> float:
        """The share of the live seats' time in which they were empty while frames waited in stations."""
        return self._starved_seconds / self._alive_seconds

    @property
    def publisher_use(self) -> float:
        """That of the busiest station's publishing."""
        return max(station.publisher.use() for station in self._stations)

    # The station

    def _upload(self, station: _Station) -> None:
        """The scanner writes its files to the share one after the other; a scan arrives when it is all there."""
        station.is_uploading = bool(station.uploads)
        if station.uploads:
            frame = station.uploads.popleft()
            self.writing.carry(frame.megapixels * self.costs.read_megabytes, lambda: self._arrive(frame))

    def _arrive(self, frame: Frame) -> None:
        frame.arrived = self.clock.now
        self._queue(frame)
        self._upload(self._stations[frame.station])

    def _queue(self, frame: Frame) -> None:
        station = self._stations[frame.station]
        self._count()
        heapq.heappush(station.queue, (-frame.priority, frame.arrived, next(self._numbers), frame))
        self._backlog += 1
        self._fill(station)

    def _fill(self, station: _Station) -> None:
        window = self._policy.window(self._slots, max(self._active, 1), self._layout.stations)
        while station.queue and station.given < window:
            self._count()
            frame = heapq.heappop(station.queue)[-1]
            self._backlog -= 1
            station.given += 1
            frame.asked = self.clock.now
            frame.attempts += 1
            self.database.serve(self.costs.transaction_seconds, lambda frame=frame: self._offer(frame))  # type: ignore[misc]

    def _look(self) -> None:
        """Each heartbeat: the windows that follow from the slots and the stations with work; idle seats ask again."""
        self._slots = sum(machine.seats for machine in self._machines if machine.is_alive)
        self._active = sum(bool(station.queue or station.given) for station in self._stations)
        for station in self._stations:
            self._fill(station)
        for machine in self._machines if any(self._tickets.values()) else ():
            idle, machine.idle = machine.idle, 0
            for _ in range(idle):
                self._claim(machine, machine.life)
        self.clock.after(self.costs.beat_seconds, self._look)

    def _publish(self, frame: Frame) -> None:
        station = self._stations[frame.station]

        def published() -> None:
            frame.done = self.clock.now
            frame.times_done += 1
            station.given -= 1
            self.database.serve(self.costs.transaction_seconds, lambda: None)  # acknowledged
            self._fill(station)

        station.publisher.serve(self.costs.publish_seconds, published)

    def _retry(self, frame: Frame) -> None:
        """The child died under it: the station's ledger counts that and tries again later."""
        self._stations[frame.station].given -= 1
        self.clock.after(self.costs.retry_seconds, lambda: self._queue(frame))
        self._fill(self._stations[frame.station])

    # The queue

    def _offer(self, frame: Frame, number: int | None = None) -> None:
        entry = (-frame.priority, next(self._numbers) if number is None else number, frame)
        heapq.heappush(self._tickets[frame.is_large], entry)
        able = [machine for machine in self._machines if machine.idle and self._may_take(machine, frame.is_large)]
        if able:
            machine = max(able, key=lambda machine: machine.idle)
            machine.idle -= 1
            self.clock.after(self.costs.notice_seconds, lambda life=machine.life: self._claim(machine, life))  # type: ignore[misc]

    def _claim(self, machine: _Machine, life: int) -> None:
        self.database.serve(self.costs.transaction_seconds, lambda: self._take(machine, life))

    def _may_take(self, machine: _Machine, is_large: bool) -> bool:
        if not is_large or not self._policy.keeps_a_seat or machine.seats == 1:
            return True
        return machine.large < machine.seats - 1 or self.clock.now >= machine.free_since + self._policy.patience_seconds

    def _take(self, machine: _Machine, life: int) -> None:
        if machine.life != life:
            return
        rows = [row for large, row in self._tickets.items() if row and self._may_take(machine, large)]
        if not rows:
            machine.idle += 1
            self._look_later(machine, life)
            return
        _, number, frame = heapq.heappop(min(rows, key=lambda row: row[0][:2]))
        self._count()
        frame.taken, frame.turn = self.clock.now, frame.turn + 1
        machine.held[number] = frame
        machine.large += frame.is_large
        if len(machine.held) == machine.seats:
            machine.free_since = math.inf
        turn = frame.turn
        self.reading.carry(
            frame.megapixels * self.costs.read_megabytes, lambda: self._compute(machine, life, number, frame, turn)
        )

    def _look_later(self, machine: _Machine, life: int) -> None:
        """A seat that may not take a large frame yet asks again when it may."""

        def look() -> None:
            if machine.life == life and machine.idle and machine.free_since == since:
                machine.idle -= 1
                self._claim(machine, life)

        since = machine.free_since
        if since + self._policy.patience_seconds > self.clock.now and self._tickets[True]:
            self.clock.at(since + self._policy.patience_seconds, look)

    # The worker

    def _compute(self, machine: _Machine, life: int, number: int, frame: Frame, turn: int) -> None:
        if machine.life != life:
            return
        seconds = self._layout.speed.seconds(frame.megapixels)
        crashes = self._random.random() < self.costs.crash_probability
        if crashes:
            seconds *= self._random.random()
        self._count()
        machine.computing += 1
        self.clock.after(seconds, lambda: self._computed(machine, life, number, frame, turn, crashes=crashes))

    def _computed(self, machine: _Machine, life: int, number: int, frame: Frame, turn: int, *, crashes: bool) -> None:
        if machine.life != life:
            return
        self._count()
        machine.computing -= 1
        if crashes:
            self._let_go(machine, number, frame)
            self._answer(frame, turn, self._retry)
            self.clock.after(self.costs.restart_seconds, lambda: self._claim(machine, life))
            return

        def written() -> None:
            if machine.life == life:
                self._count()
                self._let_go(machine, number, frame)
                self._answer(frame, turn, self._publish)
                self._claim(machine, life)

        self.writing.carry(frame.megapixels * self.costs.written_megabytes, written)

    def _let_go(self, machine: _Machine, number: int, frame: Frame) -> None:
        del machine.held[number]
        machine.large -= frame.is_large
        machine.free_since = min(machine.free_since, self.clock.now)

    def _answer(self, frame: Frame, turn: int, then: Callable[[Frame], None]) -> None:
        def noticed() -> None:
            if frame.turn == turn:
                then(frame)

        wait = self.costs.notice_seconds
        self.database.serve(self.costs.transaction_seconds, lambda: self.clock.after(wait, noticed))

    def _lose(self, machine: _Machine, back_after: float) -> None:
        self._count()
        held, machine.held = machine.held, {}
        machine.is_alive, machine.idle, machine.large, machine.computing = False, 0, 0, 0
        machine.life += 1
        tick = self._random.uniform(0, self.costs.lost_seconds / 3)
        for number, frame in held.items():
            self.clock.after(
                self.costs.lost_seconds + tick,
                lambda frame=frame, number=number: self._offer(frame, number),  # type: ignore[misc]
            )
        self.clock.after(back_after, lambda: self._return(machine))

    def _return(self, machine: _Machine) -> None:
        self._count()
        machine.is_alive, machine.free_since = True, self.clock.now
        for _ in range(machine.seats):
            self._claim(machine, machine.life)

    def _count(self) -> None:
        """Add up the time since the last change."""
        seconds = self.clock.now - self._counted_at
        self._counted_at = self.clock.now
        if not seconds:
            return
        alive = sum(machine.seats for machine in self._machines if machine.is_alive)
        held = sum(len(machine.held) for machine in self._machines)
        self._alive_seconds += seconds * alive
        self._held_seconds += seconds * held
        self._computed_seconds += seconds * sum(machine.computing for machine in self._machines)
        self._starved_seconds += seconds * min(alive - held, self._backlog)
