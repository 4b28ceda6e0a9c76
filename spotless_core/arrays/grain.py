"""Film grain: measured on the clean film around a repair, and put back into it.

In: a crop, its filled copy, the hole. Out: the filled copy with grain. Grain is what is left after a local low-pass;
it is taken as whole patches from clean film nearby, so that its spectrum and the correlation of its channels are the
film's own, at random places of like brightness whose statistics are like the median of the surroundings (so no edge of
the picture is copied). Patches overlap with weights whose squares sum to one, which keeps the variance. Where the
surroundings have no grain, none is added. Patches laid side by side with overlap: Efros and Freeman 2001, "Image
Quilting", in stored values and without their seam search.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import FloatImage, Mask

LOW_PASS_PX = 4.0
"""Sigma that parts grain from picture: above the width of grain clumps at 2400–5400 dpi, below most picture detail."""
COARSE_PX = 1.2
"""Sigma of the second band looked at: edges keep their energy there, grain loses most of it."""
GAP_PX = 3
"""Film this near to a hole may carry the defect's skirt and is no donor."""
NEAR_PX = 24
"""Blocks within this distance count as equally near; beyond it distance counts like difference in tone."""
BLOCK_PX = 13
"""Side of the blocks whose energies are compared; about twenty independent grains."""
LATTICE_PX = 4
"""Step between the blocks looked at."""
LIKE_BLOCKS = 48
"""The grain's strength is the median over so many blocks: the nearest ones of the likest brightness."""
MEDIAN_BIAS = 1.05
"""The mean variance of a block over the median one, for about twenty independent grains."""
PATCHES_PX = (24, 16, BLOCK_PX)
"""Sides of patches; the largest that finds a clean place is taken. None is smaller than a block."""
OVERLAP_SHARE = 1 / 3
CLIP_SIGMAS = 3.5
"""No grain is stronger; what is, is a remnant of the picture."""
CANDIDATES = 24
BEST = 3
"""Of the candidates, one of the best `BEST` is taken at random, so that one patch does not come back everywhere."""
DETAIL_SIGMAS = (1.5, 3.0)
"""Detail of the fill below the first multiple of the grain is smoothed away as a streak, above the second kept."""
RIM_PX = 2.5
"""Over this depth the fill's own detail, which carries on the grain outside, gives way to new grain: no seam."""
GAIN_RANGE = (0.5, 2.0)
EDGE_QUANTILE = 0.25
"""Of the blocks' coarse shares: the calm film's, even in a crop full of edges."""
EDGE_SHARE = 3.0
"""A block whose coarse share is so many times the calm film's holds an edge of the picture and gives no grain."""
MIN_CALM = 0.05
"""If less of the clean film than this is free of edges, all of it is texture and may give grain."""
DARK = 0.02
"""Added to brightnesses before they are compared as ratios: in the shadows small differences mean little."""
TINY = np.float32(1e-12)


@dataclass(frozen=True, slots=True)
class _Film:
    """What was measured on one crop. Maps are h×w(×C) float32; integrals are (h+1)×(w+1) float64."""

    residual: FloatImage
    donors: Mask
    blocks: "_Blocks"
    energy_sums: NDArray[np.float64]
    brightness_sums: NDArray[np.float64]
    blocked_sums: NDArray[np.int32]
    patch_side_px: int


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Clean blocks on a lattice: centres n×2 px, variance of the grain n×C, mean brightness n."""

    centres: NDArray[np.float32]
    energy: NDArray[np.float32]
    brightness: NDArray[np.float32]


def put_grain_back(
    image: FloatImage, filled: FloatImage, hole: Mask, own: Mask, random: np.random.Generator
) -> FloatImage:
    """Return `filled` with the film's grain on the pixels of `own`; all others as in `filled`.

    `image`, `filled`: h×w×C float32 in [0, 1], read only; `hole`: h×w bool, what is not clean film; `own`: h×w bool,
    within `hole`, what to work on. Where no clean patch is near, the fill comes back as it is.
    """
    film = _measure(image, hole)
    result = filled.copy()
    if not film.patch_side_px:
        return result
    base = _blur(filled, LOW_PASS_PX)
    depth = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[..., None]
    rim = np.clip(1 - depth / np.float32(RIM_PX), 0, 1)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(own.astype(np.uint8), connectivity=8)
    for label, (left, top, width, height, _area) in enumerate(stats.tolist()[1:], start=1):
        box = (slice(top, top + height), slice(left, left + width))
        part = labels[box] == label
        detail = filled[box] - base[box]
        grain, sigma = _quilt(film, base[box], (top, left), part, random)
        kept = np.maximum(_standing_out(detail, sigma), rim[box])
        mixed = base[box] + kept * detail + np.sqrt(1 - rim[box] ** 2) * grain
        result[box][part] = np.clip(mixed, 0, 1)[part]
    return result


def _measure(image: FloatImage, hole: Mask) -> _Film:
    known = (~hole).astype(np.float32)
    share = np.maximum(cv2.GaussianBlur(known, (0, 0), LOW_PASS_PX), np.float32(1e-3))[..., None]
    clean = image * known[..., None]
    base = np.asarray(_blur(clean, LOW_PASS_PX) / share)
    residual = (image - base) * known[..., None]
    kernel = np.ones((2 * GAP_PX + 1, 2 * GAP_PX + 1), dtype=np.uint8)
    clean_film = cv2.dilate(hole.astype(np.uint8), kernel) == 0
    calm = clean_film & ~_edges(residual, clean_film)
    donors, blocked_sums = calm, _blocked_sums(calm)
    side = _patch_side(blocked_sums)
    if not side or np.count_nonzero(calm) < MIN_CALM * np.count_nonzero(clean_film):
        donors, blocked_sums = clean_film, _blocked_sums(clean_film)
        side = _patch_side(blocked_sums)
    energy = residual**2
    height, width, channels = energy.shape
    return _Film(
        residual=residual,
        donors=donors,
        blocks=_blocks(energy, _channel_mean(base), donors),
        energy_sums=cv2.integral(energy, sdepth=cv2.CV_64F).reshape(height + 1, width + 1, channels),
        brightness_sums=cv2.integral(_channel_mean(base), sdepth=cv2.CV_64F)[..., None],
        blocked_sums=blocked_sums,
        patch_side_px=side,
    )


def _edges(residual: FloatImage, clean_film: Mask) -> Mask:
    """Where coarse detail outweighs fine detail far more than on calm film: edges, whatever the brightness."""
    coarse = _blur(residual, COARSE_PX)
    fine = residual - coarse
    coarse_energy = cv2.boxFilter(_channel_mean(coarse**2), -1, (BLOCK_PX, BLOCK_PX))
    fine_energy = cv2.boxFilter(_channel_mean(fine**2), -1, (BLOCK_PX, BLOCK_PX))
    share = coarse_energy / np.maximum(fine_energy, TINY)
    known = share[clean_film][::7]
    if known.size == 0:
        return np.zeros_like(clean_film)
    return np.asarray(share > EDGE_SHARE * np.quantile(known, EDGE_QUANTILE))


def _blocks(energy: FloatImage, brightness: FloatImage, donors: Mask) -> _Blocks:
    block = np.ones((BLOCK_PX, BLOCK_PX), dtype=np.uint8)
    lattice = (slice(None, None, LATTICE_PX), slice(None, None, LATTICE_PX))
    clean = (cv2.erode(donors.astype(np.uint8), block, borderValue=0) > 0)[lattice]
    if not clean.any():
        lattice = (slice(None), slice(None))
        clean = cv2.erode(donors.astype(np.uint8), block, borderValue=0) > 0
    step = LATTICE_PX if lattice[0].step else 1
    variance = cv2.boxFilter(energy, -1, (BLOCK_PX, BLOCK_PX)).reshape(energy.shape)
    return _Blocks(
        centres=(np.argwhere(clean) * step).astype(np.float32),
        energy=variance[lattice][clean],
        brightness=brightness[lattice][clean],
    )


def _strength(blocks: _Blocks, centre: tuple[float, float], level: float) -> NDArray[np.float32]:
    """The grain's variance per channel round `centre` on film of brightness `level`: the likest blocks' median."""
    tone = np.abs(np.log((blocks.brightness + np.float32(DARK)) / np.float32(level + DARK)))
    away = np.abs(blocks.centres - np.array(centre, dtype=np.float32)).max(axis=1)
    unlike = tone + np.maximum(away - NEAR_PX, 0) / np.float32(NEAR_PX)
    count = min(LIKE_BLOCKS, unlike.size)
    likest = np.argpartition(unlike, count - 1)[:count]
    # On film darker than any block the grain's deviation falls like the square root of the brightness, at least.
    shade = (level + DARK) / (float(np.median(blocks.brightness[likest])) + DARK)
    variance = np.median(blocks.energy[likest], axis=0) * np.float32(MEDIAN_BIAS * min(shade, 1.0))
    return np.asarray(variance, dtype=np.float32)


def _standing_out(detail: FloatImage, sigma: FloatImage) -> FloatImage:
    """1 where detail of the fill is far stronger than the grain in any channel, 0 where it is like it; h×w×1."""
    low, high = DETAIL_SIGMAS
    height = (np.abs(detail) / np.maximum(sigma, TINY)).max(axis=2, keepdims=True)
    return np.clip((height - low) / np.float32(high - low), 0, 1)


def _quilt(
    film: _Film, base: FloatImage, corner: tuple[int, int], part: Mask, random: np.random.Generator
) -> tuple[FloatImage, FloatImage]:
    """Grain for a box of `base`'s size, put together from overlapping patches, and its standard deviation there."""
    height, width = part.shape
    grain, sigma = np.zeros_like(base), np.zeros_like(base)
    side = film.patch_side_px
    for rows, row_weight in _spans(height, side):
        for columns, column_weight in _spans(width, side):
            wanted = part[rows, columns]
            if not wanted.any():
                continue
            level = float(base[rows, columns][wanted].mean())
            centre = (corner[0] + (rows.start + rows.stop) / 2, corner[1] + (columns.start + columns.stop) / 2)
            strength = _strength(film.blocks, centre, level)
            patch = _patch(film, wanted.shape, level, strength, random)
            grain[rows, columns] += patch * (row_weight[:, None] * column_weight[None, :])[..., None]
            sigma[rows, columns] = np.sqrt(strength)
    return grain, sigma


def _blocked_sums(donors: Mask) -> NDArray[np.int32]:
    return np.asarray(cv2.integral((~donors).astype(np.uint8), sdepth=cv2.CV_32S))


def _patch_side(blocked_sums: NDArray[np.int32]) -> int:
    """The largest side for which there is a clean place; 0 if there is none for the smallest patch."""
    for side in PATCHES_PX:
        if min(blocked_sums.shape) > side and not _window_sums(blocked_sums, side, side).all():
            return side
    return 0


def _spans(length: int, side: int) -> list[tuple[slice, NDArray[np.float32]]]:
    """Cover `length` with patches of `side`; the squares of their weights sum to one everywhere."""
    if length <= side:
        return [(slice(0, length), np.ones(length, dtype=np.float32))]
    least = round(side * OVERLAP_SHARE)
    count = -(-(length - least) // (side - least))
    starts = [round(index * (length - side) / (count - 1)) for index in range(count)]
    spans = []
    for index, start in enumerate(starts):
        weight = np.ones(side, dtype=np.float32)
        if index > 0:
            overlap = starts[index - 1] + side - start
            weight[:overlap] *= np.sin((np.arange(overlap) + 0.5) / overlap * np.pi / 2)
        if index + 1 < count:
            overlap = start + side - starts[index + 1]
            weight[side - overlap :] *= np.cos((np.arange(overlap) + 0.5) / overlap * np.pi / 2)
        spans.append((slice(start, start + side), weight))
    return spans


def _patch(
    film: _Film,
    shape: tuple[int, ...],
    level: float,
    strength: NDArray[np.float32],
    random: np.random.Generator,
) -> FloatImage:
    """One patch of real grain, of `strength`, from film of about brightness `level`; the caller knows there is one."""
    height, width = shape
    places = np.flatnonzero(_window_sums(film.blocked_sums, height, width) == 0)
    chosen = random.choice(places, min(CANDIDATES, places.size), replace=False)
    tops, lefts = np.divmod(chosen, film.donors.shape[1] - width + 1)
    area = float(height * width)
    variance = _sums_at(film.energy_sums, tops, lefts, shape) / area
    energy = (variance / np.maximum(strength, TINY)).mean(axis=1)
    brightness = _sums_at(film.brightness_sums, tops, lefts, shape)[:, 0] / area
    unlike = np.abs(np.log(np.maximum(energy, 1e-6))) + np.abs(np.log((brightness + DARK) / (level + DARK)))
    index = int(np.argsort(unlike, kind="stable")[int(random.integers(min(BEST, chosen.size)))])
    top, left = int(tops[index]), int(lefts[index])
    gain = np.sqrt(strength / np.maximum(variance[index], TINY)).astype(np.float32)
    patch = film.residual[top : top + height, left : left + width] * np.clip(gain, *GAIN_RANGE)
    limit = np.float32(CLIP_SIGMAS) * np.sqrt(strength)
    return np.clip(patch, -limit, limit)


def _sums_at(
    integral: NDArray[np.float64], tops: NDArray[np.intp], lefts: NDArray[np.intp], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Sums over windows of `shape` at the given corners: windows × channels."""
    bottoms, rights = tops + shape[0], lefts + shape[1]
    sums = integral[bottoms, rights] - integral[tops, rights] - integral[bottoms, lefts] + integral[tops, lefts]
    return np.asarray(np.maximum(sums, 0))


def _window_sums(integral: NDArray[np.int32], height: int, width: int) -> NDArray[np.int32]:
    return (
        integral[height:, width:]
        - integral[:-height, width:]
        - integral[height:, :-width]
        + integral[:-height, :-width]
    )


def _channel_mean(image: FloatImage) -> FloatImage:
    channels = image.shape[2]
    return np.asarray(cv2.transform(image, np.full((1, channels), 1 / channels, dtype=np.float32)))


def _blur(image: FloatImage, sigma_px: float) -> FloatImage:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px)).reshape(image.shape)
