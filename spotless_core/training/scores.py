"""Scores of marks against the truth: pixels with one pixel of tolerance, objects by kind and by contrast, clean frames.

`count_frame` adds one frame's marks (before growth) to `Counts`; counts of many frames add up, and every score follows
from the sums. An element that counts neither way is in no count. The baseline is a top-hat with the best threshold
per frame, an oracle: it has looked at the truth.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Box, GreyImage, Mask
from spotless_core.arrays.masks import find_pieces, grow_mask
from spotless_core.detection.lines import draw_lines, find_lines
from spotless_core.detection.mask import MaskResult, Thresholds, make_mask
from spotless_core.options import MaskOptions, Sensitivity
from spotless_core.training.dataset import IGNORED, Element
from spotless_core.training.evaluation_frames import Frame

HIT_SHARE = 0.25
"""An element counts as found when this share of its pixels is marked."""
TOLERANCE_PX = 1.5
"""Growth by this disc reaches the eight neighbours: one pixel of tolerance, diagonals included."""
CONTRAST_BANDS = (("<3", 3.0), ("3-4", 4.0), ("4-6", 6.0), ("6-10", 10.0), ("10-20", 20.0), (">20", float("inf")))
"""Names and upper ends of the bands of contrast, in local standard deviations. Only large elements are seen below 3."""
MAX_CLEAN_COVERAGE, MAX_CLEAN_AREA_PX = 0.0003, 40
"""What a frame without dust may have marked: this share of it, and no piece larger."""
WORST_FRAMES = 8
TOP_HAT_PX = 21
TOP_HAT_THRESHOLDS = np.linspace(0.05, 0.5, 10)


@dataclass(frozen=True, slots=True)
class Found:
    """How many `elements` there were, and the share of them that was found."""

    elements: int
    recall: float


@dataclass(frozen=True, slots=True)
class Scores:
    """`f1`, `precision`, `recall` of pixels; `false_per_mp`: false objects per megapixel; objects found, all and by
    kind and band of contrast.
    """

    f1: float
    precision: float
    recall: float
    false_per_mp: float
    objects: Found
    by_kind: dict[str, Found]
    by_contrast: dict[str, Found]


@dataclass(slots=True)
class Counts:
    """Sums over frames, from which all scores follow."""

    marked: int = 0
    marked_right: int = 0
    dust: int = 0
    dust_found: int = 0
    false_objects: int = 0
    megapixels: float = 0.0
    visible: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Visible elements by (kind, band of contrast)."""
    found: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, other: "Counts") -> None:
        """Add the counts of other frames to these."""
        self.marked += other.marked
        self.marked_right += other.marked_right
        self.dust += other.dust
        self.dust_found += other.dust_found
        self.false_objects += other.false_objects
        self.megapixels += other.megapixels
        self.visible.update(other.visible)
        self.found.update(other.found)

    def scores(self) -> Scores:
        """Return the scores; of nothing they are 0."""
        precision = self.marked_right / max(self.marked, 1)
        recall = self.dust_found / max(self.dust, 1)
        kinds = sorted({kind for kind, _ in self.visible})
        bands = [name for name, _ in CONTRAST_BANDS if any(band == name for _, band in self.visible)]
        return Scores(
            f1=2 * precision * recall / max(precision + recall, 1e-9),
            precision=precision,
            recall=recall,
            false_per_mp=self.false_objects / max(self.megapixels, 1e-9),
            objects=self._found(set(self.visible)),
            by_kind={kind: self._found({key for key in self.visible if key[0] == kind}) for kind in kinds},
            by_contrast={band: self._found({key for key in self.visible if key[1] == band}) for band in bands},
        )

    def _found(self, keys: set[tuple[str, str]]) -> Found:
        elements = sum(self.visible[key] for key in keys)
        return Found(elements, sum(self.found[key] for key in keys) / max(elements, 1))


def sum_counts(parts: Iterable[Counts]) -> Counts:
    """Return the sum of the counts of several frames."""
    total = Counts()
    for part in parts:
        total.add(part)
    return total


def contrast_band(contrast: float) -> str:
    """Name the band `contrast` (change in local standard deviations, 0 or more) lies in; a band's end belongs above."""
    return next((name for name, end in CONTRAST_BANDS if contrast < end), CONTRAST_BANDS[-1][0])


def count_frame(frame: Frame, core: Mask, counts: Counts) -> tuple[list[Element], list[Box]]:
    """Add one frame's marks (`core`, H×W bool, before growth, read only) to `counts`.

    Returns the visible elements that were missed, and the boxes of the false objects: pieces of `core` that touch
    neither dust, with one pixel of tolerance, nor anything that counts neither way.
    """
    dust, counted = frame.truth == 1, frame.truth != IGNORED
    near_dust, near_core = grow_mask(dust, TOLERANCE_PX), grow_mask(core, TOLERANCE_PX)
    marked = core & counted
    counts.marked += int(marked.sum())
    counts.marked_right += int((marked & near_dust).sum())
    counts.dust += int(dust.sum())
    counts.dust_found += int((dust & near_core).sum())
    counts.megapixels += core.size / 1e6
    pieces = find_pieces(core)
    is_false = np.ones(len(pieces.boxes) + 1, bool)
    is_false[pieces.labels[near_dust | ~counted]] = False
    false_boxes = [box for box, is_wrong in zip(pieces.boxes, is_false[1:], strict=True) if is_wrong]
    counts.false_objects += len(false_boxes)
    misses = []
    for element in frame.elements:
        if not element.visible:
            continue
        top, left, bottom, right = element.box
        body = dust[top:bottom, left:right]
        key = (element.kind, contrast_band(element.contrast))
        counts.visible[key] += 1
        if near_core[top:bottom, left:right][body].mean() >= HIT_SHARE:
            counts.found[key] += 1
        else:
            misses.append(element)
    return misses, false_boxes


def core_of(frame: Frame, thresholds: Thresholds, sensitivity: Sensitivity) -> Mask:
    """Return what the pipeline marks on the dusty frame, faint lines included, before growth: H×W bool."""
    return _marked(frame.probability, frame.grey, frame.um_per_px, thresholds, sensitivity).core


def clean_result(frame: Frame, thresholds: Thresholds, sensitivity: Sensitivity) -> MaskResult:
    """Return what the pipeline marks on the frame without dust."""
    return _marked(frame.clean_probability, frame.clean_grey, frame.um_per_px, thresholds, sensitivity)


def _marked(
    probability: NDArray[np.float16],
    grey: GreyImage,
    um_per_px: float,
    thresholds: Thresholds,
    sensitivity: Sensitivity,
) -> MaskResult:
    lines = find_lines(grey, um_per_px, sensitivity)
    scores = draw_lines(lines, grey.shape) if lines else None
    options = MaskOptions(sensitivity=sensitivity)
    return make_mask(probability.astype(np.float32), thresholds, options, um_per_px, grey, scores)


def count_top_hat(frame: Frame) -> Counts:
    """Count the baseline: white or black top-hat, whichever with its best threshold has the best F1 on this frame."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (TOP_HAT_PX, TOP_HAT_PX))
    dust, counted = frame.truth == 1, frame.truth != IGNORED
    near_dust = grow_mask(dust, TOLERANCE_PX)
    best_score, best = -1.0, np.zeros(frame.truth.shape, bool)
    for operation in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
        response = np.asarray(cv2.morphologyEx(frame.grey, operation, kernel))
        for threshold in TOP_HAT_THRESHOLDS:
            core: Mask = response >= threshold
            marked = core & counted
            near_core = grow_mask(core, TOLERANCE_PX)
            marked_right, dust_found = int((marked & near_dust).sum()), int((dust & near_core).sum())
            score = Counts(int(marked.sum()), marked_right, int(dust.sum()), dust_found).scores().f1
            if score > best_score:
                best_score, best = score, core
    counts = Counts()
    count_frame(frame, best, counts)
    return counts


@dataclass(frozen=True, slots=True)
class CleanFrame:
    """What was marked on one frame without dust: share of the frame and largest piece, of the grown mask and before
    growth (`core_`).
    """

    name: str
    coverage: float
    largest_px: int
    core_coverage: float
    core_largest_px: int

    @property
    def is_within_limits(self) -> bool:
        """Whether the grown mask is."""
        return self.coverage <= MAX_CLEAN_COVERAGE and self.largest_px <= MAX_CLEAN_AREA_PX

    @property
    def is_core_within_limits(self) -> bool:
        """Whether the marks before growth are."""
        return self.core_coverage <= MAX_CLEAN_COVERAGE and self.core_largest_px <= MAX_CLEAN_AREA_PX


@dataclass(frozen=True, slots=True)
class CleanScores:
    """Over frames without dust: `share_within_limits` of the grown mask and before growth (`core_`), and the frames of
    the worst coverage.
    """

    frames: int
    share_within_limits: float
    core_share_within_limits: float
    mean_coverage: float
    worst_coverage: float
    core_mean_coverage: float
    worst: list[CleanFrame]


def describe_clean(name: str, result: MaskResult) -> CleanFrame:
    """Reduce the mask of a frame without dust to its coverage and its largest piece."""
    return CleanFrame(
        name,
        result.coverage,
        max((defect.area_px for defect in result.defects), default=0),
        float(result.core.mean()),
        int(max(find_pieces(result.core).areas, default=0)),
    )


def score_clean(frames: Sequence[CleanFrame]) -> CleanScores:
    """Return the scores of at least one frame without dust."""
    worst = sorted((frame for frame in frames if frame.coverage > 0), key=lambda frame: -frame.coverage)
    return CleanScores(
        frames=len(frames),
        share_within_limits=float(np.mean([frame.is_within_limits for frame in frames])),
        core_share_within_limits=float(np.mean([frame.is_core_within_limits for frame in frames])),
        mean_coverage=float(np.mean([frame.coverage for frame in frames])),
        worst_coverage=max(frame.coverage for frame in frames),
        core_mean_coverage=float(np.mean([frame.core_coverage for frame in frames])),
        worst=worst[:WORST_FRAMES],
    )
