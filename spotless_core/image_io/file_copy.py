"""Copy one open file into another as fast as the file system can.

Comes in: two descriptors. Goes out: the second holds the first's content. Order: a shared copy (reflink) where the file
system offers it, a copy inside the kernel, a loop of reads and writes. A large copy is flushed to the disk bit by bit:
so its progress is true and the last flush short. Errors of the system are passed on as OSError.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Callable

CHUNK_BYTES = 4 << 20
KERNEL_CHUNK_BYTES = 64 << 20
FLUSH_BYTES = 256 << 20
"""Slow disks take seconds for so much; a frame of 24 megapixels is flushed once, at the end."""
FICLONE = 0x40049409
"""Linux ioctl: share all extents of one file with another."""
NOT_OFFERED = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY, errno.EPERM, errno.EBADF}


def _ignore_bytes(_count: int) -> None:
    """Take no notice of the progress."""


def copy_content(source: int, target: int, size: int, on_bytes: Callable[[int], None] = _ignore_bytes) -> None:
    """Copy the first `size` bytes of `source` to the empty file `target`; `on_bytes` hears how many more are copied.

    Raises:
        OSError: reading or writing failed, or the source became shorter.
    """
    if _clone(source, target) and os.fstat(target).st_size == size:
        on_bytes(size)
        return
    os.ftruncate(target, 0)
    copy_part, done, unflushed = _copy_in_kernel, 0, 0
    while done < size:
        copied = copy_part(source, target, done, size - done)
        if not copied and copy_part is _copy_in_kernel:
            copy_part = _copy_by_hand
            continue
        if not copied:
            raise OSError(errno.EIO, "the scan became shorter while it was copied")
        done, unflushed = done + copied, unflushed + copied
        if unflushed >= FLUSH_BYTES:
            os.fsync(target)
            unflushed = 0
        on_bytes(copied)


def _clone(source: int, target: int) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    with contextlib.suppress(OSError):
        fcntl.ioctl(target, FICLONE, source)
        return True
    return False


def _copy_in_kernel(source: int, target: int, position: int, count: int) -> int:
    """Return how many bytes from `position` on the kernel copied; 0 where it does not offer it."""
    if not hasattr(os, "copy_file_range"):
        return 0
    try:
        return os.copy_file_range(source, target, min(KERNEL_CHUNK_BYTES, count), position, position)
    except OSError as error:
        if error.errno in NOT_OFFERED:
            return 0
        raise


def _copy_by_hand(source: int, target: int, position: int, count: int) -> int:
    """Return how many bytes from `position` on were read and written; 0 at the end of `source`."""
    data = os.pread(source, min(CHUNK_BYTES, count), position)
    rest = memoryview(data)
    while rest:
        written = os.pwrite(target, rest, position)
        rest, position = rest[written:], position + written
    return len(data)
