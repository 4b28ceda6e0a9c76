"""The repairs of an earlier version that a person keeps: their stored samples, taken out of its image as edits.

Comes in: the open image of that version, which pixels of it are kept. Goes out: edits that hold its very samples, or a
proof that a newer image holds them. Read in bands, cut into small cells, so that memory follows the damage.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from spotless_core.arrays.kinds import Mask, Samples
from spotless_core.arrays.windows import SampleWindows, bands
from spotless_core.errors import PreservationError, SpotlessError
from spotless_core.image_io.edited_rows import EditedRows
from spotless_core.image_io.scan_file import ScanFile
from spotless_core.photo import Edit, ScanInfo

CELL_PX = 64
"""Side of a cell: the tight box of what is kept in it is one edit, so a long hair is many small ones."""


def kept_edits(base: ScanFile, kept: Callable[[int, int], Mask], on_rows: Callable[[int], None]) -> Iterator[Edit]:
    """Yield edits that hold the samples of `base` where `kept(top, bottom)`, n×W bool of those rows, is True.

    `on_rows` hears how many rows are done.

    Raises:
        ScanError: `base` is damaged.
    """
    for top, bottom in bands(base.info.height, base.info.width):
        marked = kept(top, bottom)
        if marked.any():
            rows = base.read_rows(top, bottom)
            for first in range(0, len(rows), CELL_PX):
                strip = slice(first, first + CELL_PX)
                yield from _cells(top + first, rows[strip], marked[strip])
        on_rows(bottom)


def _cells(top: int, rows: Samples, kept: Mask) -> Iterator[Edit]:
    for left in np.unique(np.flatnonzero(kept.any(axis=0)) // CELL_PX * CELL_PX).tolist():
        cell = kept[:, left : left + CELL_PX]
        down, across = np.flatnonzero(cell.any(axis=1)), np.flatnonzero(cell.any(axis=0))
        y, x = slice(int(down[0]), int(down[-1]) + 1), slice(left + int(across[0]), left + int(across[-1]) + 1)
        yield Edit(top + y.start, x.start, rows[y, x].copy(), kept[y, x].copy())


class EditedWindows:
    """Windows of `frame` (H×W×C stored samples) that already show the edits; implements `Windows`."""

    def __init__(self, frame: SampleWindows, edits: Sequence[Edit], info: ScanInfo) -> None:
        self._frame = frame
        self._edited = EditedRows(edits, info)
        self.shape = frame.shape
        self.dtype = frame.dtype

    def __getitem__(self, place: tuple[slice, slice], /) -> Samples:
        """Return a copy of what lies at two slices."""
        rows, columns = (range(*part.indices(length)) for part, length in zip(place, self.shape, strict=False))
        if not rows or not columns or not self._edited.touch(rows[0], rows[-1] + 1):
            return self._frame[place]
        # Whole spans, so that the edits apply; steps are taken from the result.
        seen = self._frame[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
        self._edited.apply_inplace(seen, rows[0], columns[0])
        return seen[:: rows.step, :: columns.step]


def verify_kept(
    base: ScanFile, result: ScanFile, kept: Callable[[int, int], Mask], on_part: Callable[[], None] = lambda: None
) -> None:
    """Prove that `result` holds the very samples of `base` wherever `kept(top, bottom)` is True.

    `on_part` is called band by band.

    Raises:
        PreservationError: it does not, or cannot be read.
    """
    for top, bottom in bands(base.info.height, base.info.width):
        on_part()
        marked = kept(top, bottom)
        if not marked.any():
            continue
        try:
            after, before = result.read_rows(top, bottom)[marked], base.read_rows(top, bottom)[marked]
        except SpotlessError as error:
            raise PreservationError(f"the repairs that are kept cannot be compared: {error}") from error
        if not np.array_equal(before, after):
            row = top + int(np.nonzero(marked)[0][np.flatnonzero((before != after).any(axis=1))[0]])
            raise PreservationError(f"a repair that is kept differs from the earlier version's in row {row}.")
