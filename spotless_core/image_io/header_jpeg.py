"""The checks a JPEG file passes before any decoder sees it, in plain Python.

Comes in: the file, read in bounded pieces. Goes out: its facts, its marker segments and where its one picture ends.
Every segment must lie inside the file, every scan must belong to the frame, the end marker must be there, and the data
must be long enough for the picture claimed. What we cannot keep block by block, or cannot hold, is refused.
Source: ITU-T T.81, annexes B, F and G.
"""

import struct
from dataclasses import dataclass

from spotless_core.errors import ScanError, TruncatedScanError, UnsupportedScanError
from spotless_core.image_io.jpeg_frame import Component, read_components, read_tables, require_bounded
from spotless_core.image_io.jpeg_index import check_index, is_index, moved_index
from spotless_core.image_io.jpeg_segments import APP0, APP15, JpegColors, Segment, read_segments
from spotless_core.image_io.jpeg_source import JpegSource
from spotless_core.image_io.positional_file import PositionalFile

SOI, EOI, SOS, DQT, DHT, DRI, DNL, COM = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xDC, 0xFE
SOF_BASELINE, SOF_EXTENDED, SOF_PROGRESSIVE = 0xC0, 0xC1, 0xC2
REFUSED_FRAMES = {
    0xC3: "lossless",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xDE, 0xDF), "hierarchical"),
    **dict.fromkeys((0xC9, 0xCA, 0xCC), "arithmetically coded"),
    **dict.fromkeys((0xCB, 0xCD, 0xCE, 0xCF), "arithmetically coded"),
    0xF7: "JPEG-LS",
}
MAX_SIDE_PX = 65500
"""libjpeg's own limit."""
BLOCK_PX = 8
MAX_SEGMENTS = 10_000
MAX_SCANS = 200
"""Real progressive files have about ten; each scan costs a pass over the whole frame."""
MAX_SEGMENT_BYTES = 64 << 20
"""All segments are held; the largest colour profile of a JPEG has 16 MB."""


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """Facts of one JPEG file.

    `tables`: number → 64 quantisation steps in natural order. `segments`: those before the first scan, without SOI.
    `late_segments`: APPn and COM between scans. `end`: the position after the end marker. `colors`: what the components
    are. `has_adobe_marker`: then CMYK is stored as 255 - ink.
    """

    width: int
    height: int
    components: tuple[Component, ...]
    is_progressive: bool
    colors: JpegColors
    has_adobe_marker: bool
    tables: dict[int, tuple[int, ...]]
    segments: tuple[Segment, ...]
    late_segments: tuple[Segment, ...]
    frame_end: int
    end: int
    dpi: float | None
    orientation: int
    has_icc_profile: bool

    def carried(self, end: int, *, only_metadata: bool = False) -> list[bytes]:
        """Return the segments of a copy whose picture ends at `end`, in their order.

        These are all but the tables of the entropy coder, which is run anew; with `only_metadata` the APPn and COM
        segments alone. An index of several pictures is led to where they now are.
        """
        copied, old_start, new_start = [], 2, 2
        for segment in (*self.segments, *self.late_segments):
            raw, size = segment.raw, len(segment.raw)
            if segment.marker == COM or APP0 <= segment.marker <= APP15:
                if is_index(segment):
                    raw = moved_index(segment, old_start, self.end, new_start, end)
            elif only_metadata or segment.marker in {DHT, DRI}:
                old_start += size
                continue
            copied.append(raw)
            old_start, new_start = old_start + size, new_start + size
        return copied

    @property
    def block_rows(self) -> int:
        """How many rows of blocks all components have together."""
        return sum(-(-self.height // (BLOCK_PX * component.y_ratio)) for component in self.components)

    @property
    def mcus(self) -> int:
        """How many MCUs the picture has."""
        across, down = self.components[0].across * BLOCK_PX, self.components[0].down * BLOCK_PX
        return -(-self.width // across) * -(-self.height // down)


def check_jpeg(content: bytes | PositionalFile, max_megapixels: float) -> JpegHeader:
    """Walk all markers of a JPEG file, in memory or on the disk, and check what decoding relies on.

    Raises:
        TruncatedScanError: the file ends before its end marker.
        UnsupportedScanError: a kind we cannot keep block by block, more than `max_megapixels`, or too large to hold.
        ScanError: the file is damaged.
    """
    source = JpegSource(content)
    if source.size < 2:
        raise TruncatedScanError("the file ends within its first marker. Wait until it is completely written.")
    if source.read(0, 2) != b"\xff\xd8":
        raise ScanError("not a JPEG file: its first marker is wrong.")
    walk = _Walk(source, max_megapixels)
    while not walk.end:
        walk.step()
    return walk.header()


class _Walk:
    """Where the walk is and what is known after the segments seen so far."""

    def __init__(self, source: JpegSource, max_megapixels: float) -> None:
        self._source = source
        self._max_megapixels = max_megapixels
        self._position = 2
        self._size = (0, 0)
        self._components: tuple[Component, ...] = ()
        self._is_progressive = False
        self._frame_end = 0
        self._data_start = 0
        self._scans = 0
        self._steps = 0
        self._held_bytes = 0
        self._accuracy: dict[int, list[int | None]] = {}
        self._tables: dict[int, tuple[int, ...]] = {}
        self._segments: list[Segment] = []
        self._late: list[Segment] = []
        self._indices: list[tuple[Segment, int]] = []
        self.end = 0

    def step(self) -> None:
        """Take the next marker with its segment, and after SOS skip the compressed data."""
        self._steps += 1
        if self._steps > MAX_SEGMENTS:
            raise UnsupportedScanError(f"a JPEG of more than {MAX_SEGMENTS} segments. Export the scan again.")
        start, position, marker = self._next_marker()
        if marker == EOI:
            if not self._scans:
                raise ScanError("the JPEG ends without a picture. Scan it again.")
            self.end = position + 2
            return
        self._require_known(marker)
        (length,) = struct.unpack(">H", self._source.read(position + 2, 2))
        if length < 2:
            raise ScanError(f"JPEG segment at byte {position} is damaged. Scan it again.")
        self._position = position + 2 + length
        self._held_bytes += self._position - start
        if self._held_bytes > MAX_SEGMENT_BYTES:
            raise UnsupportedScanError(
                f"a JPEG with more than {MAX_SEGMENT_BYTES >> 20} MB beside its picture. Export the scan again."
            )
        raw = self._source.read(start, self._position - start)
        content = raw[position + 4 - start :]
        segment = Segment(marker, raw, content)
        if marker == SOS:
            self._take_scan(content)
        elif self._scans:
            self._take_late(segment)
        else:
            self._take_early(segment)

    def _next_marker(self) -> tuple[int, int, int]:
        """Return (first byte of the fill, the marker's 0xFF, its code)."""
        if self._scans:
            found = self._source.end_of_data(self._position)
            return found, found, self._source.read(found + 1, 1)[0]
        start = self._position
        self._source.read(start, 2)
        # A marker may have any number of fill bytes before it.
        code = self._source.end_of_fill(start)
        if code == start:
            raise ScanError(f"JPEG marker expected at byte {start}. The file is damaged; scan it again.")
        return start, code - 1, self._source.read(code, 1)[0]

    @staticmethod
    def _require_known(marker: int) -> None:
        kind = REFUSED_FRAMES.get(marker)
        if kind:
            raise UnsupportedScanError(f"a {kind} JPEG; a baseline or progressive one expected. Export it as TIFF.")
        if marker == DNL:
            raise UnsupportedScanError("a JPEG that gives its height after the picture (DNL). Export it as TIFF.")
        known = {SOF_BASELINE, SOF_EXTENDED, SOF_PROGRESSIVE, SOS, DQT, DHT, DRI, COM}
        if marker not in known and not APP0 <= marker <= APP15:
            raise ScanError(f"the JPEG holds the unexpected marker 0x{marker:02X}. Scan it again.")

    def _take_early(self, segment: Segment) -> None:
        self._segments.append(segment)
        if segment.marker in {SOF_BASELINE, SOF_EXTENDED, SOF_PROGRESSIVE}:
            self._take_frame(segment)
        elif segment.marker == DQT:
            self._tables.update(read_tables(segment.content))
        elif is_index(segment):
            self._indices.append((segment, self._position - len(segment.raw)))

    def _take_late(self, segment: Segment) -> None:
        if is_index(segment):
            raise UnsupportedScanError("a JPEG with an index of several pictures behind its data. Export it as TIFF.")
        if segment.marker == COM or APP0 <= segment.marker <= APP15:
            self._late.append(segment)
        elif segment.marker not in {DHT, DRI}:
            raise UnsupportedScanError("a JPEG that changes its tables between scans. Export it as TIFF.")

    def _take_frame(self, segment: Segment) -> None:
        content = segment.content
        if self._components or len(content) < 6 or len(content) != 6 + 3 * content[5]:
            raise ScanError("the JPEG's frame header is damaged or there twice. Scan it again.")
        bits, height, width, count = struct.unpack(">BHHB", content[:6])
        if bits != 8:
            raise UnsupportedScanError(f"a JPEG of {bits} bits per sample; 8 expected. Export it as TIFF.")
        if count not in {1, 3, 4}:
            raise UnsupportedScanError(
                f"a JPEG of {count} components (unknown colours); 1, 3 or 4 expected. Export it as RGB."
            )
        if not 0 < width <= MAX_SIDE_PX or not 0 < height <= MAX_SIDE_PX:
            raise ScanError(f"the JPEG claims {width}×{height} pixels; 1 to {MAX_SIDE_PX} per side expected.")
        if width * height > self._max_megapixels * 1e6:
            raise UnsupportedScanError(
                f"{width}×{height} pixels are more than max_megapixels = {self._max_megapixels:g} allows."
            )
        self._size = (width, height)
        self._components = read_components(content[6:])
        require_bounded(width, height, self._components)
        self._is_progressive = segment.marker == SOF_PROGRESSIVE
        self._frame_end = self._position
        self._accuracy = {component.identifier: [None] * 64 for component in self._components}
        if len(self._accuracy) != count:
            raise ScanError("two components of the JPEG have the same name. Scan it again.")

    def _take_scan(self, content: bytes) -> None:
        count = content[0] if content else 0
        if not self._components or not 1 <= count <= len(self._components) or len(content) != 4 + 2 * count:
            raise ScanError("a scan header of the JPEG is damaged. Scan it again.")
        first, last, precision = content[1 + 2 * count :]
        if first > last or last > 63:
            raise ScanError("a scan header of the JPEG is damaged. Scan it again.")
        for identifier in content[1 : 1 + 2 * count : 2]:
            if identifier not in self._accuracy:
                raise ScanError("a scan of the JPEG names a component that the frame has not. Scan it again.")
            self._accuracy[identifier][first : last + 1] = [precision & 15] * (last + 1 - first)
        self._scans += 1
        self._data_start = self._data_start or self._position
        if self._scans > MAX_SCANS:
            raise UnsupportedScanError(f"a JPEG of more than {MAX_SCANS} scans. Export it as TIFF.")

    def header(self) -> JpegHeader:
        """Check what only the whole file shows, and return the facts."""
        width, height = self._size
        if any(component.table not in self._tables for component in self._components):
            raise ScanError("a quantisation table of the JPEG is missing. Scan it again.")
        if any(precision != 0 for component in self._accuracy.values() for precision in component):
            # A decoder smooths such a picture across blocks, so that no block could be kept alone.
            raise UnsupportedScanError("a JPEG that does not hold its picture in full precision. Export it as TIFF.")
        blocks = sum(
            -(-width // (8 * component.x_ratio)) * -(-height // (8 * component.y_ratio))
            for component in self._components
        )
        if (self.end - self._data_start) * 8 < blocks:
            # Each block's DC coefficient takes at least one bit.
            raise ScanError(f"the JPEG claims {width}×{height} pixels, but its data cannot hold them. Scan it again.")
        if len(self._indices) > 1:
            raise UnsupportedScanError("a JPEG with two indices of several pictures (MPF). Export it as TIFF.")
        for segment, start in self._indices:
            check_index(segment, start, self.end, self._source)
        facts = read_segments(self._segments, bytes(component.identifier for component in self._components))
        return JpegHeader(
            width=width,
            height=height,
            components=self._components,
            is_progressive=self._is_progressive,
            colors=facts.colors,
            has_adobe_marker=facts.has_adobe_marker,
            tables=self._tables,
            segments=tuple(self._segments),
            late_segments=tuple(self._late),
            frame_end=self._frame_end,
            end=self.end,
            dpi=facts.dpi,
            orientation=facts.orientation,
            has_icc_profile=facts.has_icc_profile,
        )
