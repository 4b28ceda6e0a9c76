"""The index of a JPEG file that holds more pictures behind its first one (MPF): previews, depth or gain maps.

Comes in: the index segment and where it lies. Goes out: the same segment for a file whose first picture has another
length. The other pictures are carried byte for byte, so only their offsets and the first picture's size move; they keep
their dust, as thumbnails do. An index that does not lead to pictures behind the first one is refused, never guessed.
Source: CIPA DC-007-2009 (Multi-Picture Format), section 5.2.
"""

import struct
from dataclasses import dataclass

from spotless_core.errors import UnsupportedScanError
from spotless_core.image_io.jpeg_segments import APP2, Segment
from spotless_core.image_io.jpeg_source import JpegSource

NAME = b"MPF\0"
ENTRIES_TAG, UNDEFINED = 0xB002, 7
ENTRY_BYTES = 16
MAX_TAGS, MAX_PICTURES = 100, 100
REFUSED = "a JPEG of several pictures (MPF) whose index does not lead to them. Export it as TIFF."


@dataclass(frozen=True, slots=True)
class PictureEntry:
    """One picture: where its `size` and `offset` stand in the segment's content, and what they are."""

    place: int
    size: int
    offset: int


def is_index(segment: Segment) -> bool:
    """Whether `segment` is the index of several pictures."""
    return segment.marker == APP2 and segment.content.startswith(NAME)


def check_index(segment: Segment, start: int, end: int, source: JpegSource) -> None:
    """Raise `UnsupportedScanError` unless every other picture lies behind `end`, where the first one ends.

    `start`: the position of the segment in `source`, the whole file.
    """
    base = _base(segment, start)
    entries, _ = _entries(segment)
    others = 0
    for entry in entries:
        if entry.size > source.size:
            raise UnsupportedScanError(REFUSED)
        if not entry.offset:
            continue
        first = base + entry.offset
        if first < end or first + max(entry.size, 2) > source.size or source.read(first, 2) != b"\xff\xd8":
            raise UnsupportedScanError(REFUSED)
        others += 1
    if others + 1 != len(entries):
        raise UnsupportedScanError(REFUSED)


def moved_index(segment: Segment, start: int, end: int, new_start: int, new_end: int) -> bytes:
    """Return all bytes of the segment for a file in which it lies at `new_start` and the first picture ends at
    `new_end`, instead of `start` and `end`.
    """
    content = bytearray(segment.content)
    entries, order = _entries(segment)
    shift = (new_end - end) - (new_start - start)
    for entry in entries:
        if entry.offset:
            struct.pack_into(order + "I", content, entry.place + 8, entry.offset + shift)
        else:
            struct.pack_into(order + "I", content, entry.place + 4, max(0, entry.size + new_end - end))
    return segment.raw[: -len(content)] + bytes(content)


def _base(segment: Segment, start: int) -> int:
    """Return the position from which offsets count: the byte order mark of the index."""
    return start + len(segment.raw) - len(segment.content) + len(NAME)


def _entries(segment: Segment) -> tuple[list[PictureEntry], str]:
    """Return the pictures the index names, and its byte order."""
    block = segment.content[len(NAME) :]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    try:
        if order is None:
            raise UnsupportedScanError(REFUSED)
        (directory,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, directory)
        for index in range(min(count, MAX_TAGS)):
            tag, kind, size, place = struct.unpack_from(order + "HHII", block, directory + 2 + 12 * index)
            if tag != ENTRIES_TAG:
                continue
            if kind != UNDEFINED or size % ENTRY_BYTES or not 0 < size // ENTRY_BYTES <= MAX_PICTURES:
                raise UnsupportedScanError(REFUSED)
            return [_entry(block, order, place + at) for at in range(0, size, ENTRY_BYTES)], order
    except struct.error as error:
        raise UnsupportedScanError(REFUSED) from error
    raise UnsupportedScanError(REFUSED)


def _entry(block: bytes, order: str, place: int) -> PictureEntry:
    _, size, offset, _ = struct.unpack_from(order + "IIII", block, place)
    return PictureEntry(len(NAME) + place, size, offset)
