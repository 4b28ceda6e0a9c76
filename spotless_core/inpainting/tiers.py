"""Which method fills which region: the cheapest that measured as good as the network.

In: crops, and in each the box of the region that is wanted. Out: the crops filled, each with the name of the method
that really filled it. A small hole on even film goes to the cheap method, everything else to the network, whatever its
size: the crop of a large hole shows more of the picture (regions.py). Where the network fails, the cheap method fills,
and says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import cv2
import numpy as np

from spotless_core.arrays.kinds import Box
from spotless_core.arrays.surroundings import Surroundings, surroundings_of
from spotless_core.errors import DeviceMemoryError, ModelError
from spotless_core.inpainting.inpainter import Crop, Fill, Inpainter
from spotless_core.receipt import FileFacts

CHEAP_UP_TO_PX: Final[Mapping[Surroundings, int]] = MappingProxyType({"flat": 60, "textured": 0, "edge": 0})
"""The largest hole (pixels of one connected piece) that the cheap method fills, by the film round it; 0 = none.

Structure PSNR in dB of 1924 holes in opaque dust, one to a crop, on held-out photographs made into film (fill without
grain against film without grain, after a 1.5 px low-pass); beside it what the film's own grain measures so, which a
fill cannot be seen to beat.

    film       pixels      Telea    NS   membrane   grain itself
    flat       to 60        37.6   38.6    38.3        40.4
    flat       61 to 250    34.7   35.0    35.0        38.5
    flat       over 250     32.1   32.1    32.1        37.9
    textured   to 60        32.8   34.1    33.5        42.2
    textured   61 to 250    27.3   28.2    27.8        41.7
    textured   over 250     23.0   23.5    23.3        39.6
    edge       to 60        30.2   33.5    31.4        42.8
    edge       61 to 250    26.9   28.1    27.2        42.9
    edge       over 250     21.9   22.3    22.0        40.7

Only on flat film up to 60 pixels is a cheap fill within 2 dB of what the grain hides.
"""


@dataclass(frozen=True, slots=True)
class NamedFill:
    """One filled crop and the name of the `method` that filled it.

    `fault`: why another method than the one meant for it filled it, "" if none did.
    """

    fill: Fill
    method: str
    fault: str = ""


class TieredFill:
    """`network` for what needs it, `cheap` for the rest and where the network fails.

    `cheap_up_to_px`: as `CHEAP_UP_TO_PX`. `models`, `precision`: the network's, for the receipt.
    """

    name: str

    def __init__(
        self, network: Inpainter, cheap: Inpainter, cheap_up_to_px: Mapping[Surroundings, int] = CHEAP_UP_TO_PX
    ) -> None:
        self.name = "tiered"
        self.models: tuple[FileFacts, ...] = tuple(getattr(network, "models", ()))
        self.precision: str = getattr(network, "precision", "float32")
        self._network = network
        self._cheap = cheap
        self._cheap_up_to_px = cheap_up_to_px

    def fill(self, crops: Sequence[Crop]) -> list[Fill]:
        """Return one fill per crop, inputs untouched; all holes count."""
        return [named.fill for named in self.fill_named(crops, [_box_of_holes(crop) for crop in crops])]

    def fill_named(self, crops: Sequence[Crop], boxes: Sequence[Box]) -> list[NamedFill]:
        """Fill each crop by the method that the holes in its box need; other holes are filled, but not looked at.

        `boxes`: (top, left, bottom, right) in the crop, one each.
        """
        fills: list[NamedFill | None] = [None] * len(crops)
        needs_network = [self._needs_network(crop, box) for crop, box in zip(crops, boxes, strict=True)]
        for is_wanted, fill_all in ((True, self._by_network), (False, self._by_cheap)):
            indexes = [index for index, needs in enumerate(needs_network) if needs is is_wanted]
            if indexes:
                for index, fill in zip(indexes, fill_all([crops[index] for index in indexes]), strict=True):
                    fills[index] = fill
        return [fill for fill in fills if fill is not None]

    def _needs_network(self, crop: Crop, box: Box) -> bool:
        top, left, bottom, right = box
        holes = crop.mask[top:bottom, left:right]
        if not holes.any():
            return False
        _, _, stats, _ = cv2.connectedComponentsWithStats(holes.view(np.uint8), connectivity=8)
        largest_px = int(stats[1:, cv2.CC_STAT_AREA].max())
        if largest_px > max(self._cheap_up_to_px.values()):
            return True
        return largest_px > self._cheap_up_to_px[surroundings_of(crop.image, crop.mask, box)]

    def _by_cheap(self, crops: Sequence[Crop], fault: str = "") -> list[NamedFill]:
        return [NamedFill(fill, self._cheap.name, fault) for fill in self._cheap.fill(crops)]

    def _by_network(self, crops: Sequence[Crop]) -> list[NamedFill]:
        """Halve the crops until the network can fill them; one that it cannot fill alone is filled by the other."""
        fault = ""
        try:
            fills = self._network.fill(crops)
        except (ModelError, DeviceMemoryError, MemoryError) as error:
            fault = str(error) or "out of memory"
        except RuntimeError as error:
            if "memory" not in str(error):  # torch has no class of its own for the CPU's memory
                raise
            fault = "out of memory"
        if fault and len(crops) > 1:
            half = len(crops) // 2
            return self._by_network(crops[:half]) + self._by_network(crops[half:])
        if fault:
            return self._by_cheap(crops, fault)
        return [NamedFill(fill, self._network.name) for fill in fills]


def fill_named(inpainter: Inpainter, crops: Sequence[Crop], boxes: Sequence[Box]) -> list[NamedFill]:
    """Fill `crops` by any method and say what filled each; `boxes` as in `TieredFill.fill_named`."""
    if isinstance(inpainter, TieredFill):
        return inpainter.fill_named(crops, boxes)
    return [NamedFill(fill, inpainter.name) for fill in inpainter.fill(crops)]


def _box_of_holes(crop: Crop) -> Box:
    left, top, width, height = cv2.boundingRect(crop.mask.view(np.uint8))
    return top, left, top + height, left + width
