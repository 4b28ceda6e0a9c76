"""Where a faint straight line may run along the film: sums along slightly slanted lines, both ways across the frame.

Comes in: the detector's grey. Goes out: a plane of evidence (small contrast over local grain, clipped) and candidates.
Each pixel's say is clipped to a few sigma of the grain around it, so neither an edge nor a speck can carry a line.
Source: a Radon transform over a small range of slants (Deans 1983, chapter 1), summed in segments first, so that lines
over a part of the frame cost nothing more. What is a scratch and what is picture is decided in lines.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import FloatImage
from spotless_core.arrays.windows import FloatWindows, bands

UNIT_PX = 4
"""Pixels averaged along the line first: at the largest slant the line moves 0.1 px meanwhile."""
HIGH_PASS_PX = 25
GRAIN_WINDOW = (65, 17)
"""Where the grain is measured: pixels across the line, units along it."""
QUIETEST = 0.0015
"""Least grain taken as such, grey values: below it (flat black, quantised sky) nothing counts as evidence."""
CLIP_SIGMA = 3.0
SEGMENTS = 16
SEGMENT_CLIP = 6.0
"""One segment's say, in sigma: a full line at 9 sigma needs more than a third of its segments in any case."""
MAX_SLANT = 0.0262
"""Tangent of 1.5 degrees: film is not threaded straighter, nor scanners' holders."""
SLANT_STEP_PX = 2
RUNS = (SEGMENTS, SEGMENTS // 2, SEGMENTS // 4)
"""Lengths looked for, in segments."""
PEAKS = 16
"""Candidates kept for each length."""
PEAK_GAP_PX = 6
LEAST_SIGMA = 5.0
EDGE_PX = 40
"""Lines nearer to the frame's edge are left alone: rebate, holder and mount run there."""

_CENTRES = (np.array([0.5, 1.0, 0.5]) / 2, np.array([0.5, 1.0, 1.0, 1.0, 0.5]) / 4)
_FLANK_PX = (4, 5)


@dataclass(frozen=True, slots=True)
class LineFilter:
    """A line's profile less its neighbourhood: both flanks, the left one only, the right one only (1×k float32)."""

    both: FloatImage
    left: FloatImage
    right: FloatImage


def _line_filter(centre: NDArray[np.float64], flank: int) -> LineFilter:
    line = np.pad(centre, flank + 1)
    left, right = np.zeros_like(line), np.zeros_like(line)
    left[:flank], right[-flank:] = 1 / flank, 1 / flank
    kernels = (line - (left + right) / 2, line - left, line - right)
    return LineFilter(*(kernel[None].astype(np.float32) for kernel in kernels))


FILTERS = tuple(_line_filter(centre, flank) for centre, flank in zip(_CENTRES, _FLANK_PX, strict=True))
"""For lines of about 1 to 2 and 3 to 5 px."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """For lines from top to bottom, units×across float32 each: `contrast` over `grain`, in [-3, 3], and the `grain`
    around each place, sigma in grey values.
    """

    contrast: FloatImage
    grain: FloatImage


@dataclass(frozen=True, slots=True)
class Candidate:
    """A line at `middle` px across at half the frame's length, `drift` px over the whole length, in the segments
    [start, stop). `z`: sum in sigma of the frame's own positions, signed. `width`: index of its filter.
    """

    z: float
    middle: float
    drift: float
    start: int
    stop: int
    width: int

    def across(self, share: float) -> float:
        """Position in px across, at `share` in [0, 1] of the frame's length."""
        return self.middle + self.drift * (share - 0.5)


def weigh(grey: FloatWindows, *, is_turned: bool) -> Evidence:
    """Measure the evidence in `grey` (windows of H×W) for lines from top to bottom, or from left to right, `is_turned`:
    then units lie along the width.
    """
    length, across = grey.shape[::-1] if is_turned else grey.shape
    units = length // UNIT_PX
    contrast = np.empty((units, across), np.float32)
    for top, bottom in bands(grey.shape[0] if is_turned else units, grey.shape[1]):
        if is_turned:
            rows = grey[top:bottom, 0 : units * UNIT_PX]
            contrast[:, top:bottom] = cv2.resize(rows, (units, bottom - top), interpolation=cv2.INTER_AREA).T
        else:
            rows = grey[top * UNIT_PX : bottom * UNIT_PX, 0:across]
            contrast[top:bottom] = cv2.resize(rows, (across, bottom - top), interpolation=cv2.INTER_AREA)
    work = cv2.blur(contrast, (HIGH_PASS_PX, 1))
    contrast -= work
    grain = cv2.blur(np.abs(contrast, out=work), GRAIN_WINDOW)
    grain *= np.float32(np.sqrt(np.pi / 2))  # mean distance → sigma
    np.maximum(grain, QUIETEST, out=grain)
    contrast /= grain
    return Evidence(np.clip(contrast, -CLIP_SIGMA, CLIP_SIGMA, out=contrast), grain)


def find_candidates(
    contrast: FloatImage, on_progress: Callable[[float], None] = lambda _fraction: None
) -> list[Candidate]:
    """Return the strongest lines of `contrast` (units×across, read only), at most `PEAKS` of each length in `RUNS`.

    `on_progress` gets the fraction of the slants that are summed.
    """
    sums, reach = _segment_sums(contrast)
    across = contrast.shape[1]
    furthest = int(MAX_SLANT * len(contrast) * UNIT_PX)
    best = np.zeros((len(RUNS), across), np.float32)
    where = np.zeros((len(RUNS), across, 4), np.int32)
    running = np.zeros((SEGMENTS + 1, across), np.float32)
    centres = (np.arange(SEGMENTS) + 0.5) / SEGMENTS - 0.5
    margin = furthest // 2 + 2
    for width in range(len(FILTERS)):
        seen = np.pad(_in_sigma(sums, width), ((0, 0), (0, 0), (margin, margin)))
        for drift in range(-furthest, furthest + 1, SLANT_STEP_PX):
            slant = round(drift / SEGMENTS) + reach
            for segment, shift in enumerate(np.rint(drift * centres).astype(int)):
                row = seen[segment, slant, margin + shift : margin + shift + across]
                np.add(running[segment], row, out=running[segment + 1])
            for index, start, stop in _windows():
                total = (running[stop] - running[start]) * np.float32((stop - start) ** -0.5)
                better = np.flatnonzero(np.abs(total) > np.abs(best[index]))
                best[index, better] = total[better]
                where[index, better] = (drift, start, stop, width)
            on_progress((width + (drift + furthest) / (2 * furthest + 1)) / len(FILTERS))
    return [candidate for index in range(len(RUNS)) for candidate in _peaks(best[index], where[index])]


def _windows() -> Iterator[tuple[int, int, int]]:
    for index, run in enumerate(RUNS):
        for start in range(0, SEGMENTS - run + 1, max(run // 4, 1)):
            yield index, start, start + run


def _segment_sums(contrast: FloatImage) -> tuple[FloatImage, int]:
    """Means over each segment along every slant: segments×slants×across, and the index of slant 0."""
    units, across = contrast.shape
    edges = np.rint(np.linspace(0, units, SEGMENTS + 1)).astype(int)
    reach = int(np.ceil(MAX_SLANT * units * UNIT_PX / SEGMENTS))
    padded = np.pad(contrast, ((0, 0), (reach, reach)))
    sums = np.zeros((SEGMENTS, 2 * reach + 1, across), np.float32)
    for segment, (start, stop) in enumerate(pairwise(edges)):
        for slant in range(-reach, reach + 1):
            shifts = np.rint((np.arange(start, stop) - (start + stop - 1) / 2) * slant / (stop - start)).astype(int)
            for shift in np.unique(shifts):
                rows = start + np.flatnonzero(shifts == shift)
                part = padded[rows[0] : rows[-1] + 1, reach + shift : reach + shift + across]
                sums[segment, slant + reach] += part.sum(axis=0)
        sums[segment] /= stop - start
    return sums, reach


def _in_sigma(sums: FloatImage, width: int) -> FloatImage:
    """A line filter's answer in each segment, in sigma of that segment's answers everywhere, clipped."""
    across = sums.shape[2]
    answer = cv2.filter2D(sums.reshape(-1, across), -1, FILTERS[width].both, borderType=cv2.BORDER_REFLECT)
    answer = answer.reshape(sums.shape)
    sigma = np.median(np.abs(answer[:, ::2, ::2]), axis=(1, 2)) * np.float32(1.4826) + np.float32(1e-3)
    answer /= sigma[:, None, None]
    return np.clip(answer, -SEGMENT_CLIP, SEGMENT_CLIP, out=answer)


def _peaks(best: FloatImage, where: NDArray[np.int32]) -> Iterator[Candidate]:
    left = np.abs(best)
    left[:EDGE_PX] = left[-EDGE_PX:] = 0
    for _ in range(PEAKS):
        middle = int(left.argmax())
        if left[middle] < LEAST_SIGMA:
            return
        drift, start, stop, width = (int(value) for value in where[middle])
        yield Candidate(float(best[middle]), middle, drift, start, stop, width)
        left[max(middle - PEAK_GAP_PX, 0) : middle + PEAK_GAP_PX + 1] = 0
