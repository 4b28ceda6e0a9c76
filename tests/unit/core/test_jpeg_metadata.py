"""What a JPEG copy carries besides its picture, and that a copy which lost some of it is never let through."""

import io
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from drawing_jpeg import (
    HEIGHT,
    KINDS,
    WIDTH,
    decoded,
    exif,
    grainy_frame,
    needs_library,
    opened,
    pillow_jpeg,
    specks,
    verify,
)
from PIL import Image

from spotless_core.errors import PreservationError
from spotless_core.image_io import turbojpeg
from spotless_core.image_io.header_jpeg import check_jpeg
from spotless_core.photo import Edit


@needs_library
@pytest.mark.parametrize("progressive", [False, True])
def test_metadata_and_the_bytes_after_the_end_are_carried(tmp_path: Path, progressive: bool) -> None:
    content = pillow_jpeg(
        subsampling=2,
        progressive=progressive,
        exif=exif(),
        icc_profile=bytes(range(256)) * 300,
        comment=b"negative 12",
        xmp=b"<x:xmpmeta/>",
        dpi=(72, 72),
        restart_marker_blocks=2,
    )
    content = content[:2] + b"\xff\xed\x00\x0fPhotoshop 3.0" + content[2:] + b"tail after the end"
    target = tmp_path / "out.jpg"

    with opened(tmp_path, content) as scan:
        edits, mask = specks(scan)
        scan.write_restored(target, edits)
        scan.check_restored(target, mask)

    written = target.read_bytes()
    before, after = check_jpeg(content, 2000), check_jpeg(written, 2000)
    metadata = [segment.raw for segment in before.segments if segment.marker >= 0xE0]
    assert len(metadata) >= 6
    assert [segment.raw for segment in after.segments if segment.marker >= 0xE0] == metadata
    assert after.is_progressive == progressive
    assert written.endswith(b"\xff\xd9tail after the end")


@needs_library
def test_a_comment_between_scans_is_carried_before_the_picture(tmp_path: Path) -> None:
    content = pillow_jpeg(progressive=True)
    second_scan = content.index(b"\xff\xda", content.index(b"\xff\xda") + 2)
    tables = content.rindex(b"\xff\xc4", 0, second_scan)
    content = content[:tables] + b"\xff\xfe\x00\x06late" + content[tables:]
    target = tmp_path / "out.jpg"

    with opened(tmp_path, content) as scan:
        edits, mask = specks(scan)
        scan.write_restored(target, edits)
        scan.check_restored(target, mask)

    assert b"\xff\xfe\x00\x06late" in target.read_bytes()


@pytest.mark.parametrize("kind", ["none", "empty mask", "same values"])
def test_edits_that_change_nothing_give_a_byte_identical_file(tmp_path: Path, kind: str) -> None:
    if kind == "same values" and not turbojpeg.is_available():
        pytest.skip("libturbojpeg is not installed")
    content = KINDS["restart"] + b"tail"
    target = tmp_path / "out.jpg"

    with opened(tmp_path, content) as scan:
        frame = scan.read_rows(0, HEIGHT)
        same = Edit(3, 4, frame[3:19, 4:22].copy(), np.ones((16, 18), bool))
        empty = Edit(3, 4, np.zeros((6, 8, 3), np.uint8), np.zeros((6, 8), bool))
        report = scan.write_restored(target, {"none": [], "empty mask": [empty], "same values": [same]}[kind])
        scan.check_restored(target, np.zeros((HEIGHT, WIDTH), bool))

    assert target.read_bytes() == content
    assert report.segments_touched == 0


@needs_library
@pytest.mark.parametrize("damage", ["block", "comment", "tail", "cut", "empty mask"])
def test_a_result_that_lost_something_is_found(tmp_path: Path, damage: str) -> None:
    content = pillow_jpeg(comment=b"mine", subsampling=2) + b"tail"
    target = tmp_path / "out.jpg"

    with opened(tmp_path, content) as scan:
        edits, mask = specks(scan)
        elsewhere = Edit(60, 5, np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), bool))
        scan.write_restored(target, [*edits, elsewhere] if damage == "block" else edits)
        written = target.read_bytes()
        target.write_bytes(
            {
                "comment": written.replace(b"mine", b"nine"),
                "tail": written[:-1],
                "cut": written[:-600],
            }.get(damage, written)
        )

        with pytest.raises(PreservationError):
            scan.check_restored(target, mask & (damage != "empty mask"))


def with_thumbnail() -> bytes:
    """A JPEG whose EXIF holds a whole JPEG of its own, XMP, a profile in three parts, and bytes after the end."""
    small = pillow_jpeg(frame=grainy_frame(12, 16))
    block = exif()
    block.get_ifd(0x8769)[0x9003] = "2026:11:22 10:00:00"
    head = block.tobytes()
    thumbnail_directory = struct.pack(">HHHIHHHHIIHHIII", 3, 259, 3, 1, 6, 0, 513, 4, 1, 0, 514, 4, 1, len(small), 0)
    assert head.startswith(b"Exif\0\0MM")
    body = bytearray(head[6:])
    first = int.from_bytes(body[4:8], "big")
    entries = int.from_bytes(body[first : first + 2], "big")
    place = len(body)
    body[first + 2 + 12 * entries : first + 6 + 12 * entries] = place.to_bytes(4, "big")
    body += thumbnail_directory + small
    offset = (place + len(thumbnail_directory)).to_bytes(4, "big")
    body[place + 2 + 12 + 8 : place + 2 + 12 + 12] = offset
    profile = np.random.default_rng(0).bytes(150_000)
    content = pillow_jpeg(
        subsampling=2, exif=b"Exif\0\0" + bytes(body), icc_profile=profile, xmp=b"<x:xmpmeta/>", dpi=(72, 72)
    )
    return content + b"a trailer of the camera"


@needs_library
def test_a_thumbnail_a_profile_in_parts_and_xmp_are_carried_byte_for_byte(tmp_path: Path) -> None:
    content = with_thumbnail()
    target = tmp_path / "out.jpg"

    with opened(tmp_path, content) as scan:
        edits, mask = specks(scan)
        scan.write_restored(target, edits)
        verify(scan, target, mask, edits)

        assert (scan.info.orientation, scan.info.dpi, scan.info.has_icc_profile) == (6, 4000.0, True)
    written = target.read_bytes()
    before, after = Image.open(io.BytesIO(content)), Image.open(io.BytesIO(written))
    assert after.info["icc_profile"] == before.info["icc_profile"]
    assert sum(b"ICC_PROFILE" in segment.content[:12] for segment in check_jpeg(written, 10).segments) == 3
    assert after.info["exif"] == before.info["exif"]
    assert pillow_jpeg(frame=grainy_frame(12, 16)) in after.info["exif"]
    assert written.endswith(b"\xff\xd9a trailer of the camera")


@needs_library
@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_exiftool_finds_no_difference_in_the_metadata(tmp_path: Path) -> None:
    (tmp_path / "scan.jpg").write_bytes(with_thumbnail())
    target = tmp_path / "out.jpg"

    with opened(tmp_path, with_thumbnail()) as scan:
        edits, _ = specks(scan)
        scan.write_restored(target, edits)

    def tags(path: Path) -> list[str]:
        command = ["exiftool", "-a", "-G1", "-u", "-s", "--System:all", "--ExifTool:all", str(path)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()

    assert any("ThumbnailLength" in tag for tag in tags(target))
    assert tags(target) == tags(tmp_path / "scan.jpg")


def regions(content: bytes) -> dict[str, tuple[int, int]]:
    """Where the parts of a JPEG lie: each kind of segment, the entropy-coded data, the tail."""
    header = check_jpeg(content, 10)
    found, position = {"start": (0, 2)}, 2
    for number, segment in enumerate(header.segments):
        found[f"{number}: segment 0x{segment.marker:02X}"] = (position, position + len(segment.raw))
        position += len(segment.raw)
    return {**found, "picture": (position, header.end), "tail": (header.end, len(content))}


@needs_library
@pytest.mark.parametrize("kind", ["baseline", "progressive"])
def test_one_changed_byte_anywhere_in_the_result_is_found(tmp_path: Path, kind: str) -> None:
    content = pillow_jpeg(
        subsampling=2, exif=exif(), icc_profile=bytes(700), comment=b"mine", progressive=kind == "progressive"
    )
    target = tmp_path / "out.jpg"
    random = np.random.default_rng(5)

    with opened(tmp_path, content + b"tail") as scan:
        edits, mask = specks(scan)
        scan.write_restored(target, edits)
        written = target.read_bytes()
        places = regions(written)
        assert len(places) >= 8
        for start, end in places.values():
            for place in {start, end - 1, *random.integers(start, end, 8).tolist()}:
                spoilt = bytearray(written)
                spoilt[place] ^= 1 << int(random.integers(8))
                target.write_bytes(spoilt)
                with pytest.raises(PreservationError):
                    verify(scan, target, mask, edits)


@needs_library
def test_a_check_by_a_scan_opened_anew_lets_no_change_outside_the_mask_through(tmp_path: Path) -> None:
    """The scan that wrote the copy knows its digest; another one must do with what the promise says."""
    target = tmp_path / "out.jpg"
    random = np.random.default_rng(6)
    with opened(tmp_path, KINDS["420"] + b"tail") as scan:
        edits, mask = specks(scan)
        scan.write_restored(target, edits)
        kept = ~scan.may_change(mask)
    written, passed = target.read_bytes(), 0
    expected = decoded(written)[kept]

    with opened(tmp_path, KINDS["420"] + b"tail") as scan:
        for place in random.integers(0, len(written), 300).tolist():
            spoilt = bytearray(written)
            spoilt[place] ^= 1 << int(random.integers(8))
            target.write_bytes(spoilt)
            try:
                verify(scan, target, mask, edits)
            except PreservationError:
                continue
            passed += 1
            assert np.array_equal(decoded(bytes(spoilt))[kept], expected)

    assert passed < 30
