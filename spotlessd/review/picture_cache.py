"""Where finished pictures lie: `state/review/`, one folder for each version of a frame, bounded in size.

A file is written beside its place and renamed, so that several processes may draw the same; one that is damaged
(a power cut leaves empty ones) counts as missing. The folders used longest ago go first. The folder's time of change
is when it was last used.
"""

import hashlib
import os
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

from spotlessd.review.frame_files import FrameFiles

FOLDER = "review"
NAME_DIGITS = 24
PART, TRASH = ".part-", ".trash-"
OLD_PART_SECONDS = 600.0
IN_USE_SECONDS = 60.0
"""A frame looked at so recently is not removed: its pictures are on their way to a page."""
FILL_AGAIN = 0.8
"""Down to so much of the limit is removed, so that it is not done for every tile."""
ENDS = {".jpg": (b"\xff\xd8\xff", b"\xff\xd9"), ".png": (b"\x89PNG\r\n\x1a\n", b"IEND\xae\x42\x60\x82")}


def frame_folder(state_dir: Path, files: FrameFiles) -> Path:
    """Return where the pictures of this version of a frame lie."""
    name = hashlib.sha256(f"{files.job}\0{files.key}".encode()).hexdigest()
    return state_dir / FOLDER / name[:NAME_DIGITS]


def is_sound(picture: Path) -> bool:
    """Tell whether a finished JPEG or PNG lies there: it begins and ends as one."""
    begin, end = ENDS[picture.suffix]
    try:
        with picture.open("rb") as file:
            if file.read(len(begin)) != begin:
                return False
            file.seek(-len(end), os.SEEK_END)
            return file.read() == end
    except OSError:
        return False


def put(place: Path, content: bytes) -> Path:
    """Write a finished file and return its path.

    Raises:
        OSError: the disk is full, or the folder may not be written.
    """
    part = place.with_name(f"{PART}{secrets.token_hex(8)}")
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        part.write_bytes(content)
        part.replace(place)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise
    return place


def put_same(place: Path, picture: Path) -> Path:
    """Put the finished `picture` at a second `place`, without a second copy where the file system can; return it."""
    part = place.with_name(f"{PART}{secrets.token_hex(8)}")
    try:
        os.link(picture, part)
        part.replace(place)
    except OSError:
        return put(place, picture.read_bytes())
    # Two names of one file: the rename does nothing and leaves the part.
    with suppress(OSError):
        part.unlink()
    return place


def touch(folder: Path) -> None:
    """Take note that the frame of `folder` is looked at."""
    with suppress(OSError):
        os.utime(folder)


def trim(state_dir: Path, limit_bytes: int) -> int:
    """Remove the frames looked at longest ago until `limit_bytes` are kept; return how many bytes are left."""
    root = state_dir / FOLDER
    now = time.time()
    frames = []
    for folder in _entries(root):
        if folder.name.startswith(TRASH):
            shutil.rmtree(folder, ignore_errors=True)
            continue
        with suppress(OSError):
            frames.append((folder.stat().st_mtime, _size(folder, now), folder))
    total = sum(size for _, size, _ in frames)
    if total <= limit_bytes:
        return total
    for used, size, folder in sorted(frames, key=lambda frame: frame[0]):
        if total <= limit_bytes * FILL_AGAIN or now - used < IN_USE_SECONDS:
            break
        trash = root / f"{TRASH}{secrets.token_hex(8)}"
        with suppress(OSError):
            folder.rename(trash)
            shutil.rmtree(trash, ignore_errors=True)
            total -= size
    return total


def _size(folder: Path, now: float) -> int:
    """Return the bytes in a frame's folder; parts that nobody finished are removed."""
    total = 0
    for path in _entries(folder):
        with suppress(OSError):
            facts = path.stat()
            if path.name.startswith(PART) and now - facts.st_mtime > OLD_PART_SECONDS:
                path.unlink()
            else:
                total += facts.st_size // facts.st_nlink
    return total


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
