"""The seam between regions and the methods that fill them.

Comes in: crops of the photo with their holes, in groups of one size. Goes out: the same crops, filled. A method never
sees files, depth or metadata, never writes outside the hole (the composite takes only what lies under the mask anyway),
and never writes into its inputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from spotless_core.arrays.kinds import FloatImage, Mask


@dataclass(frozen=True, slots=True)
class Crop:
    """One region cut out of the photo: `image` h×w×C float32 in [0, 1] (C = 1 or 3), `mask` h×w bool, True = fill.

    Values are the scan's stored samples divided by its full scale; nothing is known of their encoding.
    """

    image: FloatImage
    mask: Mask


@dataclass(frozen=True, slots=True)
class Fill:
    """One filled crop: `image` h×w×C float32 in [0, 1].

    `own_grain`: h×w×1 or h×w×C float32 in [0, 1], how much of the film's own grain the fill brought back: 0 = it is the
    picture as it would be without grain, 1 = grain and all. None = nobody knows; it may have streaks of grain.
    """

    image: FloatImage
    own_grain: FloatImage | None = None


class Inpainter(Protocol):
    """One method of filling. `name` goes into the receipt."""

    name: str

    def fill(self, crops: Sequence[Crop]) -> list[Fill]:
        """Return one fill per crop, its image as large as the crop's, inputs untouched."""
        ...
