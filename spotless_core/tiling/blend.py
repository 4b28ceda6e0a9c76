"""Blend overlapping tiles with smooth window weights.

The window is separable and the grid is a product of rows and columns, so the sum of weights is an outer product of
two vectors: one accumulator of the frame's size is all the memory needed.
"""

import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Box, FloatImage
from spotless_core.tiling.grid import tile_starts

EDGE_WEIGHT = 0.02
"""Weight at a tile's very edge: above zero, so that a pixel seen by one tile only is well defined."""


def window(length: int) -> NDArray[np.float32]:
    """Raised-cosine weights in (0, 1], largest in the middle, float32 of `length`."""
    phase = (np.arange(length, dtype=np.float32) + 0.5) / length
    weights = EDGE_WEIGHT + (1 - EDGE_WEIGHT) * np.sin(np.pi * phase) ** 2
    return weights.astype(np.float32)


class TileBlender:
    """Collects tiles of an H×W frame laid out by `tile_starts`, then gives their weighted mean."""

    def __init__(self, height: int, width: int, tile_height: int, tile_width: int, stride: int) -> None:
        self._sum = np.zeros((height, width), np.float32)
        self._rows = _total_weight(height, tile_height, stride)
        self._columns = _total_weight(width, tile_width, stride)
        self._window = np.outer(window(min(tile_height, height)), window(min(tile_width, width)))

    def add(self, box: Box, tile: FloatImage) -> None:
        """Add one tile's values (float32, the box's size) at `box`."""
        top, left, bottom, right = box
        self._sum[top:bottom, left:right] += tile * self._window[: bottom - top, : right - left]

    def result(self) -> FloatImage:
        """Return the weighted mean, H×W float32; the blender is spent afterwards."""
        self._sum /= self._rows[:, None]
        self._sum /= self._columns[None, :]
        return self._sum


def _total_weight(length: int, tile: int, stride: int) -> NDArray[np.float32]:
    total = np.zeros(length, np.float32)
    side = min(tile, length)
    for start in tile_starts(length, tile, stride):
        total[start : start + side] += window(side)
    return total
