"""The mask file: an 8-bit grey PNG of the scan's size, 255 = repaired, with the scan's resolution.

The mask is the undo: written by one run, edited by a person, it goes back in as it is.
"""

import os
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from spotless_core.arrays.kinds import Mask
from spotless_core.errors import MissingInputError, OutputError, ScanError
from spotless_core.photo import ScanInfo

REPAIR_FROM = 128
"""Values from here on mean repair, so that a soft brush's edge has one meaning."""
MAX_MASK_PIXELS = 2_000_000_000


def write_mask(path: Path, mask: Mask, info: ScanInfo) -> None:
    """Write `mask` (bool H×W) to `path` as PNG whatever its suffix, fsynced.

    Raises:
        OutputError: the file cannot be written.
    """
    picture = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
    dpi = {"dpi": (info.dpi, info.dpi)} if info.dpi else {}
    try:
        with path.open("wb") as file:
            picture.save(file, format="PNG", compress_level=3, **dpi)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(f"{path.name}: the mask cannot be written ({error.strerror or error}).") from error


def read_mask(path: Path, shape: tuple[int, int]) -> Mask:
    """Read a mask of `shape` (height, width): grey, palette, RGB or alpha-less PNG; values from 128 on are True.

    Raises:
        MissingInputError: no such file.
        ScanError: not a PNG, or another size than the scan.
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: no such mask file.")
    Image.MAX_IMAGE_PIXELS = MAX_MASK_PIXELS  # a 400-megapixel scan's mask is no bomb
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            size = picture.size
            if size != (shape[1], shape[0]):
                raise ScanError(
                    f"mask {path.name}: {size[0]}×{size[1]} px; the scan has {shape[1]}×{shape[0]}. "
                    "Export the mask at the scan's size."
                )
            values = np.asarray(picture.convert("L"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ScanError(f"mask {path.name}: not a readable PNG ({error}).") from error
    mask: Mask = values >= REPAIR_FROM
    return mask
