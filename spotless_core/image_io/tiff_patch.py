"""Write a copy of a TIFF in which only masked colour samples differ.

Comes in: a checked scan and the changes to its segments. Goes out: the copy, fsynced. Method: copy the file, write each
changed segment in place where it fits, else at the end, and patch the tables of offsets and sizes where they lie. No
other byte is written, but for the tags that a change makes wrong (tiff_directory_edit.py).
Source: TIFF 6.0 section 2; measured against six libraries that rewrite files, all of which lose metadata.
"""

import contextlib
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spotless_core.errors import OutputError, UnsupportedScanError
from spotless_core.image_io.file_copy import copy_content
from spotless_core.image_io.header_tiff import TiffHeader
from spotless_core.image_io.progress import OnFraction, Progress
from spotless_core.image_io.scan_file import WriteReport
from spotless_core.image_io.tiff_changes import SegmentChanges, StoredSegment
from spotless_core.image_io.tiff_directories import KIND_BYTES, LONG, LONG8, UNSIGNED, Entry
from spotless_core.image_io.tiff_segments import SegmentCoder

CLASSIC_LIMIT = 1 << 32
"""Offsets of a classic TIFF have 32 bits."""
WORST_GROWTH = 2
"""LZW at its worst stores 12 bits for 8, the others a little over 8; twice the samples is above all of them."""
ENCODING_EFFORT = 16
"""Decoding and encoding a byte of samples takes about so many times what copying one takes."""


class TiffPatch:
    """The changes of one scan, ready to be written into a copy of it."""

    def __init__(self, header: TiffHeader, coder: SegmentCoder, changes: SegmentChanges) -> None:
        self._header = header
        self._coder = coder
        self._changes = changes

    def write(self, target: Path, on_progress: OnFraction) -> WriteReport:
        """Write the patched copy to `target` and fsync it; on an error nothing is left there.

        Raises:
            UnsupportedScanError: a classic TIFF would pass 4 GiB.
            TruncatedScanError: the scan changed meanwhile.
            OutputError: the copy cannot be written.
        """
        file = self._header.structure.file
        if file.is_same_file(target):
            raise OutputError("the target is the scan itself, which is never written to. Choose another name.")
        if target.exists() and not target.is_file():
            raise OutputError("the target exists and is not a regular file. Choose another name.")
        file.require_unchanged()
        must_measure = self._may_lack_room()
        encoded_bytes = self._changes.most_segments() * self._segment_bytes() * (2 if must_measure else 1)
        progress = Progress(on_progress, file.size + self._effort() * encoded_bytes)
        if must_measure:
            self._require_room(progress)
        try:
            descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0), 0o666)
        except OSError as error:
            raise OutputError(f"the result cannot be created ({error.strerror}). Check the output folder.") from error
        try:
            report = self._write_to(descriptor, progress)
            file.require_unchanged()
        except BaseException as error:
            with contextlib.suppress(OSError):
                target.unlink()
            if isinstance(error, OSError):
                raise OutputError(
                    f"the result cannot be written ({error.strerror}). Check the output disk and its free space."
                ) from error
            raise
        finally:
            os.close(descriptor)
        progress.finish()
        return report

    def _write_to(self, descriptor: int, progress: Progress) -> WriteReport:
        file, frame = self._header.structure.file, self._coder.frame
        copy_content(file.descriptor, descriptor, file.size, progress.add)
        writer = _Appender(descriptor, file.size)
        offsets, byte_counts = frame.offsets.copy(), frame.byte_counts.copy()
        touched = 0
        for segment in self._encoded(progress):
            touched += 1
            index = segment.index
            if segment.length <= byte_counts[index]:
                writer.write_chunks(int(offsets[index]), segment.chunks)
            else:
                offsets[index] = writer.append(segment.chunks)
            byte_counts[index] = segment.length
        if not touched:
            os.fsync(descriptor)
            return WriteReport("exact", 0, 0)
        for edit in self._header.directory_edits:
            start, end = edit.directory.extent
            writer.write(start, edit.apply(self._header.structure, file.read(start, end - start)))
        if frame.codec != "none":
            self._patch_table(writer, frame.offset_entry, frame.offsets, offsets)
            self._patch_table(writer, frame.count_entry, frame.byte_counts, byte_counts)
        os.fsync(descriptor)
        notes = tuple(dict.fromkeys(edit.note for edit in self._header.directory_edits))
        return WriteReport(self._header.info.preservation, touched, writer.end - file.size, notes)

    def _encoded(self, progress: Progress) -> Iterator[StoredSegment]:
        effort = self._effort()
        return self._changes.stored(lambda count: progress.add(effort * count))

    def _effort(self) -> int:
        return 1 if self._coder.frame.codec == "none" else ENCODING_EFFORT

    def _segment_bytes(self) -> int:
        return self._coder.frame.segment_height * self._coder.frame.row_bytes

    def _tables_bytes(self) -> int:
        """Most bytes that the two tables take at the end."""
        return 2 * (len(self._coder.frame.offsets) * KIND_BYTES[LONG] + 1)

    def _may_lack_room(self) -> bool:
        """Whether a classic TIFF could pass 4 GiB if all segments grew as far as they can."""
        structure, most = self._header.structure, self._changes.most_segments()
        if structure.is_big or self._coder.frame.codec == "none" or not most:
            return False
        worst = most * (self._segment_bytes() * WORST_GROWTH + 1024)
        return structure.file.size + self._tables_bytes() + worst >= CLASSIC_LIMIT

    def _require_room(self, progress: Progress) -> None:
        """Encode once to know whether a classic TIFF would pass 4 GiB, and refuse it before anything is written."""
        counts = self._coder.frame.byte_counts
        grown = sum(one.length + 1 for one in self._encoded(progress) if one.length > counts[one.index])
        if self._header.structure.file.size + self._tables_bytes() + grown >= CLASSIC_LIMIT:
            raise UnsupportedScanError(
                "the repaired file would pass the 4 GB limit of classic TIFF. Save the scan as BigTIFF."
            )

    def _patch_table(self, writer: "_Appender", entry: Entry, old: NDArray[np.int64], new: NDArray[np.int64]) -> None:
        if np.array_equal(old, new):
            return
        structure = self._header.structure
        order, kind, largest = structure.byte_order, entry.kind, int(new.max())
        if largest < 1 << (8 * KIND_BYTES[kind]):
            writer.write(entry.value_position, _packed(new, order, kind))
            return
        # The type is too narrow: a wider table, and the tag's entry changes type and place.
        kind = LONG if largest < CLASSIC_LIMIT else LONG8
        value = _packed(new, order, kind)
        writer.write(entry.position + 2, struct.pack(f"{order}H", kind))
        inline_position = entry.position + (12 if structure.is_big else 8)
        if len(value) <= structure.inline_bytes:
            writer.write(inline_position, value.ljust(structure.inline_bytes, b"\0"))
        else:
            pointer = struct.pack(f"{order}{'Q' if structure.is_big else 'I'}", writer.append((value,)))
            writer.write(inline_position, pointer)


class _Appender:
    """Writes by position, and appends on even offsets."""

    def __init__(self, descriptor: int, end: int) -> None:
        self._descriptor = descriptor
        self.end = end

    def write(self, position: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._descriptor, rest, position)
            rest, position = rest[written:], position + written

    def write_chunks(self, position: int, chunks: Iterable[bytes]) -> int:
        """Write `chunks` one after the other and return where they end."""
        for chunk in chunks:
            self.write(position, chunk)
            position += len(chunk)
        return position

    def append(self, chunks: Iterable[bytes]) -> int:
        """Append `chunks` and return where they lie."""
        if self.end % 2:
            self.write(self.end, b"\0")
            self.end += 1
        position = self.end
        self.end = self.write_chunks(position, chunks)
        return position


def _packed(values: NDArray[np.int64], byte_order: str, kind: int) -> bytes:
    assert kind in UNSIGNED  # noqa: S101 - our own choice of types
    return values.astype(f"{byte_order}u{KIND_BYTES[kind]}").tobytes()
