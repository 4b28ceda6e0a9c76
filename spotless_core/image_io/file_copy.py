"""Copy one open file into another as fast as the file system can.

Comes in: two descriptors. Goes out: the second holds the first's content. Order: a shared copy (reflink) where the file
system offers it, a copy inside the kernel, a loop of reads and writes. Errors of the system are passed on as OSError.
"""

import contextlib
import errno
import os
import sys

CHUNK_BYTES = 4 << 20
KERNEL_CHUNK_BYTES = 1 << 30
FICLONE = 0x40049409
"""Linux ioctl: share all extents of one file with another."""
NOT_OFFERED = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY, errno.EPERM, errno.EBADF}


def copy_content(source: int, target: int, size: int) -> None:
    """Copy the first `size` bytes of `source` to the empty file `target`.

    Raises:
        OSError: reading or writing failed, or the source became shorter.
    """
    if _clone(source, target) and os.fstat(target).st_size == size:
        return
    os.ftruncate(target, 0)
    done = _copy_in_kernel(source, target, size)
    while done < size:
        data = os.pread(source, min(CHUNK_BYTES, size - done), done)
        if not data:
            raise OSError(errno.EIO, "the scan became shorter while it was copied")
        rest = memoryview(data)
        while rest:
            written = os.pwrite(target, rest, done)
            rest, done = rest[written:], done + written


def _clone(source: int, target: int) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    with contextlib.suppress(OSError):
        fcntl.ioctl(target, FICLONE, source)
        return True
    return False


def _copy_in_kernel(source: int, target: int, size: int) -> int:
    """Return how many bytes the kernel copied; 0 where it does not offer it."""
    if not hasattr(os, "copy_file_range"):
        return 0
    done = 0
    while done < size:
        try:
            copied = os.copy_file_range(source, target, min(KERNEL_CHUNK_BYTES, size - done), done, done)
        except OSError as error:
            if error.errno in NOT_OFFERED:
                return done
            raise
        if not copied:
            return done
        done += copied
    return done
