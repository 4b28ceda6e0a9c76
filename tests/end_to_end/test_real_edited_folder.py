"""A mask painted in another program and laid into masks/edited/: the real daemon, byte by byte, and what it taught."""

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

from spotless_core.training.feedback_crops import load_feedback
from spotlessd.station import init_station

SETTINGS = {
    "SPOTLESSD_WATCH__SETTLE_SECONDS": "1",
    "SPOTLESSD_WATCH__INCOMPLETE_SECONDS": "3",
    "SPOTLESSD_INPAINT__METHOD": "telea",
}
ADDED = (slice(150, 158), slice(20, 40))


def spotlessd(config: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "spotlessd", *words[:1], "--config", str(config), *words[1:]],
        env=os.environ | SETTINGS,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def mask_of(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture).copy()


def test_an_edited_mask_in_the_folder_takes_back_keeps_and_adds_byte_for_byte(tmp_path: Path) -> None:
    config = init_station(tmp_path / "station")
    scans, restored = config.parent / "scans", config.parent / "restored"
    write_scan(scans / "frame.tif", 200, 260, specks=6)
    spotlessd(config, "run", "--once")
    first = mask_of(restored / "masks" / "frame.png")
    _, pieces = cv2.connectedComponents(first, connectivity=8)
    wanted = np.where(pieces == 1, 0, first).astype(np.uint8)
    wanted[ADDED] = 255
    edited = restored / "masks" / "edited"
    assert edited.is_dir(), "made by the daemon"
    # As a painting program may save it: colour, with alpha.
    Image.merge("RGBA", [Image.fromarray(wanted)] * 3 + [Image.new("L", (260, 200), 255)]).save(edited / "frame.png")

    spotlessd(config, "run", "--once")

    scan = tifffile.imread(scans / "frame.tif")
    one, two = (tifffile.imread(restored / f"{name}.tif") for name in ("frame", "frame~2"))
    taken_back, kept, added = pieces == 1, (first > 0) & (wanted > 0), (wanted > 0) & (first == 0)
    assert (one[taken_back] != scan[taken_back]).any()
    assert (two[taken_back] == scan[taken_back]).all()
    assert (two[kept] == one[kept]).all()
    assert (two[added] != scan[added]).any(axis=1).mean() > 0.5
    assert (two[wanted == 0] == scan[wanted == 0]).all()
    assert (mask_of(restored / "masks" / "frame~2.png") == wanted).all()
    assert sorted(path.name for path in edited.rglob("*") if path.is_file()) == ["frame.png"]
    assert (edited / "taken" / "frame.png").exists()
    receipt: dict[str, Any] = json.loads((restored / "receipts" / "frame~2.json").read_text())
    assert receipt["based_on"]["name"] == "frame.tif"
    decision = receipt["decisions"][-1]
    assert (decision["choice"], decision["by"], decision["via"]) == ("edited", "person", "edited mask")
    assert (decision["taken_back_px"], decision["added_px"]) == (taken_back.sum(), added.sum())

    assert "1 crops of repairs taken back, 1 of added ones" in spotlessd(config, "feedback")
    spotlessd(config, "feedback", "export", str(tmp_path / "export"))
    assert [crop.is_positive for crop in load_feedback(tmp_path / "export")] == [False, True]
    spotlessd(config, "contact-sheet", str(tmp_path / "sheet"))
    assert (tmp_path / "sheet" / "thumbs" / "00001.jpg").is_file()
