"""Film grain put back into a repair: drawn from the film's own statistics and joined to the grain around it.

In: a crop, its filled copy, the hole, the film's grain (grain_measure.py). Out: the filled copy with grain. A window of
a random field with the film's spectrum is corrected so that it continues the grain that is known along the rim: the
conditional simulation F + C (C + N)⁻¹ (known − F) of Galerne and Leclaire 2017, "Texture inpainting using efficient
Gaussian conditional simulation", by conjugate gradients. C is the grain's autocovariance; N, the doubt about what is
known, is large where detail of the picture drowns the grain, so that none of it is carried in. So there is no seam, and
the strength is the film's at each brightness. Film that shows less grain here than elsewhere gets less, clipped film
none.
"""

import cv2
import numpy as np

from spotless_core.arrays.grain_measure import FilmGrain, Floats, low_pass, measure_crop_grain
from spotless_core.arrays.kinds import FloatImage, Mask

RIM_PX = 3
"""Width of the clean rim whose grain is carried on."""
STEPS = 5
"""Conjugate-gradient steps: more change nothing that can be measured."""
NUGGET = np.float32(0.03)
"""Share of the grain's variance that neighbours tell nothing of; keeps the system well-posed."""
LEAST_SHARE = np.float32(0.2)
"""Where the fill holds less than this share of the film's grain, nothing is read from it."""
SHARED_DOUBT = np.float32(0.3)
"""Variance, over the grain's, of what else there is in the detail of a fill that holds some grain."""
DETAIL_PX = 5
"""Side of the box in which energies are compared with the grain's."""
ENERGY_PX = 3
"""Side of the box in which a fill's energy is measured: what it recovers of the grain changes within few pixels."""
SPREAD_GAIN = np.float32(1.07)
"""Makes up for the mean of roots being less than the root of the mean, where energies are measured in few pixels."""
GRAINLIKE = np.float32(3)
"""Energy of the rim up to so many times the grain's is grain."""
AROUND_PX = 16
"""The grain is looked at within this distance of a hole, whether it is weaker here than on the rest of the film."""
OUTLIER = np.float32(9)
"""Squares above this many variances are picture and count as this."""
STRONGEST = np.sqrt(OUTLIER)
OUTLIER_GAIN = np.float32(1.1)
"""Makes up for what cutting outliers and capping at one takes from the mean."""
DETAIL_SIGMAS = (1.5, 3.0)
"""Detail of a classical fill below the first multiple of the grain is smoothed away as a streak, above the second kept.
"""
FAINTEST = np.float32(1e-6)


def put_grain_back(
    image: FloatImage,
    filled: FloatImage,
    hole: Mask,
    own: Mask,
    random: np.random.Generator,
    *,
    film: FilmGrain | None = None,
    own_grain: FloatImage | None = None,
) -> FloatImage:
    """Return `filled` with the film's grain on the pixels of `own`; all others as in `filled`.

    `image`, `filled`: h×w×C float32 in [0, 1], read only; `hole`: h×w bool, what is not clean film; `own`: h×w bool,
    within `hole`, what to work on. `film`: the frame's grain; None = measure this crop, which is slower and less sure,
    and leaves the fill as it is where there is too little clean film. `own_grain`: h×w×1 or h×w×C float32 in [0, 1],
    how much of the film's own grain the fill has; only the rest of its variance is added, and all the fill's detail is
    kept. None = not known: weak detail is taken for streaks of grain and smoothed away.
    """
    result = filled.copy()
    film = measure_crop_grain(image, hole, random) if film is None else film
    if film is None or not film.sigma.any():
        return result
    base = low_pass(filled)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(own.astype(np.uint8), connectivity=8)
    for label, (left, top, width, height, _area) in enumerate(stats.tolist()[1:], start=1):
        wide = _grown(top, left, height, width, AROUND_PX, hole)
        near = _grown(top, left, height, width, RIM_PX, hole)
        sigma = _strength(film, filled[wide] - base[wide], base[wide], ~hole[wide])
        inner = tuple(slice(n.start - w.start, n.stop - w.start) for n, w in zip(near, wide, strict=True))
        sigma = np.ascontiguousarray(sigma[inner])
        part = labels[near] == label
        detail = filled[near] - base[near]
        unit = detail / sigma
        film_here = (~hole[near])[..., None]
        if own_grain is None:
            picture = base[near] + _standing_out(unit) * detail
            grain = _draw(film, unit, part, film_here.astype(np.float32), random)
        else:
            picture = filled[near]
            recovered = own_grain[near]
            grain = _draw(film, unit, part, np.asarray(np.where(film_here, 1, recovered), np.float32), random)
            sigma = np.maximum(sigma * _amplitude(unit, grain, part, film_here[..., 0], recovered), FAINTEST)
        grain *= sigma
        headroom = np.clip(np.minimum(picture, 1 - picture) / sigma, 0, 1)
        result[near][part] = np.clip(picture + headroom * grain, 0, 1)[part]
    return result


def _grown(top: int, left: int, height: int, width: int, margin: int, within: Mask) -> tuple[slice, slice]:
    rows = slice(max(top - margin, 0), min(top + height + margin, within.shape[0]))
    return rows, slice(max(left - margin, 0), min(left + width + margin, within.shape[1]))


def _strength(film: FilmGrain, detail: FloatImage, base: FloatImage, known: Mask) -> FloatImage:
    """The grain's standard deviation: the film's at this brightness, or less where the film around shows less."""
    sigma = np.maximum(film.sigma_at(base), FAINTEST)
    weight = known.astype(np.float32)[..., None]
    energy = np.minimum((detail / sigma) ** 2, OUTLIER) * weight
    box = (2 * AROUND_PX + 1, 2 * AROUND_PX + 1)
    counted = _sums(weight, box) + 1
    everywhere = energy.sum(axis=(0, 1)) / max(float(weight.sum()), 1.0)
    here = (_sums(energy, box) + everywhere) / counted
    return np.asarray(sigma * np.sqrt(np.clip(OUTLIER_GAIN * here, FAINTEST, 1)))


def _amplitude(unit: FloatImage, grain: FloatImage, part: Mask, film: Mask, own_grain: FloatImage) -> FloatImage:
    """How much of `grain` to add to a fill with this `unit` detail in `part`, h×w×C from 0 to about 1.

    The sum gets the energy of the film on the rim, picture and grain, but no more than the grain's is added, less what
    the film's own grain in the fill makes up. Where both are alike they add up as amplitudes do.
    """
    weight = part.astype(np.float32)[..., None]
    box = (ENERGY_PX, ENERGY_PX)
    count = np.maximum(_sums(weight, box), 1)
    here = np.minimum(unit * unit, OUTLIER)
    usual = np.maximum(here[film].mean(axis=0), 1) if film.any() else np.float32(1)
    energy = np.maximum(_sums(here * weight, box), 0) / count
    missing = np.clip(SPREAD_GAIN * usual - energy, 0, SPREAD_GAIN * (1 - own_grain**2))
    alike = np.maximum(_sums(np.clip(unit, -STRONGEST, STRONGEST) * grain * weight, box), 0) / count
    return np.asarray(np.sqrt(alike**2 + missing) - alike)


def _sums(plane: FloatImage, box: tuple[int, int]) -> FloatImage:
    sums = cv2.boxFilter(plane, -1, box, normalize=False, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(sums).reshape(plane.shape)


def _draw(film: FilmGrain, unit: FloatImage, part: Mask, share: Floats, random: np.random.Generator) -> FloatImage:
    """Grain of unit strength for a box, h×w×C, that continues what is known of it: `unit` detail on the rim of `part`,
    and inside it where that holds a `share` (h×w×1 or h×w×C, 0 to 1) of the grain.
    """
    height, width = part.shape
    side = film.field.shape[1]
    top, left = (int(start) for start in random.integers(0, side, 2))
    rows, columns = np.arange(top, top + height) % side, np.arange(left, left + width) % side
    field = film.field[:, rows[:, None], columns[None, :]]
    kernel = np.ones((2 * RIM_PX + 1, 2 * RIM_PX + 1), dtype=np.uint8)
    least = share.min(axis=2)
    known = ((cv2.dilate(part.view(np.uint8), kernel) > 0) & (least >= LEAST_SHARE)).astype(np.float32)
    share = np.maximum(share, LEAST_SHARE)
    seen = np.ascontiguousarray(np.moveaxis((unit / share) @ film.unmix.T, 2, 0), np.float32)
    doubt = np.asarray(_doubt(seen, known) + SHARED_DOUBT * (np.maximum(least, LEAST_SHARE) ** -2 - 1), np.float32)
    error = np.sqrt(doubt) * random.standard_normal(seen.shape, dtype=np.float32)
    target = np.asarray(seen - field - error, dtype=np.float32)
    weights = _solve(film.kernels, known, np.asarray(doubt + NUGGET), target)
    joined = field + _convolved(film.kernels, weights)
    return np.asarray(np.moveaxis(joined, 0, 2) @ film.mix.T)


def _doubt(seen: Floats, known: Floats) -> Floats:
    """Variance of the picture's detail where grain is `known`, in units of the grain's; 0 where it looks like grain."""
    box = (DETAIL_PX, DETAIL_PX)
    share = np.maximum(cv2.boxFilter(known, -1, box), np.float32(1e-3))
    energy = np.stack([cv2.boxFilter(plane * plane * known, -1, box) / share for plane in seen])
    return np.asarray(2 * np.maximum(np.maximum(energy, seen * seen / 4) - GRAINLIKE, 0), dtype=np.float32)


def _solve(kernels: Floats, rim: Floats, doubt: Floats, known: Floats) -> Floats:
    """Solve (R C R + doubt) u = known on the rim R by preconditioned conjugate gradients, each plane its own system."""
    solution = np.zeros_like(known)
    remainder = known * rim
    scale = rim / (1 + doubt)
    direction = scale * remainder
    product = np.einsum("chw,chw->c", remainder, direction)
    for _ in range(STEPS):
        image = (_convolved(kernels, direction) + doubt * direction) * rim
        curvature = np.einsum("chw,chw->c", direction, image)
        step = np.where(curvature > FAINTEST, product / np.maximum(curvature, FAINTEST), 0)[:, None, None]
        solution += step * direction
        remainder -= step * image
        scaled = scale * remainder
        following = np.einsum("chw,chw->c", remainder, scaled)
        direction = scaled + (following / np.maximum(product, FAINTEST))[:, None, None] * direction
        product = following
    return solution


def _convolved(kernels: Floats, planes: Floats) -> Floats:
    result = np.empty_like(planes)
    for plane, kernel, target in zip(planes, kernels, result, strict=True):
        cv2.filter2D(plane, -1, kernel, dst=target, borderType=cv2.BORDER_CONSTANT)
    return result


def _standing_out(unit: FloatImage) -> FloatImage:
    """1 where detail of the fill is far stronger than the grain in any channel, 0 where it is like it; h×w×1."""
    low, high = DETAIL_SIGMAS
    height = np.abs(unit).max(axis=2, keepdims=True)
    return np.clip((height - low) / np.float32(high - low), 0, 1)
