"""The doctor's look at a station: its folders, disks, marker files, event limits, and who is to be told.

Promise: nothing is changed but a probe file in each output and state folder, written and deleted. A folder is first
touched by a child: one on a share that hangs costs a time-out, not the doctor.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from spotlessd.configuration.root_tables import RootSettings
from spotlessd.configuration.settings import Settings
from spotlessd.doctor.checking import EXIT_TIMED_OUT, Check, Runner
from spotlessd.errors import DaemonError
from spotlessd.folders.file_systems import mount_of
from spotlessd.folders.roots import check_marker
from spotlessd.folders.station_roots import overlapping_folders

INOTIFY_FOLDER = Path("/proc/sys/fs/inotify")
WATCHES_SHARE = 0.5
"""Of the user's watches; the rest belongs to other programs."""
INSTANCES_NEEDED = 2
FOLDER_SECONDS = 20.0
SCRATCH_BYTES_PER_PIXEL = 14
"""Of an RGB scan of 16 bits: its samples, and what is made from them."""
SCRATCH_MEGAPIXELS = 25.0
"""Smaller scans are worked on in memory."""
LARGE_MEGAPIXELS = 400.0
"""A sheet of 4x5 inches at 4500 dpi: the largest that film scanners write."""
MEMORY_KINDS = frozenset({"tmpfs", "ramfs"})


def check_station(settings: Settings, run: Runner) -> Iterator[Check]:
    """Look at everything that is the station's own."""
    folders = [folder for root in settings.roots for folder in (root.input, root.output)]
    hanging = {folder for folder in dict.fromkeys(folders) if not _answers(folder, run)}
    if not hanging:
        problems = overlapping_folders(settings)
        yield Check("folders", not problems, "; ".join(problems) or "none lies in another", "Use separate folders.")
    for root in settings.roots:
        yield from _input_checks(root, settings, is_hanging=root.input in hanging)
        yield from _output_checks(root, settings, is_hanging=root.output in hanging)
    yield _writable("state", settings.state_dir)
    state_mount = mount_of(settings.state_dir)
    yield Check(
        "ledger's disk",
        not state_mount.is_network,
        f"{state_mount.kind} at {state_mount.point}",
        "Set state_dir to a folder on a local disk: the ledger's journal does not work over a network.",
    )
    yield inotify_check([root.input for root in settings.roots if root.input not in hanging])
    yield from _notify_checks(settings)


def _input_checks(root: RootSettings, settings: Settings, *, is_hanging: bool) -> Iterator[Check]:
    if is_hanging:
        yield _hangs(f"{root.name}: input", root.input)
        return
    yield _readable(f"{root.name}: input", root.input)
    yield _marker(f"{root.name}: marker in {root.input.name}", root.input, settings.station_id)
    yield _file_system(f"{root.name}: file system", root.input, settings.watch.mode)


def _output_checks(root: RootSettings, settings: Settings, *, is_hanging: bool) -> Iterator[Check]:
    if is_hanging:
        yield _hangs(f"{root.name}: output", root.output)
        return
    yield _writable(f"{root.name}: output", root.output)
    yield _space(f"{root.name}: disk", root.output, settings.disk.reserve_mb)
    yield scratch_check(f"{root.name}: scratch", root.output, settings)
    yield _marker(f"{root.name}: marker in {root.output.name}", root.output, settings.station_id)


def scratch_check(name: str, output: Path, settings: Settings) -> Check:
    """Tell how large a scan may be: what does not fit into memory is kept on a disk while it is worked on."""
    places = [output, Path(tempfile.gettempdir())]
    free = {
        place: shutil.disk_usage(place).free - settings.disk.reserve_mb * 1_000_000
        for place in places
        if place.is_dir() and mount_of(place).kind not in MEMORY_KINDS
    }
    largest = min(settings.max_megapixels, LARGE_MEGAPIXELS)
    room = max(free.values(), default=0) / SCRATCH_BYTES_PER_PIXEL / 1e6
    return Check(
        name,
        room >= largest,
        f"scans above {SCRATCH_MEGAPIXELS:.0f} megapixels take {SCRATCH_BYTES_PER_PIXEL} bytes a pixel while they are "
        f"worked on; there is room for {max(room, 0):.0f} megapixels",
        f"Free space under {output}, or set TMPDIR to a folder on a larger disk (not on tmpfs).",
    )


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


def _notify_checks(settings: Settings) -> Iterator[Check]:
    """Look for the program that is to be told of what happens."""
    if settings.notify.command:
        program = settings.notify.command[0]
        found = shutil.which(program)
        yield Check(
            "notify.command",
            found is not None,
            found or f"{program}: not found, or it may not be started",
            "Give its full path, and the right to run it: chmod +x",
        )


def _answers(folder: Path, run: Runner) -> bool:
    """Tell whether a folder can be looked into within a time; a share that is gone may hang without end."""
    code = "import os, sys; os.path.isdir(sys.argv[1]) and os.listdir(sys.argv[1])"
    return run([sys.executable, "-c", code, str(folder)], FOLDER_SECONDS).exit_code != EXIT_TIMED_OUT


def _hangs(name: str, folder: Path) -> Check:
    return Check(
        name,
        False,
        f"{folder}: no answer within {FOLDER_SECONDS:.0f} s",
        "Its share hangs. Mount it again; on macOS give Python Full Disk Access in Privacy & Security.",
    )


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
