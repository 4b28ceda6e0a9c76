"""One daemon per station: a lock on `state/lock`, held for the life of the process and freed by the kernel with it.

A lock guards its file, not the name: once the state folder is unmounted, moved or replaced under a running daemon,
another one may start on what lies there now. `loss` tells it, so that the first can end.
"""

import fcntl
import os
import time
from pathlib import Path

from spotlessd.errors import LedgerError, StationBusyError
from spotlessd.publishing.durable import make_folder

PATIENCE_SECONDS = 1.0
"""`spotlessd status` touches the lock for a moment to see whether it is held."""
PAUSE_SECONDS = 0.05


class StationLock:
    """The held lock. Close it, or end, to let another daemon in."""

    def __init__(self, path: Path) -> None:
        """Take the lock at `path`.

        Raises:
            StationBusyError: another daemon holds it.
            LedgerError: the state folder cannot be written.
        """
        self._path = path
        try:
            make_folder(path.parent)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LedgerError(
                f"{path}: cannot be opened ({error.strerror}). The state folder must be writable: give this user the "
                "right to write there, or set state_dir to another folder."
            ) from error
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                    os.close(self._descriptor)
                    raise StationBusyError(
                        f"another spotlessd (process {holder}) already serves this station ({path}). "
                        "Stop it first, or look at it with: spotlessd status"
                    ) from error
                time.sleep(PAUSE_SECONDS)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def loss(self) -> str:
        """Return why the lock guards nothing any more, "" while it lies where it was taken."""
        try:
            found = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return f"{self._path} is not there any more: the state folder was unmounted, moved or deleted"
        except OSError:
            return ""  # it cannot be told now
        ours = os.fstat(self._descriptor)
        if (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino):
            return ""
        return f"{self._path} is another file now: the state folder was replaced, or mounted over"

    def close(self) -> None:
        """Free the lock."""
        os.close(self._descriptor)
