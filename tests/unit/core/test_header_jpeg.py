"""The plain-Python checks of a JPEG file: what is refused, with which class of error, and the facts that are read."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from spotless_core.errors import ScanError, TruncatedScanError, UnsupportedScanError
from spotless_core.image_io.exif import read_exif
from spotless_core.image_io.header_jpeg import JpegHeader, check_jpeg
from spotless_core.image_io.jpeg_frame import ZIGZAG

LIMIT = 2000.0


def grainy_jpeg(mode: str = "RGB", **options: object) -> bytes:
    channels = len(mode) if mode != "L" else 1
    frame = np.random.default_rng(5).integers(60, 200, (40, 56, channels)).astype(np.uint8).squeeze()
    file = io.BytesIO()
    Image.fromarray(frame, mode=None if mode != "CMYK" else "CMYK").save(file, "JPEG", quality=85, **options)
    return file.getvalue()


def inserted(content: bytes, segment: bytes) -> bytes:
    return content[:2] + segment + content[2:]


def patched(content: bytes, offset: int, value: bytes, marker: bytes = b"\xff\xc0") -> bytes:
    """Replace bytes counted from the frame header's marker."""
    start = content.index(marker) + offset
    return content[:start] + value + content[start + len(value) :]


def checked(content: bytes) -> JpegHeader:
    return check_jpeg(content, LIMIT)


BASELINE = grainy_jpeg()
PROGRESSIVE = grainy_jpeg(progressive=True)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (patched(BASELINE, 4, b"\x0c"), "12 bits"),
        (patched(BASELINE, 1, b"\xc3"), "lossless"),
        (patched(BASELINE, 1, b"\xc5"), "hierarchical"),
        (patched(BASELINE, 1, b"\xc9"), "arithmetic"),
        (patched(BASELINE, 11, b"\x31"), "unusual sampling"),
        (inserted(BASELINE, b"\xff\xe2\x00\x0aMPF\0II*\0"), "index does not lead"),
        (patched(BASELINE, 5, struct.pack(">HH", 60000, 60000)), "max_megapixels"),
        (BASELINE[:-2] + b"\xff\xdc\x00\x04\x00\x28\xff\xd9", "DNL"),
        (BASELINE[:-2] + b"\xff\xdb\x00\x43\x00" + bytes([1] * 64) + b"\xff\xd9", "between scans"),
    ],
)
def test_a_jpeg_that_cannot_be_kept_is_refused_with_its_reason(content: bytes, word: str) -> None:
    with pytest.raises(UnsupportedScanError, match=word):
        checked(content)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"\xff\xd8\xff\xd9", "without a picture"),
        (patched(BASELINE, 5, b"\0\0"), "claims"),
        (patched(BASELINE, 5, struct.pack(">HH", 12000, 12000)), "cannot hold"),
        (patched(BASELINE, 5, struct.pack(">HH", 65501, 10)), "65500"),
        (patched(BASELINE, 11, b"\x01"), "sampling factors"),
        (patched(BASELINE, 12, b"\x03"), "quantisation table"),
        (patched(BASELINE, 7, b"\0", marker=b"\xff\xdb"), "zero"),
        (patched(BASELINE, 13, b"\x01"), "same name"),
        (patched(BASELINE, 5, b"\x09", marker=b"\xff\xda"), "names a component"),
        (inserted(BASELINE, b"\x00"), "marker expected"),
        (inserted(BASELINE, b"\xff\x02\x00\x02"), "0x02"),
        (inserted(BASELINE, b"\xff\xe4\x00\x01"), "damaged"),
    ],
)
def test_a_damaged_header_is_refused_with_its_reason(content: bytes, word: str) -> None:
    with pytest.raises(ScanError, match=word):
        checked(content)


def test_the_small_bomb_of_a_huge_progressive_frame_is_refused_by_its_header() -> None:
    bomb = patched(PROGRESSIVE, 5, struct.pack(">HH", 65500, 65500), marker=b"\xff\xc2")

    with pytest.raises(UnsupportedScanError, match="max_megapixels"):
        check_jpeg(bomb, LIMIT)
    with pytest.raises(UnsupportedScanError, match="memory"):
        check_jpeg(bomb, float("inf"))


@pytest.mark.parametrize("content", [BASELINE, PROGRESSIVE])
def test_a_jpeg_cut_anywhere_is_truncated_and_may_be_tried_again(content: bytes) -> None:
    for kept in (1, 3, 5, 30, len(content) // 3, len(content) // 2, len(content) - 2, len(content) - 1):
        with pytest.raises(TruncatedScanError):
            checked(content[:kept])


def test_an_end_marker_inside_a_thumbnail_does_not_hide_a_truncated_file() -> None:
    thumbnail = b"Exif\0\0" + BASELINE
    whole = inserted(BASELINE, b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail)

    assert checked(whole).end == len(whole)
    with pytest.raises(TruncatedScanError):
        checked(whole[:-2])


def test_more_than_two_hundred_scans_are_refused() -> None:
    start = PROGRESSIVE.rindex(b"\xff\xda")
    last_scan = PROGRESSIVE[start:-2]

    with pytest.raises(UnsupportedScanError, match="200 scans"):
        checked(PROGRESSIVE[:-2] + last_scan * 200 + b"\xff\xd9")


def test_a_progressive_jpeg_without_its_last_scans_is_refused() -> None:
    with pytest.raises(UnsupportedScanError, match="full precision"):
        checked(PROGRESSIVE[: PROGRESSIVE.rindex(b"\xff\xda")] + b"\xff\xd9")


def test_a_picture_begun_within_the_data_is_damage() -> None:
    with pytest.raises(ScanError):
        checked(BASELINE[:-40] + BASELINE)


def test_fill_bytes_before_a_marker_are_kept_as_part_of_the_segment() -> None:
    header = checked(inserted(BASELINE, b"\xff\xff\xff\xfe\x00\x04ab"))

    assert header.segments[0].raw == b"\xff\xff\xff\xfe\x00\x04ab"
    assert header.segments[0].content == b"ab"


def test_many_fill_bytes_are_walked_quickly() -> None:
    header = checked(inserted(BASELINE, b"\xff" * 3_000_000 + b"\xfe\x00\x02"))

    assert (header.width, header.height) == (56, 40)


def test_bytes_after_the_end_marker_are_not_part_of_the_picture() -> None:
    assert checked(BASELINE + b"tail").end == len(BASELINE)


def test_quantisation_tables_come_in_natural_order() -> None:
    header = checked(BASELINE)
    in_file = BASELINE[BASELINE.index(b"\xff\xdb") + 5 :][:64]

    assert list(ZIGZAG[:6]) == [0, 1, 8, 16, 9, 2]
    assert [header.tables[0][place] for place in ZIGZAG] == list(in_file)


def test_colours_are_told_apart_as_libjpeg_does() -> None:
    assert checked(BASELINE).colors == "ycc"
    assert checked(grainy_jpeg(keep_rgb=True)).colors == "rgb"
    assert checked(grainy_jpeg("L")).colors == "grey"


@pytest.mark.parametrize(
    ("options", "dpi"),
    [({"dpi": (3200, 3200)}, 3200.0), ({}, None), ({"dpi": (1, 1)}, None)],
)
def test_the_resolution_comes_from_jfif(options: dict[str, object], dpi: float | None) -> None:
    assert checked(grainy_jpeg(**options)).dpi == dpi


def exif_block(order: str, resolution: tuple[int, int], unit: int, orientation: int) -> bytes:
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entries = struct.pack(order + "HHIHH", 274, 3, 1, orientation, 0)
    entries += struct.pack(order + "HHII", 282, 5, 1, 50) + struct.pack(order + "HHIHH", 296, 3, 1, unit, 0)
    block = mark + struct.pack(order + "IH", 8, 3) + entries + struct.pack(order + "I", 0)
    return block + struct.pack(order + "II", *resolution)


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_gives_orientation_and_resolution_in_either_byte_order(order: str) -> None:
    facts = read_exif(exif_block(order, (4000, 1), 2, 8))

    assert (facts.orientation, facts.dpi) == (8, 4000.0)


def test_exif_in_centimetres_becomes_dpi() -> None:
    assert read_exif(exif_block("<", (15748, 10), 3, 1)).dpi == 4000.0


def test_nonsense_in_exif_is_not_known_rather_than_wrong() -> None:
    facts = read_exif(exif_block("<", (5, 0), 2, 77))

    assert (facts.orientation, facts.dpi) == (1, None)


def test_exif_cut_anywhere_is_read_without_an_error() -> None:
    block = exif_block(">", (4000, 1), 2, 6)

    assert {read_exif(block[:kept]).orientation for kept in range(len(block))} <= {1, 6}
