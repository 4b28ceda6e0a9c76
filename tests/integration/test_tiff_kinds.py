"""The whole flow over TIFF scans that are not 8- or 16-bit RGB: float, CMYK, JPEG inside."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from drawing import add_specks, draw_picture
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Mask
from spotless_core.options import DeviceChoice, DeviceOptions, InpaintMethod, InpaintOptions, RestoreOptions
from spotless_core.pipeline import OutputPaths, Tools, load_tools, restore_photo
from spotless_core.receipt import Receipt

HEIGHT, WIDTH = 300, 400
NS = InpaintOptions(method=InpaintMethod.NS)


@pytest.fixture(scope="module")
def tools(bright_spot_models: Path) -> Tools:
    return load_tools(DeviceOptions(device=DeviceChoice.CPU), NS, bright_spot_models)


@pytest.fixture(scope="module")
def picture() -> tuple[NDArray[np.float32], Mask]:
    grey = draw_picture(HEIGHT, WIDTH)
    specks = add_specks(grey, 8)
    return np.clip(grey, 0, 1), specks


def in_inks(picture: NDArray[np.float32], full: int) -> NDArray[np.generic]:
    """The same picture printed with the three coloured inks."""
    inks = 1 - np.stack([picture] * 3 + [np.ones_like(picture)], axis=-1)
    return np.rint(inks * full).astype(np.uint8 if full == 255 else np.uint16)


def restore(
    folder: Path, tools: Tools, samples: NDArray[np.generic], options: dict[str, Any], *, allow_transcode: bool = False
) -> tuple[Receipt, NDArray[np.generic], NDArray[np.generic], Mask]:
    """Write the scan, restore it, and read scan, result and mask with another reader."""
    source, outputs = folder / "scan.tif", OutputPaths(folder / "out.tif", folder / "mask.png", folder / "preview.jpg")
    tifffile.imwrite(source, samples, metadata=None, resolution=(4000, 4000), resolutionunit="INCH", **options)
    receipt = restore_photo(source, outputs, tools, RestoreOptions(inpaint=NS, allow_transcode=allow_transcode))
    mask = cv2.imread(str(outputs.mask), cv2.IMREAD_UNCHANGED) > 127
    return receipt, tifffile.imread(source), tifffile.imread(outputs.image), mask


def require_specks_gone_and_all_else_kept(
    before: NDArray[np.generic], after: NDArray[np.generic], mask: Mask, specks: Mask
) -> None:
    assert after.dtype == before.dtype
    assert after[~mask].tobytes() == before[~mask].tobytes()
    assert (mask & specks).sum() > 0.85 * specks.sum()
    scale = float(before.astype(np.float64).max() - before.astype(np.float64).min())
    moved = np.abs(after[specks].astype(np.float64) - before[specks].astype(np.float64))[:, :3]
    assert float(moved.mean()) > 0.15 * scale


@pytest.mark.parametrize(
    ("dtype", "scale", "options"),
    [
        ("f4", 1, {"compression": "adobe_deflate", "predictor": 3}),
        ("f2", 1, {"compression": "lzw"}),
        ("f4", 250, {}),
    ],
    ids=["float", "half float", "float up to 250"],
)
def test_a_float_scan_is_repaired_as_float(
    tmp_path: Path,
    tools: Tools,
    picture: tuple[NDArray[np.float32], Mask],
    dtype: str,
    scale: int,
    options: dict[str, Any],
) -> None:
    samples = np.repeat(picture[0][..., None] * scale, 3, axis=2).astype(dtype)

    receipt, before, after, mask = restore(tmp_path, tools, samples, {"photometric": "rgb", **options})

    require_specks_gone_and_all_else_kept(before, after, mask, picture[1])
    assert "float" in receipt.input.encoding
    assert (receipt.outcome, receipt.preservation, receipt.outside_mask_identical) == ("done", "exact", True)


@pytest.mark.parametrize("full", [255, 65535])
def test_a_cmyk_scan_is_repaired_in_its_inks(
    tmp_path: Path, tools: Tools, picture: tuple[NDArray[np.float32], Mask], full: int
) -> None:
    options = {"photometric": "separated", "compression": "zstd"}

    receipt, before, after, mask = restore(tmp_path, tools, in_inks(picture[0], full), options)

    require_specks_gone_and_all_else_kept(before, after, mask, picture[1])
    assert (receipt.outcome, receipt.input.channels) == ("done", 4)


def test_jpeg_inside_a_tiff_is_kept_as_decoded_where_that_is_allowed(
    tmp_path: Path, tools: Tools, picture: tuple[NDArray[np.float32], Mask]
) -> None:
    samples = np.rint(np.repeat(picture[0][..., None], 3, axis=2) * 255).astype(np.uint8)
    options = {"photometric": "ycbcr", "compression": "jpeg", "rowsperstrip": 32}

    receipt, before, after, mask = restore(tmp_path, tools, samples, options, allow_transcode=True)

    require_specks_gone_and_all_else_kept(before, after, mask, picture[1])
    assert (receipt.preservation, receipt.outside_mask_identical) == ("transcoded", True)
    assert receipt.input.compression == "jpeg"
