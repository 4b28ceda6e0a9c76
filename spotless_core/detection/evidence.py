"""How sure a candidate is, from more than its probability: its form, its edge, and the film around it.

A logistic score over the features below, fitted on candidates of calibration frames (`evaluate --calibrate`): picture
structure that looks like dust mostly lies in texture, has little contrast to its surroundings, has company of its own
tone, is as soft as the picture, lies along an axis of the frame, or is dark on a frame whose dust is bright. How dusty
the film is otherwise is the prior: on a clean frame a doubtful speck is more likely picture. The weights travel in the
model's manifest entry; a sensitivity is a least score of this evidence, the same on every frame.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Box, FloatImage, GreyImage, Mask
from spotless_core.arrays.masks import Shape
from spotless_core.arrays.pieces import Peak, Pieces, trace_seeds
from spotless_core.arrays.windows import FloatWindows

FEATURES = (
    "probability",
    "mean",
    "area",
    "elongation",
    "alignment",
    "texture",
    "grain",
    "contrast",
    "company",
    "sharpness",
    "polarity",
    "dustiness",
    "bias",
)
MARGIN_PX = 12
"""How far around a candidate its surroundings are looked at."""
GAP = np.ones((7, 7), np.uint8)
"""Its soft rim, 3 px, belongs to neither."""
RIM = np.ones((3, 3), np.uint8)
FINE_SIGMA_PX = 3.0
FINE_REACH_PX = 12
"""OpenCV's Gaussian of this sigma sees so far."""
LOOK_PX = 2048
"""Longest side of what is looked at around a candidate, so that its memory is bounded."""
LOWEST, HIGHEST = 1e-3, 1 - 1e-3
COMPANY_FLOOR = 0.01
MAX_LINE_COMPANY = 0.03
"""A hair lies alone: a line with more of its own tone around it than this share is a twig, a wire, a letter."""
DUSTINESS_WEIGHT = 0.7
"""Less than the 1 of Bayes' rule, so that on nearly clean film sure specks are still repaired. Fixed, not fitted."""
CLEANEST_PER_MM2 = 0.02
"""A dozen and a half sure specks on a 35 mm frame: below this no film is clean for sure."""
POLARITY_DOUBT = 2.0
"""So many sure candidates of a frame must agree before their common polarity counts by half."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The pieces of a frame that may be defects. `numbers[i]`: of candidate i among `pieces`; `boxes`, `shapes`: by
    candidate; `features`: n×len(FEATURES) float64.
    """

    pieces: Pieces
    numbers: NDArray[np.int64]
    boxes: list[Box]
    shapes: list[Shape]
    features: NDArray[np.float64]

    def piece(self, index: int) -> Mask:
        """Return candidate `index` as a mask of its box."""
        return self.pieces.cut([int(self.numbers[index])], self.boxes[index])


def gather(
    probability: FloatWindows,
    grey: FloatWindows,
    um_per_px: float,
    seed: float,
    grow: float,
    min_area_px: float,
    on_progress: Callable[[float], None] = lambda _fraction: None,
) -> Candidates:
    """Find the candidates of a frame by seed-and-grow, from `min_area_px` on, and measure them.

    `probability`, `grey`: windows of H×W float32 in [0, 1]; `grey` is what the detector saw. `um_per_px`: micrometres
    on the film per pixel. `on_progress` gets the fraction done.
    """
    height, width = grey.shape
    pieces = trace_seeds(probability, seed, grow, lambda bottom: on_progress(bottom / height / 2))
    numbers = np.flatnonzero(pieces.areas >= min_area_px)
    boxes = [pieces.boxes[i] for i in numbers.tolist()]
    shapes = [pieces.shape_of(i) for i in numbers.tolist()]
    features, signs = [], []
    for count, number in enumerate(numbers.tolist(), 1):
        values, sign = _measure(pieces, number, shapes[count - 1], probability, grey)
        features.append(values)
        signs.append(sign)
        on_progress((1 + count / len(numbers)) / 2)
    table = np.array(features).reshape(len(boxes), len(FEATURES))
    sure = _sureness(table[:, FEATURES.index("probability")])
    frame_mm2 = height * width * (um_per_px / 1000) ** 2
    table[:, FEATURES.index("polarity")] = _agreement(np.array(signs), sure)
    table[:, FEATURES.index("dustiness")] = np.log((sure.sum() - sure) / frame_mm2 + CLEANEST_PER_MM2)
    return Candidates(pieces, numbers, boxes, shapes, table)


def is_lonely(features: NDArray[np.float64]) -> bool:
    """Tell whether hardly anything around a candidate has its tone."""
    return bool(np.exp(features[FEATURES.index("company")]) - COMPANY_FLOOR <= MAX_LINE_COMPANY)


def score(features: NDArray[np.float64], weights: Mapping[str, float]) -> NDArray[np.float64]:
    """Return the log-odds (n) that candidates (n×len(FEATURES)) are defects; a feature without a weight has none."""
    result: NDArray[np.float64] = features @ np.array([weights.get(name, 0.0) for name in FEATURES])
    return result


def _measure(
    pieces: Pieces, number: int, shape: Shape, probability: FloatWindows, grey: FloatWindows
) -> tuple[NDArray[np.float64], float]:
    """Return the features of one candidate (its frame's still 0) and whether it is brighter (+1) or darker (-1)."""
    box = pieces.boxes[number]
    top, left, bottom, right = _look(box, pieces.peaks[number], grey.shape)
    place = np.s_[top:bottom, left:right]
    tones, fine = _tones(grey, (top, left, bottom, right))
    piece = pieces.cut([number], (top, left, bottom, right))
    around: Mask = np.asarray(cv2.dilate(piece.view(np.uint8), GAP)) == 0
    if not around.any():
        around = ~piece
    inside, ring = tones[piece], tones[around]
    mean = float(probability[place][piece].mean())
    step = float(inside.mean()) - float(np.median(ring)) if ring.size else 0.0
    features = np.array(
        [
            _logit(pieces.peaks[number].value),
            _logit(mean),
            np.log(pieces.areas[number]),
            np.log(shape.length / shape.stroke),
            np.log(max(box[2] - box[0], box[3] - box[1]) / min(box[2] - box[0], box[3] - box[1])),
            np.log((float(ring.std()) if ring.size else 0.0) + 0.01),
            np.log((float(fine[around].std()) if ring.size else 0.0) + 0.005),
            np.log(abs(step) + 0.01),
            np.log(_company(float(inside.mean()), ring) + COMPANY_FLOOR),
            np.log(_steepness(tones, piece) / (abs(step) + 0.01) + 0.01),
            0.0,
            0.0,
            1.0,
        ]
    )
    return features, float(np.sign(step))


def _look(box: Box, peak: Peak, shape: tuple[int, ...]) -> Box:
    """What is looked at: the box and its surroundings; of a huge one, such as a holder's edge, the part at its peak."""
    sides = []
    for start, stop, middle, length in zip(box[:2], box[2:], peak[1:], shape, strict=True):
        first = max(start - MARGIN_PX, min(middle - LOOK_PX // 2, stop + MARGIN_PX - LOOK_PX), 0)
        sides.append((first, min(first + LOOK_PX, stop + MARGIN_PX, length)))
    (top, bottom), (left, right) = sides
    return top, left, bottom, right


def _tones(grey: FloatWindows, place: Box) -> tuple[GreyImage, FloatImage]:
    """Return the grey in `place`, and what in it is finer than `FINE_SIGMA_PX`."""
    above, before = min(place[0], FINE_REACH_PX), min(place[1], FINE_REACH_PX)
    wide = grey[place[0] - above : place[2] + FINE_REACH_PX, place[1] - before : place[3] + FINE_REACH_PX]
    blurred = np.asarray(cv2.GaussianBlur(wide, (0, 0), FINE_SIGMA_PX), np.float32)
    inner = np.s_[above : above + place[2] - place[0], before : before + place[3] - place[1]]
    return wide[inner], wide[inner] - blurred[inner]


def _logit(probability: float) -> float:
    clipped = min(max(probability, LOWEST), HIGHEST)
    return float(np.log(clipped / (1 - clipped)))


def _steepness(grey: GreyImage, piece: Mask) -> float:
    """Upper quartile of the slope of `grey` (per pixel) along the outline of `piece`."""
    if min(grey.shape) < 2:
        return 0.0
    outline = np.asarray(cv2.morphologyEx(piece.view(np.uint8), cv2.MORPH_GRADIENT, RIM)) > 0
    rows, columns = np.gradient(grey)
    return float(np.percentile(np.hypot(rows, columns)[outline], 75)) if outline.any() else 0.0


def _company(tone: float, ring: NDArray[np.float32]) -> float:
    """Share of the surroundings that is nearer to the candidate's tone than to their own middle."""
    if not ring.size:
        return 1.0
    middle = float(np.median(ring))
    border = (tone + middle) / 2
    return float((ring > border).mean() if tone > middle else (ring < border).mean())


def _sureness(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of candidates by their peak probability: 0 up to a half, 1 at one."""
    sure: NDArray[np.float64] = np.clip(2 / (1 + np.exp(-logits)) - 1, 0, 1) ** 2
    return sure


def _agreement(signs: NDArray[np.float64], sure: NDArray[np.float64]) -> NDArray[np.float64]:
    """Agreement of each candidate's sign with the frame's other sure ones, in [-1, 1].

    The dust of a frame is all bright (a negative) or all dark (a slide): light on a night street is bright on both.
    """
    others_sum = (signs * sure).sum() - signs * sure
    agreement: NDArray[np.float64] = signs * others_sum / (sure.sum() - sure + POLARITY_DOUBT)
    return agreement
