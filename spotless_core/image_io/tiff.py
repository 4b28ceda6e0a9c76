"""A TIFF, BigTIFF or DNG scan: read rows, write a patched copy, prove the copy.

Comes in: a path. Goes out: a `ScanFile`. TIFF, BigTIFF, linear DNG; 8 and 16 bit and float; grey, RGB, CMYK, with alpha
or infrared; strips and tiles, chunky and planar, either byte order; uncompressed, LZW, Deflate, Zstandard, LZMA,
PackBits, lossless JPEG. The promise is the protocol's: outside the mask nothing changes, and what cannot be kept
exactly is refused (header_tiff.py) before a decoder sees it. Lossy JPEG inside a TIFF is kept as decoded, if that is
allowed.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spotless_core.arrays.kinds import Mask, Samples, require_mask
from spotless_core.errors import ScanError
from spotless_core.image_io.header_tiff import TiffHeader, check_header
from spotless_core.image_io.progress import OnFraction, ignore_fraction
from spotless_core.image_io.scan_base import ScanBase
from spotless_core.image_io.scan_file import WriteReport
from spotless_core.image_io.tiff_changes import SegmentChanges
from spotless_core.image_io.tiff_compare import compare_files
from spotless_core.image_io.tiff_patch import TiffPatch
from spotless_core.image_io.tiff_rows import RowReader
from spotless_core.image_io.tiff_segments import SegmentCoder
from spotless_core.photo import Edit


class TiffScan(ScanBase[TiffHeader]):
    """One open TIFF scan of at most `max_megapixels`; implements `ScanFile`.

    `allow_transcode`: accept JPEG inside the TIFF; its repaired copy is written with Deflate. `threads`: how many may
    encode strips and tiles at once, 0 = one for each core. `folders`: where temporary files may lie, in order of
    preference; none = where the system has them.

    Raises:
        TruncatedScanError: the file ends before its data does.
        UnsupportedScanError: the scan cannot be kept exactly.
        ScanError: the file is damaged.
        MissingInputError: no readable regular file is there.
    """

    def __init__(
        self,
        path: Path,
        max_megapixels: float,
        *,
        allow_transcode: bool = False,
        threads: int = 0,
        folders: Sequence[Path] = (),
    ) -> None:
        self._max_megapixels = max_megapixels
        self._threads = threads
        self._folders = folders
        super().__init__(path, lambda file: check_header(file, max_megapixels, allow_transcode=allow_transcode))
        self.info = self._header.info
        byte_order = self._header.structure.byte_order
        self._coder = SegmentCoder(self._file, self._header.frame, byte_order)
        self._rows = RowReader(self._coder, folders=folders)
        self._infrared_rows = self._rows
        if self._header.infrared is not None:
            self._infrared_rows = RowReader(
                SegmentCoder(self._file, self._header.infrared, byte_order), folders=folders
            )

    def read_rows(self, top: int, bottom: int) -> Samples:
        """Decode rows [top, bottom) as a new (bottom-top)×width×color_channels array of the stored values.

        Raises:
            ScanError: a strip or tile is damaged, or a float sample is no number (NaN or infinite).
            ArrayContractError: rows outside the scan.
        """
        rows = self._rows.read(top, bottom, range(self.info.color_channels))
        if self.info.is_float and not np.isfinite(rows).all():
            row = top + int(np.flatnonzero(~np.isfinite(rows).all(axis=(1, 2)))[0])
            raise ScanError(f"row {row} has float samples that are no numbers. Export the scan with 16 bits.")
        return rows

    def read_infrared_rows(self, top: int, bottom: int) -> Samples | None:
        """Decode rows of the infrared plane as (bottom-top)×width, or None where the scan has none.

        Raises:
            ScanError: a strip or tile is damaged.
            ArrayContractError: rows outside the scan.
        """
        infrared = self.info.infrared
        if infrared is None:
            return None
        index = infrared.index if infrared.source == "sample" else 0
        return self._infrared_rows.read(top, bottom, range(index, index + 1))[:, :, 0]

    @property
    def rows_together(self) -> int:
        """How many rows are decoded at once, at least: the height of a compressed strip or tile, else 1."""
        frame = self._header.frame
        return 1 if frame.codec == "none" else frame.segment_height

    def may_change(self, mask: Mask) -> Mask:
        """Return `mask` itself: no sample outside of it changes."""
        require_mask(mask, (self.info.height, self.info.width))
        return mask

    def write_restored(
        self, target: Path, edits: Sequence[Edit], on_progress: OnFraction = ignore_fraction
    ) -> WriteReport:
        """Write a copy to `target` (overwritten) with the edits applied, fsynced; on an error nothing is left there.

        Raises:
            ArrayContractError: an edit does not fit the scan.
            UnsupportedScanError: a classic TIFF would pass 4 GiB.
            TruncatedScanError: the scan changed meanwhile.
            OutputError: the copy cannot be written.
        """
        changes = SegmentChanges(self.info, self._coder, edits, self._threads, self._folders)
        patch = TiffPatch(self._header, self._coder, changes)
        # A strip of the size of the frame must not be held twice.
        self._rows.forget()
        return patch.write(target, on_progress)

    def check_restored(self, target: Path, mask: Mask) -> None:
        """Compare the scan and `target` byte by byte outside touched strips and tiles, and by sample inside them.

        Raises:
            PreservationError: they differ anywhere but in the colour samples under `mask`.
        """
        require_mask(mask, (self.info.height, self.info.width))
        self._rows.forget()
        compare_files(self._header, self._coder, target, mask, self._max_megapixels)

    def close(self) -> None:
        """Close the file and drop what was decoded."""
        self._rows.forget()
        self._infrared_rows.forget()
        super().close()
