"""A frame or a plane of one that need not lie in memory: it is read through windows.

An array is one; so is a file of samples (image_io/scratch.py). Whoever takes `Windows` reads a few rows, or the
surroundings of one defect, and never the whole at once. What a window gives is read only.
"""

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Samples

Read_co = TypeVar("Read_co", bound=NDArray[Any], covariant=True)

BAND_PX = 1 << 22
"""Pixels of one band: 16 MB of grey, 24 MB of 16-bit RGB."""
LEAST_BAND_ROWS, MOST_BAND_ROWS = 16, 512


class Windows(Protocol[Read_co]):
    """`shape`: (H, W) or (H, W, C). `windows[rows, columns]` takes two slices as an array does."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width, and channels where there are several."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        ...

    def __getitem__(self, place: tuple[slice, slice], /) -> Read_co:
        """Return what lies there, h×w or h×w×C, read only."""
        ...


SampleWindows = Windows[Samples]
FloatWindows = Windows[NDArray[np.float32]]


def bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Cut [0, height) into (top, bottom) of an even number of rows, about `BAND_PX` each; the last may be shorter."""
    rows = min(max(BAND_PX // max(width, 1), LEAST_BAND_ROWS), MOST_BAND_ROWS) // 2 * 2
    for top in range(0, height, rows):
        yield top, min(top + rows, height)
