"""Choose what the sensitivities mean: fit the evidence of a candidate, and find each sensitivity's least score.

Comes in: frames of known truth. Goes out: the weights of the logistic score (detection/evidence.py) and per
sensitivity the lowest score at which no more than `FALSE_PER_MP` false objects are left per megapixel of these frames.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.masks import grow_mask
from spotless_core.detection.evidence import FEATURES, gather
from spotless_core.detection.mask import MIN_AREA_PX, Thresholds
from spotless_core.errors import ModelError
from spotless_core.training.dataset import IGNORED
from spotless_core.training.evaluation_frames import Frame
from spotless_core.training.logistic import fit_logistic
from spotless_core.training.scores import TOLERANCE_PX

FALSE_PER_MP = {"low": 0.1, "normal": 0.5, "high": 2.0}
"""What the sensitivities mean: the most false objects per megapixel allowed on the calibration frames."""
SEED_PROBABILITY, GROW_PROBABILITY = 0.3, 0.15
"""Low on purpose: what is a defect is decided by the evidence of the whole candidate."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Candidates with the truth: `features` n×k float64 in the order of `FEATURES`; `is_right` n bool: it is dust a
    person can see.
    """

    features: NDArray[np.float64]
    is_right: NDArray[np.bool_]


def find_candidates(frame: Frame, seed: float, grow: float) -> Judged:
    """Measure the candidates of a dusty frame at the thresholds `seed` and `grow`.

    A candidate is right if it touches visible dust, wrong if it touches nothing that fell; others are left out.
    """
    candidates = gather(frame.probability.astype(np.float32), frame.grey, seed, grow, MIN_AREA_PX)
    near_dust, counted = grow_mask(frame.truth == 1, TOLERANCE_PX), frame.truth != IGNORED
    is_right, counts = np.zeros(len(candidates.boxes), bool), np.zeros(len(candidates.boxes), bool)
    for index, (top, left, bottom, right) in enumerate(candidates.boxes):
        piece = candidates.piece(index)
        is_right[index] = near_dust[top:bottom, left:right][piece].any()
        counts[index] = is_right[index] or counted[top:bottom, left:right][piece].all()
    return Judged(candidates.features[counts], is_right[counts])


def calibrate_evidence(frames: Iterable[Frame]) -> dict[str, Thresholds]:
    """Return calibrated thresholds per sensitivity.

    Raises:
        ModelError: the detector finds none of the dust on `frames`.
    """
    parts, megapixels = [], 0.0
    for frame in frames:
        parts.append(find_candidates(frame, SEED_PROBABILITY, GROW_PROBABILITY))
        megapixels += frame.grey.size / 1e6
    features = np.concatenate([part.features for part in parts])
    is_right = np.concatenate([part.is_right for part in parts])
    if not is_right.any():
        raise ModelError("the detector finds no dust on the calibration frames. Train it longer, then calibrate.")
    values = np.round(fit_logistic(features, is_right), 4)  # as they will stand in the manifest
    weights = {name: float(value) for name, value in zip(FEATURES, values, strict=True)}
    wrong = np.sort((features @ values)[~is_right])[::-1]
    return {
        name: Thresholds(SEED_PROBABILITY, GROW_PROBABILITY, _least_score(wrong, int(limit * megapixels)), weights)
        for name, limit in FALSE_PER_MP.items()
    }


def _least_score(wrong: Sequence[float] | NDArray[np.float64], allowed: int) -> float:
    """Return a score that `allowed` of the `wrong` scores (highest first) reach, and no more."""
    level = wrong[allowed] if allowed < len(wrong) else wrong[-1] if len(wrong) else 0.0
    return round(float(level) + 2e-4, 4)
