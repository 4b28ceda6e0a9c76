"""What is looked at before a job starts: the file (again before its result is published), room on disk and in memory.

Memory and time follow from the frame's size, which is read from its header.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spotlessd.errors import PublishError
from spotlessd.folders.disk_space import room_text
from spotlessd.folders.roots import Root
from spotlessd.job import Job, JobState

DISK_FACTOR = 3
"""Free space wanted, in input sizes: the restored file, its mask and preview, and room to spare."""

LOADED_MB = 1000.0
MB_PER_MEGAPIXEL = 5.0
"""What the worker takes at its peak, networks included: measured up to 400 megapixels (tests/benchmarks)."""
MEMORY_PATIENCE_SECONDS = 600.0
"""How long a frame waits for memory that is not free, before it is tried all the same, within the worker's limit."""
MEMORY_RECHECK_SECONDS = 30.0
"""How long a frame is put off for want of memory, before it is looked at again."""
NEIGHBOUR_SECONDS = 5.0
"""The same while another worker has a frame, whose memory may be free soon."""
DEADLINE_BASE_SECONDS = 300.0
"""What any frame may take on top of its share by size: reading it from a slow share, a device that wakes up."""
BYTES_PER_PIXEL = 1.0
"""Of a file whose header cannot be read here; below what nearly any scan has, so its size is guessed too large."""


def difference(root: Root, job: Job) -> tuple[JobState, str] | None:
    """Return why a job's file is not the one that was queued, with the state that leads to; None if it is.

    QUEUED: it cannot be told now.
    """
    path = root.input / job.identity.rel
    try:
        now = path.lstat()  # a link that took the file's place is another file
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
        raise PublishError(f"{room_text(free, output, wanted)}. Free some space; then it goes on by itself.")


def megapixels_of(path: Path, measure: Callable[[Path], tuple[int, int]]) -> float:
    """Return a scan's size in megapixels; `measure` returns (width, height) from a header, or raises."""
    try:
        width, height = measure(path)
    except Exception:  # noqa: BLE001 - whatever is wrong with the header is for the worker to say
        try:
            return path.stat().st_size / BYTES_PER_PIXEL / 1e6
        except OSError:
            return 0.0
    return width * height / 1e6


def deadline_seconds(megapixels: float, seconds_per_megapixel: float) -> float:
    """Return how long a frame may be worked on; 0.0 = no limit, as with `seconds_per_megapixel` 0."""
    return DEADLINE_BASE_SECONDS + megapixels * seconds_per_megapixel if seconds_per_megapixel else 0.0


def peak_mb(megapixels: float, limit_mb: float) -> float:
    """Return what a worker takes for a frame at its peak, and never more than it may take (`limit_mb`)."""
    return min(LOADED_MB + MB_PER_MEGAPIXEL * megapixels, limit_mb)


def lacking_memory(megapixels: float, free_mb: float, held_mb: float, limit_mb: float, promised_mb: float = 0.0) -> str:
    """Return why a frame has too little memory now, "" if it has enough. `held_mb`: what the idle worker has already.

    A frame is never asked to find more than the worker may take at most (`limit_mb`), or it would wait for ever.
    `promised_mb`: of the free memory, what other workers are still going to take for the frames in their hands.
    """
    wanted = peak_mb(megapixels, limit_mb) - held_mb
    if wanted <= max(free_mb - promised_mb, 0.0):
        return ""
    others = f", {promised_mb:.0f} MB of them for the other workers" if promised_mb >= 1 else ""
    return (
        f"waits for memory: {free_mb:.0f} MB free{others}, {wanted:.0f} MB wanted for {megapixels:.0f} megapixels. "
        "Close other programs, or scan in smaller frames."
    )


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why a frame waits for memory. `seconds`: for how long others may overtake it; 0 = it is next, and alone."""

    reason: str
    seconds: float


class MemoryGate:
    """Puts off frames that need more memory than is free now, each for `MEMORY_PATIENCE_SECONDS` at most.

    Then a frame is tried all the same, but not beside another one: that would be killed for it.
    """

    def __init__(self, free_mb: Callable[[], float]) -> None:
        self._free_mb = free_mb
        self._short_since: dict[int, float] = {}

    def shortage(
        self,
        job_id: int,
        megapixels: float,
        held_mb: float,
        limit_mb: float,
        now: float,
        *,
        promised_mb: float = 0.0,
        is_alone: bool = True,
    ) -> Shortage | None:
        """Return why this job has to wait, None if it may start.

        `now`: monotonic seconds. `is_alone`: no other worker has a frame. The rest as for `lacking_memory`.
        """
        reason = lacking_memory(megapixels, self._free_mb(), held_mb, limit_mb, promised_mb)
        if reason:
            if now - self._short_since.setdefault(job_id, now) < MEMORY_PATIENCE_SECONDS:
                return Shortage(reason, MEMORY_RECHECK_SECONDS if is_alone else NEIGHBOUR_SECONDS)
            if not is_alone:
                return Shortage(reason, 0.0)
        self._short_since.pop(job_id, None)
        return None
