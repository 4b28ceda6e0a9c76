"""Putting a fill into a photo under its mask.

In: the photo, a filled copy, the mask. Out: a new image that equals the photo bit for bit outside the mask. What is
filled, and with what, is decided elsewhere.
"""

import cv2
import numpy as np

from spotless_core.arrays.kinds import FloatImage, Mask, require_mask
from spotless_core.errors import ArrayContractError


def composite(image: FloatImage, fill: FloatImage, mask: Mask, feather_px: int) -> FloatImage:
    """Paste `fill` into `image` under `mask` with a soft inner edge.

    `image` and `fill`: H×W×C float32 in [0, 1], read only. `mask`: H×W bool, True = repair.
    The edge ramps from 0 to 1 inside the mask over `feather_px` (0 = hard edge), so every
    pixel outside it comes back bit-identical. The photo's own border is no edge of the mask.

    Raises:
        ArrayContractError: shapes or dtypes differ, or `feather_px` is negative.
    """
    if image.shape != fill.shape or image.dtype != np.float32 or fill.dtype != np.float32:
        message = (
            f"composite: image {image.dtype} {image.shape}, fill {fill.dtype} {fill.shape}; equal float32 expected."
        )
        raise ArrayContractError(message)
    require_mask(mask, (image.shape[0], image.shape[1]))
    if feather_px < 0:
        raise ArrayContractError(f"composite: feather_px = {feather_px}; zero or more expected.")
    result = image.copy()
    if feather_px == 0:
        result[mask] = fill[mask]
        return result
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    weight = np.minimum(distance[mask] / np.float32(feather_px + 1), np.float32(1))
    weight = weight.reshape(weight.shape + (1,) * (image.ndim - 2))
    result[mask] = image[mask] + weight * (fill[mask] - image[mask])
    return result
