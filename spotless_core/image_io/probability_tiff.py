"""The probability file of `spotless detect`: one float32 channel, Deflate, with the scan's resolution."""

from pathlib import Path

import tifffile

from spotless_core.arrays.kinds import Probability
from spotless_core.errors import OutputError
from spotless_core.photo import ScanInfo


def write_probability(path: Path, probability: Probability, info: ScanInfo) -> None:
    """Write `probability` (H×W float32 in [0, 1]) as TIFF. Raises `OutputError` if it cannot be written."""
    resolution = (info.dpi, info.dpi) if info.dpi else None
    try:
        tifffile.imwrite(
            path,
            probability,
            photometric="minisblack",
            compression="zlib",
            predictor=True,
            resolution=resolution,
            resolutionunit="INCH" if resolution else None,
            metadata=None,
        )
    except OSError as error:
        raise OutputError(f"{path.name}: the probability cannot be written ({error.strerror or error}).") from error
