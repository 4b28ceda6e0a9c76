"""PNG scans: rows by stream, write by chunk splice, never the whole frame in memory.

A copy carries every chunk byte for byte and in order; only the run of IDAT chunks is made anew, an index into that run
is left out, and bytes after IEND are carried. Alpha and every sample outside the edits stay as they are. The decoder
sees nothing but IHDR and IDAT.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from spotless_core.arrays.kinds import Mask, Samples, require_mask
from spotless_core.errors import OutputError, PreservationError, SpotlessError
from spotless_core.image_io.edited_rows import EditedRows
from spotless_core.image_io.header_png import PngHeader, check_png
from spotless_core.image_io.png_rows import PngRows
from spotless_core.image_io.png_stream import idat_chunks
from spotless_core.image_io.positional_file import PositionalFile
from spotless_core.image_io.progress import OnFraction, Progress, ignore_fraction
from spotless_core.image_io.scan_base import PlainScan
from spotless_core.image_io.scan_file import WriteReport
from spotless_core.image_io.written_file import written_file
from spotless_core.photo import Edit, ScanInfo

COPY_BYTES = 1 << 20
BAND_BYTES = 512 << 10
"""Rows are encoded in bands of about this size."""
NO_INDEX = "the PNG's index of its picture data (iDOT) was left out, as it no longer fits."
ENCODING_EFFORT = 4
"""Writing a row takes about so many times what reading it takes."""


class PngScan(PlainScan[PngHeader]):
    """One open PNG scan, read row by row."""

    def __init__(self, path: Path, max_megapixels: float) -> None:
        super().__init__(path, lambda file: check_png(file, max_megapixels))
        header = self._header
        self.info = ScanInfo(
            container="png",
            width=header.width,
            height=header.height,
            channels=header.channels,
            color_channels=3 if header.channels >= 3 else 1,
            bits=header.bits,
            compression="deflate",
            preservation="exact",
            dpi=header.dpi,
            orientation=header.orientation,
            has_icc_profile=header.has_icc_profile,
        )
        self._rows = PngRows(self._file, header)

    def read_rows(self, top: int, bottom: int) -> Samples:
        """Return rows [top, bottom) as a new (bottom-top)×width×color_channels array in native byte order."""
        rows = self._rows.read(top, bottom)
        return rows[..., : self.info.color_channels].copy() if self._header.has_alpha else rows

    def write_restored(
        self, target: Path, edits: Sequence[Edit], on_progress: OnFraction = ignore_fraction
    ) -> WriteReport:
        """Write the copy with new picture data; without a changed sample it is byte-identical.

        Raises:
            OutputError: the copy cannot be written, or `target` is the scan itself.
            ScanError: the scan's picture data is damaged.
        """
        if self._file.is_same_file(target):
            raise OutputError("the result would overwrite the scan itself. Choose another name.")
        edited = EditedRows(edits, self.info)
        progress = Progress(on_progress, (1 + ENCODING_EFFORT) * self.info.height)
        has_changes = any(True for _ in self._changed_bands(edited, progress))
        progress.reach(self.info.height)
        self._file.require_unchanged()
        with written_file(target) as file:
            if not has_changes:
                file.writelines(self._pieces(self._file, 0, self._file.size))
            else:
                header = self._header
                for extent in header.kept(0, header.data_start):
                    file.writelines(self._pieces(self._file, *extent))
                file.writelines(idat_chunks(self._edited_bands(edited, progress)))
                for extent in header.kept(header.data_end, self._file.size):
                    file.writelines(self._pieces(self._file, *extent))
        progress.finish()
        notes = (NO_INDEX,) if has_changes and self._header.indices else ()
        return WriteReport("exact", segments_touched=int(has_changes), bytes_appended=0, notes=notes)

    def check_restored(self, target: Path, mask: Mask) -> None:
        """Compare all chunks but IDAT, the bytes after IEND, and the alpha samples; whole files for an empty mask."""
        require_mask(mask, (self.info.height, self.info.width))
        try:
            other = PngScan(target, float("inf"))
        except SpotlessError as error:
            raise PreservationError(f"the result is not a sound PNG: {error}") from error
        with other:
            mine, theirs = self._header, other._header
            if not mask.any() or theirs.indices:
                self._require_equal(other, (0, self._file.size), (0, other._file.size), "file")
                return
            self._require_kept(other, (0, mine.data_start), (0, theirs.data_start), "chunks before the picture")
            after = ((mine.data_end, self._file.size), (theirs.data_end, other._file.size))
            self._require_kept(other, *after, "chunks after the picture")
            if mine.has_alpha:
                self._require_equal_alpha(other)

    def _changed_bands(self, edited: EditedRows, progress: Progress) -> Iterator[int]:
        """Yield the first row of each band in which a sample gets another value."""
        for top, bottom in self._bands(self._header.row_bytes, BAND_BYTES):
            progress.reach(bottom)
            if edited.touch(top, bottom) and edited.apply_inplace(self._rows.read(top, bottom), top).any():
                yield top

    def _edited_bands(self, edited: EditedRows, progress: Progress) -> Iterator[Samples]:
        for top, bottom in self._bands(self._header.row_bytes, BAND_BYTES):
            band = self._rows.read(top, bottom)
            edited.apply_inplace(band, top)
            yield band
            progress.add(ENCODING_EFFORT * len(band))

    @staticmethod
    def _pieces(file: PositionalFile, start: int, end: int) -> Iterator[bytes]:
        for offset in range(start, end, COPY_BYTES):
            yield file.read(offset, min(COPY_BYTES, end - offset))

    def _require_equal(self, other: "PngScan", mine: tuple[int, int], theirs: tuple[int, int], what: str) -> None:
        is_equal = mine[1] - mine[0] == theirs[1] - theirs[0] and all(
            ours == copied
            for ours, copied in zip(self._pieces(self._file, *mine), self._pieces(other._file, *theirs), strict=True)
        )
        if not is_equal:
            raise PreservationError(f"the result's {what} differ from the scan's.")

    def _require_kept(self, other: "PngScan", mine: tuple[int, int], theirs: tuple[int, int], what: str) -> None:
        """Raise unless `theirs` holds what lies in `mine` and is still true."""
        position, end = theirs
        for first, last in self._header.kept(*mine):
            following = min(position + last - first, end)
            self._require_equal(other, (first, last), (position, following), what)
            position = following
        if position != end:
            raise PreservationError(f"the result's {what} differ from the scan's.")

    def _require_equal_alpha(self, other: "PngScan") -> None:
        for top, bottom in self._bands(self._header.row_bytes, BAND_BYTES):
            try:
                alpha = other._rows.read(top, bottom)[..., -1]
            except SpotlessError as error:
                raise PreservationError(f"the result cannot be decoded: {error}") from error
            if not np.array_equal(self._rows.read(top, bottom)[..., -1], alpha):
                raise PreservationError("the result's alpha samples differ from the scan's.")
