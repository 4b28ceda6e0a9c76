"""Read rows of a TIFF image through a bounded cache of decoded strips and tiles.

Comes in: a `SegmentCoder`. Goes out: rows as an array. The promise: consecutive bands decode each segment once, and
memory is bounded: segments too large for it wait in an unlinked temporary file, and large ones get there in pieces.
"""

import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from spotless_core.arrays.kinds import Samples
from spotless_core.errors import ArrayContractError, OutputError
from spotless_core.image_io.scratch import scratch_file
from spotless_core.image_io.tiff_segments import SegmentCoder

CACHE_BYTES = 64 << 20
"""Decoded segments kept so that neighbouring bands do not decode a segment twice."""
SCRATCH_BYTES = 192 << 20
"""Where one row of decoded segments takes more, segments wait in unlinked files instead of memory."""


class RowReader:
    """Reads rows of one frame through a small cache of decoded segments; large ones wait in files in `folders`."""

    def __init__(self, coder: SegmentCoder, scratch_bytes: int | None = None, folders: Sequence[Path] = ()) -> None:
        self._coder = coder
        self._folders = folders
        frame = coder.frame
        segment_bytes = frame.segment_height * frame.row_bytes
        # One row of segments must stay, or bands lower than a tile would decode each tile again and again.
        row_bytes = (frame.across * frame.planes + 1) * segment_bytes
        self._budget_bytes = max(CACHE_BYTES, row_bytes)
        self._use_scratch = row_bytes > (SCRATCH_BYTES if scratch_bytes is None else scratch_bytes)
        self._cached_bytes = 0
        self._cached: OrderedDict[int, Samples | _Scratch] = OrderedDict()

    def read(self, top: int, bottom: int, channels: range) -> Samples:
        """Return rows [top, bottom) of the given samples as a new (bottom-top)×width×len(channels) array.

        Raises:
            ArrayContractError: rows outside the frame.
            ScanError: a segment is damaged.
        """
        frame = self._coder.frame
        if not 0 <= top <= bottom <= frame.height:
            raise ArrayContractError(f"rows {top} to {bottom}; rows within 0 to {frame.height} expected.")
        rows = np.zeros((bottom - top, frame.width, len(channels)), self._coder.dtype)
        if top == bottom:
            return cast("Samples", rows)
        for plane in channels if frame.is_planar else (0,):
            for index in frame.segments_of_rows(plane, top, bottom):
                _, segment_top, left = frame.place(index)
                first, last = max(top, segment_top), min(bottom, segment_top + frame.segment_height)
                width = min(frame.segment_width, frame.width - left)
                part = self._rows_of_segment(index, first - segment_top, last - segment_top)[:, :width]
                target = rows[first - top : last - top, left : left + width]
                if frame.is_planar:
                    target[:, :, plane - channels.start] = part[:, :, 0]
                else:
                    target[:] = part[:, :, channels.start : channels.stop]
        return cast("Samples", rows)

    def forget(self) -> None:
        """Drop all decoded segments."""
        for held in self._cached.values():
            if isinstance(held, _Scratch):
                held.close()
        self._cached.clear()
        self._cached_bytes = 0

    def _rows_of_segment(self, index: int, first: int, last: int) -> Samples:
        held = self._cached.get(index)
        if held is None:
            held = self._hold(index)
        else:
            self._cached.move_to_end(index)
        return held.rows(first, last) if isinstance(held, _Scratch) else held[first:last]

    def _hold(self, index: int) -> "Samples | _Scratch":
        frame = self._coder.frame
        if frame.codec == "none":
            # Reading it again is as cheap as copying it.
            return self._coder.decode(index)
        held: Samples | _Scratch
        if self._use_scratch:
            row_of_segments = frame.across * frame.planes
            while len(self._cached) >= row_of_segments:
                oldest = self._cached.popitem(last=False)[1]
                if isinstance(oldest, _Scratch):
                    oldest.close()
            held = _Scratch(self._coder.pieces(index), self._folders, frame.segment_rows(index) * frame.row_bytes)
        else:
            held = self._coder.decode(index)
            self._cached_bytes += held.nbytes
            while self._cached and self._cached_bytes > self._budget_bytes:
                self._cached_bytes -= self._cached.popitem(last=False)[1].nbytes
        self._cached[index] = held
        return held


class _Scratch:
    """A decoded segment in an unlinked temporary file."""

    nbytes = 0
    """Takes no memory."""

    def __init__(self, pieces: Iterable[Samples], folders: Sequence[Path], needed: int) -> None:
        size = 0
        self._file = scratch_file(folders, needed)
        try:
            for samples in pieces:
                self._shape, self._dtype = samples.shape[1:], samples.dtype
                self._row_bytes = samples.nbytes // len(samples)
                rest = np.ascontiguousarray(samples).reshape(-1).view(np.uint8).data
                size += len(rest)
                while rest:
                    rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._file.close()
            raise OutputError(
                f"no room for {size} bytes of decoded samples ({error.strerror}). Free the temporary folder."
            ) from error
        except BaseException:
            self._file.close()
            raise

    def rows(self, first: int, last: int) -> Samples:
        data = bytearray((last - first) * self._row_bytes)
        done, position = 0, first * self._row_bytes
        while done < len(data):
            part = os.preadv(self._file.fileno(), [memoryview(data)[done:]], position + done)
            if not part:
                raise OutputError("the temporary file of decoded samples became shorter.")
            done += part
        return cast("Samples", np.frombuffer(data, self._dtype).reshape(last - first, *self._shape))

    def close(self) -> None:
        self._file.close()
