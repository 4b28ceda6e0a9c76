"""What the LaMa network reads of one crop, and how its answer becomes film again.

In: a crop with holes, float32 in [0, 1]. Out: the crop with zeros in the holes, the mask, a cheap fill (a smooth
membrane) and what lies under the mask, all measured from the mean of the film near the holes and in units of its
contrast, channel by channel, so that a night sky, a snow field and an orange mask look alike to the network. A defect
that is only veiled lets the picture shine through: the network may look at it, or be kept from it. Training and repair
share this code: what was learned is what is asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import FloatImage, Mask
from spotless_core.arrays.membrane import stretch_membrane
from spotless_core.errors import ArrayContractError

NEAR_PX = 16
"""Film this near a hole gives the mean and the contrast: a crop may also show what has nothing to do with the hole."""
SMALLEST_CONTRAST = 1 / 256
"""Flatter film is taken to have this contrast: one level of 8 bits."""
CLIPPED = 0.004
"""Nothing shines through where the scan is this near to its black or white."""
CHANNELS = 3
"""A grey crop is shown as three equal channels, and the mean of the answer is taken."""

_NEAR = np.ones((2 * NEAR_PX + 1, 2 * NEAR_PX + 1), np.uint8)


@dataclass(frozen=True, slots=True)
class LamaInput:
    """One crop as the network takes it: value on film = `centre` + `contrast` × the network's value, per channel.

    `inputs`: k×h×w float32 (`input_planes` names them). `centre`, `contrast`: float32, one per channel of the network.
    `cheap`: h×w×C float32, the crop with its cheap fill. `channels`: of the crop, 1 or 3.
    """

    inputs: NDArray[np.float32]
    centre: NDArray[np.float32]
    contrast: NDArray[np.float32]
    cheap: FloatImage
    channels: int

    def to_film(self, values: NDArray[np.float32]) -> FloatImage:
        """Return the network's `values` (3×h×w) on the film's scale, h×w×C clipped to [0, 1]."""
        film = values.transpose(1, 2, 0) * self.contrast + self.centre
        if self.channels == 1:
            film = film.mean(axis=2, keepdims=True, dtype=np.float32)
        return np.clip(film, 0, 1)

    def from_film(self, image: FloatImage) -> NDArray[np.float32]:
        """Return `image` (h×w×C) in the network's units, 3×h×w."""
        return np.ascontiguousarray(((image - self.centre) / self.contrast).transpose(2, 0, 1))


def input_planes(*, has_cheap_fill: bool, sees_veil: bool) -> Sequence[str]:
    """Return the names of the planes of `LamaInput.inputs` in their order.

    The picture with zeros in its holes (3), the mask (0 or 1), the cheap fill (3); what lies under the mask, less the
    cheap fill and compressed by asinh, zero outside (3), where it is shown (0 or 1; not where the scan is clipped), and
    the logarithm of mean over contrast, the same everywhere (3).
    """
    names = [f"picture {channel}" for channel in range(CHANNELS)] + ["mask"]
    if has_cheap_fill:
        names += [f"cheap fill {channel}" for channel in range(CHANNELS)]
    if sees_veil:
        names += [f"veil {channel}" for channel in range(CHANNELS)] + ["veil is shown"]
        names += [f"level {channel}" for channel in range(CHANNELS)]
    return names


def prepare_input(
    image: FloatImage, mask: Mask, *, has_cheap_fill: bool, sees_veil: bool, show_veil: bool = True
) -> LamaInput:
    """Prepare `image` (h×w×C float32 in [0, 1], C = 1 or 3, read only) with its holes `mask` (h×w bool, True = fill).

    `has_cheap_fill`, `sees_veil`: which planes the network takes. Unless `sees_veil` and `show_veil`, nothing under the
    mask is read.

    Raises:
        ArrayContractError: every pixel is masked.
    """
    if mask.all():
        raise ArrayContractError(f"LaMa: a crop of {mask.shape} without a clean pixel.")
    known = (
        image[(cv2.dilate(mask.view(np.uint8), _NEAR) > 0) & ~mask] if mask.any() else image.reshape(-1, image.shape[2])
    )
    centre = known.mean(axis=0, dtype=np.float64).astype(np.float32)
    contrast = np.maximum(known.std(axis=0, dtype=np.float64), SMALLEST_CONTRAST).astype(np.float32)
    cheap = stretch_membrane(image, mask)
    inputs = np.zeros((len(input_planes(has_cheap_fill=has_cheap_fill, sees_veil=sees_veil)), *mask.shape), np.float32)
    filled = (cheap - centre) / contrast  # h×w×C
    planes = np.moveaxis(inputs, 0, 2)
    planes[..., :CHANNELS] = filled * ~mask[..., None]
    planes[..., CHANNELS] = mask
    if has_cheap_fill:
        planes[..., CHANNELS + 1 : 2 * CHANNELS + 1] = filled
    if sees_veil and show_veil:
        veil = planes[..., -2 * CHANNELS - 1 :]
        under = image[mask]
        shown = np.all((under > CLIPPED) & (under < 1 - CLIPPED), axis=1)
        veil[mask, :CHANNELS] = np.arcsinh((under - cheap[mask]) / contrast) * shown[:, None]
        veil[mask, CHANNELS] = shown
        veil[..., CHANNELS + 1 :] = np.log(np.maximum(centre, SMALLEST_CONTRAST) / contrast)
    wide = np.ones(CHANNELS, np.float32)
    return LamaInput(inputs, centre * wide, contrast * wide, cheap, image.shape[2])
