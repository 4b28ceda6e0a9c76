"""From the mask to the crops that are filled: boxes with context, merged when near, in batches of one size.

In: the mask and the clean margin wanted around holes; thick holes get a wider one. Out: regions. Each masked pixel is
written by exactly one region; a crop may show other regions' holes, which are holes for the filling too. Crops have a
side of 64, 128, 256 or 512 where possible; a defect too long for that is cut into pieces. Windows are moved into the
frame where they fit, and only what still sticks out is padded, by reflection. No pixel is changed here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from spotless_core.arrays.kinds import Box, Mask, Samples, require_mask
from spotless_core.arrays.pieces import Pieces, trace_mask
from spotless_core.arrays.windows import SampleWindows
from spotless_core.errors import ArrayContractError, ScanError

SIZE_CLASSES_PX = (64, 128, 256, 512)
"""Sides of crops: few sizes, so that networks run them in batches and compile each size once."""
BATCH_PIXELS = 1 << 20
"""Pixels of one batch: bounds the memory, and the time between two reports of progress."""
MIN_CLEAN_FRACTION = 1 / 16
"""A crop with less clean film than this is enlarged."""
MIN_PIECE_PX = 32
"""The smallest piece a long defect is cut into, however much context is asked for."""


@dataclass(frozen=True, slots=True)
class Region:
    """One crop to fill and the pixels it writes.

    `window`: the crop in the frame's coordinates, square; may stick out over the border. `own_box`: the tight box of
    the pixels it writes, inside the frame and the window. `own`: which pixels of `own_box` those are.
    """

    window: Box
    own_box: Box
    own: Mask

    @property
    def side_px(self) -> int:
        """Side of the square window."""
        return self.window[2] - self.window[0]

    @property
    def box_in_window(self) -> Box:
        """`own_box` in the crop's coordinates."""
        top, left = self.own_box[0] - self.window[0], self.own_box[1] - self.window[1]
        return top, left, top + self.own.shape[0], left + self.own.shape[1]

    @property
    def own_in_window(self) -> tuple[slice, slice]:
        """Where `own_box` lies inside the crop."""
        top, left, bottom, right = self.box_in_window
        return slice(top, bottom), slice(left, right)


class _Group(NamedTuple):
    """Defects that go into one crop: their numbers, their common box, and the clean pixels wanted around it."""

    members: tuple[int, ...]
    box: Box
    context_px: int


def find_regions(mask: Mask, context_px: int) -> list[Region]:
    """Return regions that together own every masked pixel exactly once, from top to bottom.

    `mask`: H×W bool, read only. `context_px`: pixels kept around the owned pixels in a crop, zero or more; a defect
    thicker than that gets as much as it is thick. The order and the boxes depend on nothing but the arguments.

    Raises:
        ArrayContractError: `mask` is not H×W bool, or `context_px` is negative.
        ScanError: every pixel is masked, so that there is nothing to repair from.
    """
    require_mask(mask, (mask.shape[0], mask.shape[1]))
    if context_px < 0:
        raise ArrayContractError(f"find_regions: context_px = {context_px}; zero or more expected.")
    if mask.size and mask.all():
        raise ScanError("The mask covers every pixel; nothing is left to repair from. Give a mask of the defects only.")
    pieces = trace_mask(mask)
    longest = max(SIZE_CLASSES_PX[-1] - 2 * context_px, MIN_PIECE_PX)
    small: list[_Group] = []
    regions: list[Region] = []
    for index, (box, area) in enumerate(zip(pieces.boxes, pieces.areas.tolist(), strict=True)):
        if max(box[2] - box[0], box[3] - box[1]) <= longest:
            small.append(_Group((index,), box, _context(box, area, context_px)))
        else:
            cells = _cells(pieces, index, longest)
            regions += [_region(mask, pieces, _Group((index,), cell, context_px)) for cell in cells]
    regions += [_region(mask, pieces, group) for group in _merge(small)]
    return sorted(regions, key=lambda region: region.own_box)


def batches(regions: Sequence[Region]) -> Iterator[list[Region]]:
    """Yield the regions in groups of one side each, small sides first, at most `BATCH_PIXELS` (or one crop) a group."""
    by_side: dict[int, list[Region]] = {}
    for region in regions:
        by_side.setdefault(region.side_px, []).append(region)
    for side, group in sorted(by_side.items()):
        step = max(1, BATCH_PIXELS // side**2)
        for start in range(0, len(group), step):
            yield group[start : start + step]


def cut_samples(frame: SampleWindows, window: Box) -> Samples:
    """Return a copy of `frame` (H×W×C) in `window`; what sticks out is the frame reflected at its border."""
    top, left, bottom, right = window
    height, width = frame.shape[:2]
    rows = _reflected(top, bottom, height)
    columns = _reflected(left, right, width)
    if rows is None and columns is None:
        return frame[top:bottom, left:right].copy()
    row_index = np.arange(top, bottom) if rows is None else rows
    column_index = np.arange(left, right) if columns is None else columns
    seen = frame[row_index.min() : row_index.max() + 1, column_index.min() : column_index.max() + 1]
    return seen[row_index[:, None] - row_index.min(), column_index[None, :] - column_index.min()]


def cut_mask(mask: Mask, window: Box) -> Mask:
    """Return a copy of `mask` (H×W) in `window`, reflected like the frame so that a hole's mirror image is a hole."""
    cut = cut_samples(mask[..., None].view(np.uint8), window)
    return cut[..., 0].view(np.bool_)


def _reflected(start: int, stop: int, length: int) -> np.ndarray[tuple[int], np.dtype[np.intp]] | None:
    """Indexes of [start, stop) mirrored into [0, length) without repeating the border; None if they lie inside."""
    if start >= 0 and stop <= length:
        return None
    if length == 1:
        return np.zeros(stop - start, dtype=np.intp)
    period = 2 * (length - 1)
    folded = np.arange(start, stop, dtype=np.intp) % period
    return np.minimum(folded, period - folded)


def _cells(pieces: Pieces, index: int, side: int) -> list[Box]:
    """Cut one long defect on a lattice of `side`; return the tight boxes of the cells it is in."""
    top, left, bottom, right = pieces.boxes[index]
    lattice = ((row, column) for row in range(top, bottom, side) for column in range(left, right, side))
    found = (
        pieces.box_within(index, (row, column, min(row + side, bottom), min(column + side, right)))
        for row, column in lattice
    )
    return [cell for cell in found if cell is not None]


def _context(box: Box, area: int, context_px: int) -> int:
    """Clean pixels to show around a defect: as many as it is thick, as far as the largest crop has room.

    Thickness is area over longer side: a blot must be seen with the picture it lies in, a long hair need not.
    """
    longest = max(box[2] - box[0], box[3] - box[1])
    return max(context_px, min(area // longest, (SIZE_CLASSES_PX[-1] - longest) // 2))


def _merge(defects: list[_Group]) -> list[_Group]:
    """Join defects whose common box still fits the crop that the larger one needs anyway."""
    cell_px = SIZE_CLASSES_PX[1]
    groups: list[_Group] = []
    by_cell: dict[tuple[int, int], list[int]] = {}
    for defect in sorted(defects, key=lambda defect: defect.box):
        cell = (defect.box[0] // cell_px, defect.box[1] // cell_px)
        for index in (i for dy in (0, -1) for dx in (0, -1, 1) for i in by_cell.get((cell[0] + dy, cell[1] + dx), ())):
            joined = _joined(groups[index], defect)
            if _side(joined) == max(_side(groups[index]), _side(defect)):
                groups[index] = joined
                break
        else:
            by_cell.setdefault(cell, []).append(len(groups))
            groups.append(defect)
    return groups


def _joined(one: _Group, other: _Group) -> _Group:
    box = (
        min(one.box[0], other.box[0]),
        min(one.box[1], other.box[1]),
        max(one.box[2], other.box[2]),
        max(one.box[3], other.box[3]),
    )
    return _Group((*one.members, *other.members), box, max(one.context_px, other.context_px))


def _side(group: _Group) -> int:
    needed = max(group.box[2] - group.box[0], group.box[3] - group.box[1]) + 2 * group.context_px
    for side in SIZE_CLASSES_PX:
        if needed <= side:
            return side
    return -(-needed // SIZE_CLASSES_PX[0]) * SIZE_CLASSES_PX[0]


def _region(mask: Mask, pieces: Pieces, group: _Group) -> Region:
    box = group.box
    own = pieces.cut(group.members, box)
    side = _side(group)
    window = _window(box, side, mask.shape)
    while _clean_fraction(mask, window) < MIN_CLEAN_FRACTION and side < 2 * max(mask.shape):
        side *= 2
        window = _window(box, side, mask.shape)
    return Region(window=window, own_box=box, own=own)


def _window(box: Box, side: int, shape: tuple[int, ...]) -> Box:
    """A square of `side` round `box`, moved into the frame where it fits, else centred on the frame."""
    top = _start(box[0], box[2], side, shape[0])
    left = _start(box[1], box[3], side, shape[1])
    return top, left, top + side, left + side


def _start(low: int, high: int, side: int, length: int) -> int:
    if side >= length:
        return (length - side) // 2
    return min(max((low + high - side) // 2, 0), length - side)


def _clean_fraction(mask: Mask, window: Box) -> float:
    seen = mask[max(window[0], 0) : window[2], max(window[1], 0) : window[3]]
    return 1 - np.count_nonzero(seen) / seen.size
