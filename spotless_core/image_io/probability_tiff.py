"""The probability file of `spotless detect`: one float32 channel, Deflate, with the scan's resolution.

It is written band by band, each a strip: at 400 megapixels it has 1.6 GB. Our own picture, so tifffile may write it.
"""

import zlib
from collections.abc import Iterable
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

from spotless_core.arrays.kinds import Probability
from spotless_core.arrays.windows import bands as cut_into_bands
from spotless_core.errors import OutputError
from spotless_core.image_io.written_file import written_file
from spotless_core.photo import ScanInfo

FLOATING_POINT = 3
"""The predictor of float samples."""
ZLIB_LEVEL = 6
INCH, NO_UNIT = 2, 1


def write_probability(path: Path, bands: Iterable[Probability], info: ScanInfo) -> None:
    """Write `bands`, float32 in [0, 1] as `arrays.windows.bands` cuts the frame, as one TIFF, fsynced.

    Raises:
        OutputError: it cannot be written; nothing is left of it.
    """
    _, strip_rows = next(cut_into_bands(info.height, info.width))
    try:
        with written_file(path) as file:
            tifffile.imwrite(
                file,
                (_packed(band) for band in bands),
                shape=(info.height, info.width),
                dtype=np.float32,
                photometric="minisblack",
                compression="zlib",
                predictor=FLOATING_POINT,
                rowsperstrip=strip_rows,
                resolution=(info.dpi, info.dpi) if info.dpi else (1, 1),
                resolutionunit=INCH if info.dpi else NO_UNIT,
                metadata=None,
                software=False,
            )
    except OutputError as error:
        raise OutputError(f"the probability {path.name} cannot be written: {error}") from error


def _packed(band: Probability) -> bytes:
    rows = np.ascontiguousarray(band)
    return zlib.compress(imagecodecs.floatpred_encode(rows, axis=1).tobytes(), ZLIB_LEVEL)
