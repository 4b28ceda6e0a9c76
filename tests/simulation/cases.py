"""The runs behind the figures in the docs: whole days, a pile before a single scan, large frames, a lost machine."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from simulation.cluster_model import Cluster, Frame, Layout, Policy
from simulation.costs import GPU
from simulation.workloads import now_and_then, pile, rolls
from spotlessd.cluster.window import window

HOUR = 3600.0
WARM_UP = 600.0
"""Seconds after a pile came in that do not count: windows still shrink to the number of busy stations."""

Formula = Callable[[int, int, int], float]
OURS: Formula = lambda slots, active, stations: window(slots, active)  # noqa: E731
FORMULAS: dict[str, Formula] = {
    "1": lambda slots, active, stations: 1,
    "4": lambda slots, active, stations: 4,
    "64": lambda slots, active, stations: 64,
    "no limit": lambda slots, active, stations: float("inf"),
    "slots / busy stations + 1": lambda slots, active, stations: -(-slots // active) + 1,
    "1.5 × slots / busy stations + 1 (ours)": OURS,
    "2 × slots / busy stations + 1": lambda slots, active, stations: -(-2 * slots // active) + 1,
    "2 × slots / all stations + 1": lambda slots, active, stations: -(-2 * slots // stations) + 1,
}
LARGE_POLICIES = {
    "any seat": Policy(OURS, keeps_a_seat=False),
    "never more than seats − 1 large": Policy(OURS, patience_seconds=math.inf),
    "seats − 1 large, one more after 5 s without a small one (ours)": Policy(OURS),
}


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds until a worker took a scan; those never taken count with the time so far."""

    number: int
    median: float
    p95: float
    longest: float


def waits_of(frames: list[Frame], now: float) -> Waits:
    seconds = sorted(
        (frame.taken if frame.taken >= 0 else now) - frame.arrived for frame in frames if frame.arrived >= 0
    )
    return Waits(len(seconds), seconds[len(seconds) // 2], seconds[int(0.95 * len(seconds))], seconds[-1])


def working_day(layout: Layout, hours: float = 8.0, *, lost_at: float = 0.0) -> tuple[Cluster, Waits]:
    """Every station scans rolls. `lost_at`: the first machine is away for an hour from then; 0 = never."""
    cluster = Cluster(layout, Policy(OURS))
    for frame in rolls(range(layout.stations), hours * HOUR):
        cluster.scan(frame)
    if lost_at:
        cluster.lose(0, lost_at, HOUR)
    cluster.run(hours * HOUR)
    waits = waits_of(cluster.frames, cluster.clock.now)
    return cluster, waits


def single_beside_piles(
    layout: Layout, formula: Formula, busy: int = 1, hours: float = 2.0, priority: int = 0
) -> tuple[Cluster, Waits]:
    """`busy` stations have 30,000 frames each or what lasts; another gets a single scan every two minutes."""
    cluster = Cluster(layout, Policy(formula))
    enough = int(2 * hours * HOUR * layout.seats / layout.speed.seconds(25) / busy) + 100
    for station in range(busy):
        for frame in pile(station, min(30_000, enough), seed=station, priority=priority):
            cluster.scan(frame)
    singles = now_and_then(layout.stations - 1, 120, hours * HOUR)
    for frame in singles:
        cluster.scan(frame)
    cluster.run(hours * HOUR)
    return cluster, waits_of([frame for frame in singles if frame.scanned > WARM_UP], cluster.clock.now)


def large_frames(policy: Policy, hours: float = 2.0) -> tuple[Cluster, Waits]:
    """Two machines of two GPUs; one station has a pile of 100 megapixels each, another gets single scans of 24."""
    cluster = Cluster(Layout(2, (2, 2), GPU, 1175.0), policy)
    for frame in pile(0, 3000, large=1.0):
        cluster.scan(frame)
    singles = now_and_then(1, 60, hours * HOUR)
    for frame in singles:
        cluster.scan(frame)
    cluster.run(hours * HOUR)
    return cluster, waits_of([frame for frame in singles if frame.scanned > WARM_UP], cluster.clock.now)
