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


def paths_in(folder: Path) -> OutputPaths:
    return OutputPaths(folder / "image.part", folder / "mask.part", folder / "preview.part")


def restore(folder: Path, tools: Tools, options: RestoreOptions = OPTIONS) -> Receipt:
    return restore_photo(folder / "scan.tif", paths_in(folder), tools, options)


def write_mask_file(folder: Path, mask: np.ndarray) -> Path:
    Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "given.png")
    return folder / "given.png"


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
    def careless(self: object, target: Path, *_rest: object) -> WriteReport:
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


@pytest.mark.parametrize(
    ("kind", "preservation", "words"),
    [("tiff", "transcoded", "Deflate"), ("jpeg", "reencoded", "encoded anew"), ("dng", "exact", "checksum")],
)
def test_what_could_not_be_carried_as_it_was_is_a_note_in_plain_words(
    tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch, kind: str, preservation: str, words: str
) -> None:
    source, samples = tmp_path / "scan.tif", draw_samples(8)
    if kind == "tiff":
        tifffile.imwrite(source, samples, photometric="rgb", compression="jpeg", resolution=(4000, 4000))
    elif kind == "jpeg":
        Image.fromarray(samples).save(source, "JPEG", quality=95, dpi=(4000, 4000))
        monkeypatch.setattr("spotless_core.image_io.jpeg.is_available", lambda: False)
    else:
        tags = [(50706, 1, 4, b"\1\4\0\0", True), (51111, 1, 16, bytes(range(16)), True)]
        tifffile.imwrite(source, samples, photometric="linear_raw", extratags=tags, resolution=(4000, 4000))
    options = replace(OPTIONS, allow_transcode=True, allow_reencode=True)

    receipt = restore(tmp_path, tools, options)
    receipt_of_nothing = restore_photo(
        source, paths_in(tmp_path), tools, options, given_mask=write_mask_file(tmp_path, np.zeros((300, 400), bool))
    )

    assert receipt.preservation == preservation
    assert [note for note in receipt.notes if words in note]
    assert receipt.outside_mask_identical == (preservation != "reencoded")
    assert not [note for note in receipt_of_nothing.notes if words in note]
    assert (tmp_path / "image.part").read_bytes() == source.read_bytes()
