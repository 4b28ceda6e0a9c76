"""From probability to mask: what is repaired, and what is left alone for good reason.

Seed-and-grow with calibrated thresholds, absolute floors, size caps in micrometres, more evidence asked of large and
elongated candidates (a wire is the same shape as a hair), the rest of each defect by likeness (extent.py), faint lines,
growth over the penumbra, and a coverage budget.
No threshold is relative to the frame, so none is met for the sake of finding something: how dusty the film is otherwise
is evidence for a candidate (evidence.py), and a clean frame gives an empty mask.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from spotless_core.arrays.kinds import Mask
from spotless_core.arrays.masks import Shape, grow_mask, measure_shape
from spotless_core.arrays.pieces import Pieces, trace_mask
from spotless_core.arrays.windows import FloatWindows, bands
from spotless_core.detection.evidence import Candidates, gather, is_lonely, score
from spotless_core.detection.extent import extend_core_inplace
from spotless_core.errors import ModelError
from spotless_core.networks.weights import ModelEntry
from spotless_core.options import MaskOptions, Sensitivity
from spotless_core.receipt import Defect

ELONGATED = 3.0
"""Length over stroke width from which a piece is a hair or a scratch, not a speck."""
STRAIGHT_SPAN = 0.12
"""A scratch's rectangle is at most this wide for its length; hairs bend."""
COARSEST_UM_PER_PX = 25400 / 2000
"""Thresholds were calibrated at 2400 and 4000 dpi; on coarser scans elongated pieces must lie alone."""
MIN_GROW_PX = 1.5
MIN_AREA_PX = 4
"""Smaller pieces are noise at any resolution."""
PROOF_FULL_UM = 1500.0
"""Length at which a candidate must have earned the full extra evidence."""
PROOF_MEAN = 0.30
"""Extra evidence: at `PROOF_FULL_UM` the mean probability must lie this far above the growing threshold (of what is
left to 1)."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """`seed`: probability that starts a defect. `grow`: probability down to which it extends. `evidence`: least score
    of a candidate by `weights` (detection/evidence.py), None where a model has none.
    """

    seed: float
    grow: float
    evidence: float | None = None
    weights: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class MaskResult:
    """`mask` bool H×W, grown; `core`: the same before growing over the penumbra; `defects` of the mask;
    `coverage` of the frame; `left_alone`: notes on candidates over a cap.
    """

    mask: Mask
    core: Mask
    defects: tuple[Defect, ...]
    coverage: float
    left_alone: tuple[str, ...]


def thresholds_for(options: MaskOptions, entry: ModelEntry) -> Thresholds:
    """Pick the calibrated thresholds of `options.sensitivity` out of a manifest entry."""
    try:
        values = entry.thresholds[options.sensitivity.value]
        return Thresholds(float(values["seed"]), float(values["grow"]), values.get("evidence"), entry.evidence or None)
    except KeyError as error:
        sensitivity = options.sensitivity.value
        raise ModelError(f"the model's manifest has no thresholds for sensitivity {sensitivity}.") from error


def cautious_if_coarse(options: MaskOptions, um_per_px: float) -> tuple[MaskOptions, str]:
    """Return `options` at low sensitivity, and a note, for a scan coarser than the thresholds were calibrated on.

    There a twig, a nail or a letter is as thin and as sharp as a hair or a speck on the film.
    """
    if um_per_px <= COARSEST_UM_PER_PX or options.sensitivity is Sensitivity.LOW:
        return options, ""
    note = f"{25400 / um_per_px:.0f} dpi is coarser than the detector was calibrated on: low sensitivity was used"
    return replace(options, sensitivity=Sensitivity.LOW), note


def make_mask(
    probability: FloatWindows,
    thresholds: Thresholds,
    options: MaskOptions,
    um_per_px: float,
    grey: FloatWindows,
    lines: FloatWindows | None = None,
    on_progress: Callable[[float], None] = lambda _fraction: None,
) -> MaskResult:
    """Turn `probability` (windows of H×W float32) into the mask that will be repaired.

    `um_per_px`: micrometres on the film per pixel. `grey`: windows of what the detector saw, H×W float32 in [0, 1].
    `lines`: scores of faint scratches on their pixels, 0 elsewhere (detection/lines.py); they are taken as they are.
    `on_progress` gets the fraction of the candidates that are judged.
    """
    core, too_large = find_core(probability, thresholds, options, um_per_px, grey, on_progress)
    extend_core_inplace(
        core, probability, grey, um_per_px, lambda piece: not _is_over_cap(measure_shape(piece), options, um_per_px)
    )
    if lines is not None:
        for top, bottom in bands(*core.shape):
            core[top:bottom] |= lines[top:bottom, 0 : core.shape[1]] > 0
    # On a coarse scan the soft edge is the pixel grid's own: less than this leaves a ghost of the rim.
    mask = grow_mask(core, max(options.grow_um / um_per_px, MIN_GROW_PX) if options.grow_um else 0.0)
    defects = describe_defects(mask, probability, um_per_px, lines)
    notes = (f"{too_large} candidates over the size caps were left alone",) if too_large else ()
    return MaskResult(mask, core, defects, float(mask.mean()), notes)


def find_core(
    probability: FloatWindows,
    thresholds: Thresholds,
    options: MaskOptions,
    um_per_px: float,
    grey: FloatWindows,
    on_progress: Callable[[float], None] = lambda _fraction: None,
) -> tuple[Mask, int]:
    """Select the candidates that are defects: their pixels before growth (H×W bool), and how many were over a cap."""
    min_area = max(np.pi / 4 * (options.min_speck_um / um_per_px) ** 2, MIN_AREA_PX)
    candidates = gather(probability, grey, um_per_px, thresholds.seed, thresholds.grow, min_area, on_progress)
    core: Mask = np.zeros(probability.shape[:2], np.bool_)
    too_large = 0
    for index, shape in enumerate(candidates.shapes):
        if _is_over_cap(shape, options, um_per_px):
            too_large += 1
        elif _is_defect(candidates, index, probability, thresholds, um_per_px):
            candidates.pieces.paint_inplace(core, [int(candidates.numbers[index])])
    return core, too_large


def _is_defect(
    candidates: Candidates, index: int, probability: FloatWindows, thresholds: Thresholds, um_per_px: float
) -> bool:
    shape, features = candidates.shapes[index], candidates.features[index]
    if thresholds.evidence is None or thresholds.weights is None:
        top, left, bottom, right = candidates.boxes[index]
        mean = float(probability[top:bottom, left:right][candidates.piece(index)].mean())
        return mean >= _needed_mean(shape.length * um_per_px, thresholds.grow)
    is_line = shape.length >= ELONGATED * shape.stroke and um_per_px > COARSEST_UM_PER_PX
    is_sure = bool(score(features[None], thresholds.weights)[0] >= thresholds.evidence)
    return is_sure and (is_lonely(features) or not is_line)


def describe_defects(
    mask: Mask, probability: FloatWindows | None, um_per_px: float, lines: FloatWindows | None = None
) -> tuple[Defect, ...]:
    """List the connected pieces of `mask`, each with the highest score of `probability` and `lines` in it.

    `probability` None means a person gave the mask (kind "given", score 1).
    """
    pieces = trace_mask(mask)
    scores = [] if probability is None else [each for each in (probability, lines) if each is not None]
    defects = []
    for index, (box, area) in enumerate(zip(pieces.boxes, pieces.areas, strict=True)):
        shape = pieces.shape_of(index)
        score = round(max((_highest(each, pieces, index) for each in scores), default=1.0), 4)
        kind = defect_kind(shape, um_per_px) if scores else "given"
        defects.append(Defect(box, int(area), round(shape.length * um_per_px, 1), kind, score))
    return tuple(defects)


def _highest(scores: FloatWindows, pieces: Pieces, index: int) -> float:
    """Return the highest of `scores` in one piece, read in bands: a piece may cross the whole frame."""
    top, left, bottom, right = pieces.boxes[index]
    parts = ((top + first, left, top + last, right) for first, last in bands(bottom - top, right - left))
    return max(float(scores[part[0] : part[2], left:right][pieces.cut([index], part)].max()) for part in parts)


def defect_kind(shape: Shape, um_per_px: float) -> str:
    """Name a piece by its form: speck, blot (a large speck), hair or scratch (long and straight)."""
    if shape.length < ELONGATED * shape.stroke:
        return "blot" if shape.length * um_per_px > 300 else "speck"
    return "scratch" if shape.width < max(STRAIGHT_SPAN * shape.length, shape.stroke * 1.5) else "hair"


def _is_over_cap(shape: Shape, options: MaskOptions, um_per_px: float) -> bool:
    length_um, stroke_um = shape.length * um_per_px, shape.stroke * um_per_px
    if shape.length < ELONGATED * shape.stroke:
        return length_um > options.max_speck_um
    return length_um > options.max_length_um or stroke_um > options.max_width_um


def _needed_mean(length_um: float, grow: float) -> float:
    """Mean probability a candidate needs: the growing threshold, rising with its length."""
    return grow + (1 - grow) * PROOF_MEAN * min(length_um / PROOF_FULL_UM, 1.0)
