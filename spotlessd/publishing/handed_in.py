"""Files that a person hands in through a folder: what lies there, and moving aside what was taken.

Nothing is overwritten, no link is followed, and a move that was cut short is ended by the next one.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from spotlessd.publishing.durable import make_folder, sync_folder

NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EACCES}

Shape = tuple[int, int, int]
"""Size in bytes, time of change in ns, inode: what changes with a file's content."""


def files_in(folder: Path, ignores: Callable[[str], bool], left_out: str) -> Iterator[tuple[str, Shape]]:
    """Yield the path below `folder` and the shape of every regular file in it, but for those in its `left_out`.

    `ignores`: whether a file or folder of this name is passed over.

    Raises:
        OSError: a folder cannot be read.
    """
    pending = [""]
    while pending:
        below = pending.pop()
        with os.scandir(folder / below) as listing:
            entries = list(listing)
        for entry in entries:
            rel = f"{below}/{entry.name}" if below else entry.name
            if rel == left_out or ignores(entry.name):
                continue
            try:
                rel.encode()
                if entry.is_dir(follow_symlinks=False):
                    pending.append(rel)
                    continue
                status = (folder / rel).lstat()
            except (FileNotFoundError, UnicodeEncodeError):
                continue
            if stat.S_ISREG(status.st_mode):
                yield rel, shape_of(status)


def shape_of(status: os.stat_result) -> Shape:
    """Return the shape of a file."""
    return status.st_size, status.st_mtime_ns, status.st_ino


def move_aside(path: Path, wanted: Path) -> Path:
    """Move a file to `wanted`, or to the first free name like it (NAME~2), and return the name.

    Raises:
        OSError: it cannot be moved.
    """
    make_folder(wanted.parent)
    number = 1
    while True:
        target = wanted if number == 1 else wanted.with_name(f"{wanted.stem}~{number}{wanted.suffix}")
        number += 1
        try:
            os.link(path, target)
            path.unlink()
        except FileExistsError:
            if not target.is_symlink() and target.samefile(path):  # a run before this one was killed here
                path.unlink()
                return target
            continue
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            try:
                os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            except FileExistsError:
                continue
            path.replace(target)
        sync_folder(target.parent)
        sync_folder(path.parent)
        return target
