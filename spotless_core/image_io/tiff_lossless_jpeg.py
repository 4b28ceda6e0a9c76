"""Lossless JPEG inside a TIFF or DNG: the stored bytes of one strip or tile in, its samples out, and back.

The promise: what is encoded is decoded again and compared, so a segment never comes out with other samples. libjpeg
(turbo) does both; what the frame claims is checked before it sees the data.
Source: ITU-T T.81, annex H; DNG specification 1.7, "Compression".
"""

import struct

import imagecodecs
import numpy as np

from spotless_core.arrays.kinds import Samples
from spotless_core.errors import PreservationError, ScanError, UnsupportedScanError

SOI, EOI, SOF_LOSSLESS, SOS = b"\xff\xd8", b"\xff\xd9", 0xC3, 0xDA
END_BYTES = 16
"""Some writers fill a segment up behind its end marker, to an even or rounder size."""
OTHER_FRAMES = {*range(0xC0, 0xD0)} - {SOF_LOSSLESS, 0xC4, 0xC8, 0xCC}
LEFT_PREDICTOR = 1
"""The sample to the left; the one that writers of DNG use."""
PLAIN = "UNKNOWN"
"""To libjpeg the components are no colours, so that it converts none of them."""


def decode_lossless_jpeg(data: bytes, size: tuple[int, int], most_rows: int, samples: int, bits: int) -> Samples:
    """Decode one strip or tile of `size` (rows, width) to rows×width×samples uint8 or uint16.

    A last strip may be padded to `most_rows`.

    Raises:
        ScanError: it is damaged, or of another size than the frame claims.
        UnsupportedScanError: another kind of JPEG.
    """
    rows, width = size
    found_rows = _require_frame(data, size, most_rows, samples, bits)
    if EOI not in data[-END_BYTES:]:
        # libjpeg fills up what is missing and says nothing.
        raise ScanError("is damaged (a JPEG without its end)")
    try:
        image = imagecodecs.jpeg8_decode(data, colorspace=PLAIN, outcolorspace=PLAIN)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ScanError(f"is damaged ({error})") from error
    if image.dtype != np.dtype(f"u{bits // 8}") or image.size != found_rows * width * samples:
        raise ScanError(f"is damaged (a lossless JPEG of {image.dtype} {image.shape})")
    return np.ascontiguousarray(image).reshape(found_rows, width, samples)[:rows]


def encode_lossless_jpeg(samples: Samples) -> bytes:
    """Return rows×width×samples of 8 or 16 bits as a lossless JPEG.

    Raises:
        PreservationError: it does not decode to the same samples.
    """
    rows, width, count = samples.shape
    bits = 8 * samples.itemsize
    plain = np.ascontiguousarray(samples[:, :, 0] if count == 1 else samples)
    data = bytes(
        imagecodecs.jpeg8_encode(
            plain,
            lossless=True,
            predictor=LEFT_PREDICTOR,
            bitspersample=bits,
            colorspace=PLAIN,
            outcolorspace=PLAIN,
        )
    )
    if not np.array_equal(decode_lossless_jpeg(data, (rows, width), rows, count, bits), samples):
        raise PreservationError("a strip or tile encoded as lossless JPEG does not decode to its samples.")
    return data


def _require_frame(data: bytes, size: tuple[int, int], most_rows: int, samples: int, bits: int) -> int:
    """Walk the markers up to the data and return the frame's rows; its claims must be what the TIFF says."""
    if data[:2] != SOI:
        raise ScanError("is damaged (no JPEG)")
    position, found_rows = 2, 0
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        content = data[position + 4 : position + 2 + length]
        if marker in OTHER_FRAMES:
            raise UnsupportedScanError(
                "JPEG of a lossy kind inside a raw or 16-bit TIFF; lossless JPEG expected. "
                "Export it with LZW or Deflate (ZIP)."
            )
        if marker == SOF_LOSSLESS and len(content) >= 6 and not found_rows:
            found_rows = _require_claim(content, size, most_rows, samples, bits)
        elif marker == SOS:
            if not found_rows or len(content) != 4 + 2 * samples or content[0] != samples:
                break
            if content[-1] & 15:
                raise UnsupportedScanError(
                    "lossless JPEG that leaves the lowest bits out (point transform); whole samples expected. "
                    "Export it with LZW or Deflate (ZIP)."
                )
            return found_rows
        position += 2 + length
    raise ScanError("is damaged (a JPEG without its headers)")


def _require_claim(content: bytes, size: tuple[int, int], most_rows: int, samples: int, bits: int) -> int:
    depth, rows, width, count = struct.unpack_from(">BHHB", content)
    is_deep = 2 <= depth <= bits and (depth > 8) == (bits > 8)
    if not is_deep or (width, count) != (size[1], samples) or not size[0] <= rows <= most_rows:
        raise ScanError(
            f"is damaged, or its samples are arranged otherwise (a JPEG of {width}×{rows}, {count} components of "
            f"{depth} bits; {size[1]}×{size[0]}, {samples} of {bits} expected)"
        )
    return rows
