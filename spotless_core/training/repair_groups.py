"""The groups that repairs are scored by: what a defect is like, where it lies, and what the film next to it is like.

In: a frame and one of its defects. Out: the name of its group on each axis. Bands are given by their upper ends.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from spotless_core.arrays.kinds import FloatImage, Mask
from spotless_core.arrays.metrics import ring_around
from spotless_core.arrays.surroundings import surroundings_of
from spotless_core.training.repair_frames import Defect, RepairFrame
from spotless_core.training.scores import CONTRAST_BANDS, contrast_band

Bands = Sequence[tuple[str, float]]

SIZES_PX: Bands = (("<64 px", 64.0), ("64-256 px", 256.0), ("256-1024 px", 1024.0), (">1024 px", float("inf")))
"""Area of the mask."""
SIZES_UM: Bands = (("<80 µm", 80.0), ("80-130 µm", 130.0), ("130-250 µm", 250.0), (">250 µm", float("inf")))
"""Diameter of a disc of that area, on the film."""
DENSITIES: Bands = (
    ("veil <0.15", 0.15),
    ("thin 0.15-0.4", 0.4),
    ("dense 0.4-0.8", 0.8),
    ("opaque >0.8", float("inf")),
)
"""Optical density of the element: 0.15 lets 71 % of the light through, 0.4 40 %, 0.8 16 %."""
IN_ORDER = [name for bands in (SIZES_PX, SIZES_UM, DENSITIES, CONTRAST_BANDS) for name, _ in bands]
RIM_PX = 2
MOST_HALO = 0.01
"""Root mean square change of the film this near to a mask, above which its rim carries a halo: 2.5 levels of 8 bits.
Sharpening leaves one round dense dust, wider than the mask, and any fill starts from it.
"""


def groups_of(frame: RepairFrame, defect: Defect, dusty: FloatImage, clean: FloatImage, mask: Mask) -> dict[str, str]:
    """Return the name of `defect`'s group by axis.

    `dusty`, `clean`: pictures of `frame`, H×W×C in [0, 1], `mask`: all its defects', H×W bool; read only.
    """
    pixels = int(defect.mask.sum())
    diameter_um = 2 * float(np.sqrt(pixels / np.pi)) * frame.um_per_px
    return {
        "film": frame.film,
        "surroundings": surroundings_of(dusty, mask, defect.box),
        "kind": defect.kind,
        "density": _band(DENSITIES, defect.density),
        "contrast": contrast_band(defect.contrast),
        "size on the scan": _band(SIZES_PX, pixels),
        "size on the film": _band(SIZES_UM, diameter_um),
        "dpi": str(frame.dpi),
        "stored": frame.stored,
        "rim": "halo" if _halo(defect, dusty, clean, mask) > MOST_HALO else "clean",
    }


def group_by(groups: Iterable[Mapping[str, str]]) -> dict[str, dict[str, list[int]]]:
    """Return the indexes of the defects in each group of each axis; bands in their order, other groups by name."""
    indexes: dict[str, dict[str, list[int]]] = {}
    for index, names in enumerate(groups):
        for axis, name in names.items():
            indexes.setdefault(axis, {}).setdefault(name, []).append(index)
    return {axis: {name: members[name] for name in sorted(members, key=_rank)} for axis, members in indexes.items()}


def _halo(defect: Defect, dusty: FloatImage, clean: FloatImage, mask: Mask) -> float:
    """Root mean square of what the dust changed on the film next to the defect's mask; 0 where there is none."""
    top, left, bottom, right = defect.box
    near = np.s_[max(top - RIM_PX, 0) : bottom + RIM_PX, max(left - RIM_PX, 0) : right + RIM_PX]
    own = np.zeros_like(mask[near])
    row, column = top - near[0].start, left - near[1].start
    own[row : row + defect.mask.shape[0], column : column + defect.mask.shape[1]] = defect.mask
    rim = ring_around(own, RIM_PX, 0) & ~mask[near]
    change = (dusty[near] - clean[near])[rim]
    return float(np.sqrt(np.mean(change**2))) if change.size else 0.0


def _band(bands: Bands, value: float) -> str:
    return next((name for name, end in bands if value < end), bands[-1][0])


def _rank(name: str) -> tuple[int, str]:
    return (IN_ORDER.index(name) if name in IN_ORDER else -1), name
