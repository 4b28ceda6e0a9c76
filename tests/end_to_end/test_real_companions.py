"""A scan with its infrared sidecar and metadata through the real daemon and the network that ships."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import tifffile
from drawing import write_scan

from spotlessd.station import init_station

WIDTH, HEIGHT = 260, 200
OLD = 1_600_000_000


def run_once(config: Path) -> str:
    command = [sys.executable, "-m", "spotlessd", "run", "--once", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stderr


def write_infrared(path: Path, height: int, width: int) -> bytes:
    plane = np.random.default_rng(1).normal(40000, 500, (height, width)).astype(np.uint16)
    tifffile.imwrite(path, plane, photometric="minisblack", metadata=None, compression="lzw")
    os.utime(path, (OLD, OLD))
    return path.read_bytes()


def test_sidecars_are_copied_untouched_never_restored_and_the_receipt_says_which_fits(tmp_path: Path) -> None:
    config = init_station(tmp_path / "station")
    scans, restored = config.parent / "scans", config.parent / "restored"
    for name in ("Ä frame 1.TIF", "frame2.tif"):
        write_scan(scans / name, HEIGHT, WIDTH, specks=5)
        os.utime(scans / name, (OLD, OLD))
    infrared = write_infrared(scans / "Ä frame 1_ir.tif", HEIGHT, WIDTH)
    small = write_infrared(scans / "frame2-IR.TIFF", HEIGHT // 2, WIDTH // 2)
    (scans / "frame2.tif.xmp").write_text("<x:xmpmeta/>")

    log = run_once(config)

    assert (restored / "Ä frame 1_ir.tif").read_bytes() == infrared
    assert (restored / "frame2-IR.TIFF").read_bytes() == small
    assert (restored / "frame2.tif.xmp").read_text() == "<x:xmpmeta/>"
    fitting = json.loads((restored / "receipts/Ä frame 1.json").read_text())
    other = json.loads((restored / "receipts/frame2.json").read_text())
    assert [fact["fits_scan"] for fact in fitting["input"]["companions"]] == [True]
    assert [fact.get("fits_scan") for fact in other["input"]["companions"]] == [False, None]
    assert any("does not fit its scan" in note for note in other["notes"])
    assert sorted(path.name for path in (restored / "receipts").iterdir()) == ["frame2.json", "Ä frame 1.json"]
    assert log.count("running, attempt 1") == 2
