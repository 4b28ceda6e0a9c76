"""An edited mask through the real daemon: what is kept, taken back and added, byte by byte in the published files."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from drawing import write_scan
from numpy.typing import NDArray
from PIL import Image

from spotlessd.station import init_station

SETTINGS = {
    "SPOTLESSD_WATCH__SETTLE_SECONDS": "1",
    "SPOTLESSD_WATCH__INCOMPLETE_SECONDS": "3",
    "SPOTLESSD_INPAINT__METHOD": "telea",
}
ADDED = (slice(150, 158), slice(20, 40))


def spotlessd(config: Path, *words: str) -> None:
    command = [sys.executable, "-m", "spotlessd", words[0], "--config", str(config), *words[1:]]
    done = subprocess.run(command, env=os.environ | SETTINGS, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def mask_of(restored: Path, name: str) -> NDArray[np.uint8]:
    with Image.open(restored / "masks" / f"{name}.png") as picture:
        return np.asarray(picture).copy()


def receipt_of(restored: Path, name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((restored / "receipts" / f"{name}.json").read_text())
    return values


def test_an_edited_mask_takes_back_keeps_and_adds_byte_for_byte(tmp_path: Path) -> None:
    config = init_station(tmp_path / "station")
    scans, restored = config.parent / "scans", config.parent / "restored"
    write_scan(scans / "frame.tif", 200, 260, specks=6)
    spotlessd(config, "run", "--once")
    first = mask_of(restored, "frame")
    count, pieces = cv2.connectedComponents(first, connectivity=8)
    assert count > 3, "several defects were found"
    wanted = np.where(pieces == 1, 0, first).astype(np.uint8)
    wanted[ADDED] = 255
    Image.fromarray(wanted).save(tmp_path / "wanted.png")
    again = wanted.copy()
    again[ADDED] = 0

    spotlessd(config, "reprocess", str(scans / "frame.tif"), "--mask", str(tmp_path / "wanted.png"))
    spotlessd(config, "run", "--once")
    Image.fromarray(again).save(tmp_path / "again.png")
    spotlessd(config, "reprocess", str(scans / "frame.tif"), "--mask", str(tmp_path / "again.png"))
    spotlessd(config, "run", "--once")

    names = ("frame", "frame~2", "frame~3")
    scan = tifffile.imread(scans / "frame.tif")
    one, two, three = (tifffile.imread(restored / f"{name}.tif") for name in names)
    taken_back, kept, added = pieces == 1, (first > 0) & (wanted > 0), (wanted > 0) & (first == 0)
    assert (one[taken_back] != scan[taken_back]).any()
    assert (two[taken_back] == scan[taken_back]).all()
    assert (two[kept] == one[kept]).all()
    assert (two[added] != scan[added]).any(axis=1).mean() > 0.5
    assert (two[wanted == 0] == scan[wanted == 0]).all()
    assert (three[again > 0] == two[again > 0]).all()
    assert (three[again == 0] == scan[again == 0]).all()
    assert (mask_of(restored, "frame~2") == wanted).all()
    receipts = [receipt_of(restored, name) for name in names]
    assert [each["based_on"] and each["based_on"]["name"] for each in receipts] == [None, "frame.tif", "frame~2.tif"]
    assert [len(each["decisions"]) for each in receipts] == [1, 2, 3]
    decision = receipts[1]["decisions"][-1]
    assert (decision["choice"], decision["by"], decision["via"]) == ("edited", "person", "command line")
    assert (decision["taken_back_px"], decision["added_px"]) == (taken_back.sum(), added.sum())
