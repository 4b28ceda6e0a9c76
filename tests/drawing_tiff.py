"""Small TIFF scans with grain, and one speck to write into them."""

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Mask
from spotless_core.photo import Edit

HEIGHT, WIDTH = 64, 48
SPECK = (20, 10, 8, 9)
"""top, left, height, width."""


def grainy(*shape: int, dtype: str = "u2", seed: int = 1) -> NDArray[np.generic]:
    full = np.iinfo(dtype).max
    return np.random.default_rng(seed).normal(full / 2, full / 30, shape).clip(0, full).astype(dtype)


def write(path: Path, samples: NDArray[np.generic] | None = None, **options: object) -> Path:
    image = grainy(HEIGHT, WIDTH, 3) if samples is None else samples
    settings = {"photometric": "rgb", "metadata": None, "rowsperstrip": 16, "software": False, **options}
    tifffile.imwrite(path, image, **settings)
    return path


def patch(path: Path, position: int, data: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[position : position + len(data)] = data
    path.write_bytes(content)


def speck(channels: int = 3, dtype: str = "u2", value: int | None = None) -> tuple[Edit, Mask]:
    top, left, height, width = SPECK
    mask = np.random.default_rng(5).random((height, width)) < 0.5
    samples = (
        grainy(height, width, channels, dtype=dtype, seed=9)
        if value is None
        else np.full((height, width, channels), value, dtype)
    )
    whole = np.zeros((HEIGHT, WIDTH), np.bool_)
    whole[top : top + height, left : left + width] = mask
    return Edit(top, left, samples, mask), whole
