"""What the film round a defect is like: smooth, textured, or crossed by an edge that runs into the hole.

In: an image, all its holes, the box of one defect. Out: one of three words. Only clean film near the defect is looked
at. Structure is what a low-pass keeps and a plane does not explain (any fill carries on a plane). It counts where it
is stronger than what grain alone leaves after that low-pass, which two finer bands foretell, so that coarse or strong
grain is not taken for texture. An edge shows in the structure tensor (Bigün and Granlund 1987, "Optimal orientation
detection of linear symmetry"): one direction, and most of its energy where that direction leads into the hole.
"""

from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Box, FloatImage, GreyImage, Mask

Surroundings: TypeAlias = Literal["flat", "textured", "edge"]

STRUCTURE_SIGMA_PX = 1.5
"""The low-pass of the structure PSNR (metrics.py): what it takes away cannot be told from grain."""
FINE_SIGMA_PX = 0.7
"""Parts what the low-pass takes away into two bands; their ratio tells the size of the grain."""
GAP_PX = 2
"""Film this near to a hole may carry the defect's skirt."""
NEAR_PX = 8
"""Structure is looked for up to this far from the defect: what lies further off does not enter its fill."""
GRAIN_PX = 16
"""Grain is measured up to this far from the defect's box."""
LEAST_CLEAN_PX = 48
"""With fewer clean pixels near the defect nothing can be told, and the film counts as textured."""
LEAK_POWER, LARGEST_RATIO = 1.2, 4.0
"""The energy that grain keeps under the low-pass, over what it loses, is the ratio of the bands (coarser / finest) to
this power: fitted to `training.film`'s grain of 0.35 to 1.6 px, before and after scanning. No grain of up to 1.4 px
has a larger ratio; what has is texture, and its energy is not counted as grain.
"""
STRUCTURE_OVER_GRAIN = 2.5
"""Structure has so many times the energy that grain keeps: fewer than one in a hundred small specks on even film are
taken for textured.
"""
LEAST_STRUCTURE = 1.5 / 255
"""Standard deviation below which nobody sees structure, and a scanner's white noise misleads about the grain's size."""
MOST_GRAIN = 0.06
"""Standard deviation above which it is structure: the coarsest strongest grain of black-and-white film keeps less."""
EDGE_COHERENCE = 0.4
"""Difference of the tensor's eigenvalues over their sum: 1 on a straight edge, 0 without direction."""
EDGE_IN_LINE = 0.6
"""Share of the gradient's energy that lies where its direction leads into the hole."""
NORMAL_MEDIAN = 0.455
"""The median of the square of a normal variable of variance one; edges do not move the median far."""
TINY = 1e-12


def surroundings_of(image: FloatImage, hole: Mask, box: Box) -> Surroundings:
    """Return what the clean film round the defect in `box` is like.

    `image`: h×w×C float32 in [0, 1], read only. `hole`: h×w bool, read only, every defect's pixels. `box`: the
    defect's, (top, left, bottom, right), not empty and inside the image.
    """
    top, left, bottom, right = box
    rows = slice(max(top - GRAIN_PX, 0), bottom + GRAIN_PX)
    columns = slice(max(left - GRAIN_PX, 0), right + GRAIN_PX)
    grey = np.asarray(image[rows, columns].mean(axis=2), dtype=np.float32)
    holes = hole[rows, columns]
    own = np.zeros_like(holes)
    inside = (slice(top - rows.start, bottom - rows.start), slice(left - columns.start, right - columns.start))
    own[inside] = holes[inside]
    clean = ~_grown(holes, GAP_PX)
    near = clean & _grown(own, GAP_PX + NEAR_PX)
    if np.count_nonzero(near) < LEAST_CLEAN_PX:
        return "textured"
    known = (~holes).astype(np.float32)
    fine, smooth = (_low_pass(grey, known, sigma_px) for sigma_px in (FINE_SIGMA_PX, STRUCTURE_SIGMA_PX))
    grain_left = _grain_left((grey - fine)[clean], (fine - smooth)[clean])
    limit = min(max(STRUCTURE_OVER_GRAIN * grain_left, LEAST_STRUCTURE**2), MOST_GRAIN**2)
    if _structure(smooth, near) <= limit:
        return "flat"
    return "edge" if _leads_into(smooth, own, near) else "textured"


def _grown(mask: Mask, radius_px: int) -> Mask:
    """Dilated by a square: near enough to a disc here, and separable."""
    side = 2 * radius_px + 1
    return np.asarray(cv2.dilate(mask.view(np.uint8), np.ones((side, side), dtype=np.uint8))).view(np.bool_)


def _low_pass(grey: GreyImage, known: GreyImage, sigma_px: float) -> GreyImage:
    """Mean of the known pixels under a Gaussian (normalised convolution); meaningless deep inside a hole."""
    border = cv2.BORDER_REFLECT_101
    share = cv2.GaussianBlur(known, (0, 0), sigma_px, borderType=border)
    return np.asarray(cv2.GaussianBlur(grey * known, (0, 0), sigma_px, borderType=border) / np.maximum(share, 1e-6))


def _grain_left(finest: NDArray[np.float32], coarser: NDArray[np.float32]) -> float:
    """The energy this film's grain keeps under the low-pass, foretold from the two bands that it loses."""
    lost, lost_coarser = (float(np.median(band**2)) / NORMAL_MEDIAN for band in (finest, coarser))
    ratio = min(lost_coarser / max(lost, TINY), LARGEST_RATIO)
    return float(ratio**LEAK_POWER * (1 + ratio) * lost)


def _structure(smooth: GreyImage, near: Mask) -> float:
    """The variance of `smooth` on `near` that a plane does not explain."""
    rows, columns = np.nonzero(near)
    plane = np.stack([np.ones(rows.size), rows - rows.mean(), columns - columns.mean()], axis=1)
    values = smooth[near].astype(np.float64)
    normal = plane.T @ plane
    left_over = values - plane @ np.linalg.solve(normal + TINY * np.eye(3), plane.T @ values)
    return float(np.mean(left_over**2))


def _leads_into(smooth: GreyImage, own: Mask, near: Mask) -> bool:
    """Whether the gradients on `near` have one direction, and most of their energy in line with the hole."""
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0)[near], cv2.Sobel(smooth, cv2.CV_32F, 0, 1)[near]
    xx, yy, xy = float(across @ across), float(down @ down), float(across @ down)
    if np.hypot(xx - yy, 2 * xy) < EDGE_COHERENCE * (xx + yy):
        return False
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)  # of the gradient; the edge runs at a right angle to it
    energy = (np.float32(np.cos(angle)) * across + np.float32(np.sin(angle)) * down) ** 2
    in_line = cv2.dilate(_grown(own, GAP_PX).view(np.uint8), _line(-np.sin(angle), np.cos(angle)))[near] > 0
    return bool(energy[in_line].sum() >= EDGE_IN_LINE * energy.sum())


def _line(across: float, down: float) -> NDArray[np.uint8]:
    """A line of 1 in this direction, as long as `NEAR_PX` and the gap on either side of its middle."""
    reach = GAP_PX + NEAR_PX
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), dtype=np.uint8)
    steps = np.arange(-reach, reach + 0.25, 0.5)
    kernel[np.rint(reach + steps * down).astype(int), np.rint(reach + steps * across).astype(int)] = 1
    return kernel
