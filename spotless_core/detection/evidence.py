"""How sure a candidate is, from more than its probability: its form and the film around it.

A logistic score over seven features, fitted on candidates of calibration frames (`evaluate --calibrate`): picture
structure that looks
like dust mostly lies in texture, is large and has little contrast to its surroundings. The weights travel in the
model's manifest entry; a sensitivity is a least score, so it means the same on every frame.
"""

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Box, FloatImage, GreyImage, Mask, Probability
from spotless_core.arrays.masks import Shape

FEATURES = ("probability", "area", "elongation", "texture", "grain", "contrast", "company", "bias")
MARGIN_PX = 12
"""How far around a candidate its surroundings are looked at."""
GAP = np.ones((7, 7), np.uint8)
"""Its soft rim, 3 px, belongs to neither."""
FINE_SIGMA_PX = 3.0
LOWEST, HIGHEST = 1e-3, 1 - 1e-3
COMPANY_FLOOR = 0.01
MAX_LINE_COMPANY = 0.03
"""A hair lies alone: a line with more of its own tone around it than this share is a twig, a wire, a letter."""


def fine_structure(grey: GreyImage) -> FloatImage:
    """What a 3 px low-pass removes from `grey` (H×W float32): grain and fine detail."""
    return np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), FINE_SIGMA_PX), np.float32)


def measure(
    labels: NDArray[np.int32],
    label: int,
    box: Box,
    shape: Shape,
    probability: Probability,
    grey: GreyImage,
    fine: FloatImage,
) -> NDArray[np.float64]:
    """Return the features of the piece `label` of `labels` (H×W int32) in `box`, in the order of `FEATURES`."""
    top, left = max(box[0] - MARGIN_PX, 0), max(box[1] - MARGIN_PX, 0)
    place = np.s_[top : box[2] + MARGIN_PX, left : box[3] + MARGIN_PX]
    piece: Mask = labels[place] == label
    around: Mask = np.asarray(cv2.dilate(piece.view(np.uint8), GAP)) == 0
    if not around.any():
        around = ~piece
    peak = float(np.clip(probability[place][piece].max(), LOWEST, HIGHEST))
    ring = grey[place][around]
    contrast = abs(float(grey[place][piece].mean()) - float(np.median(ring))) if ring.size else 0.0
    return np.array(
        [
            np.log(peak / (1 - peak)),
            np.log(piece.sum()),
            np.log(shape.length / shape.stroke),
            np.log((float(ring.std()) if ring.size else 0.0) + 0.01),
            np.log((float(fine[place][around].std()) if ring.size else 0.0) + 0.005),
            np.log(contrast + 0.01),
            np.log(_company(float(grey[place][piece].mean()), ring) + COMPANY_FLOOR),
            1.0,
        ]
    )


def is_lonely(features: NDArray[np.float64]) -> bool:
    """Tell whether hardly anything around a candidate has its tone."""
    return bool(np.exp(features[FEATURES.index("company")]) - COMPANY_FLOOR <= MAX_LINE_COMPANY)


def _company(tone: float, ring: NDArray[np.float32]) -> float:
    """Share of the surroundings that is nearer to the candidate's tone than to their own middle."""
    if not ring.size:
        return 1.0
    middle = float(np.median(ring))
    border = (tone + middle) / 2
    return float((ring > border).mean() if tone > middle else (ring < border).mean())


def score(features: NDArray[np.float64], weights: Mapping[str, float]) -> float:
    """Return the log-odds that a candidate is a defect."""
    return float(features @ np.array([weights[name] for name in FEATURES]))
