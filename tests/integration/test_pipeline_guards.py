"""The guards between a careless part of the program and the result: what it spoils is put right or never published."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from drawing import write_scan
from PIL import Image

from spotless_core.errors import PreservationError
from spotless_core.image_io.scan_file import WriteReport
from spotless_core.inpainting.inpainter import Crop, Fill
from spotless_core.options import DeviceChoice, DeviceOptions, InpaintMethod, InpaintOptions, RestoreOptions
from spotless_core.pipeline import OutputPaths, Tools, load_tools, restore_photo

TELEA = InpaintOptions(method=InpaintMethod.TELEA)
OPTIONS = RestoreOptions(inpaint=TELEA)


class CarelessInpainter:
    """Paints over its whole crop, not the hole alone."""

    name = "careless"

    def fill(self, crops: Sequence[Crop]) -> list[Fill]:
        return [Fill(np.full_like(crop.image, 0.1)) for crop in crops]


@pytest.fixture(scope="module")
def tools(bright_spot_models: Path) -> Tools:
    return load_tools(DeviceOptions(DeviceChoice.CPU), TELEA, bright_spot_models)


def outputs(folder: Path) -> OutputPaths:
    return OutputPaths(folder / "image.part", folder / "mask.part", folder / "preview.part")


@pytest.mark.parametrize("kind", ["tiff", "png"])
def test_an_inpainter_that_paints_beside_the_hole_changes_nothing_there(
    tmp_path: Path, tools: Tools, kind: str
) -> None:
    source = tmp_path / "scan.tif"
    drawn = write_scan(source, specks=4, bits=8)
    before = tifffile.imread(source)
    if kind == "png":
        Image.fromarray(before).save(source, "PNG", dpi=(4000, 4000))

    receipt = restore_photo(source, outputs(tmp_path), replace(tools, inpainter=CarelessInpainter()), OPTIONS)

    result = (tmp_path / "image.part").read_bytes()
    after = imagecodecs.png_decode(result) if kind == "png" else tifffile.imread(tmp_path / "image.part")
    with Image.open(tmp_path / "mask.part") as picture:
        mask = np.asarray(picture) == 255
    assert mask[drawn].all()
    assert (after[~mask] == before[~mask]).all()
    assert after[drawn].mean() < 0.2 * 255
    assert receipt.outside_mask_identical


def test_a_result_that_differs_outside_the_mask_is_never_left_behind(
    tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scan(tmp_path / "scan.tif")

    def careless(self: object, target: Path, *_rest: object) -> WriteReport:
        samples = tifffile.imread(tmp_path / "scan.tif")
        samples[0, 0, 0] ^= 1
        tifffile.imwrite(target, samples, photometric="rgb", resolution=(4000, 4000), resolutionunit="INCH")
        return WriteReport("exact", 1, 0)

    monkeypatch.setattr("spotless_core.image_io.tiff.TiffScan.write_restored", careless)

    with pytest.raises(PreservationError):
        restore_photo(tmp_path / "scan.tif", outputs(tmp_path), tools, OPTIONS)
    assert not (tmp_path / "image.part").exists()
