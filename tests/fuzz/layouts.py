"""Where the numbers and the pieces of a seed lie, so that mutations hit what readers trust.

Comes in: a sound file. Goes out: a `Layout`. `mend` makes a mutant's checksums right again, since without it a reader
that checks them would refuse every mutant for the same reason.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

Extent = tuple[int, int]
"""(first byte, byte after the last)."""
KIND_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 13: 4, 16: 8, 18: 8}
SUB_DIRECTORIES, TABLES = 330, {273: 279, 324: 325}


def _as_it_is(data: bytes) -> bytes:
    return data


@dataclass(frozen=True, slots=True)
class Layout:
    """`numbers`: (position, bytes) of the integers in headers. `order`: their byte order. `pieces`: what could change
    places: tags, marker segments, chunks, strips.
    """

    order: str
    numbers: tuple[Extent, ...]
    pieces: tuple[Extent, ...]
    mend: Callable[[bytes], bytes] = _as_it_is


def read_layout(seed: bytes) -> Layout:
    """Return where things lie in a seed, by its first bytes."""
    if seed[:2] in {b"II", b"MM"}:
        return _tiff_layout(seed)
    if seed[:2] == b"\xff\xd8":
        return _jpeg_layout(seed)
    if seed[:4] == b"\x89PNG":
        return _png_layout(seed)
    head = 54 if seed[:2] == b"BM" else 24
    numbers = tuple((position, 4) for position in range(2, head, 4))
    return Layout("<", numbers, ((0, head), (head, len(seed))))


def _tiff_layout(seed: bytes) -> Layout:
    order = "<" if seed[:2] == b"II" else ">"
    is_big = struct.unpack_from(f"{order}H", seed, 2)[0] == 43
    word, entry_bytes, count_bytes = (8, 20, 8) if is_big else (4, 12, 2)
    number = {2: "H", 4: "I", 8: "Q"}
    numbers: list[Extent] = [(2, 2), (word, word)]
    pieces: list[Extent] = []

    def read(position: int, size: int) -> int:
        return int(struct.unpack_from(f"{order}{number[size]}", seed, position)[0])

    waiting = [read(word, word)]
    while waiting:
        position = waiting.pop()
        if not position:
            continue
        entries: dict[int, list[int]] = {}
        start = position + count_bytes
        count = read(position, count_bytes)
        numbers.append((position, count_bytes))
        for at in range(start, start + count * entry_bytes, entry_bytes):
            tag, kind, values = read(at, 2), read(at + 2, 2), read(at + 4, word)
            value_at = at + 4 + word
            numbers += [(at, 2), (at + 2, 2), (at + 4, word), (value_at, word)]
            pieces.append((at, at + entry_bytes))
            size = KIND_BYTES.get(kind, 1)
            if size * values > word:
                value_at = read(value_at, word)
                pieces.append((value_at, value_at + size * values))
            if size in number:
                places = [(value_at + index * size, size) for index in range(values)]
                numbers += places
                entries[tag] = [read(*place) for place in places]
        waiting.append(read(start + count * entry_bytes, word))
        waiting += entries.get(SUB_DIRECTORIES, [])
        numbers.append((start + count * entry_bytes, word))
        for offsets, counts in TABLES.items():
            pairs = zip(entries.get(offsets, []), entries.get(counts, []), strict=True)
            pieces += [(offset, offset + size) for offset, size in pairs]
    return Layout(order, tuple(numbers), tuple(pieces))


def _jpeg_layout(seed: bytes) -> Layout:
    numbers: list[Extent] = []
    pieces: list[Extent] = []
    position = 2
    while position + 4 <= len(seed) and seed[position] == 0xFF and seed[position + 1] != 0xD9:
        marker, length = struct.unpack_from(">xBH", seed, position)
        end = position + 2 + length
        numbers += [(position + 1, 1), (position + 2, 2)]
        numbers += [(at, 1) for at in range(position + 4, min(end, position + 24))]
        if 0xC0 <= marker <= 0xC2:
            numbers += [(position + 5, 2), (position + 7, 2)] * 4
        if marker == 0xDA:
            while seed[end] != 0xFF or seed[end + 1] == 0 or 0xD0 <= seed[end + 1] <= 0xD7:
                end += 1
        pieces.append((position, end))
        position = end
    return Layout(">", tuple(numbers), (*pieces, (position, len(seed))))


def _png_layout(seed: bytes) -> Layout:
    numbers: list[Extent] = []
    pieces: list[Extent] = []
    position = 8
    while position + 12 <= len(seed):
        (length,) = struct.unpack_from(">I", seed, position)
        content = position + 8
        numbers.append((position, 4))
        numbers += [(content, 4), (content + 4, 4)] if seed[position + 4 : content] == b"IHDR" else []
        numbers += [(at, 1) for at in range(content + 8, content + min(length, 24))]
        pieces.append((position, content + length + 4))
        position = content + length + 4
    return Layout(">", tuple(numbers), tuple(pieces), _mend_png)


def _mend_png(data: bytes) -> bytes:
    """Make every checksum right that can be reached by the chunks' lengths."""
    mended = bytearray(data)
    position = 8
    while position + 12 <= len(mended):
        (length,) = struct.unpack_from(">I", mended, position)
        end = position + 8 + length
        if end + 4 > len(mended):
            break
        mended[end : end + 4] = zlib.crc32(mended[position + 4 : end]).to_bytes(4, "big")
        position = end + 4
    return bytes(mended)
