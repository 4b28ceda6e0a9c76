"""Choose what the sensitivities mean: honest probabilities, the evidence of candidates, the least score of each.

Comes in: frames of known truth. Goes out: slope and offset of the logits (Platt scaling: Guo et al., ICML 2017); the
weights of the logistic score (detection/evidence.py), fitted on the frames with and without their dust; and per
sensitivity the lowest score at which no more than `FALSE_PER_MP` false objects are left per megapixel of dusty frames.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.masks import grow_mask
from spotless_core.detection.evidence import DUSTINESS_WEIGHT, FEATURES, gather, score
from spotless_core.detection.mask import MIN_AREA_PX, Thresholds
from spotless_core.errors import ModelError
from spotless_core.training.dataset import IGNORED
from spotless_core.training.evaluation_frames import Frame
from spotless_core.training.logistic import fit_logistic
from spotless_core.training.reliability import NOT_SURELY_CLEAN
from spotless_core.training.scores import TOLERANCE_PX

FALSE_PER_MP = {"low": 0.1, "normal": 0.5, "high": 2.0}
"""What the sensitivities mean: the most false objects per megapixel allowed on the calibration frames."""
SEED_PROBABILITY, GROW_PROBABILITY = 0.4, 0.25
"""Low on purpose: what is a defect is decided by the evidence of the whole candidate."""

PIXEL_STEP = 7
NOTHING_FOUND = "the detector finds no dust on the calibration frames. Train it longer, then calibrate."


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
    probability = frame.probability.astype(np.float32)
    candidates = gather(probability, frame.grey, frame.um_per_px, seed, grow, MIN_AREA_PX)
    near_dust, counted = grow_mask(frame.truth == 1, TOLERANCE_PX), frame.truth != IGNORED
    is_right, counts = np.zeros(len(candidates.boxes), bool), np.zeros(len(candidates.boxes), bool)
    for index, (top, left, bottom, right) in enumerate(candidates.boxes):
        piece = candidates.piece(index)
        is_right[index] = near_dust[top:bottom, left:right][piece].any()
        counts[index] = is_right[index] or counted[top:bottom, left:right][piece].all()
    return Judged(candidates.features[counts], is_right[counts])


def fit_calibration(frames: Iterable[Frame]) -> dict[str, float]:
    """Fit the slope and offset that make the detector's logits honest, over every seventh pixel not surely clean."""
    logits, dust = [], []
    for frame in frames:
        counts = (frame.truth != IGNORED) & (frame.probability > NOT_SURELY_CLEAN)
        probability = np.clip(frame.probability[counts][::PIXEL_STEP].astype(np.float64), 1e-3, 1 - 1e-3)
        logits.append(np.log(probability / (1 - probability)))
        dust.append(frame.truth[counts][::PIXEL_STEP] == 1)
    values = np.concatenate(logits)
    if not np.concatenate(dust).any():
        raise ModelError(NOTHING_FOUND)
    slope, offset = fit_logistic(np.stack([values, np.ones_like(values)], axis=1), np.concatenate(dust))
    return {"slope": round(float(slope), 4), "offset": round(float(offset), 4)}


def calibrate_evidence(frames: Iterable[Frame]) -> dict[str, Thresholds]:
    """Return calibrated thresholds per sensitivity.

    Raises:
        ModelError: the detector finds none of the dust on `frames`.
    """
    parts, clean, megapixels = [], [], 0.0
    for frame in frames:
        parts.append(find_candidates(frame, SEED_PROBABILITY, GROW_PROBABILITY))
        probability = frame.clean_probability.astype(np.float32)
        limits = (SEED_PROBABILITY, GROW_PROBABILITY, MIN_AREA_PX)
        clean.append(gather(probability, frame.clean_grey, frame.um_per_px, *limits).features)
        megapixels += frame.grey.size / 1e6
    features = np.concatenate([part.features for part in parts])
    is_right = np.concatenate([part.is_right for part in parts])
    if not is_right.any():
        raise ModelError(NOTHING_FOUND)
    weights = _fit(np.concatenate([features, *clean]), np.pad(is_right, (0, sum(map(len, clean)))))
    wrong = np.sort(score(features[~is_right], weights))[::-1]
    return {
        name: Thresholds(SEED_PROBABILITY, GROW_PROBABILITY, _least_score(wrong, int(limit * megapixels)), weights)
        for name, limit in FALSE_PER_MP.items()
    }


def _fit(features: NDArray[np.float64], is_right: NDArray[np.bool_]) -> dict[str, float]:
    """Weights by name, as they will stand in the manifest; that of the film's dustiness is given."""
    prior = FEATURES.index("dustiness")
    offset = DUSTINESS_WEIGHT * features[:, prior]
    values = fit_logistic(np.delete(features, prior, axis=1), is_right, offset)
    return dict(zip(FEATURES, np.round(np.insert(values, prior, DUSTINESS_WEIGHT), 4).tolist(), strict=True))


def _least_score(wrong: Sequence[float] | NDArray[np.float64], allowed: int) -> float:
    """Return a score that `allowed` of the `wrong` scores (highest first) reach, and no more."""
    level = wrong[allowed] if allowed < len(wrong) else wrong[-1] if len(wrong) else 0.0
    return round(float(level) + 2e-4, 4)
