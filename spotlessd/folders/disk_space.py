"""How the room on a disk is told, and how it is told anew when somebody asks later.

The sentence of a pause holds the figures of the moment the queue was stopped. `status` reads such a sentence again and
puts in what is free now.
"""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

STATE_BYTES = 1_000_000
"""With less than this free the ledger's journal may not be written."""
ROOM_TEXT = "disk: {free:.0f} MB free at {place}, {wanted:.0f} MB wanted"
ROOM = re.compile(r"disk: \d+ MB free at (?P<place>.+?), (?P<wanted>\d+) MB wanted")
GOES_ON = " There is room again now: it goes on within the minute."

FreeBytes = Callable[[Path], int]


def free_bytes(folder: Path) -> int:
    """Return what this user may still write to the disk of `folder`, in bytes; raises OSError."""
    return shutil.disk_usage(folder).free


def room_text(free: int, place: Path, wanted: float) -> str:
    """Return how much is free at `place` and how much was wanted, both in bytes, without a full stop."""
    return ROOM_TEXT.format(free=free / 1e6, place=place, wanted=wanted / 1e6)


def told_anew(text: str, free: FreeBytes = free_bytes) -> str:
    """Return a sentence with the figures of `room_text` in it as they are now; any other comes back as it is."""
    found = ROOM.search(text)
    if found is None:
        return text
    try:
        now = free(Path(found["place"]))
    except OSError:
        return text
    wanted = float(found["wanted"]) * 1e6
    fresh = text[: found.start()] + room_text(now, Path(found["place"]), wanted) + text[found.end() :]
    return fresh + GOES_ON if now >= wanted else fresh


def state_trouble(state_dir: Path, free: FreeBytes = free_bytes) -> str:
    """Return why the ledger's disk takes nothing more, "" if it does."""
    try:
        left = free(state_dir)
    except OSError as error:
        return f"{state_dir}: the state folder cannot be looked at ({error.strerror})."
    if os.statvfs(state_dir).f_flag & os.ST_RDONLY:
        return f"{state_dir}: the disk of the state folder is mounted read-only; no job can be written down."
    if left < STATE_BYTES:
        return (
            f"{state_dir}: the disk of the state folder is full ({left / 1e6:.1f} MB free), so no job can be written "
            "down. Free some space; then it goes on by itself."
        )
    return ""
