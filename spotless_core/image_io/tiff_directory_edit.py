"""Changes to the tags of one directory (IFD) that a repair makes necessary, done in the directory's own bytes.

Comes in: a directory. Goes out: its new bytes, of the old length. Only two kinds of file need it: a DNG, whose digests
of the picture become wrong and are dropped, and a TIFF whose lossy strips are written with a lossless codec. All other
tags keep their bytes; those behind a dropped one move up, the room at the end is zeroed.
"""

import struct
from dataclasses import dataclass, field

from spotless_core.errors import UnsupportedScanError
from spotless_core.image_io.tiff_directories import UNSIGNED, Directory, TiffStructure
from spotless_core.image_io.tiff_frame import Frame
from spotless_core.image_io.tiff_samples import RGB, YCBCR
from spotless_core.image_io.tiff_tags import (
    COMPRESSION,
    DNG_VERSION,
    JPEG_TABLES,
    NEW_RAW_IMAGE_DIGEST,
    PHOTOMETRIC,
    RAW_IMAGE_DIGEST,
    REFERENCE_BLACK_WHITE,
    YCBCR_COEFFICIENTS,
    YCBCR_POSITIONING,
    YCBCR_SUBSAMPLING,
)

DIGESTS = frozenset({RAW_IMAGE_DIGEST, NEW_RAW_IMAGE_DIGEST})
"""A reader takes a raw file with a wrong digest for damaged; without one it checks nothing."""
JPEG_ONLY = frozenset({JPEG_TABLES, YCBCR_COEFFICIENTS, YCBCR_SUBSAMPLING, YCBCR_POSITIONING})
"""Some writers say YCbCrSubSampling of an RGB picture, too; without JPEG, readers would take it at its word."""
DEFLATE_COMPRESSION = 8
TRANSCODED = "the JPEG inside the TIFF was replaced by Deflate; outside the mask every sample is as it was decoded."
NO_DIGEST = "the DNG's checksum of its picture was taken out, as it no longer fits."


@dataclass(frozen=True, slots=True)
class DirectoryEdit:
    """What changes in `directory`: tags that go, and new values of single unsigned numbers."""

    directory: Directory
    dropped: frozenset[int]
    changed: dict[int, int] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """What the change means, as a sentence for the receipt."""
        return TRANSCODED if COMPRESSION in self.changed else NO_DIGEST

    def apply(self, structure: TiffStructure, data: bytes) -> bytes:
        """Return the directory's bytes after the change; `data`: its bytes before."""
        order = structure.byte_order
        count_code, entry_bytes, inline_at = ("Q", 20, 12) if structure.is_big else ("H", 12, 8)
        count_bytes = struct.calcsize(f"<{count_code}")
        start = self.directory.extent[0]
        gone = {self.directory.entries[tag].position - start for tag in self.dropped}
        end = len(data) - (8 if structure.is_big else 4)
        kept = [data[at : at + entry_bytes] for at in range(count_bytes, end, entry_bytes) if at not in gone]
        for place, entry in enumerate(kept):
            tag, kind = struct.unpack_from(f"{order}HH", entry)
            if tag in self.changed:
                value = struct.pack(order + UNSIGNED[kind], self.changed[tag])
                kept[place] = entry[:inline_at] + value.ljust(entry_bytes - inline_at, b"\0")
        head = struct.pack(order + count_code, len(kept))
        return b"".join((head, *kept, data[end:])).ljust(len(data), b"\0")


def necessary_edits(structure: TiffStructure, frame: Frame) -> tuple[DirectoryEdit, ...]:
    """Return the changes that writing other samples into `frame` makes necessary.

    Raises:
        UnsupportedScanError: a directory's tags are not in ascending order, so that dropping one would move its tables.
    """
    edits: list[DirectoryEdit] = []
    if frame.layout.is_lossy:
        tags = frame.directory.entries.keys()
        changed = {COMPRESSION: DEFLATE_COMPRESSION}
        dropped = JPEG_ONLY & tags
        if frame.layout.photometric == YCBCR:
            changed[PHOTOMETRIC] = RGB
            dropped |= {REFERENCE_BLACK_WHITE} & tags
        edits.append(DirectoryEdit(frame.directory, dropped, changed))
    elif any(DNG_VERSION in directory.entries for directory in structure.pages):
        for directory in structure.pages:
            found = DIGESTS & directory.entries.keys()
            if found:
                edits.append(DirectoryEdit(directory, found))
    for edit in edits:
        entries = [entry.position for entry in (frame.offset_entry, frame.count_entry)]
        positions = [edit.directory.entries[tag].position for tag in edit.dropped]
        if edit.directory is frame.directory and positions and min(positions) < max(entries):
            raise UnsupportedScanError("the tags are not in ascending order; the file is damaged. Export it again.")
    return tuple(edits)
