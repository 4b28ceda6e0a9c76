"""Stored samples become an image, and an image becomes samples of the scan's own depth."""

from typing import cast

import numpy as np

from spotless_core.arrays.kinds import FloatImage, Samples, SampleType


def to_image(samples: Samples, full_scale: float) -> FloatImage:
    """Return `samples` (h×w×C, read only) as float32 in [0, 1], a new array.

    `full_scale`: 255 or 65535, the white of a float frame, whose highlights beyond it become 1 and NaN 0: neither may
    spread into a repair.
    """
    image = samples.astype(np.float32) / np.float32(full_scale)
    if samples.dtype.kind == "f":
        np.clip(np.nan_to_num(image, copy=False, nan=0.0), 0, 1, out=image)
    return image


def to_samples(image: FloatImage, full_scale: float, ceiling: float, dtype: np.dtype[SampleType]) -> Samples:
    """Return `image` (float32) as stored samples in [0, `ceiling`]: whole numbers rounded, never truncated."""
    values = image * np.float32(full_scale)
    if dtype.kind == "u":
        values = np.rint(values)
    return cast("Samples", np.clip(values, 0, ceiling).astype(dtype))
