"""The mask file: 8-bit grey, 255 = repaired, with the scan's size, resolution and orientation; PNG, or TIFF if asked.

The mask is the undo: written by one run, edited by a person, it goes back in as it is. It is written and read in bands
of rows. What a painting program makes of it (palette, fewer bits, colour, 16 bits) is read as well.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from spotless_core.arrays.kinds import Mask, Samples
from spotless_core.errors import MissingInputError, OutputError, ScanError, UnsupportedScanError
from spotless_core.image_io.header_png import INCH_M, SIGNATURE
from spotless_core.image_io.mask_tiff import write_tiff_mask
from spotless_core.image_io.png import PngScan
from spotless_core.image_io.png_stream import chunk, idat_chunks
from spotless_core.image_io.scan_file import ScanFile
from spotless_core.image_io.tiff import TiffScan
from spotless_core.image_io.written_file import written_file
from spotless_core.options import MaskFormat
from spotless_core.photo import ScanInfo

REPAIR_FROM = 128 / 255
"""Values from this part of white on mean repair, so that a soft brush's edge has one meaning."""
MAX_MASK_PIXELS = 2_000_000_000
BAND_BYTES = 4 << 20
TIFF_MARKS = (b"II", b"MM")
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
EXIF_ORIENTATION = struct.Struct(">4sIHHHIHHI")
"""A whole EXIF block: header, one entry, no further directory."""


def write_mask(path: Path, mask: Mask, info: ScanInfo, mask_format: MaskFormat = MaskFormat.PNG) -> None:
    """Write `mask` (bool H×W) to `path` whatever its suffix, fsynced, with the resolution and orientation of `info`.

    Raises:
        OutputError: the file cannot be written.
    """
    bands = (band.view(np.uint8) * np.uint8(255) for band in _bands(mask))
    try:
        with written_file(path) as file:
            if mask_format is MaskFormat.TIFF:
                write_tiff_mask(file, bands, mask.shape, band_rows(mask.shape[1]), info)
                return
            height, width = mask.shape
            file.write(SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)))
            file.writelines(_facts(info))
            file.writelines(idat_chunks(band[..., None] for band in bands))
            file.write(chunk(b"IEND", b""))
    except OutputError as error:
        raise OutputError(f"the mask {path.name} cannot be written: {error}") from error


def read_mask(path: Path, shape: tuple[int, int]) -> Mask:
    """Read a mask of `shape` (height, width): a grey or colour PNG or TIFF; values from half white on are True.

    Raises:
        MissingInputError: no such file.
        ScanError: not a PNG or TIFF, damaged, or another size than the scan.
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: no such mask file.")
    head = _head(path)
    try:
        scan = _open(path, head)
    except UnsupportedScanError as error:
        if head not in TIFF_MARKS:
            return _read_by_pillow(path, shape)
        raise ScanError(f"mask {path.name}: {error}") from error
    except ScanError as error:
        raise ScanError(f"mask {path.name}: not a readable PNG or TIFF ({error})") from error
    with scan:
        _require_size(path, (scan.info.height, scan.info.width), shape)
        try:
            return _read_by_rows(scan)
        except ScanError as error:
            raise ScanError(f"mask {path.name}: {error}") from error


def band_rows(width: int) -> int:
    """Return how many rows of a mask are written or read at once."""
    return max(1, BAND_BYTES // width)


def _bands(mask: Mask) -> Iterator[Mask]:
    step = band_rows(mask.shape[1])
    for top in range(0, len(mask), step):
        yield mask[top : top + step]


def _facts(info: ScanInfo) -> Iterator[bytes]:
    """Yield the chunks of the scan's resolution and orientation."""
    if info.dpi:
        metre = round(info.dpi / INCH_M)
        yield chunk(b"pHYs", struct.pack(">IIB", metre, metre, 1))
    if info.orientation != 1:
        yield chunk(b"eXIf", EXIF_ORIENTATION.pack(b"MM\0*", 8, 1, 274, 3, 1, info.orientation, 0, 0))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(2)
    except OSError as error:
        raise MissingInputError(f"{path}: the mask cannot be read ({error.strerror}).") from error


def _open(path: Path, head: bytes) -> ScanFile:
    limit = MAX_MASK_PIXELS / 1e6
    return TiffScan(path, limit) if head in TIFF_MARKS else PngScan(path, limit)


def _require_size(path: Path, found: tuple[int, int], expected: tuple[int, int]) -> None:
    """Raise `ScanError` unless the mask's (height, width) is the scan's."""
    if found != expected:
        raise ScanError(
            f"mask {path.name}: {found[1]}×{found[0]} px; the scan has {expected[1]}×{expected[0]}. "
            "Export the mask at the scan's size, not turned."
        )


def _read_by_rows(scan: ScanFile) -> Mask:
    height, width = scan.info.height, scan.info.width
    mask: Mask = np.empty((height, width), np.bool_)
    step = band_rows(width)
    for top in range(0, height, step):
        bottom = min(height, top + step)
        mask[top:bottom] = _is_marked(scan.read_rows(top, bottom), scan.info)
    return mask


def _is_marked(rows: Samples, info: ScanInfo) -> Mask:
    """Return h×w: True where h×w×C `rows` are at least half white."""
    grey = rows[..., 0] if rows.shape[2] == 1 else rows[..., :3].astype(np.float32) @ LUMINANCE
    least = REPAIR_FROM * info.full_scale
    mask: Mask = grey <= info.full_scale - least if info.is_min_white else grey >= least
    return mask


def _read_by_pillow(path: Path, shape: tuple[int, int]) -> Mask:
    """Read a PNG that is no scan: palette, one bit, interlaced."""
    Image.MAX_IMAGE_PIXELS = MAX_MASK_PIXELS  # a 400-megapixel scan's mask is no bomb
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            _require_size(path, (picture.height, picture.width), shape)
            values: NDArray[np.uint8] = np.asarray(picture.convert("L"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ScanError(f"mask {path.name}: not a readable PNG ({error}).") from error
    mask: Mask = values >= REPAIR_FROM * 255
    return mask
