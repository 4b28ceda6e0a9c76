"""JPEG inside a TIFF: refused, or kept as decoded in a lossless codec where the settings allow it."""

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from drawing_tiff import HEIGHT, WIDTH, grainy, patch, speck

from spotless_core.errors import PreservationError, ScanError, UnsupportedScanError
from spotless_core.image_io.opening import open_scan
from spotless_core.image_io.tiff import TiffScan
from spotless_core.photo import Edit

KINDS: dict[str, dict[str, Any]] = {
    "4:2:0": {"photometric": "ycbcr", "subsampling": (2, 2)},
    "4:4:4": {"photometric": "ycbcr", "subsampling": (1, 1)},
    "rgb": {"photometric": "rgb", "compressionargs": {"outcolorspace": "rgb"}},
    "grey": {"photometric": "minisblack"},
    "cmyk": {"photometric": "separated"},
}
CHANNELS = {"grey": 1, "cmyk": 4}
SHAPES: dict[str, dict[str, Any]] = {"strips": {"rowsperstrip": 24}, "tiles": {"tile": (32, 32)}}


def write_jpeg(path: Path, kind: str = "4:2:0", shape: str = "strips", **options: Any) -> Path:
    samples = grainy(HEIGHT, WIDTH, CHANNELS.get(kind, 3), dtype="u1")
    tifffile.imwrite(
        path, samples[:, :, 0] if kind == "grey" else samples, compression="jpeg", metadata=None, software=False,
        **KINDS[kind], **SHAPES[shape], **options,
    )  # fmt: skip
    return path


def read(path: Path) -> np.ndarray[Any, Any]:
    samples = tifffile.imread(path, key=0)
    return samples.reshape(HEIGHT, WIDTH, -1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_decoded_sample_outside_the_mask_is_kept(tmp_path: Path, kind: str, shape: str) -> None:
    source, target = write_jpeg(tmp_path / "scan.tif", kind, shape), tmp_path / "out.tif"
    decoded = read(source)
    edit, mask = speck(decoded.shape[2], "u1")

    with TiffScan(source, 10, allow_transcode=True) as scan:
        rows = scan.read_rows(0, HEIGHT)
        report = scan.write_restored(target, [edit])
        scan.check_restored(target, mask)
        info = scan.info

    assert np.array_equal(rows, decoded)
    expected = decoded.copy()
    expected[mask] = edit.samples[edit.mask]
    assert np.array_equal(read(target), expected)
    assert (info.preservation, report.preservation, info.compression) == ("transcoded", "transcoded", "jpeg")
    with TiffScan(target, 10) as result:
        assert (result.info.preservation, result.info.compression) == ("exact", "deflate")
        assert np.array_equal(result.read_rows(0, HEIGHT), expected)


def test_all_other_tags_stay(tmp_path: Path) -> None:
    source = write_jpeg(
        tmp_path / "scan.tif", iccprofile=bytes(200), resolution=(300, 300), extratags=[(65001, 4, 1, 9, True)]
    )
    edit, _ = speck(3, "u1")

    with TiffScan(source, 10, allow_transcode=True) as scan:
        scan.write_restored(tmp_path / "out.tif", [edit])

    with tifffile.TiffFile(source) as before, tifffile.TiffFile(tmp_path / "out.tif") as after:
        tags = [{tag.code: tag.value for tag in tiff.pages[0].tags} for tiff in (before, after)]
    assert set(tags[0]) - set(tags[1]) == {530, 532}
    assert {code for code in tags[1] if tags[0][code] != tags[1][code]} == {259, 262, 273, 279}
    assert (tags[1][259], tags[1][262]) == (8, 2)


@pytest.mark.parametrize("edits", [[], [Edit(0, 0, np.zeros((3, 3, 3), "u1"), np.zeros((3, 3), np.bool_))]])
def test_without_a_change_the_copy_is_byte_identical_and_still_jpeg(tmp_path: Path, edits: list[Edit]) -> None:
    source = write_jpeg(tmp_path / "scan.tif")

    with TiffScan(source, 10, allow_transcode=True) as scan:
        report = scan.write_restored(tmp_path / "out.tif", edits)
        scan.check_restored(tmp_path / "out.tif", np.zeros((HEIGHT, WIDTH), np.bool_))

    assert (tmp_path / "out.tif").read_bytes() == source.read_bytes()
    assert report.preservation == "exact"


def test_it_is_refused_unless_allowed(tmp_path: Path) -> None:
    source = write_jpeg(tmp_path / "scan.tif")

    with pytest.raises(UnsupportedScanError, match=r"output\.allow_transcode"):
        open_scan(source)
    with open_scan(source, allow_transcode=True) as scan:
        assert scan.info.preservation == "transcoded"


def test_a_changed_sample_or_tag_of_the_transcoded_copy_is_found(tmp_path: Path) -> None:
    source, target = write_jpeg(tmp_path / "scan.tif", extratags=[(65001, 4, 1, 9, True)]), tmp_path / "out.tif"
    edit, mask = speck(3, "u1")

    with TiffScan(source, 10, allow_transcode=True) as scan:
        scan.write_restored(target, [edit])
        smaller = mask.copy()
        row, column = (int(places[0]) for places in np.nonzero(mask))
        smaller[row, column] = False
        with pytest.raises(PreservationError, match=f"row {row}, column {column}"):
            scan.check_restored(target, smaller)
        with tifffile.TiffFile(target) as tiff:
            position = tiff.pages[0].tags[65001].valueoffset
        patch(target, position, struct.pack("<I", 8))
        with pytest.raises(PreservationError, match="tags of the directory"):
            scan.check_restored(target, mask)


def change_frame(path: Path, marker: int, values: bytes, at: int) -> None:
    """Overwrite bytes of the first strip's JPEG frame header; 0 = its marker."""
    with tifffile.TiffFile(path) as tiff:
        first = tiff.pages[0].dataoffsets[0]
    place = path.read_bytes().index(bytes([0xFF, marker]), first)
    patch(path, place + at, values)


def test_a_jpeg_that_claims_another_size_than_the_tiff_never_reaches_a_decoder(tmp_path: Path) -> None:
    source = write_jpeg(tmp_path / "scan.tif")
    change_frame(source, 0xC0, struct.pack(">HH", 65500, 65500), 5)

    with TiffScan(source, 10, allow_transcode=True) as scan, pytest.raises(ScanError, match="65500×65500"):
        scan.read_rows(0, 1)


def test_a_progressive_jpeg_inside_is_refused(tmp_path: Path) -> None:
    source = write_jpeg(tmp_path / "scan.tif")
    change_frame(source, 0xC0, b"\xff\xc2", 0)

    with TiffScan(source, 10, allow_transcode=True) as scan, pytest.raises(UnsupportedScanError, match="progressive"):
        scan.read_rows(0, 1)


@pytest.mark.skipif(shutil.which("tiffcp") is None, reason="libtiff's tools are not here")
def test_jpeg_with_shared_tables_as_libtiff_writes_it(tmp_path: Path) -> None:
    plain, source, target = tmp_path / "plain.tif", tmp_path / "scan.tif", tmp_path / "out.tif"
    tifffile.imwrite(plain, grainy(HEIGHT, WIDTH, 3, dtype="u1"), photometric="rgb", metadata=None)
    done = subprocess.run(
        ["tiffcp", "-c", "jpeg:90", "-r", "16", plain, source], capture_output=True, text=True, check=False
    )
    if "not configured" in done.stderr:
        pytest.skip("this libtiff has no JPEG")
    with tifffile.TiffFile(source) as tiff:
        assert 347 in tiff.pages[0].tags
    decoded = read(source)
    edit, mask = speck(3, "u1")

    with TiffScan(source, 10, allow_transcode=True) as scan:
        scan.write_restored(target, [edit])
        scan.check_restored(target, mask)

    decoded[mask] = edit.samples[edit.mask]
    assert np.array_equal(read(target), decoded)
    with tifffile.TiffFile(target) as tiff:
        assert 347 not in tiff.pages[0].tags
