"""Open a scan by its content: the one door to every file format.

Comes in: a path. Goes out: a `ScanFile`. The first bytes decide, never the name's suffix; headers are checked in plain
Python before any decoder sees the file; what cannot be kept exactly is refused with a sentence.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from spotless_core.errors import MissingInputError, TruncatedScanError, UnsupportedScanError
from spotless_core.image_io.flat import open_bmp, open_pnm
from spotless_core.image_io.foreign_formats import EXPECTED, SNIFF_BYTES, refusal
from spotless_core.image_io.jpeg import JpegScan
from spotless_core.image_io.png import PngScan
from spotless_core.image_io.scan_file import ScanFile
from spotless_core.image_io.tiff import TiffScan

MAX_MEGAPIXELS = 2000.0
"""A larger claim in a header is taken for a hostile file; 8×10 in at 4800 dpi is 1,843 megapixels."""
TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"
BMP_MAGIC = b"BM"
PNM_MAGIC = re.compile(rb"P[1-7Ff]\s")
CANON_RAW = (b"CR\2\0", 8)
"""Magic and offset of the one camera raw format whose TIFF directories do not tell it."""


def open_scan(
    path: Path,
    max_megapixels: float = MAX_MEGAPIXELS,
    *,
    allow_transcode: bool = False,
    allow_reencode: bool = False,
    threads: int = 0,
    folders: Sequence[Path] = (),
) -> ScanFile:
    """Open the scan at `path`.

    `allow_transcode`: accept a TIFF with JPEG inside; its repaired copy has the same picture in a lossless codec.
    `allow_reencode`: where libturbojpeg is missing, let a JPEG's whole picture be encoded anew when it is repaired.
    `info.preservation` says which of them will happen. `threads`: how many may encode at once, 0 = one for each core.
    `folders`: where temporary files may lie, in order of preference; none = where the system has them.

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
    if not head.strip(b"\0"):
        # Some programs and shares make room for a file before they fill it.
        raise TruncatedScanError(f"the file is empty or begins with zeros; {EXPECTED} expected. Scan it again.")
    magic, offset = CANON_RAW
    if head.startswith(TIFF_MAGICS) and not head.startswith(magic, offset):
        return TiffScan(path, max_megapixels, allow_transcode=allow_transcode, threads=threads, folders=folders)
    if head.startswith(PNG_MAGIC):
        return PngScan(path, max_megapixels)
    if head.startswith(JPEG_MAGIC):
        return JpegScan(path, max_megapixels, allow_reencode=allow_reencode)
    if head.startswith(BMP_MAGIC):
        return open_bmp(path, max_megapixels)
    if PNM_MAGIC.match(head):
        return open_pnm(path, max_megapixels)
    raise UnsupportedScanError(refusal(head))
