"""BMP and PNM scans: uncompressed rows, patched in place in a copy of the file.

A copy is the scan's bytes; only samples under the edits are written over. Headers, colour profile, what fills up the
rows, alpha and all bytes after the picture are carried. Rows go in and out from top to bottom and as R, G, B, however
they are stored.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Mask, Samples, require_mask
from spotless_core.errors import OutputError, PreservationError, SpotlessError
from spotless_core.image_io.edited_rows import EditedRows
from spotless_core.image_io.file_copy import copy_content
from spotless_core.image_io.header_flat import FlatHeader, check_bmp, check_pnm
from spotless_core.image_io.positional_file import PositionalFile
from spotless_core.image_io.progress import OnFraction, Progress, ignore_fraction
from spotless_core.image_io.scan_base import PlainScan
from spotless_core.image_io.scan_file import WriteReport
from spotless_core.image_io.written_file import written_file
from spotless_core.photo import Edit, ScanInfo

BAND_BYTES = 4 << 20
COMPARE_BYTES = 1 << 20

Check = Callable[[PositionalFile, float], FlatHeader]


class FlatScan(PlainScan[FlatHeader]):
    """One open BMP or PNM scan; use `open_bmp` or `open_pnm`."""

    def __init__(self, path: Path, max_megapixels: float, check: Check) -> None:
        super().__init__(path, lambda file: check(file, max_megapixels))
        self._check = check
        header = self._header
        self.info = ScanInfo(
            container=header.container,
            width=header.width,
            height=header.height,
            channels=header.channels,
            color_channels=header.color_channels,
            bits=header.bits,
            compression="none",
            preservation="exact",
            dpi=header.dpi,
            has_icc_profile=header.has_icc_profile,
        )

    def read_rows(self, top: int, bottom: int) -> Samples:
        """Return rows [top, bottom) as a new (bottom-top)×width×color_channels array in native byte order."""
        return self._native(self._stored_rows(top, bottom))

    def write_restored(
        self, target: Path, edits: Sequence[Edit], on_progress: OnFraction = ignore_fraction
    ) -> WriteReport:
        """Write the copy with the edits' samples in place; without a changed sample it is byte-identical.

        Raises:
            OutputError: the copy cannot be written, or `target` is the scan itself.
        """
        if self._file.is_same_file(target):
            raise OutputError("the result would overwrite the scan itself. Choose another name.")
        edited = EditedRows(edits, self.info)
        self._file.require_unchanged()
        touched = 0
        with written_file(target) as file:
            progress = Progress(on_progress, self._file.size + self.info.height * self._header.stride)
            copy_content(self._file.descriptor, file.fileno(), self._file.size, progress.add)
            for top, bottom in self._bands(self._header.stride, BAND_BYTES):
                progress.add((bottom - top) * self._header.stride)
                if not edited.touch(top, bottom):
                    continue
                stored = self._stored_rows(top, bottom)
                rows = self._native(stored)
                changed = edited.apply_inplace(rows, top)
                self._colors(stored)[changed] = rows[changed]
                for row in np.flatnonzero(changed.any(axis=1)).tolist():
                    file.seek(self._position(top + row))
                    file.write(stored[row].tobytes())
                    touched += 1
        progress.finish()
        return WriteReport("exact", segments_touched=touched, bytes_appended=0)

    def check_restored(self, target: Path, mask: Mask) -> None:
        """Compare every byte of the two files but the colour samples under `mask`.

        Raises:
            PreservationError: the first difference found.
        """
        require_mask(mask, (self.info.height, self.info.width))
        try:
            other = FlatScan(target, float("inf"), self._check)
        except SpotlessError as error:
            raise PreservationError(f"the result is not a sound {self.info.container.upper()}: {error}") from error
        with other:
            if other._file.size != self._file.size or other._header != self._header:
                raise PreservationError("the result's size or header differs from the scan's.")
            self._require_equal_bytes(other, 0, self._header.data_start, "header")
            self._require_equal_bytes(other, self._header.data_end, self._file.size, "bytes after the picture")
            for top, bottom in self._bands(self._header.stride, BAND_BYTES):
                self._require_equal_rows(other, mask[top:bottom], top)

    def _position(self, row: int) -> int:
        """Where `row`, counted from the top of the picture, lies in the file."""
        header = self._header
        return header.data_start + header.stride * (header.height - 1 - row if header.is_bottom_up else row)

    def _raw_rows(self, top: int, bottom: int) -> NDArray[np.uint8]:
        """Return rows [top, bottom) as h×stride bytes from the top down; what fills up the very last may be missing."""
        header = self._header
        start = min(self._position(top), self._position(bottom - 1))
        count = (bottom - top) * header.stride
        data = self._file.read(start, min(count, self._file.size - start))
        rows = np.frombuffer(data.ljust(count, b"\0"), np.uint8).reshape(-1, header.stride)
        return rows[::-1] if header.is_bottom_up else rows

    def _stored_rows(self, top: int, bottom: int) -> Samples:
        """Return rows [top, bottom) as a new h×width×channels array in stored order of samples and bytes."""
        header = self._header
        rows = self._raw_rows(top, bottom)[:, : header.row_bytes].copy()
        samples: Samples = rows.view(np.uint8 if header.bits == 8 else ">u2")
        return samples.reshape(bottom - top, header.width, header.channels)

    def _colors(self, stored: Samples) -> Samples:
        """Return a view of the colour samples as R, G, B or grey."""
        return stored[..., ::-1] if self._header.is_bgr else stored[..., : self._header.color_channels]

    def _native(self, stored: Samples) -> Samples:
        """Return the colour samples as a new array in native byte order."""
        rows: Samples = self._colors(stored).astype("u1" if self._header.bits == 8 else "u2")
        return rows

    def _require_equal_bytes(self, other: "FlatScan", start: int, end: int, what: str) -> None:
        for offset in range(start, end, COMPARE_BYTES):
            count = min(COMPARE_BYTES, end - offset)
            if self._file.read(offset, count) != other._file.read(offset, count):
                raise PreservationError(f"the result's {what} differ from the scan's.")

    def _require_equal_rows(self, other: "FlatScan", mask: Mask, top: int) -> None:
        """Raise unless rows from `top` on differ only in colour samples under `mask` (h×width)."""
        header, bottom = self._header, top + len(mask)
        differs = self._raw_rows(top, bottom) != other._raw_rows(top, bottom)
        pixels = differs[:, : header.row_bytes].reshape(len(mask), header.width, header.channels, header.bits // 8)
        pixels[:, :, : header.color_channels] &= ~mask[..., None, None]
        if differs.any():
            row = top + int(np.flatnonzero(differs.any(axis=1))[0])
            raise PreservationError(f"row {row} of the result differs from the scan's outside the mask.")


def open_bmp(path: Path, max_megapixels: float) -> FlatScan:
    """Open a BMP scan; raises what `check_bmp` raises."""
    return FlatScan(path, max_megapixels, check_bmp)


def open_pnm(path: Path, max_megapixels: float) -> FlatScan:
    """Open a PGM, PPM or PAM scan; raises what `check_pnm` raises."""
    return FlatScan(path, max_megapixels, check_pnm)
