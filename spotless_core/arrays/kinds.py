"""The names of the arrays that travel through the core, and the checks of their contracts.

`image` float32 H×W×3 RGB in [0, 1] · `grey` float32 H×W in [0, 1] · `mask` bool H×W, True = repair ·
`probability` float32 H×W in [0, 1] · `samples` uint8, uint16, float16 or float32 H×W×C as stored in
the file, in native byte order.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from spotless_core.errors import ArrayContractError

RgbImage: TypeAlias = NDArray[np.float32]
GreyImage: TypeAlias = NDArray[np.float32]
FloatImage: TypeAlias = NDArray[np.float32]
Mask: TypeAlias = NDArray[np.bool_]
Probability: TypeAlias = NDArray[np.float32]
SampleType: TypeAlias = np.uint8 | np.uint16 | np.float16 | np.float32
Samples: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float16] | NDArray[np.float32]
Box: TypeAlias = tuple[int, int, int, int]
"""(top, left, bottom, right) in pixels, end exclusive."""


def require_mask(mask: Mask, shape: tuple[int, int]) -> None:
    """Raise `ArrayContractError` unless `mask` is bool and exactly `shape` (height, width)."""
    if mask.dtype != np.bool_ or mask.shape != shape:
        message = f"mask: {mask.dtype} {mask.shape}; bool {shape} expected."
        raise ArrayContractError(message)


def require_grey(grey: GreyImage) -> None:
    """Raise `ArrayContractError` unless `grey` is float32 and two-dimensional."""
    if grey.dtype != np.float32 or grey.ndim != 2:
        message = f"grey image: {grey.dtype} with {grey.ndim} dimensions; float32 with 2 expected."
        raise ArrayContractError(message)
