"""Mask files: what they tell of the scan, and that whatever a painting program makes of them is read."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from spotless_core.errors import MissingInputError, OutputError, ScanError
from spotless_core.image_io import mask_file
from spotless_core.image_io.mask_file import read_mask, write_mask
from spotless_core.options import MaskFormat
from spotless_core.photo import ScanInfo

INFO = ScanInfo("tiff", 60, 40, 3, 3, 16, "none", "exact", dpi=4000.0, orientation=6)


def random_mask(seed: int = 0, shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) > 0.9


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    mask_format=st.sampled_from(MaskFormat),
    band_bytes=st.sampled_from([1, 100, 10_000]),
)
def test_a_mask_comes_back_as_it_was_written(
    tmp_path: Path, seed: int, shape: tuple[int, int], mask_format: MaskFormat, band_bytes: int
) -> None:
    mask = random_mask(seed, shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mask_file, "BAND_BYTES", band_bytes)

        write_mask(tmp_path / "m.part", mask, replace(INFO, width=shape[1], height=shape[0]), mask_format)

        assert np.array_equal(read_mask(tmp_path / "m.part", shape), mask)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_png_mask_has_the_scans_resolution_and_orientation(tmp_path: Path, orientation: int) -> None:
    mask = random_mask()

    write_mask(tmp_path / "m.png", mask, replace(INFO, orientation=orientation))

    with Image.open(tmp_path / "m.png") as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (60, 40))
        assert picture.info["dpi"][0] == pytest.approx(4000, rel=1e-3)
        assert picture.getexif().get(274, 1) == orientation
        assert np.array_equal(np.asarray(picture), mask * np.uint8(255))


def test_a_tiff_mask_has_the_scans_resolution_and_orientation_and_is_deflated(tmp_path: Path) -> None:
    mask = random_mask()

    write_mask(tmp_path / "m.tif", mask, INFO, MaskFormat.TIFF)

    with tifffile.TiffFile(tmp_path / "m.tif") as tiff:
        tags = tiff.pages[0].tags
        assert (tags["Compression"].value, tags["Orientation"].value, tags["ResolutionUnit"].value) == (8, 6, 2)
        assert tags["XResolution"].value == (4000, 1)
        assert np.array_equal(tiff.asarray(), mask * np.uint8(255))


@pytest.mark.parametrize("mask_format", MaskFormat)
def test_without_a_resolution_none_is_made_up(tmp_path: Path, mask_format: MaskFormat) -> None:
    write_mask(tmp_path / "m", random_mask(), replace(INFO, dpi=None), mask_format)

    with Image.open(tmp_path / "m") as picture:
        assert picture.info.get("dpi", (1, 1))[0] == 1


PAINTED = np.array([[0, 127, 128, 255]], np.uint8)


def painted_files(folder: Path) -> dict[str, Path]:
    """The same four pixels as painting programs save them."""
    grey = Image.fromarray(PAINTED)
    files = {name: folder / name for name in ("rgb.png", "rgba.png", "palette.png", "bits.png", "rgb.tif", "16.tif")}
    grey.convert("RGB").save(files["rgb.png"])
    grey.convert("RGBA").save(files["rgba.png"])
    grey.convert("P").save(files["palette.png"])
    Image.fromarray(PAINTED >= 128).save(files["bits.png"])
    grey.convert("RGB").save(files["rgb.tif"], compression="tiff_lzw")
    tifffile.imwrite(files["16.tif"], PAINTED.astype(np.uint16) * 257, photometric="minisblack")
    files["white is zero.tif"] = folder / "white is zero.tif"
    tifffile.imwrite(files["white is zero.tif"], 255 - PAINTED, photometric="miniswhite")
    return files


@pytest.mark.parametrize(
    "name", ["rgb.png", "rgba.png", "palette.png", "bits.png", "rgb.tif", "16.tif", "white is zero.tif"]
)
def test_what_a_painting_program_saves_counts_from_half_white(tmp_path: Path, name: str) -> None:
    path = painted_files(tmp_path)[name]

    assert read_mask(path, (1, 4)).tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("name", ["rgb.png", "palette.png", "rgb.tif"])
def test_a_mask_of_another_size_is_refused_with_both_sizes(tmp_path: Path, name: str) -> None:
    path = painted_files(tmp_path)[name]

    with pytest.raises(ScanError, match=rf"^mask {name}: 4×1 px; the scan has 5×1\."):
        read_mask(path, (1, 5))


def test_a_damaged_mask_is_refused_with_its_name(tmp_path: Path) -> None:
    write_mask(tmp_path / "m.png", random_mask(), INFO)
    content = (tmp_path / "m.png").read_bytes()

    for wrong in (content[:-20], content[:100] + b"\0" + content[101:], b"", b"no mask", b"II*\0"):
        (tmp_path / "m.png").write_bytes(wrong)
        with pytest.raises(ScanError, match=r"mask m\.png"):
            read_mask(tmp_path / "m.png", (40, 60))
    with pytest.raises(MissingInputError):
        read_mask(tmp_path / "none.png", (40, 60))


def test_a_full_disk_is_an_output_error_and_leaves_no_half_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(OutputError, match=r"m\.png.*No space"):
        write_mask(tmp_path / "m.png", random_mask(), INFO)

    assert not (tmp_path / "m.png").exists()
