"""The layout of one image of a TIFF: its size, and where each strip or tile lies.

Comes in: a directory. Goes out: a `Frame`. The promise: all segments of a frame that is returned lie in the file, and
their sizes agree with the size it claims; everything else is refused with a sentence. Plain Python and table
arithmetic, no decoder. Source: TIFF 6.0 sections 3 to 8 and 15.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spotless_core.errors import ScanError, TruncatedScanError, UnsupportedScanError
from spotless_core.image_io.tiff_directories import Directory, Entry, TiffStructure
from spotless_core.image_io.tiff_samples import LOSSLESS_JPEG, SampleLayout, read_sample_layout
from spotless_core.image_io.tiff_tags import (
    HEIGHT,
    ROWS_PER_STRIP,
    STRIP_BYTE_COUNTS,
    STRIP_OFFSETS,
    TILE_BYTE_COUNTS,
    TILE_HEIGHT,
    TILE_OFFSETS,
    TILE_WIDTH,
    WIDTH,
)

RATIO_CAPS = {
    "lzw": 1500, "deflate": 1100, "packbits": 64, "lzma": 14_000, "zstd": 33_000, "jpeg": 700, LOSSLESS_JPEG: 16,
}  # fmt: skip
"""Most bytes one stored byte can stand for. LZW: 12-bit codes of at most 4 kB strings. Deflate: 258 bytes from 2 bits.
PackBits: 128 from 2. LZMA: 273 bytes from about 0.16 bits. Zstandard: a block of 128 kB from 4. JPEG: 1536 bytes of an
MCU of ten blocks from 20 bits. Lossless JPEG: a sample of 16 bits from one."""
RATIO_ALLOWANCE_BYTES = 64
STREAMED_CODECS = frozenset({"none", "deflate", "lzma", "packbits", "lzw"})
"""Codecs whose segments can be decoded and encoded piece by piece."""
MAX_WHOLE_BYTES = 1 << 29
"""Larger segments of the other codecs are refused: they are decoded whole in memory."""
BLOCK_BYTES = 1 << 20
"""Uncompressed strips are read and patched in pieces of about this size."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of the file.

    `layout`: what its pixels are. `segment_width`, `segment_height`: of a full strip or tile, in pixels.
    `across`, `down`: segments per row and column of one plane; planes follow each other in the tables. `offsets`,
    `byte_counts`: int64, one per segment. `offset_entry`, `count_entry`: the tags that hold them in the file.
    """

    directory: Directory
    width: int
    height: int
    layout: SampleLayout
    is_tiled: bool
    segment_width: int
    segment_height: int
    across: int
    down: int
    offsets: NDArray[np.int64]
    byte_counts: NDArray[np.int64]
    offset_entry: Entry
    count_entry: Entry

    @property
    def codec(self) -> str:
        """Name of the codec."""
        return self.layout.codec

    @property
    def samples(self) -> int:
        """Samples per pixel, the colours first."""
        return self.layout.samples

    @property
    def color_channels(self) -> int:
        """1 (grey), 3 (RGB) or 4 (CMYK)."""
        return self.layout.color_channels

    @property
    def is_planar(self) -> bool:
        """Whether each sample has a plane of its own."""
        return self.layout.is_planar

    @property
    def planes(self) -> int:
        """How many planes are stored apart."""
        return self.samples if self.is_planar else 1

    @property
    def segment_samples(self) -> int:
        """Samples per pixel inside one segment."""
        return 1 if self.is_planar else self.samples

    @property
    def row_bytes(self) -> int:
        """Decoded bytes of one row of a segment."""
        return self.segment_width * self.segment_samples * self.layout.bits // 8

    def segment_rows(self, index: int) -> int:
        """Rows stored in segment `index`; the last strip may be shorter, tiles are always full."""
        if self.is_tiled:
            return self.segment_height
        top = index % (self.across * self.down) * self.segment_height
        return min(self.segment_height, self.height - top)

    def place(self, index: int) -> tuple[int, int, int]:
        """Return (plane, top, left) of segment `index`."""
        plane, rest = divmod(index, self.across * self.down)
        row, column = divmod(rest, self.across)
        return plane, row * self.segment_height, column * self.segment_width

    def segments_of_rows(self, plane: int, top: int, bottom: int) -> range:
        """Return the segments of `plane` that hold rows [top, bottom), which must not be empty."""
        first = plane * self.across * self.down + top // self.segment_height * self.across
        last = plane * self.across * self.down + (bottom - 1) // self.segment_height * self.across
        return range(first, last + self.across)


def read_frame(structure: TiffStructure, directory: Directory, max_megapixels: float) -> Frame:
    """Read and check the layout of the image in `directory`.

    Raises:
        UnsupportedScanError: it cannot be kept exactly, or its tables contradict each other.
        TruncatedScanError: a segment ends beyond the file.
        ScanError: a value is damaged.
    """
    width, height = image_size(structure, directory)
    megapixels = width * height / 1e6
    if megapixels > max_megapixels:
        raise UnsupportedScanError(
            f"{width}×{height} pixels, {megapixels:.0f} megapixels; at most {max_megapixels:.0f} accepted. "
            "Raise max_megapixels if the scan is meant to be that large."
        )
    layout = read_sample_layout(structure, directory)
    is_tiled = TILE_OFFSETS in directory.entries
    segment_width, segment_height = _segment_size(structure, directory, width, height, is_tiled=is_tiled)
    across, down = -(-width // segment_width), -(-height // segment_height)
    expected = across * down * (layout.samples if layout.is_planar else 1)
    offset_entry, count_entry = _table_entries(directory, expected, is_tiled=is_tiled)
    frame = Frame(
        directory, width, height, layout, is_tiled, segment_width, segment_height, across, down,
        structure.table(offset_entry), structure.table(count_entry), offset_entry, count_entry,
    )  # fmt: skip
    _check_segments(frame, structure.file.size)
    return frame


def image_size(structure: TiffStructure, directory: Directory) -> tuple[int, int]:
    """Return (width, height); both at least 1."""
    width, height = structure.integer(directory, WIDTH, 0), structure.integer(directory, HEIGHT, 0)
    if not width or not height:
        raise ScanError(f"an image of {width}×{height} pixels; at least 1×1 expected. Export the scan again.")
    return width, height


def split_strips(frame: Frame) -> Frame:
    """Cut large uncompressed strips into blocks of whole rows, so that a few rows never cost a whole strip."""
    rows = frame.segment_height
    wanted = max(1, BLOCK_BYTES // frame.row_bytes)
    if frame.codec != "none" or frame.is_tiled or rows <= wanted:
        return frame
    if frame.down == 1:
        block = wanted
    else:
        # A divisor keeps the blocks of every strip on one regular grid.
        block = next(size for size in range(wanted, 0, -1) if rows % size == 0)
    down = -(-frame.height // block)
    tops = np.arange(down, dtype=np.int64) * block
    strips = tops // rows
    inside = (tops - strips * rows) * frame.row_bytes
    heights = np.minimum(block, frame.height - tops)
    starts = frame.offsets.reshape(frame.planes, frame.down)[:, strips] + inside
    counts = np.broadcast_to(heights * frame.row_bytes, starts.shape)
    return replace(frame, segment_height=block, down=down, offsets=starts.ravel(), byte_counts=counts.ravel())


def _segment_size(
    structure: TiffStructure, directory: Directory, width: int, height: int, *, is_tiled: bool
) -> tuple[int, int]:
    if not is_tiled:
        rows = structure.integer(directory, ROWS_PER_STRIP, height)
        if not rows:
            raise ScanError("strips of 0 rows; the file is damaged. Export the scan again.")
        return width, min(rows, height)
    tile_width, tile_height = structure.integer(directory, TILE_WIDTH, 0), structure.integer(directory, TILE_HEIGHT, 0)
    # Edge tiles are padded; far more padding than picture is no scan.
    if not 0 < tile_width <= width + 4096 or not 0 < tile_height <= height + 4096:
        raise ScanError(f"tiles of {tile_width}×{tile_height} in an image of {width}×{height}. Export the scan again.")
    return tile_width, tile_height


def _table_entries(directory: Directory, expected: int, *, is_tiled: bool) -> tuple[Entry, Entry]:
    tags = (TILE_OFFSETS, TILE_BYTE_COUNTS) if is_tiled else (STRIP_OFFSETS, STRIP_BYTE_COUNTS)
    if is_tiled and STRIP_OFFSETS in directory.entries:
        raise UnsupportedScanError("the image has strips and tiles at once; one of them expected. Export it again.")
    found: list[Entry] = []
    for tag in tags:
        entry = directory.entries.get(tag)
        if entry is None or entry.count != expected:
            raise UnsupportedScanError(
                f"a table of {entry.count if entry else 0} strips or tiles where the image has {expected}; the tables "
                "contradict each other. Export the scan again."
            )
        found.append(entry)
    return found[0], found[1]


def _check_segments(frame: Frame, file_bytes: int) -> None:
    """Refuse segments beyond the file, empty ones, and ones that cannot hold what the frame claims."""
    offsets, counts = frame.offsets, frame.byte_counts
    if not (counts > 0).all() or not (offsets > 0).all():
        raise UnsupportedScanError("some strips or tiles are empty (a sparse file). Export the scan again.")
    # The subtraction cannot overflow, a sum of two hostile values could.
    outside = (counts > file_bytes) | (offsets > file_bytes - np.minimum(counts, file_bytes))
    if outside.any():
        raise TruncatedScanError(
            f"{int(outside.sum())} of {len(offsets)} strips or tiles lie beyond the end of the file "
            f"({file_bytes} bytes). Wait until it is completely written, or scan it again."
        )
    full = frame.segment_height * frame.row_bytes
    needed = np.full(len(offsets), full, np.int64)
    if not frame.is_tiled:
        last = (frame.height - (frame.down - 1) * frame.segment_height) * frame.row_bytes
        needed.reshape(frame.planes, frame.down)[:, -1] = last
    if frame.codec == "none":
        too_small = counts < needed
    else:
        if frame.codec not in STREAMED_CODECS and full > MAX_WHOLE_BYTES:
            raise UnsupportedScanError(
                f"one strip or tile of {math.ceil(full / 1e6)} MB compressed with {frame.codec}; at most "
                f"{MAX_WHOLE_BYTES // 10**6} MB expected. Save it with smaller strips, or with Deflate (ZIP)."
            )
        too_small = counts < needed // RATIO_CAPS[frame.codec] - RATIO_ALLOWANCE_BYTES
    if too_small.any():
        index = int(np.flatnonzero(too_small)[0])
        raise ScanError(
            f"strip or tile {index} has {counts[index]} bytes for {needed[index]} bytes of samples; it cannot "
            "hold them. Export the scan again."
        )
