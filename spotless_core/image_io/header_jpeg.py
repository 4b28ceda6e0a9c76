"""The checks a JPEG file passes before any decoder sees it, in plain Python.

Comes in: the file's bytes. Goes out: its facts, its marker segments and where its one picture ends. Every segment must
lie inside the file, every scan must belong to the frame, the end marker must be there, and the data must be long enough
for the picture claimed. What we cannot keep block by block is refused with a sentence.
Source: ITU-T T.81, annexes B, F and G.
"""

import re
import struct
from dataclasses import dataclass

from spotless_core.errors import ScanError, TruncatedScanError, UnsupportedScanError
from spotless_core.image_io.jpeg_segments import APP0, APP2, APP15, JpegColors, Segment, read_segments

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
CHROMA_RATIOS = {(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)}
"""Pixels per chroma sample across and down: 4:4:4, 4:2:2, 4:4:0, 4:2:0, 4:1:1."""
NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""The end of compressed data: neither a stuffed zero nor a restart marker nor a fill byte."""
FILL = re.compile(rb"\xff+")
"""A marker may have any number of fill bytes before it."""


def _diagonal_order(place: int) -> tuple[int, int]:
    row, column = divmod(place, 8)
    diagonal = row + column
    return diagonal, row if diagonal % 2 else column


ZIGZAG = tuple(sorted(range(64), key=_diagonal_order))
"""Place in the file → place in natural order (rows of 8)."""


@dataclass(frozen=True, slots=True)
class Component:
    """One colour component. `across`, `down`: its blocks per MCU. `x_ratio`, `y_ratio`: pixels per sample."""

    identifier: int
    across: int
    down: int
    x_ratio: int
    y_ratio: int
    table: int


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

    def kept_segments(self) -> list[bytes]:
        """Return the segments a copy carries: all but the tables of the entropy coder, which is run anew."""
        kept = [segment.raw for segment in self.segments if segment.marker not in {DHT, DRI}]
        return kept + [segment.raw for segment in self.late_segments]

    def metadata_segments(self) -> list[bytes]:
        """Return the APPn and COM segments in their order: what is left of the file when its picture is encoded anew."""
        return [
            segment.raw
            for segment in (*self.segments, *self.late_segments)
            if segment.marker == COM or APP0 <= segment.marker <= APP15
        ]

    @property
    def mcus(self) -> int:
        """How many MCUs the picture has."""
        across, down = self.components[0].across * BLOCK_PX, self.components[0].down * BLOCK_PX
        return -(-self.width // across) * -(-self.height // down)


def check_jpeg(data: bytes, max_megapixels: float) -> JpegHeader:
    """Walk all markers of a JPEG file and check what decoding relies on.

    Raises:
        TruncatedScanError: the file ends before its end marker.
        UnsupportedScanError: a kind we cannot keep block by block, or more than `max_megapixels`.
        ScanError: the file is damaged.
    """
    if data[:2] != b"\xff\xd8":
        if len(data) < 2:
            raise TruncatedScanError("the file ends within its first marker. Wait until it is completely written.")
        raise ScanError("not a JPEG file: its first marker is wrong.")
    walk = _Walk(data, max_megapixels)
    while not walk.end:
        walk.step()
    return walk.header()


class _Walk:
    """Where the walk is and what is known after the segments seen so far."""

    def __init__(self, data: bytes, max_megapixels: float) -> None:
        self._data = data
        self._max_megapixels = max_megapixels
        self._position = 2
        self._size = (0, 0)
        self._components: tuple[Component, ...] = ()
        self._is_progressive = False
        self._frame_end = 0
        self._data_start = 0
        self._scans = 0
        self._steps = 0
        self._accuracy: dict[int, list[int | None]] = {}
        self._tables: dict[int, tuple[int, ...]] = {}
        self._segments: list[Segment] = []
        self._late: list[Segment] = []
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
        (length,) = struct.unpack(">H", self._bytes(position + 2, 2))
        if length < 2:
            raise ScanError(f"JPEG segment at byte {position} is damaged. Scan it again.")
        content = self._bytes(position + 4, length - 2)
        self._position = position + 2 + length
        segment = Segment(marker, self._data[start : self._position], content)
        if marker == SOS:
            self._take_scan(content)
        elif self._scans:
            self._take_late(segment)
        else:
            self._take_early(segment)

    def _next_marker(self) -> tuple[int, int, int]:
        """Return (first byte of the fill, the marker's 0xFF, its code)."""
        if self._scans:
            found = NEXT_MARKER.search(self._data, self._position)
            if not found:
                raise TruncatedScanError("the JPEG has no end marker. Wait until it is completely written.")
            return found.start(), found.start(), self._data[found.start() + 1]
        start = self._position
        self._bytes(start, 2)
        fill = FILL.match(self._data, start)
        if not fill:
            raise ScanError(f"JPEG marker expected at byte {start}. The file is damaged; scan it again.")
        return start, fill.end() - 1, self._bytes(fill.end(), 1)[0]

    def _bytes(self, start: int, count: int) -> bytes:
        if start + count > len(self._data):
            raise TruncatedScanError(
                f"the JPEG needs {start + count} bytes and more, but the file has {len(self._data)}. "
                "Wait until it is completely written, or scan it again."
            )
        return self._data[start : start + count]

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
            self._take_tables(segment.content)
        elif segment.marker == APP2 and segment.content.startswith(b"MPF\0"):
            raise UnsupportedScanError("a JPEG of several pictures (MPF); one picture expected. Export it as TIFF.")

    def _take_late(self, segment: Segment) -> None:
        if segment.marker == COM or APP0 <= segment.marker <= APP15:
            self._late.append(segment)
        elif segment.marker not in {DHT, DRI}:
            raise UnsupportedScanError("a JPEG that changes its tables between scans. Export it as TIFF.")

    def _take_tables(self, content: bytes) -> None:
        position = 0
        while position < len(content):
            wide, number = content[position] >> 4, content[position] & 15
            size = 128 if wide else 64
            steps = content[position + 1 : position + 1 + size]
            if wide > 1 or number > 3 or len(steps) < size:
                raise ScanError("a quantisation table of the JPEG is damaged. Scan it again.")
            values = struct.unpack(">64H", steps) if wide else tuple(steps)
            if 0 in values:
                raise ScanError("a quantisation table of the JPEG holds a zero. Scan it again.")
            natural = [0] * 64
            for value, place in zip(values, ZIGZAG, strict=True):
                natural[place] = value
            self._tables[number] = tuple(natural)
            position += 1 + size

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
        self._components = _components(content[6:])
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


def _components(content: bytes) -> tuple[Component, ...]:
    """Read the frame's components and check their sampling."""
    parts = [tuple(content[at : at + 3]) for at in range(0, len(content), 3)]
    factors = [(sampling >> 4, sampling & 15) for _, sampling, _ in parts]
    if any(not 1 <= value <= 4 for factor in factors for value in factor):
        raise ScanError("the JPEG's sampling factors are damaged. Scan it again.")
    if len(parts) == 1:
        return (Component(parts[0][0], 1, 1, 1, 1, parts[0][2]),)  # an only component has an MCU of one block
    # Black is sampled as finely as luminance.
    if factors[0] not in CHROMA_RATIOS or factors[1:] != [(1, 1), (1, 1), factors[0]][: len(parts) - 1]:
        raise UnsupportedScanError(f"a JPEG of unusual sampling {factors}; 4:4:4 to 4:1:1 expected. Export it as TIFF.")
    across, down = factors[0]
    return tuple(
        Component(identifier, h, v, across // h, down // v, table)
        for (identifier, _, table), (h, v) in zip(parts, factors, strict=True)
    )
