"""What `make demo` runs after the installation."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(400)
def test_the_demo_cleans_its_scan_with_the_real_daemon(tmp_path: Path) -> None:
    station = tmp_path / "station"

    done = subprocess.run(
        [sys.executable, "-m", "spotlessd", "demo", str(station)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "all identical" in done.stdout
    receipt = json.loads((station / "restored/receipts/frame_001.json").read_text())
    assert receipt["input"]["width"] * receipt["input"]["height"] >= 12_000_000
    assert receipt["input"]["bits"] == 16
    assert receipt["input"]["compression"] == "lzw"
    assert len(receipt["defects"]) >= 50
    for role in ("before", "after", "mask", "preview", "receipt"):
        (line,) = [line for line in done.stdout.splitlines() if line.strip().startswith(role)]
        assert Path(line.split()[-1]).is_file()
