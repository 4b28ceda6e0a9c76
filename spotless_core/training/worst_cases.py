"""The worst cases of an evaluation as crops with captions: misses, false alarms, what was marked on clean frames.

Comes in: one frame after another with its marks. Goes out: galleries of a fixed number of cases, the worst first, and
no more than a few of one frame, so that one bad picture does not fill a sheet. Only the crops are kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Box, GreyImage, Mask
from spotless_core.arrays.masks import find_pieces, measure_shape
from spotless_core.detection.evidence import FINE_SIGMA_PX
from spotless_core.detection.mask import MaskResult, defect_kind
from spotless_core.training.dataset import Element
from spotless_core.training.evaluation_frames import Frame

CASES = 24
CASES_PER_FRAME = 3
CROP_PX = 80
CROP_SHARE = 1.5
"""A crop is `CROP_PX` wide, or this many times as wide as a larger element."""
GAP = np.ones((7, 7), np.uint8)
SURROUNDINGS = np.ones((25, 25), np.uint8)
"""A piece's soft rim belongs to neither; its surroundings are as wide as the window of the visibility rule."""

GALLERIES = {
    "misses_by_confidence": "Missed elements of the lowest probability, the highest contrast first",
    "misses_by_contrast": "Missed elements of the highest contrast",
    "false_alarms": "False objects of the highest probability",
    "clean_frames": "Largest pieces marked on frames without dust",
}
"""Names of the galleries and what is in them."""


@dataclass(frozen=True, slots=True)
class Case:
    """One case: `rank` (lower is worse), two lines of caption, and crops of one shape.

    `grey`, `probability`: h×w uint8, 255 = 1. `truth`: h×w bool, dust a person can see. `marked`: h×w bool, before
    growth.
    """

    rank: tuple[float, ...]
    caption: tuple[str, str]
    grey: NDArray[np.uint8]
    truth: Mask
    marked: Mask
    probability: NDArray[np.uint8]


class WorstCases:
    """The worst cases of all frames added so far, by gallery."""

    def __init__(self) -> None:
        self.galleries: dict[str, list[Case]] = {name: [] for name in GALLERIES}

    def add(
        self, frame: Frame, core: Mask, misses: Sequence[Element], false_boxes: Sequence[Box], clean: MaskResult
    ) -> None:
        """Add a frame: `core` H×W bool marked on it, what was missed and what was false, and the marks without dust."""
        found = [(_peak(frame.probability, frame.truth == 1, element.box), element) for element in misses]
        for name, ranks in (
            ("misses_by_confidence", [(round(peak, 2), -element.contrast) for peak, element in found]),
            ("misses_by_contrast", [(-element.contrast,) for _, element in found]),
        ):
            order = sorted(range(len(found)), key=ranks.__getitem__)[:CASES_PER_FRAME]
            self._keep(name, (_miss(frame, core, *found[i], ranks[i]) for i in order))
        alarms = sorted(((_peak(frame.probability, core, box), box) for box in false_boxes), reverse=True)
        self._keep("false_alarms", (_false_alarm(frame, core, box) for _, box in alarms[:CASES_PER_FRAME]))
        pieces = find_pieces(clean.core)
        largest = np.argsort(-pieces.areas, kind="stable")[:CASES_PER_FRAME]
        self._keep("clean_frames", (_clean_piece(frame, clean, pieces.boxes[i]) for i in largest))

    def _keep(self, name: str, cases: Iterable[Case]) -> None:
        self.galleries[name] = sorted([*self.galleries[name], *cases], key=lambda case: case.rank)[:CASES]


def piece_contrast(grey: GreyImage, piece: Mask) -> float:
    """Return how far `piece` (H×W bool) differs in tone from its surroundings, in their standard deviations of detail.

    As the contrast of an element: 3 px low-pass removed, 25 px around; but measured, as nobody knows what is below.
    0 where nothing surrounds it.
    """
    near, around = (np.asarray(cv2.dilate(piece.view(np.uint8), kernel)) > 0 for kernel in (GAP, SURROUNDINGS))
    ring = around & ~near
    if not ring.any():
        return 0.0
    change = abs(float(grey[piece].mean()) - float(np.median(grey[ring])))
    detail = grey - cv2.GaussianBlur(grey, (0, 0), FINE_SIGMA_PX)
    return change / max(float(detail[ring].std()), 1e-6)


def _miss(frame: Frame, core: Mask, peak: float, element: Element, rank: tuple[float, ...]) -> Case:
    caption = (
        _title(element.kind, frame),
        f"contrast {element.contrast:.1f} σ, probability {peak:.2f}",
    )
    return _case(rank, caption, element.box, frame.grey, frame.truth == 1, core, frame.probability)


def _false_alarm(frame: Frame, core: Mask, box: Box) -> Case:
    kind, area, contrast, peak = _described(frame.grey, core, frame.probability, box, frame.um_per_px)
    caption = (_title(kind, frame), f"contrast {contrast:.1f} σ, probability {peak:.2f}, {area} px")
    return _case((-peak, -area), caption, box, frame.grey, frame.truth == 1, core, frame.probability)


def _clean_piece(frame: Frame, clean: MaskResult, box: Box) -> Case:
    described = _described(frame.clean_grey, clean.core, frame.clean_probability, box, frame.um_per_px)
    kind, area, contrast, peak = described
    caption = (
        _title(kind, frame),
        f"{area} px, contrast {contrast:.1f} σ, probability {peak:.2f}, frame {100 * clean.coverage:.3f} %",
    )
    nothing = np.zeros(clean.core.shape, bool)
    return _case((-area,), caption, box, frame.clean_grey, nothing, clean.core, frame.clean_probability)


def _title(kind: str, frame: Frame) -> str:
    return f"{kind}, {frame.name}".replace("_", " ")


def _described(
    grey: GreyImage, core: Mask, probability: NDArray[np.float16], box: Box, um_per_px: float
) -> tuple[str, int, float, float]:
    """Kind, area in pixels, contrast and highest probability of the piece of `core` that fills `box`."""
    wide = _window(box, core.shape, 2 * len(SURROUNDINGS))
    top, left = wide[0].start, wide[1].start
    pieces = find_pieces(np.ascontiguousarray(core[wide]))
    own = pieces.boxes.index((box[0] - top, box[1] - left, box[2] - top, box[3] - left))
    piece: Mask = pieces.labels == own + 1
    rows, columns = np.s_[box[0] - top : box[2] - top], np.s_[box[1] - left : box[3] - left]
    shape = measure_shape(piece[rows, columns])
    contrast = piece_contrast(np.ascontiguousarray(grey[wide]), piece)
    return defect_kind(shape, um_per_px), int(pieces.areas[own]), contrast, float(probability[wide][piece].max())


def _peak(probability: NDArray[np.float16], mask: Mask, box: Box) -> float:
    """Highest probability under `mask` in `box`; the mask holds something there."""
    place = np.s_[box[0] : box[2], box[1] : box[3]]
    return float(probability[place][mask[place]].max())


def _case(
    rank: tuple[float, ...],
    caption: tuple[str, str],
    box: Box,
    grey: GreyImage,
    truth: Mask,
    marked: Mask,
    probability: NDArray[np.float16],
) -> Case:
    place = _window(box, grey.shape, 0)
    grey_crop, probability_crop = (
        np.rint(np.clip(plane[place].astype(np.float32), 0, 1) * 255).astype(np.uint8) for plane in (grey, probability)
    )
    return Case(rank, caption, grey_crop, truth[place].copy(), marked[place].copy(), probability_crop)


def _window(box: Box, shape: tuple[int, ...], margin: int) -> tuple[slice, slice]:
    """Square window round `box`, inside `shape`, at least `margin` wider than it on every side that has the room."""
    extent = max(box[2] - box[0], box[3] - box[1])
    side = min(max(CROP_PX, int(np.ceil(CROP_SHARE * extent)), extent + 2 * margin), *shape)
    starts = [
        int(np.clip((low + high - side) // 2, 0, length - side))
        for low, high, length in zip(box[:2], box[2:], shape, strict=True)
    ]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)
