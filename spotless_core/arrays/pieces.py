"""The connected pieces of a mask of any size, as runs of pixels along rows.

Comes in: a mask, or a probability with two thresholds, band by band. Goes out: `Pieces`: box, area and pixels of each.
Memory follows the pieces, not the frame: a plane of labels would take four bytes for every pixel of the scan. Bands are
labelled one by one and joined along their seams with union-find (Rosenfeld and Pfaltz 1966, "Sequential operations in
digital picture processing"); the pieces come in the order of OpenCV's labels of the whole mask.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Box, FloatImage, Mask
from spotless_core.arrays.masks import Shape, shape_of
from spotless_core.arrays.windows import FloatWindows, bands

Integers = NDArray[np.int64]
Labels = NDArray[np.int32]


class Peak(NamedTuple):
    """The largest value in a piece and where it lies, the first in reading order."""

    value: float
    row: int
    column: int


@dataclass(frozen=True, slots=True)
class Pieces:
    """8-connected pieces, i from 0 on. `boxes`, `areas` (pixels), `peaks` by piece; `peaks` is empty for a mask.

    `runs`: n×3 int64, row, first and last column + 1, by piece, in reading order; piece i has those from `first[i]` up
    to `first[i + 1]`.
    """

    boxes: list[Box]
    areas: Integers
    peaks: list[Peak]
    runs: Integers
    first: Integers

    def __len__(self) -> int:
        """Return how many pieces there are."""
        return len(self.boxes)

    def cut(self, members: Sequence[int], box: Box) -> Mask:
        """Return the pixels of the pieces `members` in `box` as its mask, h×w bool."""
        top, left, bottom, right = box
        mask = np.zeros((bottom - top, right - left), np.bool_)
        for member in members:
            self._paint(mask, member, top, left)
        return mask

    def paint_inplace(self, mask: Mask, members: Iterable[int]) -> None:
        """Set the pixels of the pieces `members` in `mask`, H×W bool of the whole frame."""
        for member in members:
            self._paint(mask, member, 0, 0)

    def shape_of(self, index: int) -> Shape:
        """Measure one piece; the ends of its runs span the same rectangle as all of its pixels."""
        top, left, _, _ = self.boxes[index]
        runs = self.runs[self.first[index] : self.first[index + 1]]
        # In reading order, as all pixels would come: of two rectangles of one area OpenCV takes the sooner found.
        points = np.stack([runs[:, 1], runs[:, 0], runs[:, 2] - 1, runs[:, 0]], axis=1).reshape(-1, 2) - (left, top)
        return shape_of(points.astype(np.float32), int(self.areas[index]))

    def box_within(self, index: int, place: Box) -> Box | None:
        """Return the tight box of what piece `index` has in `place`, None if that is nothing."""
        top, left, bottom, right = place
        runs = self.runs[self.first[index] : self.first[index + 1]]
        runs = runs[(runs[:, 0] >= top) & (runs[:, 0] < bottom) & (runs[:, 1] < right) & (runs[:, 2] > left)]
        if not len(runs):
            return None
        rows, starts, stops = runs.T
        return (
            int(rows[0]),
            max(int(starts.min()), left),
            int(rows[-1]) + 1,
            min(int(stops.max()), right),
        )

    def _paint(self, mask: Mask, index: int, top: int, left: int) -> None:
        height = len(mask)
        for row, start, stop in self.runs[self.first[index] : self.first[index + 1]].tolist():
            if 0 <= row - top < height:
                mask[row - top, max(start - left, 0) : max(stop - left, 0)] = True


def trace_mask(mask: Mask) -> Pieces:
    """Return the pieces of `mask`, bool H×W, read only."""
    tracer = _Tracer()
    for top, bottom in bands(*mask.shape):
        tracer.add(top, mask[top:bottom])
    return tracer.pieces()


def trace_seeds(
    probability: FloatWindows, seed: float, grow: float, on_rows: Callable[[int], None] = lambda _bottom: None
) -> Pieces:
    """Return the pieces of `probability >= grow` that hold a pixel `>= seed`, with their peaks.

    `probability`: windows of H×W float32. `on_rows` hears how many rows are done, band by band. Source: hysteresis,
    Canny 1986, section VIII.
    """
    height, width = probability.shape
    tracer = _Tracer()
    for top, bottom in bands(height, width):
        rows = probability[top:bottom, 0:width]
        tracer.add_seeded(top, rows >= grow, rows, seed)
        on_rows(bottom)
    return tracer.seeded_pieces()


class _Tracer:
    """Takes bands from top to bottom. Each piece of a band has a number, the sooner met the smaller; 0 is none."""

    def __init__(self) -> None:
        self._runs: list[Integers] = []  # number, row, first column, last + 1
        self._peaks: dict[int, Peak] = {}
        self._parents: dict[int, int] = {}
        self._above: Integers | None = None
        self._count = 0

    def add(self, top: int, mask: Mask) -> None:
        labels, found = self._label(mask)
        self._runs.append(_runs(mask, labels, top, self._count))
        self._count += found

    def add_seeded(self, top: int, mask: Mask, values: FloatImage, seed: float) -> None:
        """Add a band of which only what has a value of `seed`, or goes on in another band, may be a piece."""
        labels, found = self._label(mask)
        peaks = _peaks(labels, values, seed, top, self._count)
        runs = _runs(mask, labels, top, self._count)
        is_open = np.zeros(found + 1, np.bool_)
        is_open[np.array([*peaks], np.int64) - self._count] = True
        is_open[labels[0]] = is_open[labels[-1]] = True
        self._runs.append(runs[is_open[runs[:, 0] - self._count]])
        self._peaks |= peaks
        self._count += found

    def pieces(self) -> Pieces:
        """Return all pieces, without peaks."""
        runs, roots = self._joined()
        return _gathered(runs, roots, [])

    def seeded_pieces(self) -> Pieces:
        """Return the pieces that have a seed."""
        runs, roots = self._joined()
        best: dict[int, Peak] = {}
        for number, peak in self._peaks.items():
            root = self._root(number)
            best[root] = max(best.get(root, peak), peak, key=lambda each: (each.value, -each.row, -each.column))
        kept = np.isin(roots, np.array([*best], np.int64))
        return _gathered(runs[kept], roots[kept], [best[root] for root in sorted(best)])

    def _label(self, mask: Mask) -> tuple[Labels, int]:
        """Label a band and join it to the one above; return the labels and how many there are."""
        found, plane = cv2.connectedComponents(mask.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
        labels: Labels = np.asarray(plane, np.int32)
        first, last = (np.where(row > 0, row.astype(np.int64) + self._count, 0) for row in (labels[0], labels[-1]))
        if self._above is not None:
            for shift in (-1, 0, 1):
                above = self._above[max(shift, 0) : len(first) + min(shift, 0)]
                below = first[max(-shift, 0) : len(first) + min(-shift, 0)]
                is_seam = (above > 0) & (below > 0)
                for pair in np.unique(np.stack([above[is_seam], below[is_seam]], axis=1), axis=0).tolist():
                    self._join(*pair)
        self._above = last
        return labels, found - 1

    def _join(self, one: int, other: int) -> None:
        low, high = sorted((self._root(one), self._root(other)))
        if low != high:
            self._parents[high] = low

    def _root(self, number: int) -> int:
        passed = []
        while number in self._parents:
            passed.append(number)
            number = self._parents[number]
        self._parents.update(dict.fromkeys(passed, number))
        return number

    def _joined(self) -> tuple[Integers, Integers]:
        """Return all runs (row, first column, last + 1) and the number of the piece of each."""
        runs = np.concatenate([np.empty((0, 4), np.int64), *self._runs])
        numbers, places = np.unique(runs[:, 0], return_inverse=True)
        roots = np.array([self._root(number) for number in numbers.tolist()], np.int64)
        return runs[:, 1:], roots[places]


def _runs(mask: Mask, labels: Labels, top: int, count: int) -> Integers:
    """Return the runs of a band by row: number, row, first column, last + 1."""
    places = np.flatnonzero(mask)
    rows, columns = np.divmod(places, mask.shape[1])
    is_start = (np.diff(places, prepend=-2) > 1) | (columns == 0)
    starts = np.flatnonzero(is_start)
    lengths = np.diff(starts, append=len(places))
    rows, columns = rows[starts], columns[starts]
    return np.stack([labels[rows, columns].astype(np.int64) + count, rows + top, columns, columns + lengths], axis=1)


def _peaks(labels: Labels, values: FloatImage, seed: float, top: int, count: int) -> dict[int, Peak]:
    """Return the peak of each piece of a band that has a value of `seed`, by its number."""
    places = np.flatnonzero(values >= seed)
    places = places[labels.reshape(-1)[places] > 0]
    numbers, heights = labels.reshape(-1)[places].astype(np.int64) + count, values.reshape(-1)[places]
    rows, columns = np.divmod(places, values.shape[1])
    order = np.lexsort((-heights, numbers))  # stable: of equal heights the first in reading order
    firsts = order[np.unique(numbers[order], return_index=True)[1]]
    return {int(numbers[i]): Peak(float(heights[i]), int(rows[i]) + top, int(columns[i])) for i in firsts.tolist()}


def _gathered(runs: Integers, roots: Integers, peaks: list[Peak]) -> Pieces:
    """Sort the runs by piece and measure each."""
    order = np.argsort(roots, kind="stable")
    runs, roots = runs[order], roots[order]
    starts = np.flatnonzero(np.diff(roots, prepend=0))
    if not len(starts):
        return Pieces([], np.empty(0, np.int64), [], runs, np.zeros(1, np.int64))
    rows, lefts, rights = runs.T
    table = np.stack(
        [
            rows[starts],
            np.minimum.reduceat(lefts, starts),
            np.maximum.reduceat(rows, starts) + 1,
            np.maximum.reduceat(rights, starts),
        ],
        axis=1,
    )
    boxes: list[Box] = [(top, left, bottom, right) for top, left, bottom, right in table.tolist()]
    return Pieces(boxes, np.add.reduceat(rights - lefts, starts), peaks, runs, np.append(starts, len(runs)))
