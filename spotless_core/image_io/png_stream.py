"""PNG picture data as a stream: rows in, IDAT chunks out, with bounded memory.

Rows of 8 bits get the Paeth filter, rows of 16 bits the faster Sub filter, as their low bytes are grain that nothing
predicts (PNG specification, section 9). zlib then codes run lengths only: grain leaves no longer matches to find, so
this is the smallest of the fast ways, and unlike libdeflate it needs not hold the whole picture.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Samples

SUB_FILTER, PAETH_FILTER = 1, 4
CHUNK_BYTES = 1 << 20
ZLIB_LEVEL = 6
ZLIB_MEMORY = 9


def idat_chunks(bands: Iterable[Samples]) -> Iterator[bytes]:
    """Encode consecutive bands of rows, each h×w×C uint8 or uint16, as whole IDAT chunks."""
    squeeze = zlib.compressobj(ZLIB_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS, ZLIB_MEMORY, zlib.Z_RLE)
    pending = bytearray()
    last_row: NDArray[np.uint8] | None = None
    for band in bands:
        filtered, last_row = _filtered(band, last_row)
        pending += squeeze.compress(filtered.data)
        yield from _full_chunks(pending)
    pending += squeeze.flush()
    yield from _full_chunks(pending)
    if pending:
        yield chunk(b"IDAT", bytes(pending))


def _full_chunks(pending: bytearray) -> Iterator[bytes]:
    """Take as many chunks of `CHUNK_BYTES` off the front of `pending` as it holds."""
    while len(pending) >= CHUNK_BYTES:
        yield chunk(b"IDAT", bytes(pending[:CHUNK_BYTES]))
        del pending[:CHUNK_BYTES]


def chunk(name: bytes, content: bytes) -> bytes:
    """Frame `content` as one PNG chunk: length, name, content, checksum."""
    checksum = zlib.crc32(content, zlib.crc32(name))
    return b"".join((struct.pack(">I4s", len(content), name), content, checksum.to_bytes(4, "big")))


def _filtered(band: Samples, above: NDArray[np.uint8] | None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the band's rows as PNG bytes, each behind its filter byte, and the last row unfiltered.

    `above`: the unfiltered row before the band, None at the top of the picture.
    """
    rows, width, channels = band.shape
    pixel_bytes = channels * band.itemsize
    big_endian = np.ascontiguousarray(band, dtype=band.dtype.newbyteorder(">"))
    plain = big_endian.view(np.uint8).reshape(rows, width * pixel_bytes)
    filtered = np.empty((rows, 1 + width * pixel_bytes), np.uint8)
    if band.itemsize == 1:
        filtered[:, 0] = PAETH_FILTER
        np.subtract(plain, _paeth(plain, above, pixel_bytes), out=filtered[:, 1:])
    else:
        filtered[:, 0] = SUB_FILTER
        filtered[:, 1 : 1 + pixel_bytes] = plain[:, :pixel_bytes]
        np.subtract(plain[:, pixel_bytes:], plain[:, :-pixel_bytes], out=filtered[:, 1 + pixel_bytes :])
    return filtered, plain[-1]


def _paeth(plain: NDArray[np.uint8], above: NDArray[np.uint8] | None, pixel_bytes: int) -> NDArray[np.uint8]:
    """Return the prediction of each byte: of left, up and corner the one nearest to left + up - corner."""
    rows, row_bytes = plain.shape
    framed = np.zeros((rows + 1, pixel_bytes + row_bytes), np.int16)
    framed[1:, pixel_bytes:] = plain
    if above is not None:
        framed[0, pixel_bytes:] = above
    left, up, corner = framed[1:, :-pixel_bytes], framed[:-1, pixel_bytes:], framed[:-1, :-pixel_bytes]
    up_step, left_step = up - corner, left - corner
    from_left, from_up, from_corner = np.abs(up_step), np.abs(left_step), np.abs(up_step + left_step)
    prediction = np.where(from_up <= from_corner, up, corner)
    is_left = from_left <= np.minimum(from_up, from_corner)
    return np.where(is_left, left, prediction).astype(np.uint8)
