"""Work from a copy: a scan on a network share is read once, in order, into a file on a local disk.

Comes in: a work order that names a copy. Goes out: the same order with the copy as its source, for as long as the job
takes. Decoders jump about in a file and read parts of it twice or more; over a network each jump waits, and a share
that goes away in the middle looks like a damaged scan. Promises: the copy is as long as the scan and the scan did not
change meanwhile, or nothing is worked on; what was decoded had the very bytes that came over the network (both are
hashed); the copy is removed with the job. Names of our own in the folder are ours to remove, nothing else is touched.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from spotless_core.errors import MissingInputError
from spotlessd.errors import PublishError, SpoolError
from spotlessd.folders.disk_space import room_text
from spotlessd.messages import WorkOrder
from spotlessd.publishing.durable import cannot_write, remove_part

CHUNK_BYTES = 4 << 20
COPY_STEP = "copy"
COPY_NAME = re.compile(r"spotlessd-\d+-\d+(\.[A-Za-z0-9]+)?\Z")

OnStep = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class WorkingCopy:
    """The order to carry out, and the SHA-256 of what came from the share; "" without a copy."""

    order: WorkOrder
    sha256: str = ""

    def check(self, read_sha256: str) -> None:
        """Compare with the SHA-256 of what was decoded.

        Raises:
            SpoolError: the copy was not what came from the share.
        """
        if self.sha256 and read_sha256 != self.sha256:
            raise SpoolError(f"{self.order.source}: the copy changed on the local disk. Check that disk.")


def copy_path(folder: Path, job_id: int, attempt: int, rel: str) -> Path:
    """Return where the copy for an attempt lies."""
    return folder / f"spotlessd-{job_id}-{attempt}{PurePosixPath(rel).suffix}"


@contextmanager
def working_copy(order: WorkOrder, on_step: OnStep) -> Iterator[WorkingCopy]:
    """Copy the order's scan if the order names a copy, and remove the copy in the end.

    Raises:
        MissingInputError: the scan is not there.
        SpoolError: the scan cannot be read, or changed while it was.
        PublishError: the copy cannot be written.
    """
    if order.spool is None:
        yield WorkingCopy(order)
        return
    try:
        sha256 = _copy(order.source, order.spool, on_step)
        yield WorkingCopy(replace(order, source=order.spool), sha256)
    finally:
        remove_part(order.spool)


def make_room(folder: Path, size: int, reserve_bytes: int, free_bytes: Callable[[Path], int]) -> None:
    """Make the folder of the copies and check that one of `size` bytes fits, with `reserve_bytes` to spare.

    Raises:
        PublishError: it does not, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = free_bytes(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    wanted = size + reserve_bytes
    if free < wanted:
        raise PublishError(
            f"{room_text(free, folder, wanted)} for the copy of a scan "
            f"({reserve_bytes / 1e6:.0f} of them are disk.reserve_mb). "
            f"Free some space, or set watch.spool_dir; then it goes on by itself."
        )


def clear(folder: Path) -> None:
    """Remove the copies that runs before this one left. Only right while no job is in hand."""
    try:
        with os.scandir(folder) as entries:
            stale = [Path(entry.path) for entry in entries if COPY_NAME.match(entry.name)]
    except OSError:
        return  # not there: nothing was copied yet; what cannot be read is told when it is written to
    for path in stale:
        remove_part(path)


def _copy(source: Path, target: Path, on_step: OnStep) -> str:
    """Copy a file in order and return its SHA-256."""
    digest = hashlib.sha256()
    on_step(COPY_STEP, 0.0)
    try:
        scan = source.open("rb")
    except FileNotFoundError as error:
        raise MissingInputError("no such file.") from error
    except OSError as error:
        raise SpoolError(f"{source}: cannot be read from its share ({error.strerror}).") from error
    with scan:
        try:
            before = os.fstat(scan.fileno())
        except OSError as error:
            raise SpoolError(f"{source}: cannot be read from its share ({error.strerror}).") from error
        copied = 0
        try:
            with target.open("wb") as copy:
                # A scan that grows is left off as soon as it is longer than there was room for.
                while copied <= before.st_size and (chunk := _read(scan.read, source)):
                    digest.update(chunk)
                    copy.write(chunk)
                    copied += len(chunk)
                    on_step(COPY_STEP, min(copied / max(before.st_size, 1), 1.0))
        except OSError as error:
            raise cannot_write(target, error) from error
    try:
        after = source.stat()
    except OSError as error:
        raise SpoolError(f"{source}: went away while it was read ({error.strerror}).") from error
    if copied != before.st_size or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise SpoolError(f"{source}: it changed while it was read.")
    return digest.hexdigest()


def _read(read: Callable[[int], bytes], source: Path) -> bytes:
    """Read the next piece; what fails here is the share, not the local disk."""
    try:
        return read(CHUNK_BYTES)
    except OSError as error:
        raise SpoolError(f"{source}: cannot be read from its share ({error.strerror}).") from error
