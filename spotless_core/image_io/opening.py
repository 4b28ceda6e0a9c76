"""Open a scan by its content: the one door to every file format.

Comes in: a path. Goes out: a `ScanFile`. The first bytes decide, never the name's suffix; headers are checked in plain
Python before any decoder sees the file; what cannot be kept exactly is refused with a sentence.
"""

from pathlib import Path

from spotless_core.errors import MissingInputError, TruncatedScanError, UnsupportedScanError
from spotless_core.image_io.jpeg import JpegScan
from spotless_core.image_io.png import PngScan
from spotless_core.image_io.scan_file import ScanFile
from spotless_core.image_io.tiff import TiffScan

MAX_MEGAPIXELS = 2000.0
"""A larger claim in a header is taken for a hostile file; 8×10 in at 4800 dpi is 1,843 megapixels."""
SNIFF_BYTES = 16
TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"


def open_scan(path: Path, max_megapixels: float = MAX_MEGAPIXELS, *, allow_transcode: bool = False) -> ScanFile:
    """Open the scan at `path`.

    `allow_transcode`: accept a TIFF with JPEG inside; its repaired copy has the same picture in a lossless codec.

    Raises:
        MissingInputError: no regular file is there.
        TruncatedScanError: the file is empty or ends before its data does.
        UnsupportedScanError: a kind of file that cannot be kept exactly.
        ScanError: the file is damaged.
    """
    if not path.is_file():
        raise MissingInputError("no such file, or not a regular file.")
    with path.open("rb") as file:
        head = file.read(SNIFF_BYTES)
    if not head:
        raise TruncatedScanError("the file is empty; a TIFF, PNG or JPEG scan expected. Scan it again.")
    if head.startswith(TIFF_MAGICS):
        return TiffScan(path, max_megapixels, allow_transcode=allow_transcode)
    if head.startswith(PNG_MAGIC):
        return PngScan(path, max_megapixels)
    if head.startswith(JPEG_MAGIC):
        return JpegScan(path, max_megapixels)
    raise UnsupportedScanError(f"not a TIFF, PNG or JPEG file (it starts with {head[:8]!r}). Export the scan as TIFF.")
