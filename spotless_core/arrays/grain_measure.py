"""The grain of one film, measured where the picture is calm: strength by brightness, channels' correlation, spectrum.

In: a frame as stored, or a crop, and the mask of what is no clean film. Out: `FilmGrain`, from which grain is drawn.
Picture texture is told from grain in two ways. Fine detail (below 1 px) holds little picture, so the strength is read
there, from the calmest blocks of each brightness; how much the coarse part adds is read from those calm blocks that
have least of it. A whole frame has more calm film than the surroundings of one repair: measure the frame once.
Calm blocks of each brightness as the source of a noise curve: Foi et al. 2008, "Practical Poissonian-Gaussian noise
modeling", in spirit. A texture given by its autocovariance alone: Galerne, Gousseau and Morel 2011, "Random Phase
Textures".
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import FloatImage, Mask
from spotless_core.arrays.samples import to_image
from spotless_core.arrays.windows import SampleWindows

Floats = NDArray[np.float32]

LOW_PASS_PX = 4.0
"""Sigma that parts grain from picture: above the width of grain clumps at 2400–5400 dpi, below most picture detail."""
FINE_PX = 1.0
"""Detail below this sigma is mostly grain even in textures."""
GAP_PX = 2
"""Film this near to a hole may carry the defect's skirt and is not measured."""
BLOCK_PX = 12
"""Side of the blocks: small enough to find calm places, about twenty independent grains."""
FEWEST_BLOCKS = 4
BINS = 12
"""Steps of brightness over [0, 1]."""
BLOCKS_PER_BIN = 6
"""A step of brightness with fewer blocks takes its neighbours' strength."""
CALMEST = 0.1
"""The climb to the calm blocks' mean starts at this quantile."""
SPREAD = 1.2
"""Blocks up to so many times the calm mean belong to it: what grain alone varies by from block to block."""
CUT_OFF = np.float32(1.15)
"""Makes up for the variance that `SPREAD` cuts off and that the low-pass takes for picture."""
STEEPEST = 1.6
"""Grain's variance does not grow faster than this per step of brightness; what does is texture."""
CLIPPED = 0.002
"""Samples so near to 0 or 1 may have lost their grain by clipping."""
CLIPPED_SHARE = 0.02
REACH_PX = 5
"""Largest lag of the autocovariance that is kept."""
TAPER_PX = 3.5
"""Lags fade out from here on. The nearest must be kept whole: 4 % less of the first makes a tenth more fine detail.
"""
FRAME_FIELD_PX, CROP_FIELD_PX = 256, 64
"""Sides of the fields of grain drawn once for a frame and for a single crop; they wrap round."""
WINDOW_PX = 128
WINDOWS_PER_SIDE = 10
"""A frame is measured in at most so many windows down and across."""
TINY = np.float32(1e-12)
FAINTEST = 4e-6
"""A weaker deviation, a quarter of a 16-bit level, is no grain but rounding."""
FAINTEST_SHARE = 1e-5
"""A colour direction with less of the variance than this has no grain (a grey scan stored as RGB)."""


@dataclass(frozen=True, slots=True)
class FilmGrain:
    """Grain as strength × mixed independent planes. C channels; K steps of brightness.

    `levels`: K brightnesses, rising. `sigma`: K×C standard deviations in units of [0, 1]. `mix`: C×C, from unit planes
    to unit channels; `unmix`: its inverse. `kernels`: C×k×k autocovariances of the planes, 1 at the centre.
    `field`: C×n×n grain of the planes, unit variance, wraps round at its borders.
    """

    levels: Floats
    sigma: Floats
    mix: Floats
    unmix: Floats
    kernels: Floats
    field: Floats

    def sigma_at(self, brightness: FloatImage) -> FloatImage:
        """Return the grain's standard deviation on film of `brightness` (h×w×C in [0, 1]), same shape."""
        result = np.empty_like(brightness)
        for channel in range(brightness.shape[2]):
            result[..., channel] = np.interp(brightness[..., channel], self.levels, self.sigma[:, channel])
        return result


@dataclass(frozen=True, slots=True)
class _Blocks:
    """N clean blocks: `grain` N×b×b×C high-passed film, `fine` and `whole` N×C variances, `level` N×C brightness."""

    grain: Floats
    fine: Floats
    whole: Floats
    level: Floats


def measure_frame_grain(
    frame: SampleWindows, full_scale: float, mask: Mask, random: np.random.Generator
) -> FilmGrain | None:
    """Measure the grain of a whole frame in evenly spread windows; None if there is no clean film.

    `frame`: windows of H×W×C, stored samples. `full_scale`: 255 or 65535, the white of float. `mask`: H×W bool,
    True = not clean film. `random` draws the field. The variance that rounding to whole numbers adds is taken off.
    """
    height, width = mask.shape
    windows = [
        (slice(top, top + WINDOW_PX), slice(left, left + WINDOW_PX))
        for top in _starts(height)
        for left in _starts(width)
    ]
    blocks = [_blocks(to_image(frame[place], full_scale), mask[place]) for place in windows]
    quantum = 1 / full_scale if frame.dtype.kind == "u" else 0.0
    return _film(_joined(blocks), quantum, FRAME_FIELD_PX, random)


def measure_crop_grain(image: FloatImage, hole: Mask, random: np.random.Generator) -> FilmGrain | None:
    """Measure the grain of one crop (h×w×C float32 in [0, 1], read only); None if it has too little clean film.

    Less sure than a whole frame's: a crop may be texture all over. `random` draws the field.
    """
    return _film(_blocks(image, hole), 0.0, CROP_FIELD_PX, random)


def low_pass(image: FloatImage) -> FloatImage:
    """Return the picture below the grain: `image` (h×w×C) under a Gaussian of `LOW_PASS_PX`."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), LOW_PASS_PX)).reshape(image.shape)


def _starts(length: int) -> list[int]:
    count = min(WINDOWS_PER_SIDE, -(-length // WINDOW_PX))
    last = max(length - WINDOW_PX, 0)
    return sorted({int(start) for start in np.linspace(0, last, count)})


def _blocks(image: FloatImage, hole: Mask) -> _Blocks:
    """Cut the clean film of `image` into blocks."""
    known = (~hole).astype(np.float32)
    share = np.maximum(cv2.GaussianBlur(known, (0, 0), LOW_PASS_PX), np.float32(1e-3))[..., None]
    base = low_pass(image * known[..., None]) / share
    grain = (image - base) * known[..., None]
    fine = grain - cv2.GaussianBlur(grain, (0, 0), FINE_PX).reshape(grain.shape)
    kernel = np.ones((2 * GAP_PX + 1, 2 * GAP_PX + 1), dtype=np.uint8)
    unclean = cv2.dilate(hole.astype(np.float32), kernel)[..., None]
    clipped = ((image <= CLIPPED) | (image >= 1 - CLIPPED)).astype(np.float32)
    usable = ~_tiles(unclean).any(axis=(1, 2, 3)) & (_tiles(clipped).mean(axis=(1, 2)).max(axis=1) < CLIPPED_SHARE)
    cut = _tiles(grain)[usable]
    return _Blocks(
        grain=cut,
        fine=(_tiles(fine)[usable] ** 2).mean(axis=(1, 2)),
        whole=(cut**2).mean(axis=(1, 2)),
        level=_tiles(base)[usable].mean(axis=(1, 2)),
    )


def _tiles(plane: Floats) -> Floats:
    """h×w×C → N×b×b×C; what is left over at the bottom and the right is dropped."""
    rows, columns = plane.shape[0] // BLOCK_PX, plane.shape[1] // BLOCK_PX
    whole = plane[: rows * BLOCK_PX, : columns * BLOCK_PX]
    cut = whole.reshape(rows, BLOCK_PX, columns, BLOCK_PX, plane.shape[2]).swapaxes(1, 2)
    return cut.reshape(rows * columns, BLOCK_PX, BLOCK_PX, plane.shape[2])


def _joined(parts: list[_Blocks]) -> _Blocks:
    return _Blocks(
        grain=np.concatenate([part.grain for part in parts]),
        fine=np.concatenate([part.fine for part in parts]),
        whole=np.concatenate([part.whole for part in parts]),
        level=np.concatenate([part.level for part in parts]),
    )


def _film(blocks: _Blocks, quantum: float, field_px: int, random: np.random.Generator) -> FilmGrain | None:
    if len(blocks.grain) < FEWEST_BLOCKS:
        return None
    levels, variance, is_calm = _curve(blocks)
    if np.count_nonzero(is_calm) < FEWEST_BLOCKS:
        is_calm = np.zeros_like(is_calm)
        is_calm[np.argsort(blocks.fine.mean(axis=1), kind="stable")[:FEWEST_BLOCKS]] = True
    calm = blocks.grain[is_calm]
    unit = calm / np.sqrt(
        np.maximum((calm**2).mean(axis=(0, 1, 2)), TINY)
    )  # strong grain is what is seen: it counts most
    mix, unmix = _mixing(unit)
    variance = CUT_OFF * variance - np.float32(quantum**2 / 12)
    kernels, field = _draw_field(_autocovariances(unit @ unmix.T), field_px, random)
    return FilmGrain(
        levels=levels,
        sigma=np.where(variance > FAINTEST**2, np.sqrt(np.maximum(variance, 0)), 0).astype(np.float32),
        mix=mix,
        unmix=unmix,
        kernels=kernels,
        field=field,
    )


def _curve(blocks: _Blocks) -> tuple[Floats, Floats, Mask]:
    """Brightnesses K, the grain's variance K×C at each, and which blocks are calm in all channels."""
    levels = (np.arange(BINS) + 0.5) / BINS
    steps_apart = np.abs(np.subtract.outer(np.arange(BINS), np.arange(BINS)))
    channels = blocks.fine.shape[1]
    variance = np.empty((BINS, channels))
    is_calm = np.ones(len(blocks.fine), dtype=np.bool_)
    for channel in range(channels):
        fine, level = blocks.fine[:, channel], blocks.level[:, channel]
        bins = np.clip((level * BINS).astype(int), 0, BINS - 1)
        members = [fine[bins == index] for index in range(BINS)]
        full = [index for index, values in enumerate(members) if values.size >= BLOCKS_PER_BIN]
        found = {index: _calm_mean(members[index]) for index in full} or {0: _calm_mean(fine)}
        known = np.log(np.maximum(list(found.values()), TINY))
        curve = np.interp(np.arange(BINS), list(found), known)
        curve = np.min(curve[None, :] + np.log(STEEPEST) * steps_apart, axis=1)
        at_block = np.exp(np.interp(level, levels, curve))
        calm = fine < SPREAD * at_block
        coarseness = np.asarray(blocks.whole[:, channel] / np.maximum(fine, TINY))
        least = _calm_mean(coarseness[calm] if np.count_nonzero(calm) >= FEWEST_BLOCKS else coarseness)
        variance[:, channel] = np.exp(curve) * least
        is_calm &= calm & (coarseness < SPREAD * least)
    return levels.astype(np.float32), variance.astype(np.float32), is_calm


def _calm_mean(values: NDArray[np.floating]) -> float:
    """The mean of the lowest cluster: climb from a low quantile to the mean of all that are not far above it."""
    ordered = np.sort(values.astype(np.float64))
    mean = float(ordered[min(max(int(CALMEST * ordered.size), 2), ordered.size - 1)])
    for _ in range(8):
        count = max(int(np.searchsorted(ordered, SPREAD * mean)), 1)
        mean = float(ordered[:count].mean())
    return mean


def _mixing(unit: Floats) -> tuple[Floats, Floats]:
    """The principal axes of the channels' correlation, to planes of unit variance and back."""
    samples = unit.reshape(-1, unit.shape[-1])
    covariance = samples.T.astype(np.float64) @ samples / len(samples)
    deviation = np.sqrt(np.maximum(np.diag(covariance), TINY))
    share, axes = np.linalg.eigh(covariance / np.outer(deviation, deviation))
    length = np.where(share > FAINTEST_SHARE, np.sqrt(np.maximum(share, 0)), 0)
    inverse = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
    return (axes * length).astype(np.float32), (axes * inverse).T.astype(np.float32)


def _autocovariances(planes: Floats) -> Floats:
    """Mean autocovariance of N×b×b×C blocks up to `REACH_PX`, unbiased, tapered, 1 at the centre: C×k×k."""
    side = 2 * BLOCK_PX
    power = (np.abs(np.fft.rfft2(planes, s=(side, side), axes=(1, 2))) ** 2).mean(axis=0)
    lags = np.arange(-REACH_PX, REACH_PX + 1)
    weight = np.exp(-0.5 * (lags / TAPER_PX) ** 4) / (BLOCK_PX - np.abs(lags))
    kernels = np.zeros((planes.shape[3], lags.size, lags.size), dtype=np.float32)
    for channel in range(planes.shape[3]):
        sums = np.fft.irfft2(power[..., channel], s=(side, side))
        kernel = sums[lags[:, None], lags[None, :]] * np.outer(weight, weight)
        kernels[channel] = kernel / max(kernel[REACH_PX, REACH_PX], TINY)
        kernels[channel, REACH_PX, REACH_PX] = 1
    return kernels


def _draw_field(kernels: Floats, side: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Gaussian fields C×side×side of unit variance, and `kernels` as their autocovariances really are.

    A truncated estimate may have negative power at some frequencies; it becomes zero.
    """
    lags = np.arange(-REACH_PX, REACH_PX + 1)
    place = (slice(None), lags[:, None], lags[None, :])
    wrapped = np.zeros((len(kernels), side, side))
    wrapped[place] = kernels
    power = np.maximum(np.fft.rfft2(wrapped).real, 0)
    noise = np.fft.rfft2(random.standard_normal(wrapped.shape))
    fields = np.fft.irfft2(noise * np.sqrt(power), s=(side, side))
    fields /= fields.std(axis=(1, 2), keepdims=True)
    real = np.fft.irfft2(power, s=(side, side))[place]
    real /= real[:, REACH_PX : REACH_PX + 1, REACH_PX : REACH_PX + 1]
    return real.astype(np.float32), fields.astype(np.float32)
