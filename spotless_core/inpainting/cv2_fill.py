"""Filling by OpenCV's two classical methods: Telea 2004 (fast marching) and Bertalmio 2001 (Navier-Stokes).

In: crops in float32 [0, 1]. Out: the same crops, filled, one channel at a time because OpenCV takes more than 8 bits
only so. Both methods carry edges and grain over the rim but clash in the middle of a hole, in streaks and hard lines;
so the deeper a pixel lies, the more it follows the smooth membrane over the hole. Only the hole with a small margin is
worked on. Best for small holes and smooth film.
"""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from spotless_core.arrays.kinds import FloatImage
from spotless_core.arrays.membrane import stretch_membrane
from spotless_core.errors import ArrayContractError
from spotless_core.inpainting.inpainter import Crop, Fill

RADIUS_PX = {"telea": 5, "ns": 1}
"""Neighbourhood of one filled pixel, chosen by the structure PSNR over photographs with grain and drawn defects."""
SCALE = np.float32(1 << 24)
"""OpenCV adds up to two whole units to each value that Telea fills, whatever the range; scaled so, they vanish."""
RIM_SHARE = 0.6
"""OpenCV's share of the fill at the rim; the membrane has the rest."""
RIM_PX = 6.0
"""Depth over which OpenCV's share falls to 1/e."""
MARGIN_PX = 3
"""Clean pixels around the hole beyond the radius: OpenCV differentiates and leaves out the outermost row."""

_FLAGS = {"telea": cv2.INPAINT_TELEA, "ns": cv2.INPAINT_NS}


class Cv2Fill:
    """Telea or Navier-Stokes in float32; `name` is the method's."""

    name: str

    def __init__(self, method: Literal["telea", "ns"]) -> None:
        self.name = method
        self._flag = _FLAGS[method]
        self._radius_px = RADIUS_PX[method]

    def fill(self, crops: Sequence[Crop]) -> list[Fill]:
        """Return one fill per crop, inputs untouched.

        Raises:
            ArrayContractError: a crop has no clean pixel to fill from.
        """
        return [Fill(self._fill_one(crop)) for crop in crops]

    def _fill_one(self, crop: Crop) -> FloatImage:
        filled = crop.image.copy()
        rows, columns = np.nonzero(crop.mask)
        if rows.size == 0:
            return filled
        if rows.size == crop.mask.size:
            raise ArrayContractError(f"Cv2Fill: a crop of {crop.mask.shape} without a clean pixel.")
        margin = self._radius_px + MARGIN_PX
        near = (
            slice(max(int(rows.min()) - margin, 0), int(rows.max()) + margin + 1),
            slice(max(int(columns.min()) - margin, 0), int(columns.max()) + margin + 1),
        )
        hole = crop.mask[near]
        # OpenCV never fills the outermost pixels: a border of mirror image makes them inner ones.
        stencil = cv2.copyMakeBorder(hole.view(np.uint8), 2, 2, 2, 2, cv2.BORDER_REFLECT_101)
        membrane = stretch_membrane(crop.image[near], hole)
        depth = cv2.distanceTransform(stencil, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[2:-2, 2:-2][hole]
        share = np.float32(RIM_SHARE) * np.exp((1 - depth) / np.float32(RIM_PX))
        for channel in range(crop.image.shape[2]):
            plane = cv2.copyMakeBorder(crop.image[(*near, channel)] * SCALE, 2, 2, 2, 2, cv2.BORDER_REFLECT_101)
            plane = cv2.inpaint(plane, stencil, self._radius_px, self._flag)[2:-2, 2:-2] / SCALE
            smooth = membrane[..., channel][hole]
            filled[(*near, channel)][hole] = np.clip(smooth + share * (plane[hole] - smooth), 0, 1)
        return filled
