"""Open a scan to look at it: pixels for the eye, nothing is ever written from them.

As `open_scan`, with two differences: a JPEG is decoded without the pass that proves its data sound, and the caller is
told how many rows cost as much as one.
"""

from pathlib import Path

from spotless_core.arrays.kinds import Samples
from spotless_core.image_io.jpeg import JpegScan, decode_jpeg
from spotless_core.image_io.opening import JPEG_MAGIC, MAX_MEGAPIXELS, open_scan
from spotless_core.image_io.png import PngScan
from spotless_core.image_io.scan_file import ScanFile
from spotless_core.image_io.tiff import TiffScan


class JpegLook(JpegScan):
    """A JPEG scan to look at."""

    def _frame(self) -> Samples:
        if self._decoded is None:
            self._decoded = decode_jpeg(self._picture(), self._header)
        return self._decoded


def open_to_look(path: Path) -> ScanFile:
    """Open the scan at `path`; raises as `open_scan` does."""
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(JPEG_MAGIC)) == JPEG_MAGIC:
                return JpegLook(path, MAX_MEGAPIXELS)
    return open_scan(path, allow_transcode=True)


def rows_together(scan: ScanFile) -> int:
    """Return how many rows are decoded at once where a few are wanted; the frame's height where all are."""
    if isinstance(scan, TiffScan):
        return scan.rows_together
    return scan.info.height if isinstance(scan, JpegScan | PngScan) else 1
