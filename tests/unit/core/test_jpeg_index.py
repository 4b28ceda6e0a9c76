"""JPEG files with more pictures behind the first (MPF): carried, and the index leads to them afterwards."""

import struct
from pathlib import Path

import pytest
from drawing_jpeg import decoded, exif, grainy_frame, needs_library, opened, pillow_jpeg, specks, verify
from PIL import Image

from spotless_core.errors import PreservationError, UnsupportedScanError
from spotless_core.image_io.header_jpeg import check_jpeg

PREVIEWS = [grainy_frame(24, 32), grainy_frame(12, 16)]


def with_previews(order: str = ">", *, after_tables: bool = False, shift: int = 0) -> bytes:
    """A JPEG with two smaller ones behind it and their index; `shift` puts the index wrong by as many bytes.

    With `after_tables` the index stands behind the entropy coder's tables, which a copy makes anew.
    """
    first = pillow_jpeg(exif=exif(), subsampling=2, comment=b"mine")
    others = [pillow_jpeg(frame=frame) for frame in PREVIEWS]
    place = first.index(b"\xff\xda") if after_tables else first.index(b"\xff\xfe")
    size = 2 + 2 + 4 + 8 + 2 + 3 * 12 + 4 + 3 * 16
    end = len(first) + size
    base = place + 8
    entries = struct.pack(order + "IIIHH", 0x20030000, end, 0, 0, 0)
    for other in others:
        entries += struct.pack(order + "IIIHH", 0x10001, len(other), end - base + shift, 0, 0)
        end += len(other)
    index = {">": b"MM\0*", "<": b"II*\0"}[order] + struct.pack(order + "IH", 8, 3)
    index += struct.pack(order + "HHI4s", 0xB000, 7, 4, b"0100") + struct.pack(order + "HHII", 0xB001, 4, 1, 3)
    index += struct.pack(order + "HHII", 0xB002, 7, 48, 50) + struct.pack(order + "I", 0) + entries
    segment = b"\xff\xe2" + struct.pack(">H", len(index) + 6) + b"MPF\0" + index
    assert len(segment) == size
    return first[:place] + segment + first[place:] + b"".join(others)


@needs_library
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("after_tables", [False, True])
def test_the_other_pictures_are_carried_and_found_by_another_reader(
    tmp_path: Path, order: str, after_tables: bool
) -> None:
    content = with_previews(order, after_tables=after_tables)
    target = tmp_path / "out.jpg"

    with opened(tmp_path, content) as scan:
        edits, mask = specks(scan)
        scan.write_restored(target, edits)
        verify(scan, target, mask, edits)

    before, after = check_jpeg(content, 10), check_jpeg(target.read_bytes(), 10)
    assert after.end != before.end
    assert target.read_bytes()[after.end :] == content[before.end :]
    with Image.open(target) as picture:
        assert (picture.format, picture.n_frames) == ("MPO", 3)
        for number, frame in enumerate(PREVIEWS, 1):
            picture.seek(number)
            assert picture.size == (frame.shape[1], frame.shape[0])
            expected = decoded(pillow_jpeg(frame=frame))
            assert (picture.convert("RGB").tobytes()) == expected.tobytes()


@needs_library
def test_an_index_that_leads_elsewhere_in_the_result_is_found(tmp_path: Path) -> None:
    content = with_previews()
    target = tmp_path / "out.jpg"
    with opened(tmp_path, content) as scan:
        edits, mask = specks(scan)
        scan.write_restored(target, edits)
    written = target.read_bytes()
    size_of_first = written.index(b"MPF\0") + 4 + 50 + 4
    spoilt = bytearray(written)
    spoilt[size_of_first + 3] ^= 1
    target.write_bytes(spoilt)

    with opened(tmp_path, content) as scan, pytest.raises(PreservationError, match="marker segments"):
        scan.check_restored(target, mask)


@pytest.mark.parametrize("kind", ["shifted", "no entries", "two indices", "cut"])
def test_an_index_that_does_not_lead_to_the_pictures_is_refused(kind: str) -> None:
    good = with_previews()
    start = good.index(b"\xff\xe2")
    length = 2 + int.from_bytes(good[start + 2 : start + 4], "big")
    content = {
        "shifted": with_previews(shift=1),
        "no entries": good.replace(b"\xb0\x02\0\7", b"\xb0\x09\0\7"),
        "two indices": good[: start + length] + good[start : start + length] + good[start + length :],
        "cut": good[:-20],
    }[kind]

    with pytest.raises(UnsupportedScanError, match="several pictures"):
        check_jpeg(content, 10)
