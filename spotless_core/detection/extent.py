"""How far a defect reaches: what the network is unsure of in a blot or along a hair goes with the piece it belongs to.

Comes in: the pieces that were judged defects. Goes out: the same, grown by likeness over connected pixels that the
network does not rule out, and over enclosed holes, where these differ from the film nearby as the piece does: in the
same direction, and by at least half as much. Clean film inside a loop of hair is unlike the hair and stays. The growth
is a geodesic dilation (Vincent 1993, "Morphological grayscale reconstruction in image analysis", section 2).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from spotless_core.arrays.kinds import Box, FloatImage, GreyImage, Mask, Probability
from spotless_core.arrays.masks import grow_mask
from spotless_core.arrays.pieces import Pieces, trace_mask
from spotless_core.arrays.windows import FloatWindows

LEAST_PROBABILITY = 0.08
"""Below this the network rules a defect out. 0.05 covers 0.6 % more of the dust and 5 % more of clean film."""
LIKENESS = 0.5
"""Least share of the piece's step against the film."""
LEAST_ALIKE = 0.5
"""A hole is filled when this share of its pixels is like the piece."""
REACH_UM = 150.0
"""How far a piece is followed, micrometres on the film."""
FILM_PX = 12
"""How far around what may belong to a piece film is looked at."""
RIM_PX = 2.5
"""The soft rim between the two, which is neither."""
LEAST_FILM_PX = 12
"""With fewer pixels of film around it a piece stays as it is."""
LEAST_STEP = 2.0
"""A piece whose step is fewer standard deviations of grain has no tone that likeness could go by."""
GRAIN_SIGMA_PX = 0.7
"""What is compared is smoothed by this against grain."""
PART_PX = 1024
"""A long piece is looked at in parts of this side, so that memory is bounded."""
STEP = np.ones((3, 3), np.uint8)


class _Look(NamedTuple):
    """One piece (or a part of a long one) and its surroundings in the window `box`."""

    box: Box
    piece: Mask
    probability: Probability
    grey: GreyImage


def extend_core_inplace(
    core: Mask,
    probability: FloatWindows,
    grey: FloatWindows,
    um_per_px: float,
    is_allowed: Callable[[Mask], bool] = lambda _piece: True,
) -> None:
    """Follow each piece of `core` (H×W bool, written to) as far as it reaches.

    `probability`, `grey`: windows of H×W float32 in [0, 1]; `grey` is what the detector saw. `um_per_px`: micrometres
    on the film per pixel, above 0. A piece that `is_allowed` does not accept when extended (bool h×w) stays as it was.
    """
    reach_px = int(np.ceil(REACH_UM / um_per_px))
    for look in _looks(trace_mask(core), probability, grey, reach_px + FILM_PX):
        is_like = _likeness(look, reach_px + FILM_PX)
        grown = _followed(look.piece, is_like & (look.probability >= LEAST_PROBABILITY), reach_px)
        grown |= _holes_alike(grown, is_like)
        if is_allowed(grown):
            top, left, bottom, right = look.box
            core[top:bottom, left:right] |= grown


def _looks(pieces: Pieces, probability: FloatWindows, grey: FloatWindows, margin: int) -> Iterator[_Look]:
    height, width = grey.shape
    for index, (top, left, bottom, right) in enumerate(pieces.boxes):
        for row in range(top, bottom, PART_PX):
            for column in range(left, right, PART_PX):
                below, beside = min(row + PART_PX, bottom), min(column + PART_PX, right)
                upper, lower = max(row - margin, 0), min(below + margin, height)
                box = upper, max(column - margin, 0), lower, min(beside + margin, width)
                place = np.s_[box[0] : box[2], box[1] : box[3]]
                piece = pieces.cut([index], box)
                if piece.any():
                    yield _Look(box, piece, probability[place], grey[place])


def _likeness(look: _Look, window_px: int) -> Mask:
    """Tell where the grey differs from the film as the piece does; both are averaged over what is near.

    A hair lies on a dark and a bright part of the picture, so neither has one tone.
    """
    is_doubtful = look.probability >= LEAST_PROBABILITY
    whole = _followed(look.piece, is_doubtful, window_px - FILM_PX)
    film = grow_mask(whole, FILM_PX) & ~grow_mask(whole, RIM_PX) & ~is_doubtful
    nothing: Mask = np.zeros(film.shape, np.bool_)
    if int(film.sum()) < LEAST_FILM_PX:
        return nothing
    level, tone = (_average_near(look.grey, where, window_px) for where in (film, look.piece))
    smooth = np.asarray(cv2.GaussianBlur(look.grey, (0, 0), GRAIN_SIGMA_PX), np.float32)
    step = tone - level
    typical = float(np.nanmedian(step[look.piece]))
    grain = 1.4826 * float(np.median(np.abs(smooth - level)[film]))
    if not abs(typical) >= LEAST_STEP * grain:
        return nothing
    sign = np.float32(np.sign(typical))
    is_like: Mask = (sign * step > 0) & (sign * (smooth - level) >= LIKENESS * sign * step)
    return is_like


def _average_near(grey: GreyImage, where: Mask, window_px: int) -> FloatImage:
    """Average `grey` over the pixels of `where` in a window of `window_px` to each side; NaN where there are none."""
    side = (2 * window_px + 1,) * 2
    weights = where.astype(np.float32)
    total, count = (
        np.asarray(cv2.boxFilter(plane, -1, side, normalize=False, borderType=cv2.BORDER_CONSTANT), np.float32)
        for plane in (grey * weights, weights)
    )
    return np.where(count > 0.5, total / np.maximum(count, 1), np.float32(np.nan))


def _followed(piece: Mask, passable: Mask, reach_px: int) -> Mask:
    """Grow `piece` over connected pixels of `passable`, at most `reach_px` steps to one of eight neighbours."""
    reached, ground = piece.view(np.uint8), (piece | passable).view(np.uint8)
    for _ in range(reach_px):
        further = np.asarray(cv2.dilate(reached, STEP), np.uint8) & ground
        if np.array_equal(further, reached):
            break
        reached = further
    return reached.astype(np.bool_)


def _holes_alike(piece: Mask, is_like: Mask) -> Mask:
    """Return the enclosed holes of `piece` of which at least half is like it."""
    _, plane = cv2.connectedComponents((~np.pad(piece, 1)).view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    labels = np.asarray(plane)
    outside = labels[0, 0]
    labels = labels[1:-1, 1:-1]
    areas = np.bincount(labels.ravel())
    alike = np.bincount(labels[is_like], minlength=len(areas))
    is_filled = alike >= LEAST_ALIKE * areas
    is_filled[[0, outside]] = False
    filled: Mask = is_filled[labels]
    return filled
