"""Room for the planes of one frame: in memory while they are small, else in unlinked files of our own.

Comes in: rows, written once. Goes out: windows of them, read by position. Never a memory map: pages of a mapped file
count as the worker's memory, and a disk that fails would kill it. The files have no name, so that nothing is left of
them however the process ends. Only this module decides where a plane lies; those who read it cannot tell.
"""

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import psutil
from numpy.typing import NDArray

from spotless_core.errors import ArrayContractError, OutputError

MEMORY_BYTES = 340 << 20
"""All planes of one frame together take at most so much memory: a 35 mm scan of 24 megapixels stays in it."""
SPARE_BYTES = 64 << 20
"""A disk is not filled further than this."""
WIDE_SHARE = 4
"""Up to so many times the wanted bytes are read in one piece, rather than row by row."""

MEMORY_KINDS = ("tmpfs", "ramfs")
"""File systems whose files take memory."""
PREFIX = "spotless-"
LARGE_FILES_FOLDER = Path("/var/tmp")  # noqa: S108 - only files without a name are made there
CLOSED = "a plane was used after its space was closed."


class StoredPlane:
    """One plane of a `ScratchSpace`; implements `Windows`. In memory a window is a view, which nobody may write to."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], file: IO[bytes] | None) -> None:
        self.shape = shape
        self.dtype = dtype
        self._file = file
        self._array: NDArray[Any] | None = np.empty(shape, dtype) if file is None else None
        self._pixel_bytes = int(np.prod(shape[2:], dtype=np.int64)) * dtype.itemsize
        self._row_bytes = shape[1] * self._pixel_bytes
        self.memory_bytes = 0 if self._array is None else self._array.nbytes

    def write_rows(self, top: int, rows: NDArray[Any]) -> None:
        """Store `rows`, n×W or n×W×C of the plane's own dtype, from row `top` on.

        Raises:
            ArrayContractError: they do not fit the plane.
            OutputError: the disk is full or fails.
        """
        if rows.dtype != self.dtype or rows.shape[1:] != self.shape[1:] or not 0 <= top <= self.shape[0] - len(rows):
            raise ArrayContractError(
                f"rows {rows.dtype} {rows.shape} at {top}; {self.dtype} within {self.shape} expected."
            )
        if self._file is None:
            self._in_memory()[top : top + len(rows)] = rows
            return
        rest = np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data
        position = top * self._row_bytes
        try:
            while rest:
                done = os.pwrite(self._descriptor(), rest, position)
                rest, position = rest[done:], position + done
        except OSError as error:
            raise _no_room(len(rest), error.strerror or str(error)) from error

    def __getitem__(self, place: tuple[slice, slice], /) -> NDArray[Any]:
        """Return the window at two slices with steps of 1 or more, read only.

        Raises:
            OutputError: the disk fails.
        """
        if self._file is None:
            return self._in_memory()[place]
        rows, columns = (range(*part.indices(length)) for part, length in zip(place, self.shape, strict=False))
        if not rows or not columns:
            return np.empty((len(rows), len(columns), *self.shape[2:]), self.dtype)
        left, right = columns[0], columns[-1] + 1
        is_dense = rows.step == 1 and (right - left) * WIDE_SHARE >= self.shape[1]
        read = self._read_span if is_dense else self._read_rows
        return read(rows, left, right)[:, :: columns.step]

    def _read_span(self, rows: range, left: int, right: int) -> NDArray[Any]:
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
        self._fill(values.reshape(-1).view(np.uint8).data, rows[0] * self._row_bytes)
        return values[:, left:right]

    def _read_rows(self, rows: range, left: int, right: int) -> NDArray[Any]:
        values = np.empty((len(rows), right - left, *self.shape[2:]), self.dtype)
        room = values.reshape(-1).view(np.uint8).data
        wanted = (right - left) * self._pixel_bytes
        for index, row in enumerate(rows):
            position = row * self._row_bytes + left * self._pixel_bytes
            self._fill(room[index * wanted : (index + 1) * wanted], position)
        return values

    def _fill(self, room: memoryview, position: int) -> None:
        done = 0
        try:
            while done < len(room):
                part = os.preadv(self._descriptor(), [room[done:]], position + done)
                if not part:
                    raise ArrayContractError("rows of a plane were read before they were written.")
                done += part
        except OSError as error:
            raise OutputError(f"the temporary file of the frame cannot be read ({error.strerror}).") from error

    def _in_memory(self) -> NDArray[Any]:
        if self._array is None:
            raise ArrayContractError(CLOSED)
        return self._array

    def _descriptor(self) -> int:
        if self._file is None or self._file.closed:
            raise ArrayContractError(CLOSED)
        return self._file.fileno()

    def close(self) -> None:
        """Give the room back; the plane is spent."""
        self._array = None
        if self._file is not None:
            self._file.close()


def scratch_folders(*others: Path) -> list[Path]:
    """Return where temporary files may lie: a local disk, which results need not lie on, comes before `others`.

    Last comes the system's place for large ones, as the usual one is memory on many systems.
    """
    return [Path(tempfile.gettempdir()), *others, LARGE_FILES_FOLDER]


def scratch_file(folders: Sequence[Path], needed: int) -> IO[bytes]:
    """Return a new file without a name for `needed` bytes in the first of `folders` that has room and is no memory.

    No folder = the system's own for temporary files, whatever it is.

    Raises:
        OutputError: none of them has room.
    """
    if not folders:
        return tempfile.TemporaryFile(prefix=PREFIX, buffering=0)
    reasons = []
    for folder in folders:
        try:
            free = shutil.disk_usage(folder).free
            if _is_memory(folder):
                reasons.append(f"{folder} is memory")
            elif free < needed + SPARE_BYTES:
                reasons.append(f"{free / 1e6:.0f} MB are free in {folder}")
            else:
                return tempfile.TemporaryFile(dir=folder, prefix=PREFIX, buffering=0)
        except OSError as error:
            reasons.append(f"{folder}: {error.strerror or error}")
    raise _no_room(needed, "; ".join(reasons))


class ScratchSpace:
    """The planes of one frame: up to `memory_bytes` in memory, the rest in unlinked files.

    `folders`: where those may lie, in order of preference; one that is full, or is memory itself, is passed over.
    """

    def __init__(self, folders: Sequence[Path], memory_bytes: int = MEMORY_BYTES) -> None:
        self._folders = folders
        self._memory_bytes = memory_bytes
        self._planes: list[StoredPlane] = []

    def plane(self, shape: tuple[int, ...], dtype: np.dtype[Any] | type[np.generic]) -> StoredPlane:
        """Return a new plane of `shape`, (H, W) or (H, W, C); its rows are to be written before they are read.

        Raises:
            OutputError: the disk has no room for it.
        """
        kind = np.dtype(dtype)
        needed = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        file = None
        if needed > self._memory_bytes:
            file = scratch_file(self._folders, needed)
        else:
            self._memory_bytes -= needed
        self._planes.append(StoredPlane(shape, kind, file))
        return self._planes[-1]

    def release(self, plane: StoredPlane) -> None:
        """Give the room of one plane back before the others'."""
        self._planes.remove(plane)
        self._memory_bytes += plane.memory_bytes
        plane.close()

    def close(self) -> None:
        """Give all room back."""
        for plane in self._planes:
            plane.close()
        self._planes.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _is_memory(folder: Path) -> bool:
    """Tell whether files in `folder` lie in memory, as in /tmp of many systems."""
    place = folder.resolve()
    mounts = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    return next((mounts[path] in MEMORY_KINDS for path in (place, *place.parents) if path in mounts), False)


def _no_room(needed: int, reason: str) -> OutputError:
    return OutputError(
        f"no room for {needed / 1e6:.0f} MB of decoded samples ({reason}). "
        "Free space where results are written, or set TMPDIR to a larger disk."
    )
