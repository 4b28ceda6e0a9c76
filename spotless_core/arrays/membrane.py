"""The smooth membrane over a hole: Laplace's equation with the film around the hole as its boundary.

In: an image with a hole. Out: the hole filled as a soap film would be. Solved from coarse to fine: each level is half
the size, its clean pixels the mean of the clean ones below, and a few relaxation sweeps finish it. No overshoot by
construction: every value is a mean of clean ones.
"""

import cv2
import numpy as np

from spotless_core.arrays.kinds import FloatImage, Mask, require_mask
from spotless_core.errors import ArrayContractError

SWEEPS = 10
"""Relaxation steps per level; twice as many gain little more than a tenth of a decibel."""
SMALLEST_PX = 8
"""A level whose shorter side is not larger is filled by the mean and relaxed."""

_NEIGHBOURS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=np.float32) / 4


def stretch_membrane(image: FloatImage, hole: Mask) -> FloatImage:
    """Return `image` with `hole` filled by the solution of Laplace's equation (the border reflected).

    `image`: h×w×C float32, read only, its values in the hole ignored. `hole`: h×w bool with at least one clean pixel.

    Raises:
        ArrayContractError: wrong shapes, or no clean pixel.
    """
    require_mask(hole, (image.shape[0], image.shape[1]))
    if hole.all():
        raise ArrayContractError("stretch_membrane: no clean pixel to stretch the membrane from.")
    height, width = hole.shape
    if not hole.any():
        return image.copy()
    if min(height, width) <= SMALLEST_PX:
        start = np.broadcast_to(image[~hole].mean(axis=0), image.shape)
    else:
        start = cv2.resize(stretch_membrane(*_halved(image, hole)), None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
        start = start.reshape(*start.shape[:2], -1)[:height, :width]
    stencil = hole.view(np.uint8)
    result = image.copy()
    cv2.copyTo(np.ascontiguousarray(start), stencil, result)
    for _ in range(SWEEPS):
        cv2.copyTo(cv2.filter2D(result, -1, _NEIGHBOURS, borderType=cv2.BORDER_REFLECT_101), stencil, result)
    return result


def _halved(image: FloatImage, hole: Mask) -> tuple[FloatImage, Mask]:
    """Means over 2 × 2 clean pixels; a pixel of the result is a hole if it has none below it."""
    height, width = hole.shape
    odd = (0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    known = cv2.copyMakeBorder((~hole).astype(np.float32), *odd)
    clean = image * (~hole)[..., None]
    values = cv2.copyMakeBorder(clean, *odd).reshape(*known.shape, -1)
    size = (known.shape[1] // 2, known.shape[0] // 2)
    share = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    mean = cv2.resize(values, size, interpolation=cv2.INTER_AREA).reshape(*share.shape, -1)
    return np.asarray(mean / np.maximum(share, np.float32(0.25))[..., None]), share < 0.1
