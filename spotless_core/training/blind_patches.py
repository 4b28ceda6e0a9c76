"""Patches for the blind test: where a frame was repaired, and untouched film that is like it.

In: a frame after its repair, and where it was repaired. Out: pairs of patches, one with a repair in its middle and one
that holds no repaired pixel, from film of like brightness and texture. Both are compared outside the shape of the hole,
laid over either place, so what lies in the hole, or its shape, has no part in the choice. The masks must lie where dust
fell, which is anywhere, not where a detector took a piece of the picture for dust: a judge would see the picture.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import FloatImage, Mask, require_mask
from spotless_core.arrays.masks import find_pieces
from spotless_core.errors import ArrayContractError
from spotless_core.training.film import Rng

PATCH_PX = 32
"""A repair of 100 µm at 4000 dpi is half as wide: there is film around it to compare it with."""
SURROUND_PX = 48
"""Side of the window in which film is compared."""
STEP_PX = 2
"""Of the window, every second row and column."""
CANDIDATES = 400
"""Untouched places of a frame that are looked at for its pairs."""
ALIKE = (0.04, 0.10, 0.25)
"""Units of unlikeness: of mean grey, of the logarithms of the fine and of the whole standard deviation."""
MOST_UNLIKE = 1.5
"""A repair without film as like as this (the root of the squares' sum) is left out: it would tell the places apart."""
MIN_SHARE = 0.1
"""A repair with less untouched film around it than this share of the window is left out."""
TINY = 1e-4
"""Added to standard deviations, so that film without grain has a logarithm; below a level of 12 bits."""


@dataclass(frozen=True, slots=True)
class BlindPair:
    """One frame after its repair, and where it was repaired.

    `frame`: its name; what stands before the first comma names its photograph. `film`: name of its film type.
    `restored`: h×w×C float32 in [0, 1], C = 1 or 3, values of the depth it is stored in, as a person gets it.
    `mask`: h×w bool, what was repaired.
    """

    frame: str
    film: str
    restored: FloatImage
    mask: Mask

    def __post_init__(self) -> None:
        if self.restored.ndim != 3 or self.restored.shape[2] not in {1, 3} or self.restored.dtype != np.float32:
            message = f"BlindPair: {self.restored.dtype} {self.restored.shape}; float32 h×w×1 or h×w×3 expected."
            raise ArrayContractError(message)
        require_mask(self.mask, (self.restored.shape[0], self.restored.shape[1]))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a repaired patch lies: its frame, photograph, film type, centre, and the area of its repair, pixels."""

    frame: str
    photograph: str
    film: str
    row: int
    column: int
    area_px: int


@dataclass(frozen=True, slots=True)
class MatchedPatches:
    """Patch i of `repaired` belongs to patch i of `untouched` and to `places[i]`; both n×32×32×3 float32 in [0, 1].

    A grey frame's patches have three equal planes. `left_out`: repairs at the border, or without film like theirs.
    """

    repaired: FloatImage
    untouched: FloatImage
    places: list[Place]
    left_out: int


def draw_matched(pair: BlindPair, rng: Rng, most: int) -> MatchedPatches:
    """Cut at most `most` pairs of patches out of one frame; no untouched patch serves twice.

    A repaired patch is centred on the deepest pixel of its repair and may show others beside it.
    """
    centres, areas, outside = _repaired_centres(pair.mask)
    order = rng.permutation(len(centres))[:most]
    centres, areas = centres[order], areas[order]
    candidates = _untouched_centres(pair.mask, rng)
    surroundings = _Surroundings(pair)
    unlike = _unlike(surroundings.at(centres), surroundings.at(candidates))
    found: list[tuple[int, int]] = []
    for index, row in enumerate(unlike):
        if row.size and row.min() <= MOST_UNLIKE:
            likest = int(np.argmin(row))
            unlike[:, likest] = np.inf
            found.append((index, likest))
    of_centres, of_candidates = (np.array([each[side] for each in found], np.intp) for side in (0, 1))
    photograph = pair.frame.partition(",")[0]
    return MatchedPatches(
        repaired=_cut(pair.restored, centres[of_centres]),
        untouched=_cut(pair.restored, candidates[of_candidates]),
        places=[
            Place(pair.frame, photograph, pair.film, int(row), int(column), int(area))
            for (row, column), area in zip(centres[of_centres], areas[of_centres], strict=True)
        ],
        left_out=outside + len(centres) - len(found),
    )


def _repaired_centres(mask: Mask) -> tuple[NDArray[np.intp], NDArray[np.int64], int]:
    """The deepest pixels of the pieces whose patch lies inside the frame, their areas, and how many do not."""
    pieces = find_pieces(mask)
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    centres, areas = [], []
    for label, (top, left, bottom, right) in enumerate(pieces.boxes, start=1):
        box = np.s_[top:bottom, left:right]
        deepest = np.argmax(np.where(pieces.labels[box] == label, depth[box], -1))
        row, column = np.unravel_index(deepest, (bottom - top, right - left))
        centre = (top + int(row), left + int(column))
        if all(PATCH_PX // 2 <= at <= side - PATCH_PX // 2 for at, side in zip(centre, mask.shape, strict=True)):
            centres.append(centre)
            areas.append(int(pieces.areas[label - 1]))
    return np.array(centres, np.intp).reshape(-1, 2), np.array(areas, np.int64), len(pieces.boxes) - len(centres)


def _untouched_centres(mask: Mask, rng: Rng) -> NDArray[np.intp]:
    """Random centres whose patches lie in the frame and hold no repaired pixel."""
    sums = cv2.integral(mask.astype(np.uint8), sdepth=cv2.CV_32S)
    side = PATCH_PX
    if min(mask.shape) < side:
        return np.zeros((0, 2), np.intp)
    touched = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    corners = np.argwhere(touched == 0)
    chosen = rng.permutation(len(corners))[:CANDIDATES]
    return np.asarray(corners[chosen] + side // 2, np.intp)


class _Surroundings:
    """Sums over windows of a frame can be had from these: film (1, or 0 where repaired or outside the frame), grey on
    film, its square, and the square of its fine detail.
    """

    def __init__(self, pair: BlindPair) -> None:
        grey = pair.restored.mean(axis=2, dtype=np.float64)
        fine = grey - cv2.blur(grey, (3, 3), borderType=cv2.BORDER_REFLECT_101)
        film = 1.0 - cv2.dilate(pair.mask.astype(np.uint8), np.ones((3, 3), np.uint8))  # fine detail sees so far
        planes = np.stack([film, film * grey, film * grey**2, film * fine**2])
        half = SURROUND_PX // 2
        self._planes = np.pad(planes, ((0, 0), (half, half), (half, half)))

    def at(self, centres: NDArray[np.intp]) -> NDArray[np.float64]:
        """The four quantities in the windows round `centres` (n×2), n×4×pixels."""
        rows = centres[:, 0, None] + np.arange(0, SURROUND_PX, STEP_PX)  # padding moves the frame by half a window
        columns = centres[:, 1, None] + np.arange(0, SURROUND_PX, STEP_PX)
        windows = self._planes[:, rows[:, :, None], columns[:, None, :]]
        return np.moveaxis(windows, 0, 1).reshape(len(centres), 4, (SURROUND_PX // STEP_PX) ** 2)


def _unlike(repaired: NDArray[np.float64], untouched: NDArray[np.float64]) -> NDArray[np.float64]:
    """How unlike each window of `repaired` (m×4×pixels) is to each of `untouched` (n×4×pixels), over what is film in
    both; m×n.
    """
    mine = np.moveaxis(repaired @ untouched[:, 0].T, 1, 2)  # film of one times the quantities of the other
    theirs = np.moveaxis(untouched @ repaired[:, 0].T, (0, 1, 2), (1, 2, 0))
    differences = (_described(mine) - _described(theirs)) / ALIKE
    total: NDArray[np.float64] = np.sqrt(np.sum(differences**2, axis=2))
    return np.where(mine[..., 0] >= MIN_SHARE * repaired.shape[2], total, np.inf)


def _described(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums …×4 → mean grey, and the logarithms of the standard deviations of fine detail and of grey; …×3."""
    mean, square, fine = np.moveaxis(sums[..., 1:] / np.maximum(sums[..., :1], 1), -1, 0)
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    return np.stack([mean, np.log(np.sqrt(fine) + TINY), np.log(spread + TINY)], axis=-1)


def _cut(image: FloatImage, centres: NDArray[np.intp]) -> FloatImage:
    half = PATCH_PX // 2
    offsets = np.arange(-half, half)
    rows, columns = centres[:, 0, None] + offsets, centres[:, 1, None] + offsets
    patches = image[rows[:, :, None], columns[:, None, :]]
    return np.asarray(np.broadcast_to(patches, (*patches.shape[:3], 3)), np.float32)
