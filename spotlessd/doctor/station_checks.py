"""The doctor's look at a station: its folders, disks, marker files, event limits, and who is to be told.

Promise: nothing is changed but a probe file in each folder that is written to, made and deleted. A folder is first
touched by a child: one on a share that hangs costs a time-out, not the doctor.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from spotlessd.configuration.profiles import Reading
from spotlessd.configuration.root_tables import RootSettings
from spotlessd.configuration.settings import Settings
from spotlessd.doctor.checking import EXIT_TIMED_OUT, Check, Runner
from spotlessd.errors import DaemonError
from spotlessd.folders.file_systems import mount_of
from spotlessd.folders.own_folders import LEDGER_FIX, ledger_problem, spool_problem
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
    hanging = {folder for folder in dict.fromkeys(folders) if not folder_answers(folder, run)}
    if not hanging:
        problems = overlapping_folders(settings)
        yield Check("folders", not problems, "; ".join(problems) or "none lies in another", "Use separate folders.")
    for root in settings.roots:
        yield from _input_checks(root, settings, is_hanging=root.input in hanging)
        yield from _output_checks(root, settings, is_hanging=root.output in hanging)
    yield from _own_folder_checks(settings, hanging)
    yield inotify_check([root.input for root in settings.roots if root.input not in hanging])
    yield from _notify_checks(settings)


def _own_folder_checks(settings: Settings, hanging: set[Path]) -> Iterator[Check]:
    """Look at the folders of the ledger and of the working copies; both are made when they are first needed."""
    state, spool, reserve = settings.state_dir, settings.spool_dir, settings.disk.reserve_mb
    yield _writable("state", state)
    mount = mount_of(state)
    problem = ledger_problem(state, mount)
    yield Check("ledger's disk", not problem, problem or f"{mount.kind} at {mount.point}", f"{LEDGER_FIX}.")
    yield _space("state: disk", _nearest(state), reserve)
    reading = Reading(settings.watch.mode, settings.watch.spool)
    inputs = [root.input for root in settings.roots]
    # What hangs is a share, and asking what is mounted there would hang too.
    if not any(reading.is_spooled(is_network=folder in hanging or mount_of(folder).is_network) for folder in inputs):
        return
    yield _writable("spool", _nearest(spool))
    yield _space("spool: disk", _nearest(spool), reserve)
    problem = spool_problem(spool, mount_of(spool))
    if problem:
        yield Check("spool's disk", None, problem, "Set watch.spool_dir to a folder on a disk of this machine.")


def _nearest(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that is there."""
    return next((place for place in (folder, *folder.parents) if place.is_dir()), folder)


def _input_checks(root: RootSettings, settings: Settings, *, is_hanging: bool) -> Iterator[Check]:
    if is_hanging:
        yield _hangs(f"{root.name}: input", root.input)
        return
    yield _readable(f"{root.name}: input", root.input)
    yield _marker(f"{root.name}: marker in {root.input.name}", root.input, settings.station_id)
    yield from _unreadable_scans(f"{root.name}: scans", root.input)
    yield _file_system(f"{root.name}: file system", root.input, settings.watch.mode)


def _output_checks(root: RootSettings, settings: Settings, *, is_hanging: bool) -> Iterator[Check]:
    if is_hanging:
        yield _hangs(f"{root.name}: output", root.output)
        return
    yield _writable(f"{root.name}: output", root.output)
    yield _space(f"{root.name}: disk", root.output, settings.disk.reserve_mb)
    yield scratch_check(f"{root.name}: scratch", root.output, settings)
    yield _marker(f"{root.name}: marker in {root.output.name}", root.output, settings.station_id)
    mount = mount_of(root.output)
    if mount.is_network:
        # None: nobody on this side can prove it.
        detail = f"{mount.kind} at {mount.point}; whether a result outlives a power cut there is up to its server"
        yield Check(f"{root.name}: output's disk", None, detail, "Keep the scans until the results are backed up.")


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


def folder_answers(folder: Path, run: Runner) -> bool:
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


def _unreadable_scans(name: str, folder: Path) -> Iterator[Check]:
    """Look for files that this user may list but not read, as after a scanner program that runs as another user."""
    try:
        with os.scandir(folder) as entries:
            closed = [entry.name for entry in entries if entry.is_file() and not os.access(entry.path, os.R_OK)]
    except OSError:
        return  # told by the check before this one
    if closed:
        first = sorted(closed)[0]
        fix = "Put this user and the scanner program's user into one group, and: chmod g+r"
        yield Check(name, False, f"{len(closed)} files cannot be read, {first} for one", fix)


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
