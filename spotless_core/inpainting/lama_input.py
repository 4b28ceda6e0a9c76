"""What the LaMa network reads of one colour plane, and how its answer becomes film again.

In: a plane with holes, float32 in [0, 1]. Out: the plane with zeros in the holes, the mask and a cheap fill (Telea
2004), all measured from the mean of the film near the holes and in units of its contrast, so that a night sky and a
snow field look alike to the network. Training and repair share this code: what was learned is what is asked.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import FloatImage, GreyImage, Mask
from spotless_core.errors import ArrayContractError

NEAR_PX = 16
"""Film this near a hole gives the mean and the contrast: a crop may also show what has nothing to do with the hole."""
SMALLEST_CONTRAST = 1 / 256
"""Flatter film is taken to have this contrast: one level of 8 bits."""
TELEA_RADIUS_PX = 5
FULL_SCALE_16 = 65535


@dataclass(frozen=True, slots=True)
class LamaPlane:
    """One plane as the network takes it: value on film = `centre` + `contrast` × the network's value.

    `inputs`: k×h×w float32: film with zeros in its holes, mask (0 or 1) and, if asked for, the cheap fill.
    """

    inputs: NDArray[np.float32]
    centre: float
    contrast: float

    def to_film(self, values: FloatImage) -> FloatImage:
        """Return the network's `values` on the film's scale, clipped to [0, 1]."""
        return np.clip(values * np.float32(self.contrast) + np.float32(self.centre), 0, 1)

    def from_film(self, values: FloatImage) -> FloatImage:
        """Return `values` of the film in the network's units."""
        return (values - np.float32(self.centre)) / np.float32(self.contrast)


def prepare_plane(plane: GreyImage, mask: Mask, *, with_cheap_fill: bool) -> LamaPlane:
    """Prepare `plane` (h×w float32 in [0, 1], read only) with its holes `mask` (h×w bool, True = fill).

    Nothing under the mask is read.

    Raises:
        ArrayContractError: every pixel is masked.
    """
    if mask.all():
        raise ArrayContractError(f"LaMa: a crop of {mask.shape} without a clean pixel.")
    near = cv2.dilate(mask.view(np.uint8), np.ones((2 * NEAR_PX + 1, 2 * NEAR_PX + 1), np.uint8)) > 0
    known = plane[near & ~mask] if mask.any() else plane
    prepared = LamaPlane(
        np.zeros((3 if with_cheap_fill else 2, *plane.shape), np.float32),
        float(known.mean(dtype=np.float64)),
        max(float(known.std(dtype=np.float64)), SMALLEST_CONTRAST),
    )
    prepared.inputs[0][~mask] = prepared.from_film(plane[~mask])
    prepared.inputs[1] = mask
    if with_cheap_fill:
        prepared.inputs[2] = prepared.inputs[0]
        prepared.inputs[2][mask] = prepared.from_film(cheap_fill(plane, mask)[mask])
    return prepared


def cheap_fill(plane: GreyImage, mask: Mask) -> GreyImage:
    """Fill the holes of `plane` (h×w float32 in [0, 1], read only) by Telea's fast marching, at 16 bits."""
    whole = np.rint(np.clip(np.where(mask, 0, plane), 0, 1) * FULL_SCALE_16).astype(np.uint16)
    # OpenCV never fills the outermost pixels: a border of mirror image makes them inner ones.
    whole = cv2.copyMakeBorder(whole, 2, 2, 2, 2, cv2.BORDER_REFLECT_101)
    holes = cv2.copyMakeBorder(mask.view(np.uint8), 2, 2, 2, 2, cv2.BORDER_REFLECT_101)
    filled = cv2.inpaint(whole, holes, TELEA_RADIUS_PX, cv2.INPAINT_TELEA)[2:-2, 2:-2]
    return np.asarray(filled, np.float32) / np.float32(FULL_SCALE_16)
