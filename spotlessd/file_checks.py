"""Two cheap looks at a file that stopped changing: does it end in zeros, does somebody still write to it.

Both are hints that make a file wait longer; neither says that a file is complete.
"""

import errno
import os
import sys
from enum import Enum
from pathlib import Path

if sys.platform == "linux":
    import fcntl
    import signal

TAIL_BYTES = 64 * 1024


class WriterState(Enum):
    """Whether some process has a file open for writing, as far as the system tells."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"


def has_zero_tail(path: Path) -> bool:
    """Whether the last 64 KiB are zero bytes, as in a copy whose length was set before its data came.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - TAIL_BYTES, 0))
        tail = file.read(TAIL_BYTES)
    return bool(tail) and not any(tail)


def is_open_for_writing(path: Path) -> WriterState:
    """Ask the Linux kernel by trying to take a read lease, which it grants only when nobody writes (fcntl(2)).

    UNKNOWN on other systems, on files of other users (without CAP_LEASE) and on network file systems.

    Raises:
        OSError: the file cannot be opened.
    """
    if sys.platform != "linux":
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
