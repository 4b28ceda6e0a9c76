"""Sense how a frame is encoded, and turn its samples into the positive, gamma-coded grey the detector was trained on.

Comes in: stored samples and the header's facts. Goes out: `Encoding`, then grey float32 in [0, 1]. A detector fed the
wrong encoding finds nothing, silently; so range (14 bits in 16, float beyond 1), transfer (linear or gamma) and
polarity (colour negative with its orange mask) are measured on the samples themselves, never taken from a tag alone.
CMYK becomes what the eye sees of it. Nothing here changes what is written, and no NaN leaves.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import FloatImage, GreyImage, Samples
from spotless_core.arrays.windows import SampleWindows

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Rec. 601 weights: the training photographs are turned grey with the same."""
SAMPLE_COUNT = 400_000
LINEAR_MEDIAN = 0.20
"""A frame whose median lies below this fraction of its range is taken for linear: coded pictures centre near 0.4."""
CODED_MEDIAN = 0.36
CODED_BITS = 8
"""Scans of so few bits are always coded: linear ones would have no shadows (VueScan's raw files keep to that, too)."""
STRONGEST_GAMMA = 2.4
MASK_RED_GREEN, MASK_GREEN_BLUE = 1.18, 1.12
"""Orange mask: even the clearest film passes that much more red than green, and green than blue."""
FLOAT_WHITE_PERCENT = 99.9
"""Where a float frame goes beyond 1, this percentile is its white: a few highlights must not darken the rest."""
CMYK = 4
"""Channels of a frame of inks; three are RGB, one is grey."""
MAX_GAIN = 3.0
"""A foggy frame is stretched at most this much, so that its grain does not become dust."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a frame is stored.

    `value_max`: largest usable value, for float at least 1. `transfer`: "gamma" or "linear". `polarity`: "positive" or
    "negative". `gamma`: exponent's inverse that codes it (1 = already coded). `black`, `white`: grey values after
    coding that map to 0 and 1. `clear`: per channel, the value of the clearest film (negatives). `is_min_white`: 0 is
    white, as in grey stored inverted and in amounts of ink.
    """

    value_max: int | float
    transfer: Literal["gamma", "linear"]
    polarity: Literal["positive", "negative"]
    gamma: float
    black: float
    white: float
    clear: tuple[float, ...]
    is_min_white: bool

    @property
    def is_float(self) -> bool:
        """Whether the samples are float."""
        return isinstance(self.value_max, float)

    @property
    def range_bits(self) -> int:
        """Bits that whole values really use: 8, 12, 14 or 16."""
        return int(self.value_max).bit_length()

    def describe(self, bits: int) -> str:
        """Return transfer and range in words; `bits`: of a stored sample."""
        if self.is_float:
            return f"{self.transfer}, {bits}-bit float, white at {self.value_max:.4g}"
        return f"{self.transfer}, {self.range_bits} of {bits} bits used"


def sense_encoding(frame: SampleWindows, bits: int, *, is_min_white: bool) -> Encoding:
    """Measure the encoding of `frame` on about 400,000 pixels.

    `frame`: H×W×C stored colour samples, C 1, 3 or 4 (CMYK); whole or float; read only.
    """
    step = max(int(np.sqrt(frame.shape[0] * frame.shape[1] / SAMPLE_COUNT)), 1)
    pixels = frame[step // 2 :: step, step // 2 :: step].reshape(-1, frame.shape[2])
    value_max = _usable_range(pixels, bits)
    values = _as_light(pixels, value_max, is_min_white=is_min_white)
    clear = tuple(float(v) for v in np.maximum(np.percentile(values, 99.5, axis=0), 1e-3))
    negative = frame.shape[2] == 3 and _has_orange_mask(values, clear)
    draft = Encoding(value_max, "gamma", "negative" if negative else "positive", 1.0, 0.0, 1.0, clear, is_min_white)
    grey = _coded(values, draft)
    low, high = (float(v) for v in np.percentile(grey, (0.1, 99.9)))
    gamma, transfer = 1.0, draft.transfer
    median = (float(np.median(grey)) - low) / max(high - low, 1e-6)
    if bits > CODED_BITS and not negative and median < LINEAR_MEDIAN:
        gamma = float(np.clip(np.log(max(median, 1e-4)) / np.log(CODED_MEDIAN), 1.0, STRONGEST_GAMMA))
        transfer = "linear"
        low, high = (float(max(v, 0.0) ** (1 / gamma)) for v in (low, high))
    if high - low < 1 / MAX_GAIN:
        middle = (high + low) / 2
        low, high = middle - 0.5 / MAX_GAIN, middle + 0.5 / MAX_GAIN
    return Encoding(value_max, transfer, draft.polarity, gamma, low, high, clear, is_min_white)


def detector_grey(samples: Samples, encoding: Encoding) -> GreyImage:
    """Turn rows of stored samples (h×W×C) into h×W float32 grey in [0, 1]: positive, gamma-coded, stretched."""
    values = _as_light(samples, encoding.value_max, is_min_white=encoding.is_min_white)
    grey = _coded(values, encoding)
    if encoding.gamma != 1.0:
        grey = np.power(np.maximum(grey, 0), np.float32(1 / encoding.gamma))
    grey -= np.float32(encoding.black)
    grey /= np.float32(encoding.white - encoding.black)
    return np.clip(grey, 0, 1, out=grey)


def cmyk_to_rgb(values: FloatImage) -> FloatImage:
    """Return what the eye sees of CMYK: …×4 shares of light let through, in [0, 1], become …×3 float32 RGB in [0, 1].

    Each ink lets its own share through, and black darkens all three; no colour profile is applied.
    """
    return values[..., :3] * values[..., 3:]


def _as_light(samples: Samples, value_max: float, *, is_min_white: bool) -> FloatImage:
    """Return …×C float32 where 0 is black and 1 is white; float samples are bound to [0, 1], NaN becomes 0."""
    values = samples.astype(np.float32)
    values /= np.float32(value_max)
    if samples.dtype.kind == "f":
        np.clip(np.nan_to_num(values, copy=False, nan=0.0, posinf=1.0, neginf=0.0), 0, 1, out=values)
    return np.float32(1) - values if is_min_white else values


def _usable_range(pixels: Samples, bits: int) -> int | float:
    """Largest value of the smallest usual range (12, 14 or 16 bits) that holds all values; 8-bit scans use all 8.

    Float: 1.0, or the white of a frame that goes beyond it.
    """
    if pixels.dtype.kind == "f":
        finite = pixels[np.isfinite(pixels)].astype(np.float32)
        return max(float(np.percentile(finite, FLOAT_WHITE_PERCENT)), 1.0) if finite.size else 1.0
    if bits == CODED_BITS:
        return 255
    highest = int(pixels.max()) if pixels.size else 0
    return next(limit for limit in (4095, 16383, 65535) if highest <= limit)


def _has_orange_mask(values: NDArray[np.float32], clear: tuple[float, ...]) -> bool:
    red, green, blue = clear
    if red < MASK_RED_GREEN * green or green < MASK_GREEN_BLUE * blue:
        return False
    orange = (values[:, 0] > values[:, 1]) & (values[:, 1] > values[:, 2])
    return float(orange.mean()) > 0.9  # every tone of the frame is seen through the mask


def _coded(values: NDArray[np.float32], encoding: Encoding) -> GreyImage:
    """Grey of values in [0, 1]; a negative becomes its density over clear film, which is positive and log-coded."""
    if encoding.polarity == "negative":
        density = -np.log10(np.maximum(values, 1e-4) / np.asarray(encoding.clear, np.float32))
        return (density.mean(axis=-1) / np.float32(2.0)).astype(np.float32)
    if values.shape[-1] == 1:
        return values[..., 0]
    if values.shape[-1] == CMYK:
        values = cmyk_to_rgb(values)
    return np.asarray(values @ LUMA, np.float32)
