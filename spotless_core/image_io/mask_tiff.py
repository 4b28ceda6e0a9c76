"""The mask as TIFF: 8-bit grey in Deflate strips, with the scan's resolution and orientation.

For programs that cannot read a large PNG in parts. Our own picture, so tifffile may write it.
"""

import zlib
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from spotless_core.photo import ScanInfo

ORIENTATION_TAG, SHORT = 274, 3
INCH, NO_UNIT = 2, 1
ZLIB_LEVEL = 6


def write_tiff_mask(
    file: BinaryIO, bands: Iterable[NDArray[np.uint8]], shape: tuple[int, int], band_rows: int, info: ScanInfo
) -> None:
    """Write `bands`, each `band_rows`×width but for the last, as a TIFF of `shape` (height, width).

    Raises:
        OSError: writing failed.
    """
    tifffile.imwrite(
        file,
        (zlib.compress(band.tobytes(), ZLIB_LEVEL) for band in bands),
        shape=shape,
        dtype=np.uint8,
        photometric="minisblack",
        compression="zlib",
        rowsperstrip=band_rows,
        resolution=(info.dpi, info.dpi) if info.dpi else (1, 1),
        resolutionunit=INCH if info.dpi else NO_UNIT,
        extratags=[(ORIENTATION_TAG, SHORT, 1, info.orientation, True)],
        metadata=None,
        software=False,
    )
