"""What is known of one scan without decoding it, and the record of a repair to be written into it.

Filled by image_io from the header, read by everything above it. Holds facts of the file only; what the frame
shows (encoding, polarity) is sensed from its samples in arrays/encoding.py.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from spotless_core.arrays.kinds import Mask, Samples, SampleType

Container = Literal["tiff", "bigtiff", "dng", "png", "jpeg", "bmp", "pnm"]
Preservation = Literal["exact", "block", "transcoded", "reencoded"]
"""exact: every sample outside the mask is kept. block: every compressed block the mask does not touch is kept
(JPEG). transcoded: every sample outside the mask is kept as it was decoded, in a lossless codec instead of the scan's
lossy one (JPEG inside TIFF). reencoded: the whole picture was compressed anew and may differ a little anywhere."""


@dataclass(frozen=True, slots=True)
class InfraredInfo:
    """Where in the file the infrared plane lies: `source` "sample" (an extra sample of each pixel, number `index`) or
    "page" (an own page). `is_sure`: whether the file declares it, or it may as well be something else.
    """

    source: Literal["sample", "page"]
    index: int
    is_sure: bool


@dataclass(frozen=True, slots=True)
class ScanInfo:
    """One scan's header facts.

    `width`, `height`: pixels as stored (the orientation tag is not applied). `channels`: stored samples per pixel,
    alpha and infrared included. `color_channels`: 1 (grey), 3 (RGB) or 4 (CMYK), always the first ones. `bits`: per
    sample, 8 or 16, and 16 or 32 where `is_float`. `is_min_white`: 0 is white: inverted grey, and CMYK stored as
    amounts of ink. `dpi`: dots per inch along the width, None if the file does not say or says nonsense.
    `orientation`: EXIF 1–8, informative only. `compression`: the codec's name, for the receipt.
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
    is_float: bool = False
    is_cmyk: bool = False

    @property
    def dtype(self) -> np.dtype[SampleType]:
        """The type of the samples that `read_rows` gives: uint8, uint16, float16 or float32."""
        return np.dtype(f"{'f' if self.is_float else 'u'}{self.bits // 8}")

    @property
    def megapixels(self) -> float:
        """Width × height in millions."""
        return self.width * self.height / 1e6

    @property
    def full_scale(self) -> int | float:
        """White: the largest value a whole number can hold (255 or 65535), 1.0 for float, which may go beyond it."""
        return 1.0 if self.is_float else (1 << self.bits) - 1


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
