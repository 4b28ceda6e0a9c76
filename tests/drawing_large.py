"""Scans of any size, drawn and written band by band: a soft scene with grain and specks, never whole in memory."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

STRIP_ROWS = 32
"""Divides all heights that are drawn, as 16 divides all widths: tiles as wide as the frame need no padding."""
SPECKS = 200
GRAIN_ROWS = 1024
"""The grain repeats after so many rows; nothing looks that far."""
CLASSIC_BYTES = 4_000_000_000


def draw_bands(height: int, width: int, seed: int = 1) -> Iterator[NDArray[np.uint16]]:
    """Strips of a 16-bit RGB scan, `STRIP_ROWS` high, with `SPECKS` bright specks of 3 to 6 px radius."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((GRAIN_ROWS, width), dtype=np.float32)
    grain = cv2.GaussianBlur(noise, (0, 0), 0.8)
    grain *= 0.02 / grain.std()
    specks = [
        (int(rng.integers(20, height - 20)), int(rng.integers(20, width - 20)), int(rng.integers(3, 7)))
        for _ in range(SPECKS)
    ]
    across = 0.45 + 0.12 * np.sin(np.arange(width, dtype=np.float32) / 137)
    for top in range(0, height, STRIP_ROWS):
        rows = np.arange(top, min(top + STRIP_ROWS, height))
        grey = across + 0.1 * np.cos(rows.astype(np.float32) / 153)[:, None] + grain[rows % GRAIN_ROWS]
        for row, column, radius in specks:
            if top - radius <= row < top + STRIP_ROWS + radius:
                cv2.circle(grey, (column, row - top), radius, 0.97, -1)
        yield np.rint(np.clip(grey[..., None] * np.array([1, 0.95, 0.9], np.float32), 0, 1) * 65535).astype(np.uint16)


def write_large_scan(path: Path, height: int, width: int, compression: str | None) -> None:
    """Write such a scan as TIFF of 4000 dpi, BigTIFF where it must be; `compression` as tifffile names it.

    Compressed bands are tiles, uncompressed ones strips: so tifffile takes them one by one.
    """
    tile = (STRIP_ROWS, width) if compression else None
    tifffile.imwrite(
        path,
        draw_bands(height, width),
        shape=(height, width, 3),
        dtype=np.uint16,
        photometric="rgb",
        compression=compression,
        predictor=compression is not None,
        tile=tile,
        rowsperstrip=None if tile else STRIP_ROWS,
        resolution=(4000, 4000),
        resolutionunit="INCH",
        bigtiff=6 * height * width > CLASSIC_BYTES,
        metadata=None,
    )
