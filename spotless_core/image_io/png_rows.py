"""Rows of a PNG by their numbers, decoded as a stream with bounded memory.

Comes in: the IDAT run the header check found. Goes out: rows in native byte order. zlib inflates a band of filtered
rows at a time; libpng undoes their filters, given the row above as an unfiltered first one (PNG specification, section
9: a filter looks at the row itself and the one above, no further). Now and then the decoder's state is kept, so that an
earlier row is reached again without starting from the top. What follows the last row is checked: zlib's checksum, and
that there are no more rows.
"""

import struct
import zlib
from bisect import bisect_right
from dataclasses import dataclass

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Samples
from spotless_core.errors import ScanError
from spotless_core.image_io.header_png import SIGNATURE, PngHeader
from spotless_core.image_io.png_stream import chunk
from spotless_core.image_io.positional_file import PositionalFile

BAND_BYTES = 2 << 20
"""Filtered rows decoded at once; a decoder needs about four times as much meanwhile."""
CHECKPOINT_BYTES = 16 << 20
"""Decoded bytes between two kept states; a state is one row and about 45 KB."""
PAYLOAD_BYTES = 1 << 20
MAX_FILTER = 4
DAMAGED = "the PNG's picture data is damaged and cannot be decoded. Scan it again."


@dataclass(frozen=True, slots=True)
class _State:
    """The stream before row `row`. `chunk`, `place`: the IDAT chunk and how far it was read. `tail`: not yet inflated.

    `above`: the unfiltered row before it, empty at the top.
    """

    row: int
    inflater: "zlib._Decompress"
    chunk: int
    place: int
    tail: bytes
    above: bytes


class PngRows:
    """The rows of one PNG. Reading onwards is cheap; going back decodes at most `CHECKPOINT_BYTES` again."""

    def __init__(self, file: PositionalFile, header: PngHeader) -> None:
        self._file = file
        self._header = header
        self._step = max(1, BAND_BYTES // header.row_bytes)
        self._state = _State(0, zlib.decompressobj(), header.data_start, 0, b"", b"")
        self._kept = [_copied(self._state)]
        self._band: Samples | None = None

    def read(self, top: int, bottom: int) -> Samples:
        """Return rows [top, bottom) as a new h×w×channels array, uint8 or uint16.

        Raises:
            ScanError: the picture data is damaged, too short or too long.
        """
        header = self._header
        rows: Samples = np.empty((bottom - top, header.width, header.channels), np.uint8 if header.bits == 8 else "u2")
        row = top
        while row < bottom:
            band, first = self._band_with(row)
            end = min(first + len(band), bottom)
            rows[row - top : end - top] = band[row - first : end - first]
            row = end
        return rows

    def _band_with(self, row: int) -> tuple[Samples, int]:
        """Return the band that holds `row`, and its first row; the last band is at hand."""
        band = self._band
        if band is None or not self._state.row - len(band) <= row < self._state.row:
            self._band = None
            kept = self._kept[bisect_right(self._kept, row, key=lambda state: state.row) - 1]
            if not kept.row <= self._state.row <= row:
                self._state = _copied(kept)
            try:
                band = self._next_band()
                while self._state.row <= row:
                    band = self._next_band()
            except ScanError:
                self._state = _copied(self._kept[0])
                raise
            self._band = band
        return band, self._state.row - len(band)

    def _next_band(self) -> Samples:
        header, first = self._header, self._state.row
        count = min(self._step, header.height - first)
        filtered = np.frombuffer(self._inflate(count * (1 + header.row_bytes)), np.uint8).reshape(count, -1)
        band = self._unfiltered(filtered)
        last = band[-1].astype(band.dtype.newbyteorder(">")).tobytes()
        state = self._state
        self._state = _State(first + count, state.inflater, state.chunk, state.place, state.tail, last)
        if self._state.row == header.height:
            self._require_end()
        elif (self._state.row - self._kept[-1].row) * header.row_bytes >= CHECKPOINT_BYTES:
            self._kept.append(_copied(self._state))
        return band

    def _inflate(self, count: int) -> bytearray:
        """Return the next `count` bytes of filtered rows."""
        found = bytearray()
        state = self._state
        inflater, position, place, tail = state.inflater, state.chunk, state.place, state.tail
        while len(found) < count:
            if not tail:
                position, place, tail = self._payload(position, place)
            is_last = not tail
            try:
                part = inflater.decompress(tail, count - len(found))
            except zlib.error as error:
                raise ScanError(DAMAGED) from error
            tail = inflater.unconsumed_tail
            found += part
            if not part and (is_last or inflater.eof):
                raise ScanError("the PNG's picture data ends before its last row. Scan it again.")
        self._state = _State(state.row, inflater, position, place, tail, state.above)
        return found

    def _payload(self, position: int, place: int) -> tuple[int, int, bytes]:
        """Return (chunk, place after, bytes) of the next piece of IDAT content; no bytes at the end of the run."""
        while position < self._header.data_end:
            (length,) = struct.unpack(">I", self._file.read(position, 4))
            if place < length:
                size = min(PAYLOAD_BYTES, length - place)
                return position, place + size, self._file.read(position + 8 + place, size)
            position, place = position + 12 + length, 0
        return position, 0, b""

    def _require_end(self) -> None:
        """Raise `ScanError` unless zlib's stream ends here with a right checksum."""
        state = self._state
        inflater, position, place, tail = state.inflater, state.chunk, state.place, state.tail
        extra = b""
        while not inflater.eof and not extra:
            if not tail:
                position, place, tail = self._payload(position, place)
            if not tail:
                raise ScanError("the PNG's picture data has no end and no checksum. Scan it again.")
            try:
                extra = inflater.decompress(tail, 1)
            except zlib.error as error:
                raise ScanError(DAMAGED) from error
            tail = inflater.unconsumed_tail
        if extra:
            raise ScanError("the PNG holds more picture data than its header says. Scan it again.")

    def _unfiltered(self, filtered: NDArray[np.uint8]) -> Samples:
        """Undo the filters of h×(1 + row bytes) through libpng, as h×w×channels in native byte order."""
        header, above = self._header, self._state.above
        if filtered[:, 0].max() > MAX_FILTER:
            raise ScanError(DAMAGED)
        content = (b"\0" + above if above else b"") + filtered.tobytes()
        count = len(filtered) + bool(above)
        ihdr = header.ihdr[8:12] + struct.pack(">I", count) + header.ihdr[16:21]
        small = b"".join(
            (SIGNATURE, chunk(b"IHDR", ihdr), chunk(b"IDAT", zlib.compress(content, 0)), chunk(b"IEND", b""))
        )
        try:
            band: Samples = imagecodecs.png_decode(small)
        except Exception as error:
            raise ScanError(DAMAGED) from error
        shape = (count, header.width, header.channels)
        if band.size != np.prod(shape) or band.dtype != (np.uint8 if header.bits == 8 else np.uint16):
            raise ScanError(
                f"the PNG decodes to {band.dtype} {band.shape}, but its header says {shape}. Scan it again."
            )
        return band.reshape(shape)[bool(above) :]


def _copied(state: _State) -> _State:
    """Return a state that goes on by itself."""
    return _State(state.row, state.inflater.copy(), state.chunk, state.place, state.tail, state.above)
