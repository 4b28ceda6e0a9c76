"""One worker restores scans of several folders, each by its own way of filling, from copies as from the originals."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile
from drawing import add_specks, draw_picture

from spotless_core.options import (
    DeviceChoice,
    DeviceOptions,
    InpaintMethod,
    InpaintOptions,
    MaskOptions,
    RestoreOptions,
)
from spotlessd.folders.spool import working_copy
from spotlessd.messages import WorkerSetup, WorkOrder
from spotlessd.worker import load_pipeline

TELEA, NS = InpaintOptions(InpaintMethod.TELEA), InpaintOptions(InpaintMethod.NS)


def make_order(folder: Path, inpaint: InpaintOptions) -> WorkOrder:
    path = folder / "scan.tif"
    if not path.exists():
        grey = draw_picture(300, 400)
        add_specks(grey, 8)
        samples = np.rint(np.repeat(np.clip(grey, 0, 1)[..., None], 3, axis=2) * 65535).astype(np.uint16)
        tifffile.imwrite(path, samples, photometric="rgb", resolution=(4000, 4000), resolutionunit=2)
    options = RestoreOptions(inpaint=inpaint, mask=MaskOptions(max_coverage=0.2))
    outputs = [folder / f"{inpaint.method}-{role}.part" for role in ("image", "mask", "preview")]
    return WorkOrder(1, 1, path, path.name, *outputs, options)


def test_each_scan_is_filled_as_its_folder_says(tmp_path: Path, bright_spot_models: Path) -> None:
    setup = WorkerSetup(DeviceOptions(DeviceChoice.CPU), TELEA, (NS,), bright_spot_models)
    restorer = load_pipeline(setup)

    receipts = [
        restorer.restore(make_order(tmp_path, replace(inpaint, max_hole_um=900)), lambda _step, _fraction: None)
        for inpaint in (TELEA, NS)
    ]

    assert [receipt.options["inpaint_method"] for receipt in receipts] == ["telea", "ns"]
    assert {defect.method for defect in receipts[0].defects} == {"telea"}
    assert {defect.method for defect in receipts[1].defects} == {"ns"}
    assert (tmp_path / "telea-image.part").read_bytes() != (tmp_path / "ns-image.part").read_bytes()


def test_a_copy_gives_the_same_bytes_and_the_same_names_as_the_scan_itself(
    tmp_path: Path, bright_spot_models: Path
) -> None:
    restorer = load_pipeline(WorkerSetup(DeviceOptions(DeviceChoice.CPU), TELEA, (), bright_spot_models))
    order = make_order(tmp_path, TELEA)
    steps: list[str] = []
    direct = restorer.restore(order, lambda _step, _fraction: None)
    image = order.image.read_bytes()

    with working_copy(replace(order, spool=tmp_path / "copy.tif"), lambda step, _: steps.append(step)) as copy:
        spooled = restorer.restore(copy.order, lambda step, _: steps.append(step))
        copy.check(spooled.input.sha256)

    assert order.image.read_bytes() == image
    assert spooled.input == direct.input
    assert spooled.input.name == "scan.tif"
    assert spooled.input.sha256 == hashlib.sha256(order.source.read_bytes()).hexdigest()
    assert steps[0] == "copy"
    assert not (tmp_path / "copy.tif").exists()
