"""The second way to draw training crops: all pixels of a batch at once, in torch, on the training device.

A plan (film_plan.py) holds the choices; `develop` computes the pixels in float32 on the device of the grain. It follows
film.py and dataset.drop_elements step by step: without noise, both ways draw the same crop up to rounding. The noise is
drawn by a generator of the device, so its pixels differ from one kind of device to another.

Whatever is linear along rows and columns is one matrix per crop, applied as M · crop · Mᵀ: enlarging, softening,
resampling, the cosine transform of JPEG. All elements of a batch are one flat list of pixels, added in whole units
(`in_units`), so that no order of additions on a GPU changes a bit of a batch.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from spotless_core.training import dataset
from spotless_core.training.film import BLACK_EXPOSURE, DISPLAY_GAMMA, NEGATIVE_CONTRAST, GrainBank
from spotless_core.training.film_plan import (
    CURVED,
    LOG_CODED,
    NEGATIVE,
    FilmChoices,
    FilmPlan,
    FilmPlans,
    ScanChoices,
)
from spotless_core.training.run_config import DetectorRun
from spotless_core.training.synthetic_dust import RealShape

UNITS = 2.0**30
"""Sums over pixels are taken in whole units of 1/UNITS: exact in int64, finer than float32."""
LOADERS, PLANS_AHEAD = 2, 4
"""Processes that draw plans for a GPU, and plans ahead of each: all of them lie in shared memory, often 64 MB."""
LUMINANCE_TABLE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float32,
)
"""Quantisation of luminance at quality 50: ITU-T T.81, table K.1, which libjpeg scales by the quality."""


@torch.no_grad()
def develop(plan: FilmPlan, fields: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the pixels of `plan` on the device of `fields` (the grain: F×768×768 float32).

    Returns grey N×1×side×side float32 in [0, 1] and truth N×1×side×side uint8 (0, 1, 255 = counts neither way). Call it
    outside autocast and without TF32: their precision is coarser than the grain.
    """
    clean = _clean_film(plan, fields)
    dusty, truth = _drop_elements(plan, clean)
    return _scan(plan, dusty)[:, None], truth[:, None]


def _clean_film(plan: FilmPlan, fields: Tensor) -> Tensor:
    """Enlarge, soften and tone the windows and add grain; N×side×side in [0, 1]."""
    side, device = plan.side, fields.device
    n = FilmChoices(*plan.film.to(device))
    ratio, columns = n.window_px / side, plan.windows.shape[-1]
    enlarging = cubic_matrix(n.window_px, ratio, side, columns)
    resampling = torch.where((ratio > 1)[:, None, None], area_matrix(ratio, side, columns), enlarging)
    windows = plan.windows.to(device).float() / 255
    grey = along_axes(gaussian_matrix(n.blur_px, side) @ resampling, windows).clamp(0, 1)
    grey = _each(n.black) + _each(n.white - n.black) * grey ** _each(n.gamma)
    forward = torch.arange(side, device=device)
    rows, columns_of_field = (
        (start[:, None] + torch.where(flip[:, None] > 0, side - 1 - forward, forward)).long()
        for start, flip in ((n.top, n.flip_rows), (n.left, n.flip_columns))
    )
    grain = fields[n.field.long()[:, None, None], rows[:, :, None], columns_of_field[:, None, :]]
    return (grey + _each(n.strength) * (0.35 + 2.6 * grey * (1 - grey)) * grain).clamp(0, 1)


def _drop_elements(plan: FilmPlan, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Let all elements fall on `clean` in density and mark what can be seen: dusty, truth (dataset.drop_elements)."""
    device, count = clean.device, len(plan.areas)
    places, alphas, areas = plan.places.to(device).long(), plan.alphas.to(device), plan.areas.to(device)
    owners = torch.repeat_interleave(torch.arange(count, device=device), areas, output_size=len(places))
    added = in_units(plan.densities.to(device)[owners] * alphas)
    film = in_units(to_log_exposure(clean)).flatten()
    before = film[places] + _fallen_before(places, added)
    change = (from_log_exposure((before + added) / UNITS) - from_log_exposure(before / UNITS)).abs()
    core = (alphas >= dataset.CORE_FRACTION).float()
    sigma = local_sigma(clean).flatten()[places]
    sums = torch.zeros((count, 3), dtype=torch.int64, device=device)
    sums.index_add_(0, owners, in_units(torch.stack([core, change * core, sigma * core], 1)))
    core_px, change, sigma = (sums / UNITS).T
    seen = visibility(change / core_px.clamp(min=1), sigma / core_px.clamp(min=1), core_px)[owners]
    rank = torch.where(alphas >= dataset.RIM_FRACTION, (seen > 0).int(), 0)
    rank = torch.where((alphas >= dataset.TRUTH_FRACTION) & (seen == 2), 2, rank)
    ranks = torch.zeros(clean.numel(), dtype=torch.int32, device=device).scatter_reduce_(0, places, rank, "amax")
    truth = torch.tensor([0, dataset.IGNORED, 1], dtype=torch.uint8, device=device)[ranks.long()]
    dusty = from_log_exposure(film.index_add_(0, places, added) / UNITS)
    return dusty.view(clean.shape), truth.view(clean.shape)


def in_units(values: Tensor) -> Tensor:
    """Return `values` in whole units of 1/UNITS (int64): their sums are exact, in whatever order a GPU adds."""
    return (values * UNITS).round().long()


def _fallen_before(places: Tensor, added: Tensor) -> Tensor:
    """Sum, for each entry, `added` (P int64) of the earlier entries at the same place (`places`: P int64)."""
    order = torch.argsort(places, stable=True)
    sorted_places = places[order]
    total = added[order].cumsum(0) - added[order]
    under = torch.empty_like(total)
    under[order] = total - total[torch.searchsorted(sorted_places, sorted_places)]
    return under


def visibility(change: Tensor, sigma: Tensor, area_px: Tensor) -> Tensor:
    """Apply the rule of dataset.visibility to all elements: int64, 2 visible, 1 unsure, 0 hidden or without a core."""
    largeness = torch.log(area_px.clamp(min=1) / dataset.SPECK_PX) / np.log(dataset.LARGE_PX / dataset.SPECK_PX)
    sigmas = dataset.SPECK_SIGMAS + (dataset.LARGE_SIGMAS - dataset.SPECK_SIGMAS) * largeness.clamp(0, 1)
    needed = (sigma * sigmas).clamp(min=dataset.VISIBLE_CONTRAST)
    seen = (change >= needed).long() + (change >= dataset.HIDDEN_SHARE * needed).long()
    return seen * (area_px > 0)


def local_sigma(grey: Tensor) -> Tensor:
    """dataset.local_sigma of N×side×side."""
    side, device = grey.shape[-1], grey.device
    high = grey - along_axes(gaussian_matrix(torch.tensor([dataset.SIGMA_LOW_PASS_PX], device=device), side), grey)
    box = _mirrored((torch.arange(2 * side, device=device) <= dataset.SIGMA_WINDOW_PX // 2).float(), side)
    return along_axes(box, high * high).clamp(min=0).sqrt()


def to_log_exposure(grey: Tensor) -> Tensor:
    """film.to_log_exposure."""
    return torch.log10(grey**DISPLAY_GAMMA + BLACK_EXPOSURE)


def from_log_exposure(log_exposure: Tensor) -> Tensor:
    """film.from_log_exposure."""
    return (10**log_exposure - BLACK_EXPOSURE).clamp(0, 1) ** (1 / DISPLAY_GAMMA)


def _scan(plan: FilmPlan, grey: Tensor) -> Tensor:
    """film.recode and film.digitise of N×side×side; each step touches only the crops that have it."""
    side, device, grey = plan.side, grey.device, grey.clone()
    host = ScanChoices(*plan.scan)  # chosen on the CPU, so that the device is not waited for
    n = ScanChoices(*plan.scan.to(device))

    def crops(chosen: Tensor) -> Tensor:
        return chosen.nonzero()[:, 0].to(device)

    for coding, curve in ((CURVED, _curved), (LOG_CODED, _log_coded), (NEGATIVE, _negative)):
        which = crops(host.coding == coding)
        grey[which] = curve(grey[which], _each(n.exponent[which]))
    which = crops(host.blur_px)
    grey[which] = along_axes(gaussian_matrix(n.blur_px[which], side), grey[which])
    generator = torch.Generator(device).manual_seed(plan.noise_seed)
    grey = grey + _each(n.noise) * torch.randn(grey.shape, generator=generator, device=device)
    which = crops(host.resampling)
    grey[which] = along_axes(_resampling_matrix(n.resampling[which], side), grey[which])
    which = crops(host.halo_px)
    soft = along_axes(gaussian_matrix(n.halo_px[which], side), grey[which])
    grey[which] += _each(n.halo[which]) * (grey[which] - soft)
    grey = grey.clamp(0, 1)
    which = crops(host.quality)
    grey[which] = jpeg(grey[which], n.quality[which])
    which = crops(host.eight_bit)
    grey[which] = (grey[which] * 255).round() / 255
    return grey


def _curved(grey: Tensor, exponent: Tensor) -> Tensor:
    return grey**exponent


def _log_coded(grey: Tensor, _: Tensor) -> Tensor:
    return (1 - to_log_exposure(grey) / np.log10(BLACK_EXPOSURE)).clamp(0, 1)


def _negative(grey: Tensor, _: Tensor) -> Tensor:
    depth = to_log_exposure(grey) - np.log10(BLACK_EXPOSURE)
    return (10 ** (-NEGATIVE_CONTRAST / DISPLAY_GAMMA * depth)).clamp(0, 1)


def jpeg(grey: Tensor, quality: Tensor) -> Tensor:
    """Code N×side×side in [0, 1] as baseline grey JPEG of `quality` (N, 50 to 100) and decode it (ITU-T T.81, annex A).

    The quantisation is all that JPEG loses, so this is libjpeg's result but for the rounding of its integer transform.
    """
    blocks = grey.shape[-1] // len(LUMINANCE_TABLE)
    table = torch.from_numpy(LUMINANCE_TABLE).to(grey.device).repeat(blocks, blocks)
    steps = ((table * _each(200 - 2 * quality) + 50) / 100).floor().clamp(1, 255)
    k = torch.arange(8, device=grey.device)
    cosine = torch.cos((2 * k + 1) * k[:, None] * (torch.pi / 16)) / 2
    cosine[0] *= 0.5**0.5
    transform = torch.kron(torch.eye(blocks, device=grey.device), cosine)
    coefficients = (along_axes(transform, (grey * 255).round() - 128) / steps).round() * steps
    return (along_axes(transform.T, coefficients) + 128).round().clamp(0, 255) / 255


def along_axes(matrix: Tensor, image: Tensor) -> Tensor:
    """Apply `matrix` (…×R×C) to columns and rows of `image` (N×C×C): N×R×R."""
    return matrix @ image @ matrix.mT


def gaussian_matrix(sigma_px: Tensor, side: int) -> Tensor:
    """cv2.GaussianBlur of float32: `sigma_px` N → N×side×side; up to 0.2 px nothing is done."""
    sigma, distance = sigma_px[:, None], torch.arange(2 * side, device=sigma_px.device)
    reach = torch.where(sigma > 0.2, torch.floor(torch.round(8 * sigma + 1) / 2), 0)
    return _mirrored(torch.exp(-0.5 * (distance / sigma.clamp(min=0.1)) ** 2) * (distance <= reach), side)


def _mirrored(weights: Tensor, side: int) -> Tensor:
    """Filter matrix (…×side×side, rows sum to 1) of `weights` at the distances 0 … 2·side - 1 (…×2·side).

    The picture is mirrored at its edge pixels (BORDER_REFLECT_101); `weights` reach less far than `side`.
    """
    j = torch.arange(side, device=weights.device)
    i = j[:, None]
    past_start, past_end = weights[..., i + j] * (j > 0), weights[..., 2 * (side - 1) - i - j] * (j < side - 1)
    matrix = weights[..., (i - j).abs()] + past_start + past_end
    return matrix / matrix.sum(-1, keepdim=True)


def cubic_matrix(source_px: Tensor, ratio: Tensor, rows: int, columns: int) -> Tensor:
    """cv2.INTER_CUBIC from `source_px` (N) pixels, `ratio` (N) of them to one new pixel: N×rows×columns."""
    j = torch.arange(columns, device=ratio.device)
    at = (torch.arange(rows, device=ratio.device) + 0.5) * ratio[:, None] - 0.5
    x, first = at - at.floor(), at.floor()
    matrix = torch.zeros((len(ratio), rows, columns), device=ratio.device)
    for tap, weight in ((-1, _outer(1 + x)), (0, _inner(x)), (1, _inner(1 - x)), (2, _outer(2 - x))):
        taken = torch.minimum((first + tap).clamp(min=0), source_px[:, None] - 1)
        matrix += weight[:, :, None] * (taken[:, :, None] == j)
    return matrix


def _inner(distance: Tensor) -> Tensor:
    """Cubic convolution with a = -0.75, as OpenCV's, up to 1 px from a tap (Keys 1981, eq. 4)."""
    return (1.25 * distance - 2.25) * distance * distance + 1


def _outer(distance: Tensor) -> Tensor:
    return ((-0.75 * distance + 3.75) * distance - 6) * distance + 3


def area_matrix(ratio: Tensor, rows: int, columns: int) -> Tensor:
    """cv2.INTER_AREA, `ratio` (N, above 1) old pixels to one new pixel: N×rows×columns, the mean over its cell."""
    j = torch.arange(columns, device=ratio.device)
    start = torch.arange(rows, device=ratio.device)[:, None] * _each(ratio)
    overlap = (torch.minimum(start + _each(ratio), j + 1) - torch.maximum(start, j)).clamp(min=0)
    return overlap / overlap.sum(-1, keepdim=True).clamp(min=1e-6)


def _resampling_matrix(factor: Tensor, side: int) -> Tensor:
    """Shrink by `factor` (N, below 1) and enlarge back to `side`: N×side×side."""
    small_px = torch.round(side * factor)
    return cubic_matrix(small_px, small_px / side, side, side) @ area_matrix(1 / factor, side, side)


def _each(values: Tensor) -> Tensor:
    """Values per crop (N) in a shape that goes with N×side×side."""
    return values[:, None, None]


class DeviceFilmBatches:
    """Item `step` → (grey, truth) as loop.FilmBatches gives them, on `device`: a pure function of (seed, step)."""

    def __init__(
        self,
        photos: list[NDArray[np.uint8]],
        real: dict[str, list[RealShape]],
        run: DetectorRun,
        seed: int,
        batch: int,
        device: str,
    ) -> None:
        grains = GrainBank(np.random.default_rng((seed, 0)))
        self.plans = FilmPlans(photos, real, grains, run, seed, batch)
        self.fields = torch.from_numpy(np.stack(grains.fields)).to(device)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        return develop(self.plans[step], self.fields)

    def ahead(self, start: int, stop: int, loaders: int = LOADERS) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of the steps [start, stop), their plans drawn ahead by `loaders` other processes."""
        plans: DataLoader[FilmPlan] = DataLoader(
            self.plans, batch_size=None, sampler=range(start, stop), num_workers=loaders, prefetch_factor=PLANS_AHEAD
        )
        return (develop(plan, self.fields) for plan in plans)
