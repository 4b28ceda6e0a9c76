"""When a frame is held for a person instead of being repaired unattended.

In: the mask, its defects, the options. Out: sentences for the receipt, none if the frame may be repaired. What limits
a repair is how wide a hole is, not how long: a scratch over the whole frame lies next to clean film everywhere, the
middle of a large blot does not, and what fills it is invented. Time is a budget of the same kind: a repair that a worse
method finished because the machine was slow would be published unseen, and another run would give other bytes; a held
frame costs a look, and the scan is untouched. A mask that a person gave is bound by none of them.
"""

import cv2
import numpy as np

from spotless_core.arrays.kinds import Box, Mask
from spotless_core.options import RestoreOptions
from spotless_core.receipt import Defect

MOST_NAMED = 5
"""Holes named one by one; more are counted."""
SMALLEST_SHARE = 0.15
"""Area over squared width of the leanest wide hole, a quarter of a disc in the frame's corner, less its jagged rim."""


def reasons_to_hold(
    mask: Mask, defects: tuple[Defect, ...], coverage: float, options: RestoreOptions, um_per_px: float
) -> tuple[str, ...]:
    """Return why a frame with this mask must not be repaired unattended, one sentence a reason.

    `mask`: H×W bool, read only; `coverage`: its fraction of the frame. `um_per_px`: micrometres on the film per pixel.
    """
    reasons = []
    allowed = options.mask.max_coverage
    if coverage > allowed:
        reasons.append(
            f"held: {coverage:.2%} of the frame would be repaired, {allowed:.2%} is allowed (mask.max_coverage)"
        )
    limit_um = options.inpaint.max_hole_um
    wide = [(box, width_px * um_per_px) for box, width_px in holes_wider_than(mask, defects, limit_um / um_per_px)]
    reasons += [
        f"held: the hole at row {(box[0] + box[2]) // 2}, column {(box[1] + box[3]) // 2} is {width_um:.0f} µm wide, "
        f"{limit_um:.0f} µm are filled unattended (inpaint.max_hole_um)"
        for box, width_um in wide[:MOST_NAMED]
    ]
    if len(wide) > MOST_NAMED:
        reasons.append(f"held: {len(wide) - MOST_NAMED} more holes are wider than that")
    return tuple(reasons)


def reason_of_time(left_over: int, max_seconds: float) -> str:
    """Return why a frame whose repair took too long is held; `left_over`: regions that were not filled in time."""
    return f"held: {left_over} regions were not filled within {max_seconds:g} s (inpaint.max_seconds)"


def holes_wider_than(mask: Mask, defects: tuple[Defect, ...], limit_px: float) -> list[tuple[Box, float]]:
    """Return box and width of each defect that is wider than `limit_px`, the widest first.

    The width is the diameter of the largest disc in the hole; film beyond the frame's border does not count as clean.
    """
    wide = []
    for defect in defects:
        top, left, bottom, right = defect.box
        if defect.area_px >= SMALLEST_SHARE * limit_px**2:
            around = mask[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1]
            width_px = _width(around)
            if width_px > limit_px:
                wide.append((defect.box, width_px))
    return sorted(wide, key=lambda hole: (-hole[1], hole[0]))


def _width(mask: Mask) -> float:
    depth = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return 2 * float(depth.max()) - 1
