"""A frame's mask as tiles to lay over the picture: one colour on transparent ground, 8-bit palette PNG.

A pixel of a coarse level is marked where any pixel under it is, and has a rim of one pixel there, so that a single
speck still shows when the whole frame does. The mask is held as bits: an eighth of a byte for each pixel of the scan.
"""

import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spotless_core.arrays.kinds import Mask
from spotless_core.image_io.mask_file import read_mask
from spotlessd.review.film import coarse_level
from spotlessd.review.picture_words import TILE_PX

COLOR = (255, 0, 170)
"""Magenta: no film has it, and it stands out from dark and light, red-green blind or not."""
BAND_ROWS = 1024


class MaskLayer:
    """The mask of `shape` (height, width) in the file at `path`.

    Raises:
        SpotlessError: the file is missing, damaged or of another size.
    """

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        mask = read_mask(path, shape)
        self._shape = shape
        self.coarse_level = coarse_level(shape[1], shape[0])
        self.coarse = np.concatenate(
            [
                any_of(mask[top : top + max(BAND_ROWS, 1 << self.coarse_level)], self.coarse_level)
                for top in range(0, shape[0], max(BAND_ROWS, 1 << self.coarse_level))
            ]
        )
        """H×W bool of the coarse level: any pixel under it is marked."""
        self._bits = np.packbits(mask, axis=1)

    def window(self, level: int, top: int, left: int, bottom: int, right: int) -> Mask:
        """Return the mask of a box of `level`, cut to the frame: True where any pixel under it is marked."""
        if level >= self.coarse_level:
            shift = level - self.coarse_level
            part = self.coarse[top << shift : bottom << shift, left << shift : right << shift]
            return any_of(part, shift)
        first, last = left << level, min(right << level, self._shape[1])
        bits = self._bits[top << level : bottom << level, first // 8 : -(-last // 8)]
        part = np.unpackbits(bits, axis=1).view(np.bool_)[:, first % 8 : first % 8 + last - first]
        return any_of(part, level)

    def touches(self, level: int, col: int, row: int) -> bool:
        """Tell whether anything is marked under a tile."""
        top, left = row * TILE_PX, col * TILE_PX
        return bool(self.window(level, top, left, top + TILE_PX, left + TILE_PX).any())

    def tile(self, level: int, col: int, row: int) -> bytes:
        """Return a tile as PNG."""
        rim = 1 if level else 0
        top, left = row * TILE_PX, col * TILE_PX
        above, before = min(top, rim), min(left, rim)
        wide = self.window(level, top - above, left - before, top + TILE_PX + rim, left + TILE_PX + rim)
        marks = wide.view(np.uint8)
        if rim:
            marks = np.asarray(cv2.dilate(marks, np.ones((3, 3), np.uint8)), np.uint8)
        height, width = (-(-side // (1 << level)) for side in self._shape)
        size = (min(TILE_PX, height - top), min(TILE_PX, width - left))
        return _as_png(marks[above : above + size[0], before : before + size[1]])


def any_of(mask: Mask, level: int) -> Mask:
    """Return the mask at 1/2^`level`: True where any pixel under it is."""
    if not level or not mask.size:
        return mask
    marks = mask
    for _ in range(level):
        marks = _halved(marks)
    for _ in range(level):
        marks = _halved(marks.T).T
    return marks


def _halved(mask: Mask) -> Mask:
    """Join each two rows."""
    pairs = len(mask) // 2
    joined: Mask = np.empty(((len(mask) + 1) // 2, mask.shape[1]), np.bool_)
    np.logical_or(mask[: 2 * pairs : 2], mask[1 : 2 * pairs : 2], out=joined[:pairs])
    joined[pairs:] = mask[2 * pairs :]
    return joined


def _as_png(marks: NDArray[np.uint8]) -> bytes:
    picture = Image.frombytes("P", (marks.shape[1], marks.shape[0]), marks.tobytes())
    picture.putpalette([0, 0, 0, *COLOR])
    file = io.BytesIO()
    picture.save(file, format="PNG", transparency=0, compress_level=6)
    return file.getvalue()
