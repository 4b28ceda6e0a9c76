"""Positional reads of one file, each checked against its end.

Comes in: a path, or an offset and a count. Goes out: bytes. Never a memory map: a mapped file that shrinks kills the
process. A file that ends early, changes or becomes unreadable is a `TruncatedScanError`, which may be tried again.
"""

import os
import stat
from pathlib import Path

from spotless_core.errors import MissingInputError, TruncatedScanError


class PositionalFile:
    """A regular file open for reading. `size` is its length in bytes when it was opened."""

    def __init__(self, path: Path) -> None:
        try:
            self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            message = f"the file cannot be opened ({error.strerror}). Check its path and rights."
            raise MissingInputError(message) from error
        self._is_open = True
        facts = os.fstat(self.descriptor)
        if not stat.S_ISREG(facts.st_mode):
            self.close()
            raise MissingInputError("not a regular file.")
        self.size = facts.st_size
        self._identity = (facts.st_size, facts.st_mtime_ns)

    def read(self, offset: int, count: int) -> bytes:
        """Return exactly `count` bytes from `offset`.

        Raises:
            TruncatedScanError: they do not all lie in the file, or the disk or share fails.
        """
        self.require_inside(offset, count)
        parts: list[bytes] = []
        while count:
            try:
                part = os.pread(self.descriptor, count, offset)
            except OSError as error:
                raise TruncatedScanError(
                    f"the file cannot be read to its end ({error.strerror}). Check the disk or the share."
                ) from error
            if not part:
                raise TruncatedScanError("the file became shorter while it was read. Wait until it is complete.")
            parts.append(part)
            offset += len(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def require_inside(self, offset: int, count: int) -> None:
        """Raise `TruncatedScanError` unless `count` bytes from `offset` lie in the file."""
        if offset < 0 or count < 0 or offset + count > self.size:
            raise TruncatedScanError(
                f"bytes {offset} to {offset + count} are needed, but the file has {self.size}. "
                "Wait until it is completely written, or scan it again."
            )

    def require_unchanged(self) -> None:
        """Raise `TruncatedScanError` if the file's size or time of change is not what it was when it was opened."""
        facts = os.fstat(self.descriptor)
        if (facts.st_size, facts.st_mtime_ns) != self._identity:
            raise TruncatedScanError("the file changed while it was processed. Wait until it is completely written.")

    def is_same_file(self, path: Path) -> bool:
        """Whether `path` leads to this very file, by whatever name."""
        try:
            return os.path.samestat(os.fstat(self.descriptor), path.stat())
        except OSError:
            return False

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._is_open:
            self._is_open = False
            os.close(self.descriptor)
