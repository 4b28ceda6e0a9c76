"""TIFF files made to exhaust or confuse a reader, each a few bytes or a few megabytes, drawn at test time.

Every function returns the file's bytes. `TIFF_BOMBS` names them, with the class of the refusal they must end in and a
word of its sentence; RESTORED is a file that only looks bad and may be processed, within the same limits.
"""

import lzma
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import imagecodecs

RESTORED = "restored"
SIDE = 64
BYTE, SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 1, 3, 4, 5, 7, 16
SIZES = {BYTE: 1, SHORT: 2, LONG: 4, RATIONAL: 8, UNDEFINED: 1, LONG8: 8}
Tag = tuple[int, int, int, int | bytes]
"""(tag, kind, count, value): a number is stored inline, bytes behind the directory."""


@dataclass(frozen=True, slots=True)
class Bomb:
    """`draw` makes the file. `outcome`: the class of the error it must end in, or RESTORED. `word`: of its sentence."""

    draw: Callable[[], bytes]
    outcome: str
    word: str = ""


def grey_tags(width: int = SIDE, height: int = SIDE, **changed: int) -> dict[int, Tag]:
    """The tags of an uncompressed 8-bit grey page of one strip; `changed` replaces values: `compression=8`."""
    values = {
        "width": (256, LONG, width),
        "height": (257, LONG, height),
        "bits": (258, SHORT, 8),
        "compression": (259, SHORT, 1),
        "photometric": (262, SHORT, 1),
        "offset": (273, LONG, 8),
        "samples": (277, SHORT, 1),
        "rows": (278, LONG, height),
        "bytes": (279, LONG, width * height),
    }
    return {tag: (tag, kind, 1, changed.get(name, value)) for name, (tag, kind, value) in values.items()}


def tiff(data: bytes, tags: Sequence[Tag], *, next_directory: int = 0) -> bytes:
    """A little-endian TIFF: header, `data` from byte 8 on, the directory, the long values. Tags stay as they come."""
    start = 8 + len(data) + len(data) % 2
    behind = start + 2 + 12 * len(tags) + 4
    entries, values = bytearray(), bytearray()
    for tag, kind, count, value in tags:
        if isinstance(value, bytes):
            entries += struct.pack("<HHII", tag, kind, count, behind + len(values))
            values += value
        else:
            entries += struct.pack("<HHII", tag, kind, count, value)
    head = struct.pack("<2sHI", b"II", 42, start)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", next_directory)
    return b"".join((head, data, bytes(len(data) % 2), directory, values))


def with_tags(data: bytes, tags: dict[int, Tag], *more: Tag) -> bytes:
    """A TIFF of these tags and `more`, which replace tags of the same number."""
    return tiff(data, sorted({**tags, **{tag[0]: tag for tag in more}}.values(), key=lambda tag: tag[0]))


def zeros_deflated(mebibytes: int) -> bytes:
    """A zlib stream of so many MiB of zeros, about a thousandth of their size, without holding them."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = squeeze.compress(bytes(1 << 20)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    checksum = ((mebibytes << 20) % 65521) << 16 | 1
    return b"\x78\xda" + block * mebibytes + b"\x03\x00" + struct.pack(">I", checksum)


PIXELS = bytes(range(256)) * (SIDE * SIDE // 256)


def _flipped_length() -> bytes:
    """One flipped byte makes 48 rows 9,502,768; a reader that fills up missing strips makes 3.6 GB of it."""
    plane = bytes(64 * 48 * 2)
    tags = grey_tags(64, 48 ^ 0x910000, bits=16, compression=1, rows=48)
    offsets = struct.pack("<3I", 8, 8 + len(plane), 8 + 2 * len(plane))
    return with_tags(
        plane * 3,
        tags,
        (258, SHORT, 3, struct.pack("<3H", 16, 16, 16)),
        (262, SHORT, 1, 2),
        (277, SHORT, 1, 3),
        (284, SHORT, 1, 2),
        (273, LONG, 3, offsets),
        (279, LONG, 3, struct.pack("<3I", *(len(plane),) * 3)),
    )


def _deflate_bomb(mebibytes: int = 1024) -> bytes:
    data = zeros_deflated(mebibytes)
    return with_tags(data, grey_tags(compression=8, bytes=len(data)))


def _lzw_bomb() -> bytes:
    data = bytes(imagecodecs.lzw_encode(bytes(64 << 20)))
    return with_tags(data, grey_tags(compression=5, bytes=len(data)))


def _lzma_dictionary() -> bytes:
    """An LZMA strip whose header asks for a dictionary of 2 GiB."""
    data = bytearray(lzma.compress(PIXELS, lzma.FORMAT_XZ))
    start, end = 12, 12 + 4 * (data[12] + 1)
    data[data.index(b"\x21\x01", start) + 2] = 38
    data[end - 4 : end] = struct.pack("<I", zlib.crc32(data[start : end - 4]))
    return with_tags(bytes(data), grey_tags(compression=34925, bytes=len(data)))


def _short_bytes_large_claim(compression: int) -> bytes:
    return with_tags(PIXELS, grey_tags(40000, 40000, compression=compression, bytes=len(PIXELS)))


def _loop_to_itself() -> bytes:
    tags = list(grey_tags().values())
    return tiff(PIXELS, tags, next_directory=8 + len(PIXELS))


def _sub_loop() -> bytes:
    return with_tags(PIXELS, grey_tags(), (330, LONG, 1, 8 + len(PIXELS)))


def _metadata_loop() -> bytes:
    """An EXIF pointer to the page itself; readers that follow tags recursively never return."""
    return with_tags(PIXELS, grey_tags(), (34665, LONG, 1, 8 + len(PIXELS)), (34853, LONG, 1, 8 + len(PIXELS)))


def _chain(count: int, *, is_sub: bool) -> bytes:
    """`count` directories of one tag each: a chain, or each the sub-directory of the one before."""
    first = 8 + len(PIXELS) + 2 + 12 * 10 + 4
    main = with_tags(PIXELS, grey_tags(), (330, LONG, 1, first if is_sub else 0))
    if not is_sub:
        main = main[:-4] + struct.pack("<I", first)
    parts = [main]
    for index in range(count):
        following = first + 18 * (index + 1) if index + 1 < count else 0
        tag = (330, LONG, 1, following) if is_sub else (305, BYTE, 1, 0)
        parts.append(struct.pack("<HHHIII", 1, *tag, 0 if is_sub else following))
    return b"".join(parts)


def _million_sub_pointers() -> bytes:
    """One tag with a million pointers to the same sub-directory."""
    return with_tags(PIXELS, grey_tags(), (330, LONG, 10**6, struct.pack("<I", 8) * 10**6))


def _many_tags(count: int = 60_000) -> bytes:
    tags = [*grey_tags().values(), *((tag, BYTE, 1, 0) for tag in range(1000, 1000 + count - 9))]
    return tiff(PIXELS, sorted(tags, key=lambda tag: tag[0]))


def _million_strips(offset_step: int, *, height: int = 10**6) -> bytes:
    """A strip for each of a million rows of one pixel; with a step of 0 all lie in the same place."""
    count = 10**6
    offsets = b"".join(struct.pack("<I", 8 + offset_step * index) for index in range(count))
    tags = grey_tags(1, height, rows=1)
    return with_tags(bytes(count), tags, (273, LONG, count, offsets), (279, LONG, count, struct.pack("<I", 1) * count))


def _shared_table(pages: int = 1000, count: int = 500_000) -> bytes:
    """Pages that share one table of strips: a few megabytes stand for half a thousand million strips."""
    first = 8 + len(PIXELS) + 2 + 12 * 10 + 4
    page_bytes = 2 + 5 * 12 + 4
    table = first + (pages - 1) * page_bytes
    main = bytearray(with_tags(PIXELS, grey_tags(), (254, LONG, 1, 0)))
    main[-4:] = struct.pack("<I", first)
    parts = [bytes(main)]
    for index in range(1, pages):
        tags = [(tag, LONG, 1, 1) for tag in (254, 256, 257)] + [(tag, LONG, count, table) for tag in (273, 279)]
        following = first + page_bytes * index if index + 1 < pages else 0
        parts.append(struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags))
        parts.append(struct.pack("<I", following))
    return b"".join((*parts, struct.pack("<I", 8) * count))


def _huge_count(tag: int, kind: int) -> bytes:
    return with_tags(PIXELS, grey_tags(), (tag, kind, 0xFFFFFFFF, 8))


def _huge_bigtiff(count: int) -> bytes:
    """A BigTIFF whose directory claims `count` tags."""
    return struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, count) + bytes(4096)


def _twice() -> bytes:
    tags = list(grey_tags().values())
    return tiff(PIXELS, [*tags, (279, LONG, 1, 1)])


def _overlap() -> bytes:
    half = len(PIXELS) // 2
    offsets, counts = struct.pack("<2I", 8, 8 + half // 2), struct.pack("<2I", half, half)
    return with_tags(PIXELS, grey_tags(rows=SIDE // 2), (273, LONG, 2, offsets), (279, LONG, 2, counts))


def _zero(name: str) -> bytes:
    return with_tags(PIXELS, grey_tags(**{name: 0}))


def _tiny_tiles() -> bytes:
    """Tiles of one pixel in a frame of 30,000²: 900 million tables entries that are not there."""
    tags = {tag: value for tag, value in grey_tags(30000, 30000).items() if tag not in {273, 278, 279}}
    tiles = ((322, LONG, 1, 1), (323, LONG, 1, 1), (324, LONG, 1, 8), (325, LONG, 1, 1))
    return with_tags(PIXELS, tags, *tiles)


SCAN, SHORTENED, UNSUPPORTED = "ScanError", "TruncatedScanError", "UnsupportedScanError"

TIFF_BOMBS: dict[str, Bomb] = {
    "tiff-flipped-length": Bomb(_flipped_length, UNSUPPORTED, "strips or tiles"),
    "tiff-1-gib-deflate-strip": Bomb(_deflate_bomb, SCAN, "damaged"),
    "tiff-lzma-dictionary-of-2-gib": Bomb(_lzma_dictionary, SCAN, "Memory usage limit"),
    "tiff-lzw-strip-of-64-mib": Bomb(_lzw_bomb, RESTORED),
    "tiff-lzw-claims-1600-megapixels": Bomb(lambda: _short_bytes_large_claim(5), SCAN, "cannot hold"),
    "tiff-deflate-claims-1600-megapixels": Bomb(lambda: _short_bytes_large_claim(8), SCAN, "cannot hold"),
    "tiff-raw-claims-1600-megapixels": Bomb(lambda: _short_bytes_large_claim(1), SCAN, "cannot hold"),
    "tiff-directory-follows-itself": Bomb(_loop_to_itself, SCAN, "loop"),
    "tiff-sub-directory-is-its-page": Bomb(_sub_loop, RESTORED),
    "tiff-exif-is-its-page": Bomb(_metadata_loop, RESTORED),
    "tiff-100000-directories": Bomb(lambda: _chain(100_000, is_sub=False), UNSUPPORTED, "pages"),
    "tiff-100000-nested-directories": Bomb(lambda: _chain(100_000, is_sub=True), UNSUPPORTED, "pages"),
    "tiff-million-sub-directories": Bomb(_million_sub_pointers, SCAN, "tag 330"),
    "tiff-60000-tags": Bomb(_many_tags, SCAN, "tags"),
    "tiff-million-strips-in-one-place": Bomb(lambda: _million_strips(0), UNSUPPORTED, "overlap"),
    "tiff-million-strips-for-64-rows": Bomb(lambda: _million_strips(1, height=64), UNSUPPORTED, "strips or tiles"),
    "tiff-500-million-strips-in-shared-tables": Bomb(_shared_table, UNSUPPORTED, "strips or tiles"),
    "tiff-4-gi-strips": Bomb(lambda: _huge_count(273, LONG), SHORTENED, "needed"),
    "tiff-4-gi-bits": Bomb(lambda: _huge_count(258, SHORT), SHORTENED, "needed"),
    "tiff-4-gib-profile": Bomb(lambda: _huge_count(34675, UNDEFINED), SHORTENED, "needed"),
    "tiff-4-gib-strip": Bomb(lambda: with_tags(PIXELS, grey_tags(bytes=0xFFFFFFF0)), SHORTENED, "beyond the end"),
    "bigtiff-2-to-the-63-tags": Bomb(lambda: _huge_bigtiff(1 << 63), SCAN, "tags"),
    "bigtiff-20000-tags-not-there": Bomb(lambda: _huge_bigtiff(20_000), SHORTENED, "needed"),
    "tiff-tag-twice": Bomb(_twice, SCAN, "twice"),
    "tiff-overlapping-strips": Bomb(_overlap, UNSUPPORTED, "overlap"),
    "tiff-width-0": Bomb(lambda: _zero("width"), SCAN, "0×64"),
    "tiff-height-0": Bomb(lambda: _zero("height"), SCAN, "64×0"),
    "tiff-rows-per-strip-0": Bomb(lambda: _zero("rows"), SCAN, "strips of 0 rows"),
    "tiff-samples-0": Bomb(lambda: _zero("samples"), UNSUPPORTED, "0 samples"),
    "tiff-bits-0": Bomb(lambda: _zero("bits"), UNSUPPORTED, "0 bits"),
    "tiff-strip-of-0-bytes": Bomb(lambda: _zero("bytes"), UNSUPPORTED, "empty"),
    "tiff-tiles-of-one-pixel": Bomb(_tiny_tiles, UNSUPPORTED, "strips or tiles"),
}
