"""Who scans what when. Everything here is assumed: rolls as in a lab, piles as in an archive."""

import random
from dataclasses import dataclass

from simulation.cluster_model import Frame


@dataclass(frozen=True, slots=True)
class Scanner:
    """`seconds`: from frame to frame of a roll. `least`, `most`: megapixels of a roll's frames."""

    name: str
    seconds: float
    least: float
    most: float


SCANNERS = (Scanner("fast", 20, 10, 24), Scanner("usual", 45, 24, 50), Scanner("fine", 120, 50, 100))
"""The finer, the slower. By turns over the stations."""
ROLL = 36
BETWEEN_ROLLS_SECONDS = 300.0


def rolls(stations: range, until: float, seed: int = 1, *, starts_within: float = 1800.0) -> list[Frame]:
    """Each station scans roll after roll until a moment, with a break of five minutes on average between them."""
    source = random.Random(seed)
    frames = []
    for station in stations:
        scanner = SCANNERS[station % len(SCANNERS)]
        now = source.uniform(0, starts_within)
        while now < until:
            megapixels = source.uniform(scanner.least, scanner.most)
            for _ in range(ROLL):
                now += scanner.seconds * source.uniform(0.9, 1.1)
                frames.append(Frame(station, now, megapixels, kind="roll"))
            now += source.expovariate(1 / BETWEEN_ROLLS_SECONDS)
    return [frame for frame in frames if frame.scanned < until]


def pile(
    station: int, number: int, seed: int = 1, *, priority: int = 0, at: float = 0.0, large: float = 0.0
) -> list[Frame]:
    """All at once: a folder of 20 to 30 megapixels a frame; of them a share `large` of 100."""
    source = random.Random(seed)
    return [
        Frame(
            station, at, 100.0 if source.random() < large else source.uniform(20, 30), priority, "pile", is_found=True
        )
        for _ in range(number)
    ]


def now_and_then(station: int, every: float, until: float, seed: int = 1, megapixels: float = 24.0) -> list[Frame]:
    """Single scans of a station that has little to do, at random, one in `every` seconds on average."""
    source = random.Random(seed)
    frames = []
    now = source.expovariate(1 / every)
    while now < until:
        frames.append(Frame(station, now, megapixels, kind="single"))
        now += source.expovariate(1 / every)
    return frames
