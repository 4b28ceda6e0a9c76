"""What the receipt says of the scan's infrared plane and of how the result is kept, and the options that decide it."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from drawing import add_specks, draw_picture, write_scan
from PIL import Image

from spotless_core import pipeline
from spotless_core.errors import PreservationError, UnsupportedScanError
from spotless_core.image_io.scan_file import WriteReport
from spotless_core.options import (
    DeviceChoice,
    DeviceOptions,
    InpaintMethod,
    InpaintOptions,
    MaskFormat,
    MaskOptions,
    RestoreOptions,
)
from spotless_core.pipeline import OutputPaths, Tools, load_tools, restore_photo
from spotless_core.receipt import InfraredFacts, Receipt

TELEA = InpaintOptions(method=InpaintMethod.TELEA)
OPTIONS = RestoreOptions(inpaint=TELEA, mask=MaskOptions(max_coverage=0.2))


@pytest.fixture(scope="module")
def tools(bright_spot_models: Path) -> Tools:
    return load_tools(DeviceOptions(DeviceChoice.CPU), TELEA, bright_spot_models)


def restore(folder: Path, tools: Tools, options: RestoreOptions = OPTIONS) -> Receipt:
    paths = OutputPaths(folder / "image.part", folder / "mask.part", folder / "preview.part")
    return restore_photo(folder / "scan.tif", paths, tools, options)


def draw_samples(bits: int = 16) -> np.ndarray:
    grey = draw_picture(300, 400)
    add_specks(grey, 8)
    full = (1 << bits) - 1
    return np.rint(np.repeat(np.clip(grey, 0, 1)[..., None], 3, axis=2) * full).astype(f"u{bits // 8}")


def write_scan_with_infrared(path: Path, byteorder: str = "<") -> np.ndarray:
    """Write a scan whose fourth sample is infrared; returns the plane."""
    infrared = np.random.default_rng(3).integers(0, 65536, (300, 400), dtype=np.uint16)
    tifffile.imwrite(
        path,
        np.dstack([draw_samples(), infrared]),
        photometric="rgb",
        extrasamples=["unspecified"],
        byteorder=byteorder,
        compression="zlib",
        resolution=(4000, 4000),
        resolutionunit="INCH",
        metadata=None,
    )
    return infrared


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_the_receipt_names_the_infrared_plane_and_its_checksum(tmp_path: Path, tools: Tools, byteorder: str) -> None:
    infrared = write_scan_with_infrared(tmp_path / "scan.tif", byteorder)

    receipt = restore(tmp_path, tools)

    expected = hashlib.sha256(infrared.astype("<u2").tobytes()).hexdigest()
    assert receipt.input.infrared == InfraredFacts("sample", 3, is_sure=True, sha256=expected)
    assert receipt.to_dict()["input"]["infrared"]["sha256"] == expected
    assert (tifffile.imread(tmp_path / "image.part")[..., 3] == infrared).all()


def test_a_scan_without_infrared_has_none_in_its_receipt(tmp_path: Path, tools: Tools) -> None:
    write_scan(tmp_path / "scan.tif")

    assert restore(tmp_path, tools).input.infrared is None


def test_a_result_with_another_infrared_plane_is_never_left_behind(
    tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(self: object, target: Path, _edits: object) -> WriteReport:
        write_scan_with_infrared(target)
        samples = tifffile.imread(target)
        samples[7, 7, 3] ^= 1
        tifffile.imwrite(target, samples, photometric="rgb", extrasamples=["unspecified"])
        return WriteReport("exact", 1, 0)

    write_scan_with_infrared(tmp_path / "scan.tif")
    monkeypatch.setattr("spotless_core.image_io.tiff.TiffScan.write_restored", careless)
    monkeypatch.setattr(pipeline, "verify_restored", lambda *_: None)  # it compares the planes too

    with pytest.raises(PreservationError, match="infrared"):
        restore(tmp_path, tools)
    assert not (tmp_path / "image.part").exists()


def test_a_tiff_with_jpeg_inside_is_transcoded_only_where_the_options_say_so(tmp_path: Path, tools: Tools) -> None:
    samples = draw_samples(8)
    tifffile.imwrite(
        tmp_path / "scan.tif",
        samples,
        photometric="rgb",
        compression="jpeg",
        resolution=(4000, 4000),
        resolutionunit="INCH",
    )

    with pytest.raises(UnsupportedScanError):
        restore(tmp_path, tools)
    receipt = restore(tmp_path, tools, replace(OPTIONS, allow_transcode=True))

    assert receipt.preservation == "transcoded"
    assert receipt.outside_mask_identical
    with Image.open(tmp_path / "mask.part") as picture:
        mask = np.asarray(picture) == 255
    before, after = tifffile.imread(tmp_path / "scan.tif"), tifffile.imread(tmp_path / "image.part")
    assert mask.any()
    assert (before[~mask] == after[~mask]).all()


def test_the_mask_is_a_tiff_where_the_options_say_so(tmp_path: Path, tools: Tools) -> None:
    write_scan(tmp_path / "scan.tif")

    restore(tmp_path, tools, replace(OPTIONS, mask_format=MaskFormat.TIFF))

    mask = tifffile.imread(tmp_path / "mask.part")
    assert mask.shape == (300, 400)
    assert set(np.unique(mask)) == {0, 255}


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_float_scan_is_repaired_in_float(tmp_path: Path, tools: Tools, dtype: type[np.floating]) -> None:
    samples = (draw_samples() / 65535 * 4).astype(dtype)
    tifffile.imwrite(tmp_path / "scan.tif", samples, photometric="rgb", resolution=(4000, 4000), resolutionunit="INCH")

    receipt = restore(tmp_path, tools)

    with Image.open(tmp_path / "mask.part") as picture:
        mask = np.asarray(picture) == 255
    after = tifffile.imread(tmp_path / "image.part")
    assert receipt.defects
    assert after.dtype == dtype
    assert (after[~mask] == samples[~mask]).all()
    assert after[samples > 3.7].astype(float).mean() < 3


def test_a_cmyk_scan_is_repaired_ink_by_ink(tmp_path: Path, tools: Tools) -> None:
    light = draw_samples(8)
    inks = np.dstack([255 - light, np.zeros(light.shape[:2], np.uint8)])
    tifffile.imwrite(
        tmp_path / "scan.tif", inks, photometric="separated", resolution=(4000, 4000), resolutionunit="INCH"
    )

    receipt = restore(tmp_path, tools)

    with Image.open(tmp_path / "mask.part") as picture:
        mask = np.asarray(picture) == 255
    after = tifffile.imread(tmp_path / "image.part")
    specks = light[..., 0] > 240
    assert receipt.defects
    assert (after[~mask] == inks[~mask]).all()
    assert (255 - after[specks][:, :3]).mean() < 0.7 * 255
