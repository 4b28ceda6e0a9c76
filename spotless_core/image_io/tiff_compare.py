"""Prove that a patched TIFF differs from its scan only where the mask allows.

Comes in: the scan, the copy, the mask. Goes out: nothing, or a `PreservationError` at the first difference. Every byte
but those written over in place is compared, the old bytes of moved segments too; touched segments are decoded from both
files and compared sample by sample, padding included; appended data may only be new segments and tables; a directory
that had to be edited must be exactly the edited one. Memory is bounded.
"""

from pathlib import Path

import numpy as np

from spotless_core.arrays.kinds import Mask, Samples
from spotless_core.errors import PreservationError, SpotlessError
from spotless_core.image_io.header_tiff import TiffHeader, check_header
from spotless_core.image_io.positional_file import PositionalFile
from spotless_core.image_io.tiff_changes import touched_segments
from spotless_core.image_io.tiff_directories import Entry, Extent
from spotless_core.image_io.tiff_directory_edit import DirectoryEdit
from spotless_core.image_io.tiff_frame import Frame
from spotless_core.image_io.tiff_segments import SegmentCoder

CHUNK_BYTES = 4 << 20


def compare_files(header: TiffHeader, coder: SegmentCoder, target: Path, mask: Mask, max_megapixels: float) -> None:
    """Compare the scan with the copy at `target`; `mask`: H×W bool, True = may differ.

    Raises:
        PreservationError: the copy differs elsewhere, or cannot be read.
        TruncatedScanError: the scan itself changed meanwhile.
    """
    try:
        copy = PositionalFile(target)
    except SpotlessError as error:
        raise PreservationError(f"the result cannot be opened: {error}") from error
    try:
        _Comparison(header, coder, copy, mask, max_megapixels).run()
    except PreservationError:
        raise
    except SpotlessError as error:
        header.structure.file.require_unchanged()
        raise PreservationError(f"the result is not a sound copy of the scan: {error}") from error
    finally:
        copy.close()


class _Comparison:
    def __init__(
        self, header: TiffHeader, coder: SegmentCoder, copy: PositionalFile, mask: Mask, max_megapixels: float
    ) -> None:
        self._file = header.structure.file
        self._header = header
        self._coder = coder
        self._copy = copy
        self._mask = mask
        self._max_megapixels = max_megapixels
        self._touched = sorted({index for index, *_ in touched_segments(coder.frame, 0, 0, mask)})

    def run(self) -> None:
        frame = self._coder.frame
        other = check_header(self._copy, self._max_megapixels, allow_transcode=frame.layout.is_lossy)
        if self._touched and frame.layout.is_lossy:
            # A single changed sample transcodes all; none leaves the file as it is.
            self._touched = [] if other.frame.layout.is_lossy else list(range(len(frame.offsets)))
        if not self._touched or frame.codec == "none":
            if self._copy.size != self._file.size:
                raise PreservationError(f"the result has {self._copy.size} bytes; {self._file.size} expected.")
        elif self._copy.size < self._file.size:
            raise PreservationError(
                f"the result is shorter than the scan: {self._copy.size} of {self._file.size} bytes."
            )
        other_coder = SegmentCoder(self._copy, other.frame, other.structure.byte_order)
        self._compare_layout(other_coder.frame)
        allowed = self._allowed(other_coder.frame)
        edited = self._header.directory_edits if self._touched else ()
        for edit in edited:
            self._compare_directory(edit, allowed)
        self._compare_bytes(sorted(allowed + [edit.directory.extent for edit in edited]))
        for index in self._touched:
            self._compare_segment(index, other_coder)

    def _compare_layout(self, other: Frame) -> None:
        """Segments the mask does not touch must lie where they lay; touched ones there or behind the old end."""
        frame = self._coder.frame
        if len(frame.offsets) != len(other.offsets):
            raise PreservationError("the result has another number of strips or tiles than the scan.")
        is_touched = np.zeros(len(frame.offsets), bool)
        is_touched[self._touched] = True
        has_moved = frame.offsets != other.offsets
        has_grown = other.byte_counts > frame.byte_counts
        is_wrong = np.where(
            has_moved,
            other.offsets < self._file.size,
            has_grown | (~is_touched & (frame.byte_counts != other.byte_counts)),
        ) | (has_moved & ~is_touched)
        if is_wrong.any():
            raise PreservationError(f"strip or tile {int(np.flatnonzero(is_wrong)[0])} of the result lies wrongly.")

    def _allowed(self, other: Frame) -> list[Extent]:
        """Return the extents of the scan's bytes that may differ in the result: what was written over in place.

        The old bytes of a segment that moved, and those behind a shorter one, are the scan's as all others.
        """
        frame = self._coder.frame
        offsets, counts = other.offsets[self._touched], other.byte_counts[self._touched]
        has_stayed = offsets == frame.offsets[self._touched]
        allowed = list(zip(offsets[has_stayed].tolist(), (offsets + counts)[has_stayed].tolist(), strict=True))
        if self._touched and frame.codec != "none":
            for old, new in ((frame.offset_entry, other.offset_entry), (frame.count_entry, other.count_entry)):
                allowed += self._allowed_of_table(old, new)
        return allowed

    def _allowed_of_table(self, old: Entry, new: Entry) -> list[Extent]:
        if (old.kind, old.value_position) == (new.kind, new.value_position):
            return [(old.value_position, old.value_position + old.value_bytes)]
        if not new.is_inline and new.value_position < self._file.size:
            raise PreservationError(f"the table of tag {old.tag} of the result lies inside other data.")
        # Type and value of the entry changed; its tag and count may not.
        is_big = self._header.structure.is_big
        position = old.position
        return [(position + 2, position + 4), (position + (12 if is_big else 8), position + (20 if is_big else 12))]

    def _compare_directory(self, edit: DirectoryEdit, allowed: list[Extent]) -> None:
        """The directory must be as it was or as it is after the edit, but for the tables' own entries."""
        start, end = edit.directory.extent
        before, after = bytearray(self._file.read(start, end - start)), bytearray(self._copy.read(start, end - start))
        wanted = bytearray(edit.apply(self._header.structure, bytes(before)))
        for first, last in allowed:
            if start <= first and last <= end:
                for content in (before, after, wanted):
                    content[first - start : last - start] = bytes(last - first)
        is_old = after == before and not self._coder.frame.layout.is_lossy
        if not is_old and after != wanted:
            raise PreservationError(f"the tags of the directory at byte {start} of the result changed.")

    def _compare_bytes(self, allowed: list[Extent]) -> None:
        position = 0
        for start, end in [*allowed, (self._file.size, self._file.size)]:
            while position < start:
                count = min(CHUNK_BYTES, start - position)
                if self._file.read(position, count) != self._copy.read(position, count):
                    raise PreservationError(
                        f"the result differs from the scan between bytes {position} and {position + count}, "
                        "which no repair may touch."
                    )
                position += count
            position = max(position, end)

    def _compare_segment(self, index: int, other: SegmentCoder) -> None:
        first_row = 0
        is_lossy = self._coder.frame.layout.is_lossy
        results = iter([other.decode(index)]) if is_lossy else other.pieces(index)
        for before, after in zip(self._coder.pieces(index), results, strict=True):
            if before.shape != after.shape or before.dtype != after.dtype:
                raise PreservationError(f"strip or tile {index} of the result has another size than the scan's.")
            self._compare_samples(index, first_row, before, after)
            first_row += len(before)

    def _compare_samples(self, index: int, first_row: int, before: Samples, after: Samples) -> None:
        """Compare the rows of a segment from `first_row` on, bit by bit."""
        frame = self._coder.frame
        plane, top, left = frame.place(index)
        top += first_row
        bits = np.dtype(f"u{before.dtype.itemsize}")
        differs = before.view(bits) != after.view(bits)
        part = self._mask[top : top + len(before), left : left + frame.segment_width]
        if not frame.is_planar or plane < frame.color_channels:
            colors = 1 if frame.is_planar else frame.color_channels
            differs[: part.shape[0], : part.shape[1], :colors] &= ~part[:, :, None]
        if differs.any():
            row, column, sample = (int(places[0]) for places in np.nonzero(differs))
            raise PreservationError(
                f"sample {plane + sample} of the pixel in row {top + row}, column {left + column} changed outside the "
                "mask."
            )
