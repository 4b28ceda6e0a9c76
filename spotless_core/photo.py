"""What is known of one scan without decoding it, and the record of a repair to be written into it.

Filled by image_io from the header, read by everything above it. Holds facts of the file only; what the frame
shows (encoding, polarity) is sensed from its samples in arrays/encoding.py.
"""

from dataclasses import dataclass
from typing import Literal

from spotless_core.arrays.kinds import Mask, Samples

Container = Literal["tiff", "bigtiff", "png", "jpeg"]
Preservation = Literal["exact", "block"]
"""exact: every sample outside the mask is kept. block: every compressed block the mask does not touch is kept
(JPEG)."""


@dataclass(frozen=True, slots=True)
class InfraredInfo:
    """Where the infrared plane lies: `source` "sample" (an extra sample of each pixel) or "page" (an own page)."""

    source: Literal["sample", "page"]
    index: int
    is_sure: bool


@dataclass(frozen=True, slots=True)
class ScanInfo:
    """One scan's header facts.

    `width`, `height`: pixels as stored (the orientation tag is not applied). `channels`: stored samples per pixel,
    alpha and infrared included. `color_channels`: 1 (grey) or 3 (RGB), always the first ones. `bits`: 8 or 16 per
    sample. `is_min_white`: grey stored inverted. `dpi`: dots per inch along the width, None if the file does not say
    or says nonsense. `orientation`: EXIF 1–8, informative only. `compression`: the codec's name, for the receipt.
    """

    container: Container
    width: int
    height: int
    channels: int
    color_channels: int
    bits: int
    compression: str
    preservation: Preservation
    dpi: float | None = None
    orientation: int = 1
    is_min_white: bool = False
    has_icc_profile: bool = False
    infrared: InfraredInfo | None = None

    @property
    def megapixels(self) -> float:
        """Width × height in millions."""
        return self.width * self.height / 1e6

    @property
    def full_scale(self) -> int:
        """The largest value a sample can hold: 255 or 65535."""
        return (1 << self.bits) - 1


@dataclass(frozen=True, slots=True)
class Edit:
    """Repaired samples of one box, written where `mask` is True.

    `top`, `left`: position in the stored frame. `samples`: h×w×color_channels in the scan's own dtype (only colour,
    never alpha or infrared). `mask`: h×w bool.
    """

    top: int
    left: int
    samples: Samples
    mask: Mask
