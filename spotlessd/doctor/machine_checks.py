"""The doctor's look at the machine: weights, libraries, the device, and a real daemon with one small scan.

Networks are only loaded in child processes, so this process stays small; what a child prints is shown when it fails.
"""

import hashlib
import json
import os
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import tifffile

from spotlessd.configuration.sections import DeviceSettings, InpaintSettings
from spotlessd.configuration.settings import Settings
from spotlessd.doctor.checking import Check, Runner, last_lines
from spotlessd.errors import DaemonError
from spotlessd.folders.roots import write_marker
from spotlessd.packaged import packaged_file

DEVICE_SECONDS = 120.0
JOB_SECONDS = 300.0
IMPORT_SECONDS = 60.0
DEVICES = Path("/dev")
JOB_FIX = "See the lines above; a failed check there may be the cause."
DEVICE_TEST = """
import json, sys
import torch
from spotless_core.networks.device import choose_device
from spotless_core.options import DeviceChoice, DeviceOptions
given = json.loads(sys.argv[1])
device = choose_device(DeviceOptions(DeviceChoice(given["device"]), given["allow_fallback"], given["threads"]))
image = torch.rand(1, 1, 64, 64, device=device.kind, dtype=device.dtype)
weights = torch.rand(4, 1, 3, 3, device=device.kind, dtype=device.dtype)
total = float(torch.nn.functional.conv2d(image, weights).float().sum())
assert total > 0
print(f"{device.name}, {device.precision}" + (f" ({device.note})" if device.note else ""))
"""


def check_machine(settings: Settings | None, run: Runner) -> Iterator[Check]:
    """Look at everything that is not the station's own; `settings`: whose device and inpainter are tried."""
    yield from model_checks()
    yield turbojpeg_check()
    yield opencv_check(run)
    yield from gpu_node_checks()
    yield device_check(settings, run)
    yield job_check(settings, run)


def model_checks() -> Iterator[Check]:
    """Compare the shipped weights with the manifest's checksums."""
    fix = "Install spotlessd again."
    try:
        manifest_path = packaged_file("models", "manifest.toml")
        manifest = tomllib.loads(manifest_path.read_text(encoding="utf-8"))
    except (DaemonError, OSError, ValueError) as error:
        yield Check("models", False, str(error), fix)
        return
    for name, entry in _weights_entries(manifest):
        path = manifest_path.parent / str(entry["file"])
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            yield Check(f"model {name}", False, f"{path}: {error.strerror}", fix)
            continue
        is_right = digest == entry["sha256"]
        detail = f"{path.name}, sha256 {digest[:12]}" + ("" if is_right else f"; {str(entry['sha256'])[:12]} expected")
        yield Check(f"model {name}", is_right, detail, fix)


def turbojpeg_check() -> Check:
    """Look for libturbojpeg, which JPEG scans need; TIFF and PNG do without."""
    found = find_library("turbojpeg")
    return Check(
        "libturbojpeg",
        found is not None,
        found or "not found: JPEG scans cannot be restored, TIFF and PNG can",
        "sudo apt-get install libturbojpeg0 (macOS: brew install jpeg-turbo)",
    )


def opencv_check(run: Runner) -> Check:
    """Import OpenCV, which needs libGL on Linux."""
    done = run([sys.executable, "-c", "import cv2; print(cv2.__version__)"], IMPORT_SECONDS)
    return Check("opencv", done.exit_code == 0, last_lines(done), "sudo apt-get install libgl1 libglib2.0-0")


def gpu_node_checks(devices: Path = DEVICES) -> Iterator[Check]:
    """Look for the node that CUDA needs besides the card's own; a service may not make it itself."""
    if (devices / "nvidia0").exists():
        yield Check(
            "nvidia-uvm",
            (devices / "nvidia-uvm").exists(),
            str(devices / "nvidia-uvm"),
            "sudo nvidia-modprobe -u -c=0, and at each boot: sudo systemctl enable nvidia-persistenced",
        )


def device_check(settings: Settings | None, run: Runner) -> Check:
    """Run one small convolution where the config says the networks run."""
    device = settings.device.model_dump(mode="json") if settings else {}
    given = {"device": "auto", "allow_fallback": False, "threads": 0} | device
    done = run([sys.executable, "-c", DEVICE_TEST, json.dumps(given)], DEVICE_SECONDS)
    return Check(
        f"device {given['device']}",
        done.exit_code == 0,
        last_lines(done),
        'Check the driver (nvidia-smi), or set device = "cpu" in [device].',
    )


def job_check(settings: Settings | None, run: Runner) -> Check:
    """Let a real daemon restore a small drawn scan from end to end, in a station of its own."""
    with tempfile.TemporaryDirectory(prefix="spotlessd-doctor-") as name:
        source, config = _make_station(Path(name), settings)
        before = source.read_bytes()
        done = run([sys.executable, "-m", "spotlessd", "run", "--once", "--config", str(config)], JOB_SECONDS)
        restored = config.parent / "restored"
        try:
            receipt = json.loads((restored / "receipts" / "scan.json").read_text(encoding="utf-8"))
            seconds, device = float(receipt["seconds"]["total"]), str(receipt["device"])
        except (OSError, ValueError, KeyError, TypeError):
            return Check("small job", False, last_lines(done) + "; no result with its receipt came out", JOB_FIX)
        if source.read_bytes() != before:
            return Check("small job", False, "the scan itself was changed", "Tell us: this must never happen.")
        is_whole = done.exit_code == 0 and (restored / "scan.tif").is_file()
    return Check("small job", is_whole, f"a drawn scan was restored on {device} in {seconds:.1f} s", JOB_FIX)


def _make_station(folder: Path, settings: Settings | None) -> tuple[Path, Path]:
    """Make a station with a drawn scan in it and the devices of `settings`; returns scan and config."""
    for name in ("scans", "restored"):
        (folder / name).mkdir()
        write_marker(folder / name, "doctor")
    scan, config = folder / "scans" / "scan.tif", folder / "spotlessd.toml"
    draw_scan(scan)
    os.utime(scan, (0, 0))
    device, inpaint = (settings.device, settings.inpaint) if settings else (DeviceSettings(), InpaintSettings())
    values = {
        "device.device": device.device.value,
        "device.allow_fallback": device.allow_fallback,
        "device.threads": device.threads,
        "inpaint.method": inpaint.method.value,
        "inpaint.big_lama_path": str(inpaint.big_lama_path or ""),
        "log.level": "ERROR",
    }
    lines = ['station_id = "doctor"', *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    lines += ["[[roots]]", 'input = "scans"', 'output = "restored"', ""]
    config.write_text("\n".join(lines), encoding="utf-8")
    return scan, config


def draw_scan(path: Path) -> None:
    """Write a small scan: 320×256 px, 16-bit RGB, 4000 dpi, a soft gradient with grain and a few specks of dust."""
    random = np.random.default_rng(7)
    rows, columns = np.mgrid[0:256, 0:320]
    picture = 20000 + 60 * rows + 40 * columns + random.normal(0, 700, (256, 320))
    for row, column in ((60, 80), (150, 220), (200, 100)):
        picture[(rows - row) ** 2 + (columns - column) ** 2 < 16] = 60000
    samples = np.repeat(np.clip(picture, 0, 65535).astype(np.uint16)[..., None], 3, axis=2)
    tifffile.imwrite(path, samples, photometric="rgb", resolution=(4000, 4000), resolutionunit="INCH")


def _weights_entries(table: dict[str, object], name: str = "") -> Iterator[tuple[str, dict[str, object]]]:
    """Yield every table of the manifest that names a file and its checksum."""
    if "file" in table and "sha256" in table:
        yield name or str(table["file"]), table
    for key, value in table.items():
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict):
                yield from _weights_entries(inner, key)
