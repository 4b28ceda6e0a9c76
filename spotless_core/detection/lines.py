"""Evidence along the line: transport scratches too faint for any pixel to show.

Comes in: the detector's grey and its scale. Goes out: `FaintLine`s, and their pixels with a score. A scratch of 1.3
sigma of grain per pixel is 15 sigma when summed along the film (NegPy #797). The sums are made in line_search.py, each
candidate is measured in line_look.py; here it is decided which are scratches. Rather miss one than eat a mast, a rail
or a plank: a line is repaired only if it runs on with one sign and one small contrast, unmoved by what the picture
does, with the same film on both sides, and without company.

How sure: about 10^8 positions, slants, widths and runs are tried on a frame. Grain alone passes `LEAST_SIGMA` about
10^-7 times a frame; the margin is for pictures, whose sums have longer tails. The other bars were set on 255 clean
photographs, as they are, enlarged with grain, and cut to a sixth: with all of them no line is left at any
sensitivity.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Probability
from spotless_core.arrays.windows import FloatWindows
from spotless_core.detection.line_look import REACH_PX, LineLook, look_closely
from spotless_core.detection.line_search import SEGMENTS, UNIT_PX, find_candidates, weigh
from spotless_core.options import Sensitivity

LEAST_LENGTH_PX = 512
LEAST_LENGTH_MM = 3.0
"""On less film a line is too short to tell a scratch from picture."""

COARSEST_UM_PER_PX = 25.0
"""On coarser scans a scratch is far below a pixel, and what looks like one is picture."""

LEAST_SIGMA = 8.0
MOST_CONTRAST = 2.4
"""Sigma over `UNIT_PX` pixels, about 2 sigma a pixel: what is stronger a pixel shows, and the network judges it. The
waterline of a mirroring lake, alike on both sides, is 2.6.
"""
LEAST_SIDE = 0.85
"""The line stands out against both sides. An edge does not: a horizon, a roof."""
MOST_BESIDE = 0.35
"""Fabric, brick, scan lines and block grids have other lines near by."""
MOST_BORDER = 0.20
MOST_UNEVEN = 0.30
"""A shore or an eave is a thin line too, but what lies on its two sides differs in tone or in texture."""
LEAST_BREADTH = 0.82
"""A quiet half of the frame, sea and sky, must not speak for the forest that is the other half."""
MOST_LINES = 3
"""Lines accepted in one direction: more are a fence."""
SAME_LINE_PX = 14

RIVAL_SIGMA, RIVAL_STEADINESS, RIVAL_SAME_SIGN, RIVAL_SHOWN, RIVAL_SIDE = 6.0, 5.0, 0.85, 0.7, 0.6
RIVAL_STRENGTH = 0.5
"""A rival is any straight line in the same direction, whole or in part, with half the contrast: where the
picture has others, this one is most likely picture too.
"""


@dataclass(frozen=True, slots=True)
class _Run:
    """What a line over a part of the frame's length must reach: measures of `LineLook`, the shorter the more."""

    steadiness: float
    same_sign: float
    shown: float


RUNS: dict[int, _Run] = {SEGMENTS: _Run(6.5, 0.88, 0.65), SEGMENTS // 2: _Run(8.0, 0.93, 0.85)}
"""By run, segments of the frame's length. A quarter is never enough: such lines count as rivals only."""

STRONGEST: dict[Sensitivity, dict[int, tuple[float, ...]]] = {
    Sensitivity.LOW: {SEGMENTS: (2.4,)},
    Sensitivity.NORMAL: {SEGMENTS: (3.0, 2.6)},
    Sensitivity.HIGH: {SEGMENTS: (3.2, 2.8, 2.4), SEGMENTS // 2: (2.6,)},
}
"""The strongest a part may be, in sigma, by sensitivity and run, with 0, 1, 2 rivals; with more a line is left alone.
Picture lines are as strong as an edge somewhere along the way, a faint scratch nowhere is.
"""


@dataclass(frozen=True, slots=True)
class FaintLine:
    """One line: `points` (row, column) px along its centre, two or more; `width_px` at half its height; `polarity` +1
    brighter, -1 darker in the positive; `z` sigma of its sum; `support` share of its parts that show it, in [0, 1].
    """

    points: tuple[tuple[float, float], ...]
    width_px: float
    polarity: int
    z: float
    support: float

    @property
    def score(self) -> float:
        """From 0.5 for a line that just passes to 1: an order, not a calibrated probability."""
        return 1 - 0.5 * float(np.exp(1 - self.z / LEAST_SIGMA))


def find_lines(
    grey: FloatWindows,
    um_per_px: float,
    sensitivity: Sensitivity,
    on_progress: Callable[[float], None] = lambda _fraction: None,
) -> tuple[FaintLine, ...]:
    """Find faint scratches along the film in `grey` (windows of H×W float32 in [0, 1]), in both directions.

    `um_per_px`: micrometres on the film per pixel; over 25 there are none. A direction with less than 512 px or 3 mm
    has none. Low and normal sensitivity find lines that cross the whole frame, high also such as cross half of it.
    `on_progress` gets the fraction done. Takes about 4 bytes for each pixel of the frame.
    """
    if um_per_px > COARSEST_UM_PER_PX:
        return ()
    lines: list[FaintLine] = []
    for count, is_turned in enumerate((False, True)):
        share = partial(_report_half, on_progress, count)
        lines += _lines_along(grey, um_per_px, STRONGEST[sensitivity], share, is_turned=is_turned)
    return tuple(lines)


def _report_half(on_progress: Callable[[float], None], half: int, fraction: float) -> None:
    on_progress((half + fraction) / 2)


def _lines_along(
    grey: FloatWindows,
    um_per_px: float,
    strongest: dict[int, tuple[float, ...]],
    on_progress: Callable[[float], None],
    *,
    is_turned: bool,
) -> list[FaintLine]:
    length, across = grey.shape[::-1] if is_turned else grey.shape
    if min(length, across) < LEAST_LENGTH_PX or length * um_per_px < LEAST_LENGTH_MM * 1000:
        return []
    evidence = weigh(grey, is_turned=is_turned)
    on_progress(0.0)
    candidates = find_candidates(evidence.contrast, on_progress)
    looks = [look_closely(evidence, candidate) for candidate in candidates]
    return [_as_line(look, length, is_turned=is_turned) for look in _choose(looks, strongest)]


class LineScores:
    """Each line's score on its pixels, 0 elsewhere, for a frame of `shape`; implements `Windows` of float32."""

    dtype = np.dtype(np.float32)

    def __init__(self, lines: Sequence[FaintLine], shape: tuple[int, int]) -> None:
        self.shape: tuple[int, ...] = shape
        self._drawn = [(line.score, *_pixels(line, shape)) for line in lines]

    def __getitem__(self, place: tuple[slice, slice], /) -> Probability:
        """Draw one window, given by slices with steps of 1; a new array."""
        (top, bottom, _), (left, right, _) = (
            part.indices(length) for part, length in zip(place, self.shape, strict=True)
        )
        window = np.zeros((max(bottom - top, 0), max(right - left, 0)), np.float32)
        for score, rows, columns in self._drawn:
            near = np.flatnonzero((rows >= top) & (rows < bottom))
            near = near[(columns[near] >= left) & (columns[near] < right)]
            window[rows[near] - top, columns[near] - left] = score
        return window


def draw_lines(lines: Sequence[FaintLine], shape: tuple[int, int]) -> Probability:
    """Return H×W float32: each line's score on its pixels, 0 elsewhere."""
    return LineScores(lines, shape)[:, :]


def _pixels(line: FaintLine, shape: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and columns of a line's pixels inside the frame; some may come twice."""
    ends = np.array([line.points[0], line.points[-1]])
    is_turned = np.ptp(ends[:, 1]) > np.ptp(ends[:, 0])
    length, breadth = shape[::-1] if is_turned else shape
    along, across = np.array(line.points, np.float64).T[:: -1 if is_turned else 1]
    rows = np.arange(int(np.ceil(along[0])), int(along[-1]) + 1)
    left = np.interp(rows, along, across) - max(line.width_px, 1.0) / 2
    steps = np.arange(int(np.ceil(line.width_px)) + 1)[:, None]
    columns = np.rint(np.minimum(left + steps + 0.5, left + max(line.width_px, 1.0)) - 0.5).astype(np.int64)
    inside = (columns >= 0) & (columns < breadth) & (rows >= 0) & (rows < length)
    places = np.broadcast_to(rows, columns.shape)[inside], columns[inside]
    return places[::-1] if is_turned else places


def _choose(looks: list[LineLook], strongest: dict[int, tuple[float, ...]]) -> list[LineLook]:
    """Keep the candidates that are scratches, longest and surest first, one for each place."""
    sure = [look for look in looks if _is_sure(look) and look.strongest <= max(strongest.get(look.run, (0.0,)))]
    others = [look for look in looks if not any(_is_same(look, own) for own in sure)]
    chosen: list[LineLook] = []
    for look in sorted(sure, key=lambda look: (look.run, look.z), reverse=True):
        if any(_is_same(look, own) for own in chosen):
            continue
        rivals = _rivals(look, others)
        if rivals < len(strongest[look.run]) and look.strongest <= strongest[look.run][rivals]:
            chosen.append(look)
    return chosen if len(chosen) <= MOST_LINES else []


def _is_sure(look: LineLook) -> bool:
    needed = RUNS.get(look.run)
    return (
        needed is not None
        and look.z >= LEAST_SIGMA
        and look.contrast <= MOST_CONTRAST
        and look.steadiness >= needed.steadiness
        and look.same_sign >= needed.same_sign
        and look.shown >= needed.shown
        and look.breadth >= LEAST_BREADTH
        and look.side >= LEAST_SIDE
        and look.beside <= MOST_BESIDE
        and look.border <= MOST_BORDER
        and look.uneven <= MOST_UNEVEN
    )


def _rivals(look: LineLook, looks: list[LineLook]) -> int:
    """Count the other straight lines, of any run, with at least half the contrast of `look`."""
    found: list[LineLook] = []
    for other in looks:
        if (
            other.contrast >= RIVAL_STRENGTH * look.contrast
            and other.z >= RIVAL_SIGMA
            and other.steadiness >= RIVAL_STEADINESS
            and other.same_sign >= RIVAL_SAME_SIGN
            and other.shown >= RIVAL_SHOWN
            and other.side >= RIVAL_SIDE
            and not any(_is_same(other, known, REACH_PX) for known in found)
        ):
            found.append(other)
    return len(found)


def _is_same(look: LineLook, other: LineLook, within_px: float = SAME_LINE_PX) -> bool:
    share = (look.candidate.start + look.candidate.stop) / (2 * SEGMENTS)
    return abs(look.candidate.across(share) - other.candidate.across(share)) < within_px


def _as_line(look: LineLook, length: int, *, is_turned: bool) -> FaintLine:
    """Turn units into pixels, and carry the line on to the ends of its run."""
    along, across = look.centres[0] * UNIT_PX - 0.5, look.centres[1]
    slope = (across[-1] - across[0]) / (along[-1] - along[0])
    half = (along[1] - along[0]) / 2
    ends = np.array([max(along[0] - half, 0), min(along[-1] + half, length - 1)])
    if look.candidate.stop == SEGMENTS:
        ends[1] = length - 1
    along = np.r_[ends[0], along, ends[1]]
    across = np.r_[across[0] - slope * half, across, across[-1] + slope * (ends[1] - along[-2])]
    points = zip(across, along, strict=True) if is_turned else zip(along, across, strict=True)
    return FaintLine(
        tuple((round(float(row), 2), round(float(column), 2)) for row, column in points),
        look.width_px,
        look.polarity,
        round(float(look.z), 2),
        round(float(look.shown), 3),
    )
