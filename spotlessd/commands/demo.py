"""`spotlessd demo`: the main job on a scan made here, with the real daemon as its own process.

Makes a station, starts the daemon, writes a dusty film scan slowly into `scans/` as a scanner does, waits for the
receipt and
tells what was found, how long it took and where to look. The claim that nothing outside the mask changed is checked
here once more, by decoding both files.
"""

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spotless_core.image_io.mask_file import read_mask
from spotless_core.image_io.opening import open_scan
from spotlessd.configuration.settings import load_settings
from spotlessd.errors import DaemonError
from spotlessd.monitoring.status import read_status
from spotlessd.station import init_station

SCAN_NAME = "frame_001.tif"
SEED = 4711
"""Training draws from seeds of its own; this one it never sees."""
WRITE_SECONDS = 4.0
CHUNKS = 40
POLL_SECONDS = 0.25
LIMIT_SECONDS = 540.0
BAND_ROWS = 512


@dataclass(frozen=True, slots=True)
class Comparison:
    """Samples outside and inside the mask, and how many of each differ between scan and result."""

    outside: int
    outside_changed: int
    inside: int
    inside_changed: int


def run_demo(folder: Path) -> int:
    """Run the demo in `folder` (created; must not hold a station yet); returns 0 if the scan came out clean.

    Raises:
        DaemonError: the station cannot be made, or the daemon did not deliver.
    """
    config = init_station(folder)
    settings = load_settings(config)
    root = settings.roots[0]
    print(f"Station in {folder}")
    drawn = _make_scan(folder)
    log_path = folder / "daemon.log"
    with log_path.open("wb") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "spotlessd", "run", "--config", str(config)], stdout=log, stderr=log
        )
    started = time.monotonic()
    try:
        scan = root.input / SCAN_NAME
        _write_slowly(folder / "scanner.tif", scan)
        receipt_path = root.output / "receipts" / f"{Path(SCAN_NAME).stem}.json"
        _wait_for(receipt_path, settings.state_dir, daemon, log_path)
    finally:
        code = _stop(daemon)
    seconds = time.monotonic() - started
    receipt: dict[str, Any] = json.loads(receipt_path.read_text(encoding="utf-8"))
    result = root.output / SCAN_NAME
    mask_path = root.output / "masks" / f"{scan.stem}.png"
    comparison = compare(scan, result, mask_path)
    _report(receipt, comparison, _share_found(folder / "truth.png", mask_path, drawn), seconds)
    for role, path in {
        "before": scan,
        "after": result,
        "mask": mask_path,
        "preview": root.output / "previews" / f"{scan.stem}.jpg",
        "receipt": receipt_path,
        "log": log_path,
    }.items():
        print(f"  {role:8} {path}")
    if code != 0:
        raise DaemonError(f"the daemon ended with code {code}; see {log_path}.")
    return 0 if comparison.outside_changed == 0 and comparison.inside_changed > 0 else 1


def _make_scan(folder: Path) -> list[str]:
    """Let the training package make the scan in a process of its own; returns its report's words."""
    print("Making a 13-megapixel 16-bit film scan from a public-domain photograph …", flush=True)
    command = [sys.executable, "-m", "spotless_core.training", "film-scan", "astronaut", str(folder / "scanner.tif")]
    command += ["--truth", str(folder / "truth.png"), "--size", "4096x3200", "--seed", str(SEED)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DaemonError(f"the demo's scan could not be made: {done.stderr.strip()}")
    print(f"  {done.stdout.strip()}")
    return done.stdout.split()


def _write_slowly(source: Path, target: Path) -> None:
    """Write `source` under its final name piece by piece, as scanner programs do."""
    print(f"The scanner writes {target} …", flush=True)
    data = source.read_bytes()
    size = -(-len(data) // CHUNKS)
    with target.open("wb") as file:
        for start in range(0, len(data), size):
            file.write(data[start : start + size])
            file.flush()
            time.sleep(WRITE_SECONDS / CHUNKS)


def _wait_for(receipt: Path, state_dir: Path, daemon: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    shown = ""
    while not receipt.exists():
        if daemon.poll() is not None:
            raise DaemonError(f"the daemon ended with code {daemon.returncode}; see {log}.")
        if time.monotonic() > deadline:
            raise DaemonError(f"no result after {LIMIT_SECONDS:.0f} s; see {log}.")
        line = _progress(state_dir)
        if line and line != shown:
            print(f"  {line}", flush=True)
            shown = line
        time.sleep(POLL_SECONDS)


def _progress(state_dir: Path) -> str:
    """One line on what the daemon is doing: why the file waits, or the step under way in tenths."""
    status = read_status(state_dir, time.time())
    job = status.snapshot.job if status.snapshot else None
    if job is not None:
        return f"{job.step} {int(job.fraction * 10) * 10} %"
    if status.waiting:
        return f"waiting: {status.waiting[0].reason}"
    return ""


def _stop(daemon: "subprocess.Popen[bytes]") -> int:
    if daemon.poll() is None:
        daemon.send_signal(signal.SIGTERM)
    try:
        return daemon.wait(timeout=60)
    except subprocess.TimeoutExpired:
        daemon.kill()
        return daemon.wait()


def compare(scan: Path, result: Path, mask_path: Path) -> Comparison:
    """Decode both files band by band and count samples that differ outside and inside the mask."""
    outside = outside_changed = inside = inside_changed = 0
    with open_scan(scan) as before, open_scan(result) as after:
        info = before.info
        mask = read_mask(mask_path, (info.height, info.width))
        for top in range(0, info.height, BAND_ROWS):
            bottom = min(top + BAND_ROWS, info.height)
            differs = before.read_rows(top, bottom) != after.read_rows(top, bottom)
            here = np.broadcast_to(mask[top:bottom, :, None], differs.shape)
            inside += int(here.sum())
            inside_changed += int((differs & here).sum())
            outside += int((~here).sum())
            outside_changed += int((differs & ~here).sum())
    return Comparison(outside, outside_changed, inside, inside_changed)


def _share_found(truth_path: Path, mask_path: Path, drawn: list[str]) -> str:
    """How much of the visible drawn dust lies under the mask; the demo knows, as it drew it."""
    with open_scan(truth_path) as truth_file:
        info = truth_file.info
    truth = read_mask(truth_path, (info.height, info.width))
    mask = read_mask(mask_path, truth.shape)
    return f"{(truth & mask).sum() / max(truth.sum(), 1):.0%} of the area of the {drawn[0]} visible elements drawn"


def _report(receipt: dict[str, Any], comparison: Comparison, found: str, seconds: float) -> None:
    kinds: dict[str, int] = {}
    for defect in receipt["defects"]:
        kinds[defect["kind"]] = kinds.get(defect["kind"], 0) + 1
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items(), key=lambda item: -item[1]))
    laps = ", ".join(f"{step} {value:.1f} s" for step, value in receipt["seconds"].items())
    methods = sorted({defect["method"] for defect in receipt["defects"]})
    print(f"Found {len(receipt['defects'])} defects ({listed}), {receipt['coverage']:.3%} of the frame: {found}")
    print(f"Repaired with {', '.join(methods)} on {receipt['device']} in {receipt['precision']}")
    print(f"Steps: {laps}; {seconds:.0f} s from the first byte written, {receipt['peak_memory_mb']:.0f} MB at most")
    verdict = "all identical" if comparison.outside_changed == 0 else f"{comparison.outside_changed} DIFFER"
    print(f"Outside the mask: {comparison.outside:,} samples compared, {verdict}")
