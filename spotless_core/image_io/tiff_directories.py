"""Walk the directories (IFDs) of a TIFF or BigTIFF file in plain Python: no decoder, bounded work.

Comes in: an open file. Goes out: a `TiffStructure` with every page, sub-page and EXIF/GPS directory and where each
lies. The promise: every directory and every tag value lies inside the file, nothing loops, no tag comes twice.
Source: TIFF 6.0 section 2; the BigTIFF description of libtiff.
"""

import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spotless_core.errors import ScanError, TruncatedScanError, UnsupportedScanError
from spotless_core.image_io.positional_file import PositionalFile

MAX_DIRECTORIES = 1000
"""A scan has a handful of pages; more is a hostile file or a document."""
MAX_ENTRIES = 20_000
"""Tags of all directories together; real scans have a few hundred."""
MAX_SMALL_COUNT = 4096
"""Values of a tag that is read whole into Python integers."""
MAX_TABLE_VALUES = 4_000_000
"""Offsets and sizes of the strips of all pages together. Pages may share one table, so the file's size is no limit."""

KIND_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
SHORT, LONG, RATIONAL, IFD, LONG8, IFD8 = 3, 4, 5, 13, 16, 18
UNSIGNED = {1: "B", SHORT: "H", LONG: "I", IFD: "I", LONG8: "Q", IFD8: "Q"}

SUB_DIRECTORIES = 330
EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965

Extent = tuple[int, int]
"""(first byte, byte after the last) in the file."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tag: `position` of its 12 or 20 bytes, `value_position` of its value (inside them when `is_inline`)."""

    tag: int
    kind: int
    count: int
    position: int
    value_position: int
    is_inline: bool

    @property
    def value_bytes(self) -> int:
        """Length of the value; 0 for a type nobody defined."""
        return self.count * KIND_BYTES.get(self.kind, 0)


@dataclass(frozen=True, slots=True)
class Directory:
    """One IFD: the bytes it takes, its tags, and where the next one lies (0 = none)."""

    extent: Extent
    entries: dict[int, Entry]
    next_position: int


@dataclass(slots=True)
class TiffStructure:
    """All directories of a file. `pages`: the main chain first, then sub-pages. `metadata`: EXIF, GPS and the like."""

    file: PositionalFile
    byte_order: str
    is_big: bool
    pages: list[Directory] = field(default_factory=list)
    metadata: list[Directory] = field(default_factory=list)
    table_values: int = 0

    @property
    def header_bytes(self) -> int:
        """Length of the file header."""
        return 16 if self.is_big else 8

    @property
    def inline_bytes(self) -> int:
        """How many value bytes fit into an entry."""
        return 8 if self.is_big else 4

    def integers(self, directory: Directory, tag: int) -> tuple[int, ...] | None:
        """Return the values of an unsigned integer tag, or None where it is missing.

        Raises:
            ScanError: the tag has another type, no values, or far too many.
        """
        entry = directory.entries.get(tag)
        if entry is None:
            return None
        code = UNSIGNED.get(entry.kind)
        if code is None or not 1 <= entry.count <= MAX_SMALL_COUNT:
            raise ScanError(
                f"tag {tag} has type {entry.kind} and {entry.count} values; whole numbers expected. "
                "Export the scan again."
            )
        data = self.file.read(entry.value_position, entry.value_bytes)
        return struct.unpack(f"{self.byte_order}{entry.count}{code}", data)

    def integer(self, directory: Directory, tag: int, default: int) -> int:
        """Return the first value of an unsigned integer tag, or `default` where it is missing."""
        values = self.integers(directory, tag)
        return default if values is None else values[0]

    def rational(self, directory: Directory, tag: int) -> float | None:
        """Return a positive RATIONAL as a float, or None where it is missing or makes no sense."""
        entry = directory.entries.get(tag)
        if entry is None or entry.kind != RATIONAL or entry.count < 1:
            return None
        numerator, denominator = struct.unpack(f"{self.byte_order}2I", self.file.read(entry.value_position, 8))
        return numerator / denominator if numerator and denominator else None

    def table(self, entry: Entry) -> NDArray[np.int64]:
        """Return a table of offsets or byte counts; values beyond the signed 64-bit range become its maximum."""
        if entry.kind not in {SHORT, LONG, IFD, LONG8, IFD8}:
            raise ScanError(f"tag {entry.tag} has type {entry.kind}; SHORT, LONG or LONG8 expected.")
        self.table_values += entry.count
        if self.table_values > MAX_TABLE_VALUES:
            raise UnsupportedScanError(
                f"more than {MAX_TABLE_VALUES // 2} strips or tiles. Export the scan with larger ones."
            )
        data = self.file.read(entry.value_position, entry.value_bytes)
        values = np.frombuffer(data, np.dtype(f"{self.byte_order}u{KIND_BYTES[entry.kind]}")).astype(np.uint64)
        return np.minimum(values, np.uint64(np.iinfo(np.int64).max)).astype(np.int64)


def read_structure(file: PositionalFile) -> TiffStructure:
    """Read the header and every directory of the TIFF `file`.

    Raises:
        TruncatedScanError: a directory or a value lies beyond the end, or the first directory is not written yet.
        ScanError: the directories loop or contradict the format.
    """
    head = file.read(0, min(16, file.size))
    byte_order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if byte_order is None:
        raise UnsupportedScanError(f"the file starts with {head[:4]!r}; a TIFF header expected. Export it as TIFF.")
    if len(head) < 8:
        raise TruncatedScanError(f"the file has {file.size} bytes; a TIFF header of 8 expected. Wait or scan again.")
    version = struct.unpack_from(f"{byte_order}H", head, 2)[0]
    if version == 42:
        structure = TiffStructure(file, byte_order, is_big=False)
        first = struct.unpack_from(f"{byte_order}I", head, 4)[0]
    elif version == 43:
        if len(head) < 16:
            raise TruncatedScanError(f"the file has {file.size} bytes; a BigTIFF header of 16 expected.")
        structure = TiffStructure(file, byte_order, is_big=True)
        offset_bytes, zero, first = struct.unpack_from(f"{byte_order}HHQ", head, 4)
        if (offset_bytes, zero) != (8, 0):
            raise ScanError("the BigTIFF header is damaged. Export the scan again.")
    else:
        raise UnsupportedScanError(f"TIFF version {version}; 42 (TIFF) or 43 (BigTIFF) expected. Export it as TIFF.")
    if first == 0:
        raise TruncatedScanError("the TIFF has no directory yet. Wait until it is completely written.")
    _Walk(structure).run(first)
    return structure


class _Walk:
    """Collects the directories of one file, each once."""

    def __init__(self, structure: TiffStructure) -> None:
        self._structure = structure
        self._visited: set[int] = set()
        self._entries = 0

    def run(self, first: int) -> None:
        pages = self._structure.pages
        self._chain(first)
        index = 0
        while index < len(pages):
            self._sub_directories(pages[index])
            index += 1

    def _chain(self, position: int) -> None:
        own: set[int] = set()
        # Some writers list sub-pages and chain them as well: one of an earlier chain is known already, not a loop.
        while position and (position in own or position not in self._visited):
            own.add(position)
            directory = self._directory(position, is_page=True)
            self._structure.pages.append(directory)
            position = directory.next_position

    def _sub_directories(self, directory: Directory) -> None:
        for position in self._structure.integers(directory, SUB_DIRECTORIES) or ():
            if position:
                self._chain(position)
        for tag in (EXIF, GPS):
            self._metadata(directory, tag)

    def _metadata(self, directory: Directory, tag: int) -> None:
        position = self._structure.integer(directory, tag, 0)
        # A second pointer to the same EXIF directory is harmless: it is only carried.
        if position and position not in self._visited:
            exif = self._directory(position, is_page=False)
            self._structure.metadata.append(exif)
            if tag == EXIF:
                self._metadata(exif, INTEROPERABILITY)

    def _directory(self, position: int, *, is_page: bool) -> Directory:
        structure, file = self._structure, self._structure.file
        if position in self._visited:
            raise ScanError("the TIFF's directories form a loop; the file is damaged. Export the scan again.")
        if len(self._visited) >= MAX_DIRECTORIES:
            raise UnsupportedScanError(f"more than {MAX_DIRECTORIES} pages; one scan per file expected.")
        self._visited.add(position)
        order = structure.byte_order
        count_code, entry_code, next_code = ("Q", "HHQ8s", "Q") if structure.is_big else ("H", "HHI4s", "I")
        count_bytes, next_bytes = struct.calcsize(f"<{count_code}"), struct.calcsize(f"<{next_code}")
        entry_bytes = struct.calcsize(f"<{entry_code}")
        count = struct.unpack(order + count_code, file.read(position, count_bytes))[0]
        self._entries += count
        if self._entries > MAX_ENTRIES:
            raise ScanError(f"more than {MAX_ENTRIES} tags; the file is damaged. Export the scan again.")
        start = position + count_bytes
        data = file.read(start, count * entry_bytes + next_bytes)
        entries: dict[int, Entry] = {}
        for index in range(count):
            tag, kind, values, raw = struct.unpack_from(order + entry_code, data, index * entry_bytes)
            if tag in entries:
                if not is_page:
                    continue
                raise ScanError(f"tag {tag} comes twice; the file is damaged. Export the scan again.")
            entries[tag] = self._entry(tag, kind, values, start + index * entry_bytes, raw)
        next_position = struct.unpack_from(order + next_code, data, count * entry_bytes)[0]
        return Directory((position, start + len(data)), entries, next_position)

    def _entry(self, tag: int, kind: int, count: int, position: int, raw: bytes) -> Entry:
        structure = self._structure
        inline_position = position + (12 if structure.is_big else 8)
        value_bytes = count * KIND_BYTES.get(kind, 0)
        if value_bytes <= structure.inline_bytes:
            return Entry(tag, kind, count, position, inline_position, is_inline=True)
        offset = struct.unpack(f"{structure.byte_order}{'Q' if structure.is_big else 'I'}", raw)[0]
        structure.file.require_inside(offset, value_bytes)
        return Entry(tag, kind, count, position, offset, is_inline=False)
