"""A frame in memory and a frame in scratch files, in one band or in many: the same defects and the same bytes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from drawing import draw_picture, write_scan

from spotless_core import pipeline
from spotless_core.arrays import windows
from spotless_core.image_io.scratch import ScratchSpace
from spotless_core.options import (
    DetectOptions,
    DeviceChoice,
    DeviceOptions,
    InpaintMethod,
    InpaintOptions,
    MaskOptions,
    RestoreOptions,
)
from spotless_core.pipeline import OutputPaths, Tools, detect_photo, load_tools, restore_photo
from spotless_core.receipt import Receipt

TELEA = InpaintOptions(method=InpaintMethod.TELEA)
OPTIONS = RestoreOptions(DetectOptions(128, 64), MaskOptions(max_coverage=0.2), TELEA)


@pytest.fixture(scope="module")
def tools(bright_spot_models: Path) -> Tools:
    return load_tools(DeviceOptions(DeviceChoice.CPU), TELEA, bright_spot_models)


def write_grey_scan_with_a_faint_line(path: Path) -> None:
    grey = draw_picture(600, 800, seed=5)
    cv2.circle(grey, (600, 300), 110, 0.97, -1)  # a lamp, larger than any speck, is the frame's white
    grey[300:308, 100:110] = 0.97
    grey[:, 229:232] -= 1.5 * 0.02
    samples = np.rint(np.clip(grey, 0, 1) * 65535).astype(np.uint16)
    tifffile.imwrite(path, samples, photometric="minisblack", resolution=(4000, 4000), resolutionunit="INCH")


def write_one_tile(path: Path) -> None:
    write_scan(path, 90, 70, specks=3)


def write_scan_of_8_bits(path: Path) -> None:
    write_scan(path, 333, 411, specks=30, bits=8)


def restore(folder: Path, tools: Tools, scan: Path) -> tuple[dict[str, bytes], Receipt]:
    folder.mkdir()
    receipt = restore_photo(scan, OutputPaths(folder / "image", folder / "mask", folder / "preview"), tools, OPTIONS)
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    return files, replace(receipt, seconds={}, peak_memory_mb=0.0)


def in_scratch_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "ScratchSpace", lambda folders: ScratchSpace(folders, memory_bytes=0))


def in_bands_of(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "BAND_PX", 1)
    monkeypatch.setattr(windows, "LEAST_BAND_ROWS", rows)


@pytest.mark.parametrize("write", [write_scan, write_scan_of_8_bits, write_one_tile, write_grey_scan_with_a_faint_line])
def test_scratch_files_and_low_bands_change_nothing(
    tmp_path: Path, tools: Tools, write: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "scan.tif")
    plain, receipt = restore(tmp_path / "plain", tools, tmp_path / "scan.tif")

    in_scratch_files(monkeypatch)
    in_files = restore(tmp_path / "files", tools, tmp_path / "scan.tif")
    in_bands_of(6, monkeypatch)
    banded, banded_receipt = restore(tmp_path / "bands", tools, tmp_path / "scan.tif")

    assert receipt.defects
    assert in_files == (plain, receipt)
    assert banded["image"] == plain["image"]
    assert banded["mask"] == plain["mask"]
    assert banded_receipt.defects == receipt.defects


def test_the_probability_is_the_same_from_scratch_files(
    tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_grey_scan_with_a_faint_line(tmp_path / "scan.tif")
    _, found = detect_photo(tmp_path / "scan.tif", tools, OPTIONS, probability_path=tmp_path / "plain.tif")

    in_scratch_files(monkeypatch)
    in_bands_of(6, monkeypatch)
    _, again = detect_photo(tmp_path / "scan.tif", tools, OPTIONS, probability_path=tmp_path / "bands.tif")

    probability = tifffile.imread(tmp_path / "bands.tif")
    assert (probability == tifffile.imread(tmp_path / "plain.tif")).all()
    assert probability[550, 230] >= 0.5  # the line that the network does not see
    assert (again.mask == found.mask).all()
    assert again.defects == found.defects


def test_every_step_reports_band_by_band(tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scan(tmp_path / "scan.tif", 600, 700)
    in_bands_of(50, monkeypatch)
    steps: list[tuple[str, float]] = []

    restore_photo(
        tmp_path / "scan.tif",
        OutputPaths(tmp_path / "image", tmp_path / "mask", tmp_path / "preview"),
        tools,
        OPTIONS,
        on_step=lambda step, fraction: steps.append((step, fraction)),
    )

    for step, least in {"decode": 12, "detect": 60, "encode": 12, "verify": 2}.items():
        fractions = [fraction for name, fraction in steps if name == step]
        assert len(fractions) >= least
        assert fractions == sorted(fractions)
        assert 0 <= fractions[0] <= fractions[-1] <= 1


def test_nothing_is_left_in_the_folder_of_the_results(
    tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scan(tmp_path / "scan.tif")
    in_scratch_files(monkeypatch)

    files, _ = restore(tmp_path / "results", tools, tmp_path / "scan.tif")

    assert set(files) == {"image", "mask", "preview"}
