"""Decode and encode one large LZW strip in pieces.

Comes in: chunks of stored bytes, or encoded pieces. Goes out: the other. Method: a clear code empties the decoder's
table, so the codes between two of them can be decoded alone. The width of a code depends only on how many came since
the clear code, so all positions are known and the next clear code is found without decoding; the codes also tell how
many bytes they stand for. Decoding itself is libtiff's. Source: TIFF 6.0 section 13; Welch, IEEE Computer 1984.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from spotless_core.errors import ScanError, UnsupportedScanError
from spotless_core.image_io.tiff_codecs import OLD_LZW, decompress, is_old_lzw

CLEAR, END, FIRST_ENTRY = 256, 257, 258
CLEAR_BITS = 9
MAX_CODES = 4096 + 1024 - FIRST_ENTRY
"""Codes after a clear code: libtiff, too, allows 1024 past a full table."""
DAMAGED = "is damaged (LZW)"


def _code_widths() -> NDArray[np.int64]:
    """Bits of the k-th code after a clear code: it grows one code early (TIFF 6.0, page 60)."""
    entries = FIRST_ENTRY - 1 + np.arange(MAX_CODES + 1)
    return np.clip(np.floor(np.log2(np.maximum(entries + 1, 2))).astype(np.int64) + 1, 9, 12)


WIDTHS = _code_widths()
STARTS = np.concatenate([[0], np.cumsum(WIDTHS)[:-1]])
"""Bit at which the k-th code begins, counted from the end of the clear code."""


def decompress_lzw(chunks: Iterable[bytes], piece_bytes: int) -> Iterator[bytes]:
    """Yield what `chunks` stand for, about `piece_bytes` at once; ends at the end code.

    Raises:
        ScanError: a code is damaged.
        UnsupportedScanError: LZW of the old kind.
    """
    blocks = _Blocks()
    for chunk in chunks:
        blocks.add(chunk)
        yield from blocks.decoded(piece_bytes, is_last=False)
        if blocks.has_ended:
            return
    yield from blocks.decoded(piece_bytes, is_last=True)


def join_lzw(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Join complete LZW data into one: each end code but the last becomes a clear code of the same width."""
    last_byte, used_bits = 0, 0  # the byte with the last bit of the newest end code
    for part in parts:
        data = np.frombuffer(part.rstrip(b"\0"), np.uint8)
        # Padding is zero and the end code, 257, ends in a one.
        ones = int(data[-1]) & -int(data[-1])
        bits = 8 * len(data) - (ones.bit_length() - 1)
        if used_bits:
            # 257 becomes 256, a clear code, by its last bit; the next part's own is then one too many.
            last_byte &= ~(1 << (8 - used_bits))
            data = _shifted_left(data[CLEAR_BITS // 8 :], CLEAR_BITS % 8)
            # The bits go behind those of the last byte: right by `used_bits` of them.
            data = _shifted_left(np.concatenate([np.zeros(1, np.uint8), data, np.zeros(1, np.uint8)]), 8 - used_bits)
            data[0] |= last_byte
            bits += used_bits - CLEAR_BITS
        whole = (bits - 1) // 8
        yield data[:whole].tobytes()
        last_byte, used_bits = int(data[whole]), bits - 8 * whole
    yield bytes([last_byte])


def _shifted_left(data: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Shift a row of bytes left as one number, by 0 to 7 bits; zeros come in at the right."""
    if not bits:
        return data.copy()
    return (data << np.uint8(bits)) | (np.append(data[1:], np.uint8(0)) >> np.uint8(8 - bits))


class _Blocks:
    """The stored bytes not yet decoded, and where in them the next code lies."""

    def __init__(self) -> None:
        self._data: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._bit = 0
        self._has_begun = False
        self.has_ended = False

    def add(self, chunk: bytes) -> None:
        # One byte stays before the next code: `_decode` begins with the last bit of the clear code.
        consumed = max(self._bit - 1, 0) // 8
        self._data = np.concatenate([self._data[consumed:], np.frombuffer(chunk, np.uint8)])
        self._bit -= 8 * consumed
        if not self._has_begun and len(self._data) >= 2:
            head = self._data[:2].tobytes()
            if is_old_lzw(head):
                raise UnsupportedScanError(OLD_LZW)
            if int.from_bytes(head, "big") >> (16 - CLEAR_BITS) != CLEAR:
                raise ScanError(DAMAGED)
            self._bit, self._has_begun = CLEAR_BITS, True

    def decoded(self, piece_bytes: int, *, is_last: bool) -> Iterator[bytes]:
        """Yield the decoded bytes of all complete blocks; the rest, too, where `is_last`."""
        if is_last and not self._has_begun:
            raise ScanError(DAMAGED)
        while self._has_begun and not self.has_ended:
            first_bit, length = self._bit, 0
            starts = [first_bit]
            while length < piece_bytes and not self.has_ended:
                found = self._next_block(is_last=is_last)
                if found is None:
                    break
                length += found
                starts.append(self._bit)
            if len(starts) == 1:
                return
            if length:
                yield self._decode(first_bit, self._bit, length)

    def _next_block(self, *, is_last: bool) -> int | None:
        """Step over the codes up to and with the next clear or end code; return how many bytes they stand for.

        None where they are not all there yet.
        """
        codes = self._codes(self._bit, STARTS, WIDTHS)
        stops = np.flatnonzero((codes == CLEAR) | (codes == END))
        if len(stops):
            count = int(stops[0])
            self.has_ended = bool(codes[count] == END)
            self._bit += int(STARTS[count] + WIDTHS[count])
        elif len(codes) > MAX_CODES:
            raise ScanError(DAMAGED)
        elif is_last:
            count = len(codes)
            self.has_ended = True
            self._bit = 8 * len(self._data)
        else:
            return None
        return _decoded_length(codes[:count])

    def _codes(self, bit: int, starts: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the codes that lie completely in the data, read from `bit` on."""
        count = int(np.searchsorted(starts + widths, 8 * len(self._data) - bit, side="right"))
        places, widths = bit + starts[:count], widths[:count]
        if not count:
            return places
        first = int(places[0]) >> 3
        window = np.append(self._data[first : (int(places[-1]) >> 3) + 3], np.zeros(2, np.uint8)).astype(np.int64)
        index = (places >> 3) - first
        three = (window[index] << 16) | (window[index + 1] << 8) | window[index + 2]
        return (three >> (24 - widths - (places & 7))) & ((1 << widths) - 1)

    def _decode(self, first_bit: int, last_bit: int, length: int) -> bytes:
        # A clear code of 9 bits and the codes: its last bit, a zero, is the one before them.
        data = _shifted_left(self._data[(first_bit - 1) >> 3 : (last_bit + 7) >> 3], (first_bit - 1) & 7)
        data[0] &= 0x7F
        return decompress("lzw", b"\x80" + data.tobytes(), length, length, 1).tobytes()


def _decoded_length(codes: NDArray[np.int64]) -> int:
    """How many bytes the codes of one block stand for.

    The j-th code, with the byte after it, is entry 258 + j; its length is one more than its code's. The chains of codes
    are followed for all entries at once, twice as far in each step.
    """
    newest = FIRST_ENTRY - 1 + np.arange(len(codes))
    if len(codes) and ((codes > newest) & (codes >= CLEAR)).any():
        raise ScanError(DAMAGED)
    parents = np.append(np.maximum(codes - FIRST_ENTRY, -1), -1)  # the last one stands for "a single byte"
    parents[parents < 0] = len(codes)
    lengths = np.append(np.ones(len(codes), np.int64), 0)
    while (parents < len(codes)).any():
        lengths += lengths[parents]
        parents = parents[parents]
    return int(lengths.sum())
