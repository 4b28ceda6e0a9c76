"""Make files, names and times of change durable, on file systems that can; those that cannot are told of once."""

import errno
import os
import sys
from pathlib import Path

from loguru import logger

from spotlessd.errors import PublishError

NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EACCES}
_warned_folders: set[int] = set()
_warned_stamps: set[int] = set()


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable; a file system that cannot is warned about once."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
        device = os.fstat(descriptor).st_dev
        if device not in _warned_folders:
            _warned_folders.add(device)
            logger.warning("{}: this file system cannot sync folders; a power cut may undo the last results", folder)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and what is missing above it, with their names on disk.

    Raises:
        OSError: it cannot be made.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        sync_folder(place.parent)


def stamp(path: Path, timestamp_ns: int) -> None:
    """Set the time of change of a file and sync it; a file system that refuses is warned about once.

    Raises:
        OSError: the file is not there or cannot be synced.
    """
    with path.open("rb") as file:
        try:
            os.utime(path, ns=(timestamp_ns, timestamp_ns))
        except OSError as error:
            device = os.fstat(file.fileno()).st_dev
            if device not in _warned_stamps:
                _warned_stamps.add(device)
                logger.warning("{}: the time of change cannot be set here ({})", path.parent, error.strerror)
        sync_file(file.fileno())


def sync_file(descriptor: int) -> None:
    """Write a file through to the medium; macOS needs F_FULLFSYNC for that."""
    if sys.platform == "darwin":
        import fcntl

        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError:
            os.fsync(descriptor)
        return
    os.fsync(descriptor)


def remove_part(part: Path) -> None:
    """Remove a part file; one that cannot be removed now, its folder being away, is removed at the next start."""
    try:
        part.unlink(missing_ok=True)
    except OSError as error:
        logger.debug("{}: a part file cannot be removed ({})", part, error.strerror)


def cannot_write(path: Path, error: OSError) -> PublishError:
    """Return the error for a path that the disk, the folder or its permissions do not let us write."""
    return PublishError(f"{path}: cannot be written ({error.strerror or error}). Free space or fix the permission.")
