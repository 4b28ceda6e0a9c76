"""Decode and encode the strips and tiles of one TIFF image, and read rows from them.

Comes in: a checked `Frame`. Goes out: arrays in native byte order with the stored values. The promise: `encode` after
`decode` gives a segment that decodes to the same samples; a decoder never gets more room than the frame claims, and
its errors become `ScanError`. Codecs are imagecodecs'; predictor and byte order are handled here.
Source: TIFF 6.0 sections 13 (LZW) and 14 (differencing).
"""

import os
import struct
import sys
import tempfile
from collections import OrderedDict
from typing import cast

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Samples
from spotless_core.errors import ArrayContractError, OutputError, ScanError, UnsupportedScanError
from spotless_core.image_io.positional_file import PositionalFile
from spotless_core.image_io.tiff_directories import LONG
from spotless_core.image_io.tiff_frame import (
    BITS,
    COMPRESSION,
    HEIGHT,
    PHOTOMETRIC,
    ROWS_PER_STRIP,
    SAMPLES,
    STRIP_BYTE_COUNTS,
    STRIP_OFFSETS,
    WIDTH,
    Frame,
    split_strips,
)

CACHE_BYTES = 64 << 20
"""Decoded segments kept so that neighbouring bands do not decode a segment twice."""
SCRATCH_BYTES = 256 << 20
"""A larger decoded segment is kept in an unlinked file instead of memory."""
DEFLATE_LEVEL = 6
NATIVE_ORDER = "<" if sys.byteorder == "little" else ">"


class SegmentCoder:
    """Decodes and encodes single segments of `frame`; keeps nothing."""

    def __init__(self, file: PositionalFile, frame: Frame, byte_order: str) -> None:
        self.frame = split_strips(frame)
        self.dtype = np.dtype(f"u{frame.bits // 8}")
        self._file = file
        self._must_swap = frame.bits == 16 and byte_order != NATIVE_ORDER

    def decode(self, index: int) -> Samples:
        """Return segment `index` as rows×width×samples, writable; a tile comes with its padding.

        Raises:
            ScanError: the segment is damaged.
            TruncatedScanError: the file became shorter.
        """
        frame = self.frame
        needed = frame.segment_rows(index) * frame.row_bytes
        offset = int(frame.offsets[index])
        if frame.codec == "none":
            values = np.frombuffer(bytearray(self._file.read(offset, needed)), np.uint8)
        else:
            values = self._decompress(index, self._file.read(offset, int(frame.byte_counts[index])), needed)
        samples = values.view(self.dtype).reshape(-1, frame.segment_width, frame.segment_samples)
        if self._must_swap:
            samples.byteswap(inplace=True)
        if frame.has_predictor:
            imagecodecs.delta_decode(samples, axis=1, out=samples)
        return cast("Samples", samples)

    def encode(self, samples: Samples) -> bytes:
        """Return the stored bytes of a segment that `decode` gave; `samples` is only read."""
        frame = self.frame
        values = np.ascontiguousarray(samples)
        if frame.has_predictor:
            values = imagecodecs.delta_encode(values, axis=1)
        if self._must_swap:
            values = values.byteswap()
        if frame.codec == "none":
            return values.tobytes()
        # The codecs take any buffer, whatever their type stubs say; bytes would be one more copy of a large strip.
        data = cast("bytes", values.reshape(-1).view(np.uint8).data)
        if frame.codec == "lzw":
            return bytes(imagecodecs.lzw_encode(data))
        return bytes(imagecodecs.deflate_encode(data, level=DEFLATE_LEVEL))

    def _decompress(self, index: int, data: bytes, needed: int) -> NDArray[np.uint8]:
        frame = self.frame
        if frame.codec == "lzw" and len(data) > 1 and data[0] == 0 and data[1] & 1:
            raise UnsupportedScanError(
                "LZW in the bit order of before 1992; the current one expected. Export it again."
            )
        try:
            if frame.codec == "lzw":
                values = imagecodecs.tiff_decode(_as_one_strip(data, frame.row_bytes, needed // frame.row_bytes))
                values = values.reshape(-1)
            else:
                # A last strip may be padded to the height of the others; those rows are no samples.
                room: NDArray[np.uint8] = np.empty(frame.segment_height * frame.row_bytes, np.uint8)
                values = room[: len(imagecodecs.deflate_decode(data, out=room.data))]
        except (RuntimeError, ValueError) as error:
            raise ScanError(f"strip or tile {index} is damaged ({error}). Scan it again.") from error
        if len(values) < needed:
            raise ScanError(f"strip or tile {index} has {len(values)} bytes; {needed} expected. Scan it again.")
        return values[:needed]


def _as_one_strip(data: bytes, row_bytes: int, rows: int) -> bytes:
    """Wrap an LZW strip as a grey 8-bit TIFF of one strip, for libtiff.

    The bare LZW decoder of imagecodecs trusts the code after a clear code and reads foreign memory when it is damaged;
    libtiff's, as fast, does not. This header leads it nowhere but into its LZW codec.
    """
    tags = (
        (WIDTH, row_bytes), (HEIGHT, rows), (BITS, 8), (COMPRESSION, 5), (PHOTOMETRIC, 1),
        (STRIP_OFFSETS, 8 + 2 + 12 * 9 + 4), (SAMPLES, 1), (ROWS_PER_STRIP, rows), (STRIP_BYTE_COUNTS, len(data)),
    )  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, LONG, 1, value) for tag, value in tags)
    return b"".join((struct.pack("<2sHIH", b"II", 42, 8, len(tags)), entries, bytes(4), data))


class RowReader:
    """Reads rows of one frame through a small cache of decoded segments."""

    def __init__(self, coder: SegmentCoder, scratch_bytes: int = SCRATCH_BYTES) -> None:
        self._coder = coder
        self._scratch_bytes = scratch_bytes
        frame = coder.frame
        segment_bytes = frame.segment_height * frame.row_bytes
        # One row of segments must stay, or bands lower than a tile would decode each tile again and again.
        self._budget_bytes = max(CACHE_BYTES, (frame.across * frame.planes + 1) * segment_bytes)
        self._use_scratch = segment_bytes > scratch_bytes
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
            held = _Scratch(self._coder.decode(index))
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

    def __init__(self, samples: Samples) -> None:
        self._shape, self._dtype = samples.shape[1:], samples.dtype
        self._row_bytes = samples.nbytes // len(samples)
        try:
            self._file = tempfile.TemporaryFile(prefix="spotless-", buffering=0)  # noqa: SIM115 - closed by `close`
            rest = samples.reshape(-1).view(np.uint8).data
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise OutputError(
                f"no room for {samples.nbytes} bytes of decoded samples ({error.strerror}). Free the temporary folder."
            ) from error

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
