"""A new file that is either completely on the disk or not there at all.

Comes in: the path to write. Goes out: a binary file to write to. When the block ends well the data is flushed to the
disk (fsync); when it fails the half-written file is removed. Failures of writing are `OutputError`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from spotless_core.errors import OutputError


@contextmanager
def written_file(target: Path) -> Iterator[BinaryIO]:
    """Open `target` for writing, emptied first; fsync it at the end of the block.

    Raises:
        OutputError: the file cannot be created, written or flushed.
    """
    try:
        file = target.open("wb")
    except OSError as error:
        raise OutputError(
            f"the result cannot be created ({error.strerror}). Check the folder and its rights."
        ) from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        _remove(target)
        raise OutputError(f"the result cannot be written ({error.strerror}). Check the free space.") from error
    except BaseException:
        _remove(target)
        raise


def _remove(target: Path) -> None:
    with suppress(OSError):
        target.unlink(missing_ok=True)
