"""How far a probability can be taken at its word: reliability curve and expected calibration error.

Comes in: probabilities and what was true of them, in any number of parts. Goes out: per bin of equal width the count,
the mean probability and the observed share, and the mean gap between the two, weighted by count (Guo et al., "On
calibration of modern neural networks", ICML 2017).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15
NOT_SURELY_CLEAN = 0.02
"""Nearly all pixels of a frame lie below and are clean; above is where a decision is made."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Probabilities in [`start`, `end`): how many, their mean, and the share of them that was right."""

    start: float
    end: float
    count: int
    mean_probability: float
    observed_share: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """A reliability curve (`bins` without the empty ones), and its expected calibration error; 0 of nothing."""

    error: float
    count: int
    bins: list[Bin]


class ReliabilityCounts:
    """Sums per bin, from which the curve follows; memory does not grow with what is added."""

    def __init__(self) -> None:
        self._sums = np.zeros((3, BINS))  # count, sum of probability, number right

    def add(self, probability: NDArray[np.floating], is_right: NDArray[np.bool_]) -> None:
        """Add `probability` (any shape, float in [0, 1]) and whether each `is_right` (same shape)."""
        values = np.asarray(probability, np.float32).ravel()
        index = np.minimum((values * BINS).astype(np.intp), BINS - 1)
        for row, weights in enumerate((None, values, is_right.ravel())):
            self._sums[row] += np.bincount(index, weights, BINS)

    def curve(self) -> Reliability:
        """Return the curve of everything added."""
        bins = [
            Bin(i / BINS, (i + 1) / BINS, int(count), float(total / count), float(right / count))
            for i, (count, total, right) in enumerate(self._sums.T)
            if count
        ]
        count = sum(each.count for each in bins)
        gaps = sum(abs(each.observed_share - each.mean_probability) * each.count for each in bins)
        return Reliability(gaps / max(count, 1), count, bins)
