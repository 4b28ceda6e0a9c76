"""`spotlessd doctor`: look at everything a station needs, and say for each what to do if it is not right.

Comes in: the station's settings, or None to look at the machine only. Goes out: a list of checks, none of which raises.
Promise: nothing is changed but a probe file in each output and state folder, written and deleted. Networks are only
loaded in child processes, so this process stays small; what a child prints is shown when it fails.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from ctypes.util import find_library
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile

from spotlessd.errors import DaemonError
from spotlessd.file_systems import mount_of
from spotlessd.packaged import packaged_file
from spotlessd.roots import check_marker, overlapping_folders
from spotlessd.settings import Settings

INOTIFY_FOLDER = Path("/proc/sys/fs/inotify")
WATCHES_SHARE = 0.5
"""Of the user's watches; the rest belongs to other programs."""
INSTANCES_NEEDED = 2
DEVICE_SECONDS = 120.0
JOB_SECONDS = 300.0
IMPORT_SECONDS = 60.0
SHOWN_LINES = 3
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


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `ok`: None when it cannot be told here. `fix`: what to do, "" if nothing."""

    name: str
    ok: bool | None
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a child process ended; `output`: what it printed, errors included."""

    exit_code: int
    output: str


Runner = Callable[[list[str], float], Finished]


def run_command(arguments: list[str], timeout_seconds: float) -> Finished:
    """Run a command to its end; a time-out is exit code 124, as in timeout(1)."""
    try:
        done = subprocess.run(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finished(124, f"no answer within {timeout_seconds:.0f} s")
    except OSError as error:
        return Finished(127, str(error))
    return Finished(done.returncode, done.stdout)


def run_checks(settings: Settings | None, run: Runner = run_command) -> list[Check]:
    """Look at everything, quick checks first; `run` starts the child processes."""
    checks: list[Check] = []
    if settings is not None:
        checks += station_checks(settings)
    checks += [*model_checks(), turbojpeg_check(), opencv_check(run), device_check(settings, run)]
    checks.append(job_check(settings, run))
    return [replace(check, fix="") if check.ok else check for check in checks]


def station_checks(settings: Settings) -> Iterator[Check]:
    """Look at the folders of a station."""
    problems = overlapping_folders(settings.roots)
    yield Check("folders", not problems, "; ".join(problems) or "none lies in another", "Use separate folders.")
    for root in settings.roots:
        yield _readable(f"{root.name}: input", root.input)
        yield _writable(f"{root.name}: output", root.output)
        yield _space(f"{root.name}: disk", root.output, settings.disk.reserve_mb)
        for folder in (root.input, root.output):
            yield _marker(f"{root.name}: marker in {folder.name}", folder, settings.station_id)
        yield _file_system(f"{root.name}: file system", root.input, settings.watch.mode)
    state_mount = mount_of(settings.state_dir)
    yield _writable("state", settings.state_dir)
    yield Check(
        "ledger's disk",
        not state_mount.is_network,
        f"{state_mount.kind} at {state_mount.point}",
        "Set state_dir to a folder on a local disk: the ledger's journal does not work over a network.",
    )
    yield inotify_check([root.input for root in settings.roots])


def inotify_check(folders: list[Path], limits: Path = INOTIFY_FOLDER) -> Check:
    """Compare the folders to watch with the kernel's limits."""
    name = "event limits"
    try:
        watches = int((limits / "max_user_watches").read_text(encoding="ascii"))
        instances = int((limits / "max_user_instances").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return Check(name, None, "not Linux, or not readable")
    wanted = sum(1 for folder in folders for _ in os.walk(folder))
    ok = wanted <= watches * WATCHES_SHARE and instances >= INSTANCES_NEEDED
    return Check(
        name,
        ok,
        f"{wanted} folders to watch; max_user_watches {watches}, max_user_instances {instances}",
        f"sudo sysctl fs.inotify.max_user_watches={max(4 * wanted, 65536)} fs.inotify.max_user_instances=128",
    )


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
    return Check("opencv", done.exit_code == 0, _last_lines(done), "sudo apt-get install libgl1 libglib2.0-0")


def device_check(settings: Settings | None, run: Runner) -> Check:
    """Run one small convolution where the config says the networks run."""
    device = settings.device.model_dump(mode="json") if settings else {}
    given = {"device": "auto", "allow_fallback": False, "threads": 0} | device
    done = run([sys.executable, "-c", DEVICE_TEST, json.dumps(given)], DEVICE_SECONDS)
    return Check(
        f"device {given['device']}",
        done.exit_code == 0,
        _last_lines(done),
        'Check the driver (nvidia-smi), or set device = "cpu" in [device].',
    )


def job_check(settings: Settings | None, run: Runner) -> Check:
    """Restore a small drawn scan from end to end in a folder of its own."""
    device = settings.device.device.value if settings else "auto"
    with tempfile.TemporaryDirectory(prefix="spotlessd-doctor-") as name:
        source, target = Path(name) / "scan.tif", Path(name) / "restored.tif"
        draw_scan(source)
        before = source.read_bytes()
        done = run(
            [sys.executable, "-m", "spotless_core", "restore", str(source), str(target), "--device", device],
            JOB_SECONDS,
        )
        is_whole = done.exit_code == 0 and target.is_file() and source.read_bytes() == before
    return Check(
        "small job", is_whole, _last_lines(done), "See the lines above; a failed check there may be the cause."
    )


def draw_scan(path: Path) -> None:
    """Write a small scan: 320×256 px, 16-bit RGB, 4000 dpi, a soft gradient with grain and a few specks of dust."""
    random = np.random.default_rng(7)
    rows, columns = np.mgrid[0:256, 0:320]
    picture = 20000 + 60 * rows + 40 * columns + random.normal(0, 700, (256, 320))
    for row, column in ((60, 80), (150, 220), (200, 100)):
        picture[(rows - row) ** 2 + (columns - column) ** 2 < 16] = 60000
    samples = np.repeat(np.clip(picture, 0, 65535).astype(np.uint16)[..., None], 3, axis=2)
    tifffile.imwrite(path, samples, photometric="rgb", resolution=(4000, 4000), resolutionunit="INCH")


def _file_system(name: str, folder: Path, mode: str) -> Check:
    mount = mount_of(folder)
    is_polled = mode == "polling" or (mode == "auto" and mount.is_network)
    return Check(
        name,
        is_polled or not mount.is_network,
        f"{mount.kind} at {mount.point}; {'polled' if is_polled else 'watched by events'}",
        'Set watch.mode = "auto": a network share raises no events for what other machines write.',
    )


def _readable(name: str, folder: Path) -> Check:
    fix = f"Mount it, or give this user the right to read it: {folder}"
    try:
        with os.scandir(folder) as entries:
            count = sum(1 for _ in entries)
    except OSError as error:
        return Check(name, False, f"{folder}: {error.strerror}", fix)
    return Check(name, True, f"{folder}: {count} entries")


def _writable(name: str, folder: Path) -> Check:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".spotlessd-doctor-", suffix=".part") as probe:
            probe.write(b"probe")
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return Check(name, False, f"{folder}: {error.strerror}", f"Give this user the right to write to {folder}")
    return Check(name, True, f"{folder}: can be written")


def _space(name: str, folder: Path, reserve_mb: int) -> Check:
    try:
        free_mb = shutil.disk_usage(folder).free // 1_000_000
    except OSError as error:
        return Check(name, None, f"{folder}: {error.strerror}")
    return Check(name, free_mb > reserve_mb, f"{free_mb} MB free, {reserve_mb} MB kept in reserve", "Free some space.")


def _marker(name: str, folder: Path, station_id: str) -> Check:
    try:
        check_marker(folder, station_id)
    except DaemonError as error:
        return Check(name, False, str(error), "See the sentence itself.")
    return Check(name, True, f"station {station_id}")


def _weights_entries(table: dict[str, object], name: str = "") -> Iterator[tuple[str, dict[str, object]]]:
    """Yield every table of the manifest that names a file and its checksum."""
    if "file" in table and "sha256" in table:
        yield name or str(table["file"]), table
    for key, value in table.items():
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict):
                yield from _weights_entries(inner, key)


def _last_lines(done: Finished) -> str:
    """Return the end of what a child printed: the error, when it failed."""
    lines = [line.strip() for line in done.output.splitlines() if line.strip()]
    text = " / ".join(lines[-SHOWN_LINES:]) or "no output"
    return text if done.exit_code == 0 else f"exit {done.exit_code}: {text}"
