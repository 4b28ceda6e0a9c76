"""Compress and decompress the bytes of one TIFF strip or tile.

Comes in: stored bytes, and how many bytes they may become. Goes out: samples as bytes. The promise: a decoder never
gets more room than the frame claims, and damaged data are a `ScanError`. Codecs are imagecodecs', except where damage
or a claim could do harm: LZW goes through libtiff, LZMA through the standard library with a limit on its dictionary.
"""

import lzma
import struct
from typing import cast

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from spotless_core.errors import ScanError, UnsupportedScanError
from spotless_core.image_io.tiff_directories import LONG
from spotless_core.image_io.tiff_samples import MIN_IS_BLACK, MIN_IS_WHITE, RGB, SEPARATED, YCBCR
from spotless_core.image_io.tiff_tags import (
    BITS,
    COMPRESSION,
    HEIGHT,
    PHOTOMETRIC,
    ROWS_PER_STRIP,
    SAMPLES,
    STRIP_BYTE_COUNTS,
    STRIP_OFFSETS,
    WIDTH,
)

DEFLATE_LEVEL = 6
ZSTD_LEVEL = 3
"""Zstandard's own default; film grain packs no smaller at higher levels, which are several times slower."""
LZMA_PRESET = 6
LZMA_MEMORY_BYTES = 128 << 20
"""Preset 9, the largest, needs 65 MiB to decode; a hostile header could claim 4 GiB."""
OLD_LZW = "LZW in the bit order of before 1992; the current one expected. Export it again."
JPEG_COLORS = {
    MIN_IS_WHITE: ("GRAYSCALE", "GRAYSCALE"), MIN_IS_BLACK: ("GRAYSCALE", "GRAYSCALE"), RGB: ("RGB", "RGB"),
    YCBCR: ("YCBCR", "RGB"), SEPARATED: ("CMYK", "CMYK"),
}  # fmt: skip
"""What the JPEG holds and what it is decoded to, by the photometric tag."""
FRAME_MARKERS = {0xC0, 0xC1}
"""Baseline and extended sequential, the lossy ones of TIFF technical note 2; a progressive one may be a bomb."""
OTHER_FRAME_MARKERS = {*range(0xC2, 0xD0)} - {0xC4, 0xC8, 0xCC}


def decompress(codec: str, data: bytes, room_bytes: int, row_bytes: int, rows: int) -> NDArray[np.uint8]:
    """Return the at most `room_bytes` that `data` stands for; at least `rows` × `row_bytes` of them are needed.

    Raises:
        ScanError: the data are damaged; fewer bytes than needed is for the caller to find.
        UnsupportedScanError: LZW of the old kind.
    """
    try:
        if codec == "lzw":
            if is_old_lzw(data):
                raise UnsupportedScanError(OLD_LZW)
            return imagecodecs.tiff_decode(_as_one_strip(data, row_bytes, rows)).reshape(-1)
        if codec == "lzma":
            decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, LZMA_MEMORY_BYTES)
            return np.frombuffer(bytearray(decoder.decompress(data, room_bytes)), np.uint8)
        room: NDArray[np.uint8] = np.empty(room_bytes, np.uint8)
        decode = {
            "deflate": imagecodecs.deflate_decode,
            "zstd": imagecodecs.zstd_decode,
            "packbits": imagecodecs.packbits_decode,
        }[codec]
        return room[: len(decode(data, out=room.data))]
    except (RuntimeError, ValueError, lzma.LZMAError, EOFError, MemoryError) as error:
        raise ScanError(f"is damaged ({error})") from error


def compress(codec: str, values: NDArray[np.uint8]) -> bytes:
    """Return `values` (rows × bytes of a row, contiguous) compressed."""
    if codec == "packbits":
        # The standard wants each row packed apart.
        return bytes(imagecodecs.packbits_encode(values, axis=-1))
    if codec == "lzma":
        return lzma.compress(values.data, lzma.FORMAT_XZ, lzma.CHECK_CRC32, LZMA_PRESET)
    # The codecs take any buffer, whatever their type stubs say; bytes would be one more copy of a large strip.
    data = cast("bytes", values.reshape(-1).data)
    if codec == "lzw":
        return bytes(imagecodecs.lzw_encode(data))
    if codec == "zstd":
        return bytes(imagecodecs.zstd_encode(data, level=ZSTD_LEVEL))
    return bytes(imagecodecs.deflate_encode(data, level=DEFLATE_LEVEL))


def decode_jpeg(
    data: bytes, tables: bytes | None, photometric: int, size: tuple[int, int], most_rows: int, samples: int
) -> NDArray[np.uint8]:
    """Decode the JPEG of one strip or tile to rows × width × samples.

    `size`: its (rows, width); a last strip may be padded to `most_rows`. `tables`: the value of tag 347.

    Raises:
        ScanError: it is damaged, or of another size than the frame claims.
        UnsupportedScanError: progressive, lossless or of another depth.
    """
    rows, width = size
    found_rows = _require_jpeg_frame(data, size, most_rows, samples)
    stored, wanted = JPEG_COLORS[photometric]
    try:
        image = imagecodecs.jpeg8_decode(data, tables=tables, colorspace=stored, outcolorspace=wanted)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ScanError(f"is damaged ({error})") from error
    if image.dtype != np.uint8 or image.size != found_rows * width * samples:
        raise ScanError(f"is damaged (a JPEG of {image.dtype} {image.shape})")
    return image.reshape(found_rows, width, samples)[:rows]


def is_old_lzw(data: bytes) -> bool:
    """Whether LZW data have the reversed bit order of the time before TIFF 6.0."""
    return len(data) > 1 and data[0] == 0 and bool(data[1] & 1)


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


def _require_jpeg_frame(data: bytes, size: tuple[int, int], most_rows: int, samples: int) -> int:
    """Walk the markers to the frame header and return its rows; what it claims must be what the TIFF says."""
    if data[:2] != b"\xff\xd8":
        raise ScanError("is damaged (no JPEG)")
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            break
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker in OTHER_FRAME_MARKERS:
            raise UnsupportedScanError(
                "JPEG of a progressive, lossless or arithmetic kind inside the TIFF; sequential JPEG expected. "
                "Export it with LZW or Deflate (ZIP)."
            )
        if marker in FRAME_MARKERS:
            if position + 10 > len(data):
                break
            depth, rows, width, count = struct.unpack_from(">BHHB", data, position + 4)
            if (depth, width, count) != (8, size[1], samples) or not size[0] <= rows <= most_rows:
                raise ScanError(
                    f"is damaged (a JPEG of {width}×{rows}, {count} components of {depth} bits; "
                    f"{size[1]}×{size[0]}, {samples} of 8 expected)"
                )
            return rows
        if marker == 0xDA:
            break
        position += 2 + length
    raise ScanError("is damaged (a JPEG without frame header)")
