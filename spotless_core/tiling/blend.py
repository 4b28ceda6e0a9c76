"""Blend overlapping tiles with smooth window weights.

The window is separable and the grid is a product of rows and columns, so the sum of weights is an outer product of
two vectors. Tiles come row by row of the grid, and rows that no later tile reaches are given out at once: one
accumulator as high as a tile is all the memory needed.
"""

import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Box, FloatImage
from spotless_core.errors import ArrayContractError
from spotless_core.tiling.grid import tile_starts

EDGE_WEIGHT = 0.02
"""Weight at a tile's very edge: above zero, so that a pixel seen by one tile only is well defined."""


def window(length: int) -> NDArray[np.float32]:
    """Raised-cosine weights in (0, 1], largest in the middle, float32 of `length`."""
    phase = (np.arange(length, dtype=np.float32) + 0.5) / length
    weights = EDGE_WEIGHT + (1 - EDGE_WEIGHT) * np.sin(np.pi * phase) ** 2
    return weights.astype(np.float32)


class TileBlender:
    """Collects tiles of an H×W frame laid out by `tile_starts`, and gives their weighted mean from top to bottom."""

    def __init__(self, height: int, width: int, tile_height: int, tile_width: int, stride: int) -> None:
        self._rows = _total_weight(height, tile_height, stride)
        self._columns = _total_weight(width, tile_width, stride)
        self._window = np.outer(window(min(tile_height, height)), window(min(tile_width, width)))
        self._sum = np.zeros((min(tile_height, height), width), np.float32)
        self._top = 0

    def add(self, box: Box, tile: FloatImage) -> None:
        """Add one tile's values (float32, the box's size) at `box`.

        Raises:
            ArrayContractError: it reaches rows that were taken, or begins below rows that were not.
        """
        top, left, bottom, right = box
        if not 0 <= top - self._top <= bottom - self._top <= len(self._sum):
            raise ArrayContractError(f"a tile of rows {top} to {bottom} while those from {self._top} on are blended.")
        place = self._sum[top - self._top : bottom - self._top, left:right]
        place += tile * self._window[: bottom - top, : right - left]

    def take(self, bottom: int) -> FloatImage:
        """Return the weighted mean of the rows up to `bottom` that were not taken before, float32, a new array.

        All tiles that touch these rows have been added.
        """
        count = bottom - self._top
        result: FloatImage = self._sum[:count] / self._rows[self._top : bottom, None]
        result /= self._columns[None, :]
        self._sum[: len(self._sum) - count] = self._sum[count:]
        self._sum[len(self._sum) - count :] = 0
        self._top = bottom
        return result


def _total_weight(length: int, tile: int, stride: int) -> NDArray[np.float32]:
    total = np.zeros(length, np.float32)
    side = min(tile, length)
    for start in tile_starts(length, tile, stride):
        total[start : start + side] += window(side)
    return total
