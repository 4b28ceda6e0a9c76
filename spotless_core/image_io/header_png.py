"""The checks a PNG file passes before any decoder sees it, in plain Python.

Comes in: an open file. Goes out: its facts and where its one run of IDAT chunks lies. Every chunk's length must lie
inside the file, critical chunks must have a right checksum, and IEND must be there. What we cannot keep exactly is
refused with a sentence. Source: PNG specification, third edition (W3C, 2025), sections 5, 7 and 11.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from spotless_core.errors import ScanError, TruncatedScanError, UnsupportedScanError
from spotless_core.image_io.exif import ExifFacts, plausible_dpi, read_exif
from spotless_core.image_io.positional_file import PositionalFile

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
"""Samples per pixel of the colour types we keep: grey, RGB, grey with alpha, RGB with alpha."""
MAX_SIDE_PX = 1_000_000
"""The decoder's own limit for width and height."""
FREE_CHUNKS = 10_000
MIN_MEAN_CHUNK_BYTES = 1024
"""Writers use IDAT chunks of 4 KiB and more; millions of tiny ones are only there to keep a reader busy."""
MAX_DEFLATE_RATIO = 1032
"""Deflate cannot expand a byte into more; a header that claims more pixels than that is a bomb."""
MAX_EXIF_BYTES = 1 << 20
INDEX_CHUNK = b"iDOT"
"""Apple's programs write where the rows of the lower half begin in the compressed data, and decode from there."""
READ_BYTES = 1 << 20
INCH_M = 0.0254


@dataclass(frozen=True, slots=True)
class PngHeader:
    """Facts of one PNG file. `data_start`, `data_end`: the IDAT run, chunk frames included, as file positions.

    `indices`: where the chunks lie that are only true of these very IDAT chunks.
    """

    width: int
    height: int
    bits: int
    channels: int
    ihdr: bytes
    data_start: int
    data_end: int
    dpi: float | None
    orientation: int
    has_icc_profile: bool
    indices: tuple[tuple[int, int], ...]

    @property
    def row_bytes(self) -> int:
        """Bytes of one unfiltered row."""
        return self.width * self.channels * self.bits // 8

    def kept(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the extents from `start` to `end` that are true of new picture data as well."""
        for first, last in self.indices:
            if start <= first < end:
                yield start, first
                start = last
        yield start, end

    @property
    def has_alpha(self) -> bool:
        """Whether the last sample of each pixel is alpha."""
        return self.channels in {2, 4}


def check_png(file: PositionalFile, max_megapixels: float) -> PngHeader:
    """Walk all chunks of a PNG file and check what decoding relies on.

    Raises:
        TruncatedScanError: the file ends before IEND.
        UnsupportedScanError: palette, fewer than 8 bits, interlaced, animated, or more than `max_megapixels`.
        ScanError: the file is damaged.
    """
    if file.read(0, min(8, file.size)) != SIGNATURE:
        if SIGNATURE.startswith(file.read(0, min(8, file.size))):
            raise TruncatedScanError("the file ends within its signature. Wait until it is completely written.")
        raise ScanError("not a PNG file: its signature is wrong.")
    walk = _Walk(file, max_megapixels)
    position = len(SIGNATURE)
    most = FREE_CHUNKS + file.size // MIN_MEAN_CHUNK_BYTES
    for _ in range(most):
        length, name = struct.unpack(">I4s", file.read(position, 8))
        if length > 0x7FFFFFFF or not name.isalpha():
            raise ScanError(f"PNG chunk at byte {position} is damaged ({name!r}, {length} bytes). Scan it again.")
        end = position + 12 + length
        if end > file.size:
            raise TruncatedScanError(
                f"PNG chunk {name.decode()} at byte {position} needs {end} bytes, but the file has {file.size}. "
                "Wait until it is completely written, or scan it again."
            )
        walk.take(name, position, length)
        position = end
        if name == b"IEND":
            return walk.header()
    raise UnsupportedScanError(f"a PNG of {file.size} bytes in more than {most} chunks. Export the scan again.")


class _Walk:
    """What is known after the chunks seen so far."""

    def __init__(self, file: PositionalFile, max_megapixels: float) -> None:
        self._file = file
        self._max_megapixels = max_megapixels
        self._ihdr = b""
        self._shape = (0, 0, 0, 0)
        self._data_start = self._data_end = self._data_bytes = 0
        self._dpi: float | None = None
        self._exif = ExifFacts()
        self._has_icc_profile = False
        self._indices: list[tuple[int, int]] = []

    def take(self, name: bytes, position: int, length: int) -> None:
        """Check one chunk and keep what it says."""
        if name[0] < ord("a"):
            self._require_checksum(name, position, length)
        if not self._ihdr and name != b"IHDR":
            raise ScanError(f"the PNG begins with chunk {name.decode()}; IHDR expected. Export the scan again.")
        if name == b"IHDR":
            self._take_ihdr(position, length)
        elif name == b"IDAT":
            self._take_data(position, length)
        elif name == b"acTL":
            raise UnsupportedScanError("an animated PNG; one still picture expected. Export the scan as plain PNG.")
        elif name[0] < ord("a") and name not in {b"PLTE", b"IEND"}:
            raise UnsupportedScanError(f"PNG with the unknown critical chunk {name.decode()}. Export it as plain PNG.")
        elif name == b"pHYs" and length == 9:
            across, _, unit = struct.unpack(">IIB", self._file.read(position + 8, 9))
            self._dpi = plausible_dpi(across * INCH_M) if unit == 1 else None
        elif name == b"eXIf" and length <= MAX_EXIF_BYTES:
            self._exif = read_exif(self._file.read(position + 8, length))
        elif name == b"iCCP":
            self._has_icc_profile = True
        elif name == INDEX_CHUNK:
            self._indices.append((position, position + 12 + length))

    def _require_checksum(self, name: bytes, position: int, length: int) -> None:
        checksum = zlib.crc32(name)
        for offset in range(0, length, READ_BYTES):
            part = self._file.read(position + 8 + offset, min(READ_BYTES, length - offset))
            checksum = zlib.crc32(part, checksum)
        if self._file.read(position + 8 + length, 4) != checksum.to_bytes(4, "big"):
            raise ScanError(f"PNG chunk {name.decode()} at byte {position} has a wrong checksum. Scan it again.")

    def _take_ihdr(self, position: int, length: int) -> None:
        if self._ihdr or length != 13:
            raise ScanError("the PNG's IHDR chunk is damaged or there twice. Scan it again.")
        self._ihdr = self._file.read(position, 25)
        width, height, bits, color, method, filters, interlaced = struct.unpack(">IIBBBBB", self._ihdr[8:21])
        if method or filters or color not in {*CHANNELS, 3} or bits not in {1, 2, 4, 8, 16} or interlaced > 1:
            raise ScanError("the PNG's IHDR chunk holds values that PNG does not know. Scan it again.")
        if color == 3:
            raise UnsupportedScanError("a PNG with a colour palette; grey or RGB expected. Export the scan as RGB.")
        if bits < 8:
            raise UnsupportedScanError(
                f"a PNG of {bits} bits per sample; 8 or 16 expected. Export it with 8 or 16 bits."
            )
        if interlaced:
            raise UnsupportedScanError("an interlaced PNG (Adam7). Export the scan without interlacing.")
        if not 0 < width <= MAX_SIDE_PX or not 0 < height <= MAX_SIDE_PX:
            raise ScanError(f"the PNG claims {width}×{height} pixels; 1 to {MAX_SIDE_PX} per side expected.")
        if width * height > self._max_megapixels * 1e6:
            raise UnsupportedScanError(
                f"{width}×{height} pixels are more than max_megapixels = {self._max_megapixels:g} allows."
            )
        self._shape = (width, height, bits, CHANNELS[color])

    def _take_data(self, position: int, length: int) -> None:
        if not self._data_start:
            self._data_start = self._data_end = position
        elif self._data_end != position:
            raise UnsupportedScanError("a PNG whose picture data is interrupted by other chunks. Export it again.")
        self._data_end = position + 12 + length
        self._data_bytes += length

    def header(self) -> PngHeader:
        """Return the facts once IEND was seen."""
        width, height, bits, channels = self._shape
        header = PngHeader(
            width,
            height,
            bits,
            channels,
            self._ihdr,
            self._data_start,
            self._data_end,
            self._dpi or self._exif.dpi,
            self._exif.orientation,
            self._has_icc_profile,
            tuple(self._indices),
        )
        if not self._data_start:
            raise ScanError("the PNG holds no picture data (no IDAT chunk). Scan it again.")
        if self._data_bytes * MAX_DEFLATE_RATIO < height * (1 + header.row_bytes):
            raise ScanError(
                f"the PNG claims {width}×{height} pixels, but {self._data_bytes} bytes of data cannot hold them."
            )
        return header
