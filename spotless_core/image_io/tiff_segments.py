"""Decode and encode the strips and tiles of one TIFF image.

Comes in: a checked `Frame`. Goes out: arrays in native byte order with the stored values, whole or in pieces of a few
rows. The promise: `encode` after `decode` gives a segment that decodes to the same samples (a lossy one with another
codec); a large segment never lies in memory whole where its codec allows that; damage is a `ScanError`. Predictor
and byte order are handled here. Source: TIFF 6.0 section 14 (differencing); TIFF technical note 3 (floating point).
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import cast

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Samples
from spotless_core.errors import ScanError
from spotless_core.image_io.positional_file import PositionalFile
from spotless_core.image_io.tiff_codecs import compress, decode_jpeg, decompress
from spotless_core.image_io.tiff_frame import Frame, split_strips
from spotless_core.image_io.tiff_lossless_jpeg import decode_lossless_jpeg, encode_lossless_jpeg
from spotless_core.image_io.tiff_samples import FLOATING_POINT, HORIZONTAL, LOSSLESS_JPEG
from spotless_core.image_io.tiff_streams import compress_pieces, decompress_pieces
from spotless_core.image_io.tiff_tags import JPEG_TABLES

LARGE_SEGMENT_BYTES = {"deflate": 16 << 20, "lzma": 16 << 20, "packbits": 64 << 20, "lzw": 256 << 20}
"""Larger segments are decoded and encoded in pieces. Cutting PackBits and LZW takes longer than decoding them."""
PIECE_BYTES = 4 << 20
CHUNK_BYTES = 1 << 20
NATIVE_ORDER = "<" if sys.byteorder == "little" else ">"
MAX_TABLES_BYTES = 1 << 16


class SegmentCoder:
    """Decodes and encodes single segments of `frame`; keeps nothing."""

    def __init__(self, file: PositionalFile, frame: Frame, byte_order: str) -> None:
        self.frame = split_strips(frame)
        self.dtype = frame.layout.dtype
        self._file = file
        self._must_swap = self.dtype.itemsize > 1 and byte_order != NATIVE_ORDER
        self._jpeg_tables = self._read_jpeg_tables()

    @property
    def is_streamed(self) -> bool:
        """Whether the segments are so large that `pieces` gives them in several."""
        frame = self.frame
        largest = LARGE_SEGMENT_BYTES.get(frame.codec)
        return largest is not None and frame.segment_height * frame.row_bytes > largest

    def decode(self, index: int) -> Samples:
        """Return segment `index` as rows×width×samples, writable; a tile comes with its padding.

        Raises:
            ScanError: the segment is damaged.
            TruncatedScanError: the file became shorter.
        """
        frame = self.frame
        rows = frame.segment_rows(index)
        needed = rows * frame.row_bytes
        offset, count = int(frame.offsets[index]), int(frame.byte_counts[index])
        if frame.codec == "none":
            return self._to_samples(np.frombuffer(bytearray(self._file.read(offset, needed)), np.uint8))
        data = self._file.read(offset, count)
        with _named(index):
            if frame.codec == "jpeg":
                size, most_rows = (rows, frame.segment_width), frame.segment_height
                photometric = frame.layout.photometric
                return decode_jpeg(data, self._jpeg_tables, photometric, size, most_rows, frame.segment_samples)
            if frame.codec == LOSSLESS_JPEG:
                size = (rows, frame.segment_width)
                bits = frame.layout.bits
                return decode_lossless_jpeg(data, size, frame.segment_height, frame.segment_samples, bits)
            # A last strip may be padded to the height of the others; those rows are no samples.
            room = frame.segment_height * frame.row_bytes
            values = decompress(frame.codec, data, room, frame.row_bytes, rows)
            _require_length(len(values), needed)
        return self._to_samples(values[:needed])

    def pieces(self, index: int) -> Iterator[Samples]:
        """Yield the rows of segment `index` from the top in pieces of a few megabytes, each as `decode` gives them.

        Raises:
            ScanError: the segment is damaged.
            TruncatedScanError: the file became shorter.
        """
        frame = self.frame
        if not self.is_streamed:
            yield self.decode(index)
            return
        needed = frame.segment_rows(index) * frame.row_bytes
        piece_bytes = max(1, PIECE_BYTES // frame.row_bytes) * frame.row_bytes
        held, done = bytearray(), 0
        with _named(index):
            for part in decompress_pieces(frame.codec, self._chunks(index), piece_bytes):
                held += part
                while len(held) >= piece_bytes and done < needed:
                    size = min(piece_bytes, needed - done)
                    done += size
                    yield self._to_samples(np.frombuffer(held[:size], np.uint8))
                    del held[:size]
                if done == needed:
                    return
            _require_length(done + len(held), needed)
        yield self._to_samples(np.frombuffer(held[: needed - done], np.uint8))

    def encode(self, samples: Samples) -> bytes:
        """Return the stored bytes of a segment that `decode` gave (lossy: with Deflate); `samples` is only read."""
        if self.frame.codec == LOSSLESS_JPEG:
            return encode_lossless_jpeg(samples)
        values = self._to_values(samples)
        if self.frame.codec == "none":
            return values.tobytes()
        return compress("deflate" if self.frame.layout.is_lossy else self.frame.codec, values)

    def encode_pieces(self, pieces: Iterable[Samples]) -> Iterator[bytes]:
        """Yield the stored bytes of a segment whose rows come as `pieces` gives them."""
        yield from compress_pieces(self.frame.codec, (self._to_values(samples) for samples in pieces))

    def _to_samples(self, values: NDArray[np.uint8]) -> Samples:
        """Undo byte order and predictor of whole rows; `values` may be overwritten."""
        frame = self.frame
        shape = (-1, frame.segment_width, frame.segment_samples)
        samples = values.view(self.dtype).reshape(shape)
        if frame.layout.predictor == FLOATING_POINT:
            # It stores the bytes of each row by significance, whatever the file's byte order.
            return cast("Samples", imagecodecs.floatpred_decode(samples, axis=1))
        if self._must_swap:
            samples.byteswap(inplace=True)
        if frame.layout.predictor == HORIZONTAL:
            whole = _as_whole_numbers(samples)
            imagecodecs.delta_decode(whole, axis=1, out=whole)
        return cast("Samples", samples)

    def _to_values(self, samples: Samples) -> NDArray[np.uint8]:
        """Return the rows as stored before compression: rows × bytes, contiguous."""
        values = np.ascontiguousarray(samples)
        if self.frame.layout.predictor == FLOATING_POINT:
            values = imagecodecs.floatpred_encode(values, axis=1)
        else:
            if self.frame.layout.predictor == HORIZONTAL:
                values = imagecodecs.delta_encode(_as_whole_numbers(values), axis=1)
            if self._must_swap:
                values = values.byteswap()
        return np.ascontiguousarray(values).reshape(len(values), -1).view(np.uint8)

    def _chunks(self, index: int) -> Iterator[bytes]:
        """Yield the stored bytes of a segment."""
        offset, count = int(self.frame.offsets[index]), int(self.frame.byte_counts[index])
        for position in range(0, count, CHUNK_BYTES):
            yield self._file.read(offset + position, min(CHUNK_BYTES, count - position))

    def _read_jpeg_tables(self) -> bytes | None:
        entry = self.frame.directory.entries.get(JPEG_TABLES)
        if self.frame.codec != "jpeg" or entry is None:
            return None
        if entry.value_bytes > MAX_TABLES_BYTES:
            raise ScanError(f"JPEG tables of {entry.value_bytes} bytes; the file is damaged. Export the scan again.")
        return self._file.read(entry.value_position, entry.value_bytes)


@contextmanager
def _named(index: int) -> Iterator[None]:
    """Put the segment's number before what a codec says of it."""
    try:
        yield
    except ScanError as error:
        if type(error) is not ScanError:
            raise
        raise ScanError(f"strip or tile {index} {error}. Scan it again.") from error


def _require_length(found: int, needed: int) -> None:
    if found < needed:
        raise ScanError(f"has {found} bytes; {needed} expected")


def _as_whole_numbers(samples: NDArray[np.generic]) -> NDArray[np.generic]:
    """View float samples as unsigned numbers, of which libtiff takes the differences."""
    return samples.view(f"u{samples.dtype.itemsize}")
