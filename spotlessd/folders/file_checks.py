"""Two cheap looks at a file that stopped changing: does it end in zeros, does somebody still write to it.

Both are hints that make a file wait longer; neither says that a file is complete.
"""

import errno
import os
import sys
from enum import Enum
from pathlib import Path
from typing import BinaryIO

if sys.platform == "linux":
    import fcntl
    import signal

TAIL_BYTES = 64 * 1024
SAMPLES = 16
SAMPLE_BYTES = 4096
"""Read from the last quarter of a file that ends in zeros: a share has to send little for it."""


class WriterState(Enum):
    """Whether some process has a file open for writing, as far as the system tells."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"


class ZeroTail(Enum):
    """How much of a file's end is zero bytes, as in a copy whose length was set before its data came.

    SHORT: the last 64 KiB, which a black edge of a scan may be too. LONG: samples all over its last quarter, which no
    film leaves without grain.
    """

    NONE = "none"
    SHORT = "short"
    LONG = "long"


def zero_tail(path: Path) -> ZeroTail:
    """Look at the end of a file.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not _is_zero(file, max(size - TAIL_BYTES, 0), TAIL_BYTES):
            return ZeroTail.NONE
        quarter = size // 4
        starts = (size - quarter + quarter * sample // SAMPLES for sample in range(SAMPLES))
        is_long = quarter > TAIL_BYTES and all(_is_zero(file, start, SAMPLE_BYTES) for start in starts)
        return ZeroTail.LONG if is_long else ZeroTail.SHORT


def _is_zero(file: BinaryIO, start: int, length: int) -> bool:
    file.seek(start)
    piece = file.read(length)
    return bool(piece) and not any(piece)


def is_open_for_writing(path: Path, *, is_network: bool = False) -> WriterState:
    """Ask the Linux kernel by trying to take a read lease, which it grants only when nobody writes (fcntl(2)).

    UNKNOWN on other systems and on files of other users (without CAP_LEASE). Network files are not asked about: NFS 4
    without a delegation and SMB without an oplock refuse every lease with the same EAGAIN that means a writer.

    Raises:
        OSError: the file cannot be opened.
    """
    if sys.platform != "linux" or is_network:
        return WriterState.UNKNOWN
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        # Somebody who opens it for writing this very moment breaks the lease with a signal. The usual one, SIGIO, would
        # end a process that does not expect it; SIGURG is ignored by default.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return WriterState.OPEN if error.errno == errno.EAGAIN else WriterState.UNKNOWN
    finally:
        os.close(descriptor)
    return WriterState.CLOSED
