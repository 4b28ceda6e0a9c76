"""A close look at one candidate line: the strip round it made straight, and what tells a scratch from picture.

Comes in: the evidence and a candidate of line_search.py. Goes out: `LineLook`, measures only; lines.py judges them. A
scratch has one contrast along its whole length while grain and texture change under it: the contrast is fitted by
least squares over the parts of the line, so that quiet film says more than foliage.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import FloatImage
from spotless_core.detection.line_search import FILTERS, SEGMENTS, Candidate, Evidence

REACH_PX = 40
"""How far to each side of a candidate its company is looked for."""
SLACK_PX = 10
"""Nearer than this, an answer is the line's own."""
PARTS = 32
"""A line over the whole frame is looked at in so many parts."""
SILENT = 0.25
"""Mean evidence under which a part is flat (clipped sky, black holder) and says nothing."""
MOST_SAY = 2.0
"""A part in the finest grain counts at most as if its grain were half the median's."""
BORDER = np.arange(5, 13)
"""Columns to each side that tell whether two areas meet at the line."""


@dataclass(frozen=True, slots=True)
class LineLook:
    """`centres`: of its parts, 2×n (unit, px across). `polarity`: +1 brighter, -1 darker. `width_px`: at half height.

    `z`: contrast over its error from grain. `steadiness`: contrast over its error from the parts themselves; a chain
    of unrelated edges has a sum, but no steadiness. `same_sign`, `shown`: share of the parts, by their say, with the
    line's sign, and that show it by over a sigma. `breadth`: share of all parts with its sign, flat ones against it.
    `side`: contrast against the weaker side as a share of the whole (an edge: 0.5). `beside`: the strongest other line
    within `REACH_PX`, as a share. `border`: step from one side to the other, as a share. `uneven`: log ratio of the
    texture of both sides.
    `contrast`: in sigma of the median grain. `strongest`: the strongest part, in its own sigma.
    """

    candidate: Candidate
    centres: NDArray[np.float64]
    polarity: int
    width_px: float
    z: float
    steadiness: float
    same_sign: float
    shown: float
    breadth: float
    side: float
    beside: float
    border: float
    uneven: float
    contrast: float
    strongest: float

    @property
    def run(self) -> int:
        """Length in segments."""
        return self.candidate.stop - self.candidate.start


def look_closely(evidence: Evidence, candidate: Candidate) -> LineLook:
    """Straighten the strip round a candidate, find its true place within a few pixels, and measure it."""
    units, across = evidence.contrast.shape
    first, last = (round(segment * units / SEGMENTS) for segment in (candidate.start, candidate.stop))
    rows = np.arange(first, last)
    reach = REACH_PX + SLACK_PX
    columns = np.rint(candidate.across((rows + 0.5) / units)).astype(int)[:, None] + np.arange(-reach, reach + 1)
    polarity = 1 if candidate.z > 0 else -1
    strip = np.float32(polarity) * evidence.contrast[rows[:, None], np.clip(columns, 0, across - 1)]
    grain = evidence.grain[
        rows[:, None], np.clip(columns[:, [reach - REACH_PX, reach, reach + REACH_PX]], 0, across - 1)
    ]
    parts = PARTS * (candidate.stop - candidate.start) // SEGMENTS
    starts = np.rint(np.linspace(0, len(rows), parts + 1)).astype(int)
    counts = np.diff(starts)
    sums = (np.add.reduceat(strip, starts[:-1], axis=0) / counts[:, None]).astype(np.float32)
    is_live = np.add.reduceat(np.abs(strip).mean(axis=1), starts[:-1]) / counts > SILENT
    shifts = _best_shifts(_filtered(sums, FILTERS[candidate.width].both), is_live, reach)
    sums = sums[np.arange(parts)[:, None], shifts[:, None] + np.arange(-REACH_PX, REACH_PX + 1) + reach]
    centres = np.stack([rows[starts[:-1]] + counts / 2, candidate.across((rows[starts[:-1]] + counts / 2) / units)])
    centres[1] += shifts
    if not is_live.any():
        return LineLook(candidate, centres, polarity, 0, 0, 0, 0, 0, 0, 0, np.inf, np.inf, np.inf, 0, np.inf)
    grain = np.add.reduceat(grain, starts[:-1], axis=0)[is_live] / counts[is_live, None]
    return _measure(candidate, sums[is_live], grain, centres, polarity)


def _best_shifts(answers: FloatImage, is_live: NDArray[np.bool_], middle: int) -> NDArray[np.int64]:
    """The small move and turn that makes the line's sum largest: a shift in px for each part."""
    along = np.linspace(-0.5, 0.5, len(answers))
    tries = [np.rint(move + turn * along).astype(np.int64) for move in np.arange(-2, 2.1, 0.5) for turn in range(-4, 5)]
    rows = np.flatnonzero(is_live)
    return max(tries, key=lambda shifts: float(answers[rows, middle + shifts[rows]].sum()))


def _measure(
    candidate: Candidate, sums: FloatImage, grain: NDArray[np.float64], centres: NDArray[np.float64], polarity: int
) -> LineLook:
    """`sums`: parts × (2 `REACH_PX` + 1), the line in the middle column and positive. `grain`: parts × 3, left of it,
    on it, right of it. A line of one contrast has `contrast` × `say` sigma in a part: fitted by least squares.
    """
    say = np.minimum(np.median(grain[:, 1]) / grain[:, 1], MOST_SAY)
    line = FILTERS[candidate.width]
    answers = _filtered(sums, line.both)
    values = answers[:, REACH_PX]
    others = np.r_[SLACK_PX : REACH_PX - SLACK_PX + 1, REACH_PX + SLACK_PX : 2 * REACH_PX + 1 - SLACK_PX]
    sigma = float(np.median(np.abs(answers[:, others]))) * 1.4826 + 1e-3
    power = float((say**2).sum())
    contrasts = say @ answers / power
    contrast = max(float(contrasts[REACH_PX]), 1e-6)
    error = float(np.sqrt(((values - contrast * say) ** 2).sum() / max(len(values) - 1, 1) / power)) + 1e-6
    sides = [float(say @ _filtered(sums, kernel)[:, REACH_PX]) / power for kernel in (line.left, line.right)]
    return LineLook(
        candidate,
        centres,
        polarity,
        width_px=_half_width(sums.mean(axis=0)),
        z=contrast * np.sqrt(power) / sigma,
        steadiness=contrast / error,
        same_sign=float(say**2 @ (values > 0)) / power,
        shown=float(say**2 @ (values > sigma)) / power,
        breadth=float(np.count_nonzero(values > 0)) / len(centres[0]),
        side=min(sides) / contrast,
        beside=float(np.abs(contrasts[others]).max()) / contrast,
        border=abs(float(say @ (sums[:, REACH_PX + BORDER].mean(axis=1) - sums[:, REACH_PX - BORDER].mean(axis=1))))
        / power
        / contrast,
        uneven=abs(float(np.log(grain[:, 2] / grain[:, 0]).mean())),
        contrast=contrast,
        strongest=float(values.max()),
    )


def _filtered(sums: FloatImage, kernel: FloatImage) -> FloatImage:
    return np.asarray(cv2.filter2D(sums, -1, kernel, borderType=cv2.BORDER_REFLECT), np.float32)


def _half_width(profile: FloatImage) -> float:
    """Pixels in one piece round the middle that reach half the height over the flanks, at least 1."""
    height = profile - np.median(profile)
    above = height >= height[REACH_PX - 1 : REACH_PX + 2].max() / 2
    left = int(np.argmin(above[REACH_PX::-1])) or 1
    right = int(np.argmin(above[REACH_PX:])) or 1
    return float(min(left + right - 1, SLACK_PX))
