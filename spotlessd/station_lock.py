"""One daemon per station: a lock on `state/lock`, held for the life of the process and freed by the kernel with it."""

import fcntl
import os
import time
from pathlib import Path

from spotlessd.errors import StationBusyError
from spotlessd.publishing.durable import make_folder

PATIENCE_SECONDS = 1.0
"""`spotlessd status` touches the lock for a moment to see whether it is held."""
PAUSE_SECONDS = 0.05


class StationLock:
    """The held lock. Close it, or end, to let another daemon in."""

    def __init__(self, path: Path) -> None:
        """Take the lock at `path`.

        Raises:
            StationBusyError: another daemon holds it, or the state folder cannot be written.
        """
        try:
            make_folder(path.parent)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StationBusyError(f"{path}: cannot be opened ({error.strerror}). Is the state folder ours?") from error
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

    def close(self) -> None:
        """Free the lock."""
        os.close(self._descriptor)
