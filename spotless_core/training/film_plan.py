"""The choices behind a batch of training crops, made ahead in a loader process; film_torch.py develops them.

`draw_plan` makes every choice of a batch, and its small drawings (8-bit windows with their lookalikes, sprites), with
numpy. It goes choice by choice as dataset.draw_crop and film.py do: from the same generator both draw the same film.
"""

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from spotless_core.errors import OptionsError
from spotless_core.training import dataset, film
from spotless_core.training.batches import SpriteBanks
from spotless_core.training.dataset import SpriteBank
from spotless_core.training.film import GRAIN_FIELD_PX, GrainBank, Rng
from spotless_core.training.run_config import DetectorRun
from spotless_core.training.synthetic_dust import RealShape

Number = TypeVar("Number")

CURVED, LOG_CODED, NEGATIVE = 1, 2, 3
SIDE_MULTIPLE, LEAST_SIDE = 8, 32
"""The side of a crop in pixels: whole blocks of JPEG, and longer than the widest softening reaches."""


class FilmChoices(NamedTuple, Generic[Number]):
    """What decides the clean film of a crop; 0 or 1 for a flip, a negative `strength` for inverted grain."""

    window_px: Number
    blur_px: Number
    gamma: Number
    black: Number
    white: Number
    strength: Number
    field: Number
    top: Number
    left: Number
    flip_rows: Number
    flip_columns: Number


class ScanChoices(NamedTuple, Generic[Number]):
    """What the scanner and its program do to a crop (film.recode, film.digitise); 0 = that step is left out."""

    coding: Number
    exponent: Number
    blur_px: Number
    noise: Number
    resampling: Number
    halo_px: Number
    halo: Number
    quality: Number
    eight_bit: Number


@dataclass(frozen=True, slots=True)
class FilmPlan:
    """All that `develop` needs to draw N crops with E elements of P pixels in all; on the CPU.

    `windows`: N×M×M uint8, each crop's window of the photograph in the upper left. `film`, `scan`: one row of float32 N
    for each field of `FilmChoices` and `ScanChoices`. `areas`: E int64, pixels of each element. `densities`: E float32,
    signed change of log10 exposure. `places`: P int32, index into the N·side·side pixels, element after element.
    `alphas`: P float32 in (0, 1]. `noise_seed`: of the device's generator.
    """

    windows: Tensor
    film: Tensor
    scan: Tensor
    areas: Tensor
    densities: Tensor
    places: Tensor
    alphas: Tensor
    side: int
    noise_seed: int


def draw_plan(
    rng: Rng, photos: list[NDArray[np.uint8]], bank: SpriteBank, grains: GrainBank, side: int, count: int
) -> FilmPlan:
    """Make the choices of `count` crops, in the order of dataset.draw_crop, and collect the pixels of their elements.

    `side`: of the crops in pixels, a multiple of 8 from 32 to 768.
    """
    windows, films, scans, densities = [], [], [], []
    places: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
    alphas: list[NDArray[np.float32]] = [np.zeros(0, np.float32)]
    for crop in range(count):
        film_type = dataset.draw_film_type(rng)
        um_per_px, sprites = bank[int(rng.integers(len(bank)))]
        window, blur_px = dataset.draw_window(rng, photos[int(rng.integers(len(photos)))], side, um_per_px)
        gamma, black, white = (
            np.exp(rng.normal(0, film.GAMMA_SPREAD)),
            rng.uniform(*film.BLACKS),
            rng.uniform(*film.WHITES),
        )
        strength = dataset.draw_grain_strength(rng, film_type)
        field = np.argmin(np.abs(grains.sigmas_px - rng.uniform(*film_type.grain_px)))
        top, left = rng.integers(0, GRAIN_FIELD_PX - side + 1), rng.integers(0, GRAIN_FIELD_PX - side + 1)
        flip_rows, flip_columns = rng.random() < 0.5, rng.random() < 0.5
        strength *= 1 if rng.random() < 0.5 else -1
        tone = gamma, black, white
        films.append(FilmChoices(window.shape[0], blur_px, *tone, strength, field, top, left, flip_rows, flip_columns))
        windows.append(window)
        for sprite, (row, column) in zip(*dataset.draw_fall(rng, sprites, side), strict=True):
            box, alpha = dataset.clipped(sprite.alpha, int(row), int(column), side, side)
            if alpha.size == 0:
                continue
            densities.append(dataset.draw_density(rng, sprite.kind, film_type))
            rows, columns = np.nonzero(alpha)
            places.append(((crop * side + box[0] + rows) * side + box[1] + columns).astype(np.int32))
            alphas.append(alpha[rows, columns])
        scans.append(draw_scan(rng))
    largest = max(window.shape[0] for window in windows)
    padded = np.zeros((count, largest, largest), np.uint8)
    for i, window in enumerate(windows):
        padded[i, : window.shape[0], : window.shape[1]] = window
    return FilmPlan(
        windows=torch.from_numpy(padded),
        film=torch.tensor(np.array(films, np.float32).T),
        scan=torch.tensor(np.array(scans, np.float32).T),
        areas=torch.tensor([len(alpha) for alpha in alphas[1:]], dtype=torch.int64),
        densities=torch.tensor(densities, dtype=torch.float32),
        places=torch.from_numpy(np.concatenate(places)),
        alphas=torch.from_numpy(np.concatenate(alphas)),
        side=side,
        noise_seed=int(rng.integers(1 << 62)),
    )


def draw_scan(rng: Rng) -> ScanChoices[float]:
    """Draw what film.recode and film.digitise would draw, in their order, without the noise itself."""
    coding = int(np.searchsorted(film.CODINGS, rng.random(), side="right"))
    exponent = float(np.exp(rng.normal(film.CURVE, film.CURVE_SPREAD))) if coding == CURVED else 1.0
    blur_px = float(rng.uniform(0.3, 0.8)) if rng.random() < 0.6 else 0.0
    noise = float(rng.uniform(0.0005, 0.006))
    resampling = float(rng.uniform(0.6, 0.95)) if rng.random() < 0.08 else 0.0
    halo_px, halo = (float(rng.uniform(0.8, 2.0)), float(rng.uniform(0.3, 1.5))) if rng.random() < 0.25 else (0.0, 0.0)
    quality = int(rng.integers(70, 97)) if rng.random() < 0.15 else 0
    eight_bit = quality == 0 and rng.random() < 0.2
    return ScanChoices(coding, exponent, blur_px, noise, resampling, halo_px, halo, quality, eight_bit)


class FilmPlans(Dataset[FilmPlan]):
    """Item `step` → the plan of its batch: a pure function of (seed, step). Holds nothing of the device."""

    def __init__(
        self,
        photos: list[NDArray[np.uint8]],
        real: dict[str, list[RealShape]],
        grains: GrainBank,
        run: DetectorRun,
        seed: int,
        batch: int,
    ) -> None:
        if run.side % SIDE_MULTIPLE or not LEAST_SIDE <= run.side <= GRAIN_FIELD_PX:
            limits = f"a multiple of {SIDE_MULTIPLE} from {LEAST_SIDE} to {GRAIN_FIELD_PX} expected"
            message = f"side = {run.side}: {limits}."
            raise OptionsError(message)
        self.photos, self.grains, self.seed, self.batch, self.side = photos, grains, seed, batch, run.side
        self.banks = SpriteBanks(real, seed)

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, step: int) -> FilmPlan:
        cv2.setNumThreads(0)
        rng = np.random.default_rng((self.seed, 2, step))
        return draw_plan(rng, self.photos, self.banks.at(step), self.grains, self.side, self.batch)
