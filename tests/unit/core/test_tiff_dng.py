"""Linear DNG as scanner programs write it: thumbnail first, picture and infrared behind, digests of the picture."""

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from drawing_tiff import HEIGHT, WIDTH, grainy, patch, speck

from spotless_core.errors import PreservationError, UnsupportedScanError
from spotless_core.image_io.tiff import TiffScan

DIGEST = bytes(range(16))
DIGESTS = (50972, 51111)
DNG_TAGS: list[Any] = [
    (50706, 1, 4, b"\1\4\0\0", True),
    (50972, 1, 16, DIGEST, True),
    (51111, 1, 16, DIGEST, True),
    (51110, 4, 1, 7, True),
    (51125, 1, 4, b"kept", True),
]


def write_dng(
    path: Path, channels: int = 3, *, infrared: bool = False, compression: str | None = None, byte_order: str = "<"
) -> Path:
    """A thumbnail with the file's tags in the main chain; the picture, and the infrared page, as its sub-pages."""
    options: dict[str, Any] = {"metadata": None, "software": False}
    with tifffile.TiffWriter(path, byteorder=byte_order) as tiff:
        tiff.write(
            grainy(16, 12, 3, dtype="u1", seed=4), photometric="rgb", subfiletype=1, subifds=1 + infrared,
            resolution=(3600, 3600), extratags=[*DNG_TAGS, (274, 3, 1, 8, True)], **options,
        )  # fmt: skip
        tiff.write(
            grainy(HEIGHT, WIDTH, channels), photometric="linear_raw", compression=compression, rowsperstrip=16,
            extrasamples=["unspecified"] * (channels - 3) or None, **options,
        )  # fmt: skip
        if infrared:
            tiff.write(grainy(HEIGHT, WIDTH, seed=3), photometric="minisblack", subfiletype=1, **options)
    if infrared:
        with tifffile.TiffFile(path) as tiff:
            position = tiff.pages[0].pages[1].tags[254].valueoffset
        patch(path, position, struct.pack(f"{byte_order}I", 4))
    return path


def tags(path: Path) -> list[dict[int, Any]]:
    with tifffile.TiffFile(path) as tiff:
        return [{tag.code: tag.value for tag in page.tags} for page in (tiff.pages[0], *tiff.pages[0].pages)]


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "lzw", "adobe_deflate"])
def test_the_picture_behind_the_thumbnail_is_repaired_and_its_stale_digests_go(
    tmp_path: Path, compression: str | None, byte_order: str
) -> None:
    source = write_dng(tmp_path / "scan.dng", compression=compression, byte_order=byte_order)
    target = tmp_path / "out.dng"
    edit, mask = speck()

    with TiffScan(source, 10) as scan:
        report = scan.write_restored(target, [edit])
        scan.check_restored(target, mask)
        info = scan.info

    assert (info.container, info.width, info.color_channels, info.dpi) == ("dng", WIDTH, 3, 3600.0)
    assert (info.orientation, info.preservation, report.preservation) == (8, "exact", "exact")
    expected = grainy(HEIGHT, WIDTH, 3)
    expected[mask] = edit.samples[edit.mask]
    before, after = tags(source), tags(target)
    with tifffile.TiffFile(target) as tiff:
        assert np.array_equal(tiff.pages[0].pages[0].asarray(), expected)
        assert np.array_equal(tiff.pages[0].asarray(), grainy(16, 12, 3, dtype="u1", seed=4))
    assert after[0] == {code: value for code, value in before[0].items() if code not in DIGESTS}
    tables = {273, 279}
    assert {code: value for code, value in after[1].items() if code not in tables} == {
        code: value for code, value in before[1].items() if code not in tables
    }


def test_without_a_change_the_digests_stay(tmp_path: Path) -> None:
    source = write_dng(tmp_path / "scan.dng", compression="lzw")

    with TiffScan(source, 10) as scan:
        scan.write_restored(tmp_path / "out.dng", [])
        scan.check_restored(tmp_path / "out.dng", np.zeros((HEIGHT, WIDTH), np.bool_))

    assert (tmp_path / "out.dng").read_bytes() == source.read_bytes()


def test_the_fourth_sample_of_linear_raw_data_is_infrared(tmp_path: Path) -> None:
    source = write_dng(tmp_path / "scan.dng", 4)
    edit, mask = speck()

    with TiffScan(source, 10) as scan:
        infrared, found = scan.read_infrared_rows(0, HEIGHT), scan.info.infrared
        scan.write_restored(tmp_path / "out.dng", [edit])
        scan.check_restored(tmp_path / "out.dng", mask)

    assert found is not None
    assert (found.source, found.index, found.is_sure) == ("sample", 3, True)
    assert np.array_equal(infrared, grainy(HEIGHT, WIDTH, 4)[:, :, 3])


def test_a_marked_infrared_sub_page_is_found_and_carried(tmp_path: Path) -> None:
    source = write_dng(tmp_path / "scan.dng", infrared=True)
    edit, mask = speck()

    with TiffScan(source, 10) as scan:
        infrared, found = scan.read_infrared_rows(0, HEIGHT), scan.info.infrared
        scan.write_restored(tmp_path / "out.dng", [edit])
        scan.check_restored(tmp_path / "out.dng", mask)
    with TiffScan(tmp_path / "out.dng", 10) as result:
        after = result.read_infrared_rows(0, HEIGHT)

    assert found is not None
    assert (found.source, found.is_sure) == ("page", True)
    assert np.array_equal(infrared, grainy(HEIGHT, WIDTH, seed=3))
    assert np.array_equal(after, infrared)


def test_a_tag_changed_in_the_edited_directory_is_found(tmp_path: Path) -> None:
    source, target = write_dng(tmp_path / "scan.dng"), tmp_path / "out.dng"
    edit, mask = speck()

    with TiffScan(source, 10) as scan:
        scan.write_restored(target, [edit])
        with tifffile.TiffFile(target) as tiff:
            position = tiff.pages[0].tags[51110].valueoffset
        patch(target, position, struct.pack("<I", 8))
        with pytest.raises(PreservationError, match="tags of the directory"):
            scan.check_restored(target, mask)


def test_camera_raw_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "camera.dng"
    tifffile.imwrite(path, grainy(HEIGHT, WIDTH), photometric="cfa", extratags=DNG_TAGS[:1], metadata=None)

    with pytest.raises(UnsupportedScanError, match="raw sensor data"):
        TiffScan(path, 10)


def test_sub_pages_both_listed_and_chained_are_counted_once(tmp_path: Path) -> None:
    source = write_dng(tmp_path / "scan.dng", infrared=True)
    with tifffile.TiffFile(source) as tiff:
        listed = tiff.pages[0].tags[330].value
        first = tiff.pages[0].pages[0]
        chained = struct.unpack_from("<I", source.read_bytes(), first.offset + 2 + 12 * len(first.tags))[0]
    assert chained == listed[1]

    with TiffScan(source, 10) as scan:
        assert scan.info.infrared is not None


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not here")
def test_exiftool_finds_no_difference_but_offsets_sizes_and_the_digests(tmp_path: Path) -> None:
    source, target = write_dng(tmp_path / "scan.dng", compression="lzw", infrared=True), tmp_path / "out.dng"
    edit, _ = speck()

    with TiffScan(source, 10) as scan:
        scan.write_restored(target, [edit])

    listings = []
    for path in (source, target):
        command = ["exiftool", "-a", "-G1", "-u", "-s", "--System:all", path]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        listings.append({line for line in lines if "Digest" not in line})
    names = {line.split(":")[0].split()[-1] for line in listings[0] ^ listings[1]}

    assert names <= {"StripOffsets", "StripByteCounts"}
    assert len(listings[1]) > 25
