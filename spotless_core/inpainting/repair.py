"""The whole repair of one frame: regions, fill, grain, back to stored samples.

In: windows of the frame as stored, the mask, a method. Out: edits that together cover exactly the mask, and what filled
each. Only crops around the defects are read, so time and memory follow the damage, not the frame. Values are rounded,
never truncated, at the scan's own depth. Same inputs and same seed give the same edits; if the time allowed is not
enough, there are none at all.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from spotless_core.arrays.composite import composite
from spotless_core.arrays.grain import put_grain_back
from spotless_core.arrays.grain_measure import FilmGrain, measure_frame_grain
from spotless_core.arrays.kinds import FloatImage, Mask, require_mask
from spotless_core.arrays.samples import to_image, to_samples
from spotless_core.arrays.windows import SampleWindows
from spotless_core.errors import ArrayContractError
from spotless_core.inpainting.inpainter import Crop, Fill, Inpainter
from spotless_core.inpainting.regions import Region, batches, cut_mask, cut_samples, find_regions
from spotless_core.inpainting.tiers import fill_named
from spotless_core.options import InpaintOptions
from spotless_core.photo import Edit
from spotless_core.receipt import Defect

SAMPLE_TYPES: Final = (np.uint8, np.uint16, np.float16, np.float32)


@dataclass(frozen=True, slots=True)
class RepairResult:
    """`edits` cover each masked pixel exactly once; `methods[i]` is the name of what filled `edits[i]`.

    `notes`: what a person should know of the fills. `left_over`: regions not filled because time was up; where it is
    not 0 there are no edits.
    """

    edits: list[Edit]
    methods: list[str]
    notes: tuple[str, ...] = ()
    left_over: int = 0

    def method_at(self, row: int, column: int) -> str:
        """Return the name of what filled the pixel, "" if it was not masked."""
        for edit, method in zip(self.edits, self.methods, strict=True):
            y, x = row - edit.top, column - edit.left
            if 0 <= y < edit.mask.shape[0] and 0 <= x < edit.mask.shape[1] and edit.mask[y, x]:
                return method
        return ""


def repair_frame(
    frame: SampleWindows,
    full_scale: float,
    mask: Mask,
    inpainter: Inpainter,
    options: InpaintOptions,
    *,
    seed: int,
    value_max: float | None = None,
    on_progress: Callable[[float], None] = lambda _fraction: None,
    clock: Callable[[], float] = time.monotonic,
) -> RepairResult:
    """Fill every masked pixel of `frame` and return what to write.

    `frame`: windows of H×W×C, C = 1, 3 or 4, uint8, uint16, float16 or float32. `full_scale`: 255 or 65535, the
    white of a float frame, which is not rounded. `mask`: H×W bool, read only. `seed`: of the grain.
    `value_max`: the largest value the frame uses (14 bits in 16: 16383); no fill exceeds it. `on_progress` gets the
    fraction done, in (0, 1], after each region. `clock`: seconds, for `options.max_seconds`, looked at between batches.

    Raises:
        ArrayContractError: wrong shapes or dtypes.
        ScanError: the mask covers every pixel.
    """
    if len(frame.shape) != 3 or frame.shape[2] not in {1, 3, 4} or frame.dtype not in SAMPLE_TYPES:
        raise ArrayContractError(
            f"repair_frame: frame {frame.dtype} {frame.shape}; 8 or 16 bits or float, H×W×1, H×W×3 or H×W×4 expected."
        )
    require_mask(mask, (frame.shape[0], frame.shape[1]))
    ceiling = full_scale if value_max is None else min(value_max, full_scale)
    regions = find_regions(mask, options.context_px)
    edits: list[Edit] = []
    methods: list[str] = []
    faults: Counter[tuple[str, str]] = Counter()
    start = clock()
    film = None
    if options.grain and regions:
        film = measure_frame_grain(frame, full_scale, mask, np.random.default_rng(seed))
    for batch in batches(regions):
        if options.max_seconds and clock() - start > options.max_seconds:
            return RepairResult(edits=[], methods=[], left_over=len(regions) - len(edits))
        crops = [_crop(frame, full_scale, mask, region) for region in batch]
        fills = fill_named(inpainter, crops, [region.box_in_window for region in batch])
        for region, crop, named in zip(batch, crops, fills, strict=True):
            repaired = _finish(region, crop, named.fill, film, seed, with_grain=options.grain)
            samples = to_samples(repaired, full_scale, ceiling, frame.dtype)
            edits.append(Edit(top=region.own_box[0], left=region.own_box[1], samples=samples, mask=region.own))
            methods.append(named.method)
            if named.fault:
                faults[named.method, named.fault] += 1
            on_progress(len(edits) / len(regions))
    notes = tuple(f"{count} regions were filled by {method}: {fault}" for (method, fault), count in faults.items())
    return RepairResult(edits, methods, notes)


def name_methods(defects: tuple[Defect, ...], repaired: RepairResult, shape: tuple[int, int]) -> tuple[Defect, ...]:
    """Name for each defect the method that filled most of its box's masked pixels; without any it stays as it is.

    `shape`: (height, width) of the frame.
    """
    names = sorted(set(repaired.methods))
    filled = np.zeros(shape, np.uint8)  # 0 = untouched, i + 1 = names[i]
    for edit, method in zip(repaired.edits, repaired.methods, strict=True):
        height, width = edit.mask.shape
        filled[edit.top : edit.top + height, edit.left : edit.left + width][edit.mask] = names.index(method) + 1
    named = []
    for defect in defects:
        top, left, bottom, right = defect.box
        place = filled[top:bottom, left:right]
        votes = np.bincount(place[place > 0], minlength=1)
        named.append(replace(defect, method=names[int(votes.argmax()) - 1]) if votes.any() else defect)
    return tuple(named)


def _crop(frame: SampleWindows, full_scale: float, mask: Mask, region: Region) -> Crop:
    image = to_image(cut_samples(frame, region.window), full_scale)
    return Crop(image=image, mask=cut_mask(mask, region.window))


def _finish(
    region: Region, crop: Crop, fill: Fill, film: FilmGrain | None, seed: int, *, with_grain: bool
) -> FloatImage:
    """Composite, put grain back, and return the box the region owns."""
    own_box = region.own_in_window
    result = composite(crop.image, fill.image, crop.mask, feather_px=0)
    if with_grain:
        own = np.zeros_like(crop.mask)
        own[own_box] = region.own
        random = np.random.default_rng([seed, region.own_box[0], region.own_box[1]])
        result = put_grain_back(crop.image, result, crop.mask, own, random, film=film, own_grain=fill.own_grain)
    return result[own_box]
