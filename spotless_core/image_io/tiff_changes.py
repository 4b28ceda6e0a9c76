"""Which strips and tiles of a TIFF the edits change, and their new stored bytes.

Comes in: a checked scan and edits. Goes out: for each segment in which a sample really changes, what to write. The
promise: only colour samples under the edits' masks get other values, and a segment is never written for nothing. A
lossy scan gives every segment as soon as one changes, in a lossless codec.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spotless_core.arrays.kinds import Mask, Samples
from spotless_core.errors import ArrayContractError
from spotless_core.image_io.ordered_threads import map_in_order, usable_threads
from spotless_core.image_io.scratch import scratch_file
from spotless_core.image_io.tiff_frame import Frame
from spotless_core.image_io.tiff_segments import SegmentCoder
from spotless_core.photo import Edit, ScanInfo

CHUNK_BYTES = 1 << 20
GROWTH_BYTES = 16 << 20
"""A large segment that is encoded anew may need so much more room than before."""
THREADS_BYTES = 128 << 20
"""All segments that are encoded at once take at most so much memory,"""
SEGMENT_COPIES = 4
"""each of them so many times its size: stored, decoded, with the predictor, encoded."""


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """The new bytes of segment `index`: `length` of them, in `chunks`."""

    index: int
    length: int
    chunks: Iterable[bytes]


@dataclass(frozen=True, slots=True)
class _Touch:
    """Where an edit meets a segment: the segment's rows and columns, the edit's rows and columns."""

    edit: Edit
    rows: slice
    columns: slice
    edit_rows: slice
    edit_columns: slice


def touched_segments(frame: Frame, top: int, left: int, mask: Mask) -> Iterator[tuple[int, slice, slice, slice, slice]]:
    """Yield (segment, its rows, its columns, the mask's rows, the mask's columns) where `mask` at (top, left) is True.

    Only segments that hold colour samples are touched.
    """
    rows_used, columns_used = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows_used):
        return
    first_row, last_row = top + int(rows_used[0]), top + int(rows_used[-1]) + 1
    first_column, last_column = left + int(columns_used[0]), left + int(columns_used[-1]) + 1
    for plane in range(frame.color_channels) if frame.is_planar else (0,):
        for index in frame.segments_of_rows(plane, first_row, last_row):
            _, y, x = frame.place(index)
            y0, y1 = max(first_row, y), min(last_row, y + frame.segment_height)
            x0, x1 = max(first_column, x), min(last_column, x + frame.segment_width)
            if x0 < x1 and mask[y0 - top : y1 - top, x0 - left : x1 - left].any():
                yield (
                    index,
                    slice(y0 - y, y1 - y),
                    slice(x0 - x, x1 - x),
                    slice(y0 - top, y1 - top),
                    slice(x0 - left, x1 - left),
                )


class SegmentChanges:
    """The edits of one scan, sorted by segment; `threads` may encode segments at once, 0 = one for each core. A large
    one waits in a file in the first of `folders` with room.

    Raises:
        ArrayContractError: an edit does not fit the scan.
    """

    def __init__(
        self, info: ScanInfo, coder: SegmentCoder, edits: Sequence[Edit], threads: int = 0, folders: Sequence[Path] = ()
    ) -> None:
        self._coder = coder
        self._folders = folders
        self._threads = usable_threads(threads)
        self._touched: dict[int, list[_Touch]] = {}
        for edit in edits:
            _require_edit(info, edit)
            for index, *place in touched_segments(coder.frame, edit.top, edit.left, edit.mask):
                self._touched.setdefault(index, []).append(_Touch(edit, *place))

    def most_segments(self) -> int:
        """How many segments may get new bytes at most."""
        frame = self._coder.frame
        return len(frame.offsets) if self._touched and frame.layout.is_lossy else len(self._touched)

    def stored(self, on_bytes: Callable[[int], None]) -> Iterator[StoredSegment]:
        """Yield the segments with new bytes in the order of the file's table; each is gone when the next one comes.

        `on_bytes` hears how many bytes of samples were encoded, or looked at without finding a change.
        """
        frame = self._coder.frame
        indices = sorted(self._touched)
        if frame.layout.is_lossy:
            if not any(self._changes(index) for index in indices):
                return
            indices = list(range(len(frame.offsets)))
        elif self._coder.is_streamed:
            for index in indices:
                yield from self._streamed(index, on_bytes)
            return
        segment_bytes = frame.segment_height * frame.row_bytes
        at_once = max(1, THREADS_BYTES // (segment_bytes * SEGMENT_COPIES))
        for segment in map_in_order(self._encoded, indices, min(self._threads, at_once)):
            on_bytes(segment_bytes)
            if segment is not None:
                yield segment

    def _changes(self, index: int) -> bool:
        return self._apply(index, self._coder.decode(index), 0)

    def _encoded(self, index: int) -> StoredSegment | None:
        """Return the segment with its edits, None if it is to stay as it is. Called by several threads."""
        samples = self._coder.decode(index)
        if not self._apply(index, samples, 0) and not self._coder.frame.layout.is_lossy:
            return None
        data = self._coder.encode(samples)
        return StoredSegment(index, len(data), (data,))

    def _streamed(self, index: int, on_bytes: Callable[[int], None]) -> Iterator[StoredSegment]:
        """Encode a large segment into an unlinked file, so that it never lies in memory whole."""
        has_changed = False

        def edited() -> Iterator[Samples]:
            nonlocal has_changed
            first_row = 0
            for samples in self._coder.pieces(index):
                has_changed |= self._apply(index, samples, first_row)
                first_row += len(samples)
                yield samples
                on_bytes(samples.nbytes)

        needed = int(self._coder.frame.byte_counts[index]) + GROWTH_BYTES
        with scratch_file(self._folders, needed) as file:
            for data in self._coder.encode_pieces(edited()):
                file.write(data)
            length = file.tell()
            file.seek(0)
            if has_changed:
                yield StoredSegment(index, length, iter(lambda: file.read(CHUNK_BYTES), b""))

    def _apply(self, index: int, samples: Samples, first_row: int) -> bool:
        """Write the edits into `samples`, the rows of segment `index` from `first_row` on; whether a value changed."""
        frame = self._coder.frame
        plane = frame.place(index)[0]
        has_changed = False
        for touch in self._touched.get(index, ()):
            first, last = max(touch.rows.start, first_row), min(touch.rows.stop, first_row + len(samples))
            if first >= last:
                continue
            offset = touch.edit_rows.start - touch.rows.start
            box = (slice(first + offset, last + offset), touch.edit_columns)
            mask, wanted = touch.edit.mask[box], touch.edit.samples[box]
            wanted = wanted[:, :, plane : plane + 1] if frame.is_planar else wanted
            colors = 1 if frame.is_planar else frame.color_channels
            place = samples[first - first_row : last - first_row, touch.columns, :colors]
            has_changed = has_changed or not np.array_equal(place[mask], wanted[mask])
            place[mask] = wanted[mask]
        return has_changed


def _require_edit(info: ScanInfo, edit: Edit) -> None:
    samples: Samples = edit.samples
    height, width = edit.mask.shape
    if edit.mask.dtype != np.bool_ or samples.shape != (height, width, info.color_channels):
        raise ArrayContractError(
            f"edit: {edit.mask.dtype} mask {edit.mask.shape}, samples {samples.shape}; "
            f"a bool mask and samples of h×w×{info.color_channels} expected."
        )
    if samples.dtype != info.dtype:
        raise ArrayContractError(f"edit: {samples.dtype} samples; {info.dtype} expected.")
    if edit.top < 0 or edit.left < 0 or edit.top + height > info.height or edit.left + width > info.width:
        raise ArrayContractError(
            f"edit: {height}×{width} at ({edit.top}, {edit.left}); a box inside {info.height}×{info.width} expected."
        )
    if info.is_float and not np.isfinite(samples[edit.mask]).all():
        raise ArrayContractError("edit: samples that are no numbers (NaN or infinite); finite ones expected.")
