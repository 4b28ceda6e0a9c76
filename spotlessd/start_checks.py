"""What is looked at before a job starts and again before its result is published: the file, and room on the disk."""

from collections.abc import Callable
from pathlib import Path

from spotlessd.errors import PublishError
from spotlessd.job import Job, JobState
from spotlessd.roots import Root

DISK_FACTOR = 3
"""Free space wanted, in input sizes: the restored file, its mask and preview, and room to spare."""


def difference(root: Root, job: Job) -> tuple[JobState, str] | None:
    """Return why a job's file is not the one that was queued, with the state that leads to; None if it is.

    QUEUED: it cannot be told now.
    """
    path = root.input / job.identity.rel
    try:
        now = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return JobState.GONE, f"{path.name}: the file is not there any more."
    except OSError as error:
        return JobState.QUEUED, f"{path.name}: cannot be looked at ({error.strerror})."
    if (now.st_size, now.st_mtime_ns) != (job.identity.size, job.identity.mtime_ns):
        return JobState.SUPERSEDED, f"{path.name}: the file changed after it was queued; it will be queued again."
    return None


def check_room(output: Path, job: Job, reserve_bytes: int, free_bytes: Callable[[Path], int]) -> None:
    """Check that a result finds room under `output`, with `reserve_bytes` to spare.

    Raises:
        PublishError: it does not, or the folder cannot be looked at.
    """
    wanted = DISK_FACTOR * job.identity.size + reserve_bytes
    try:
        free = free_bytes(output)
    except OSError as error:
        raise PublishError(f"{output}: cannot be looked at ({error.strerror}).") from error
    if free < wanted:
        raise PublishError(
            f"disk: {free / 1e6:.0f} MB free at {output}, {wanted / 1e6:.0f} MB wanted. Free some space."
        )
