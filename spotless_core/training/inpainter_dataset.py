"""Training crops for the inpainter: a photograph on film with many dust-shaped holes, and what belongs into them.

Dense holes (about a fifth of a crop) teach much per step. Grain cannot be guessed and is put back after the fill, so
what belongs into a hole is the picture as the film shows it but without grain. `draw_hole_crop` is a pure function of
its random generator, so a resumed run sees what it would have seen.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from spotless_core.arrays.kinds import GreyImage, Mask
from spotless_core.inpainting.lama_planes import LamaPlane, prepare_plane
from spotless_core.training import film
from spotless_core.training.batches import SpriteBanks
from spotless_core.training.dataset import RIM_FRACTION, SpriteBank, clipped, flipped, photo_window
from spotless_core.training.film import FILM_TYPES, GrainBank, Rng
from spotless_core.training.run_config import InpainterRun
from spotless_core.training.synthetic_dust import RealShape, Sprite

COVERAGE = (0.12, 0.28)
"""Range of the share of a crop that is holes."""
MOST_COVERAGE = 0.4
"""A sprite that would take more than this share is left out."""
MOST_SPRITES = 80
MOST_GROWTH_PX = 2
"""Holes reach up to so much beyond the penumbra, as masks do."""


@dataclass(frozen=True, slots=True)
class HoleCrop:
    """`film` and `picture` (the same without grain): side×side float32 in [0, 1]; `holes`: side×side bool."""

    film: GreyImage
    picture: GreyImage
    holes: Mask


class HoleBatch(NamedTuple):
    """N crops in the network's units (lama_planes.py).

    `inputs`: N×k×side×side float32, `inputs[:, 1]` the mask. `target`: N×1×side×side float32, the film outside the
    holes, the picture without grain inside. `centre`, `contrast`: N float32, value on film = centre + contrast × value.
    """

    inputs: Tensor
    target: Tensor
    centre: Tensor
    contrast: Tensor


class HoleBatches(Dataset[HoleBatch]):
    """Item `step` → the batch of that step."""

    def __init__(
        self,
        photos: list[NDArray[np.uint8]],
        real: dict[str, list[RealShape]],
        run: InpainterRun,
        seed: int,
    ) -> None:
        self.photos, self.run, self.seed = photos, run, seed
        self.grains = GrainBank(np.random.default_rng((seed, 0)))
        self.banks = SpriteBanks(real, seed)

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, step: int) -> HoleBatch:
        cv2.setNumThreads(0)
        bank = self.banks.at(step)
        rng = np.random.default_rng((self.seed, 2, step))
        drawn = [draw_hole_crop(rng, self.photos, bank, self.grains, self.run.side) for _ in range(self.run.batch)]
        planes = [prepare_plane(crop.film, crop.holes, with_cheap_fill=self.run.cheap_fill) for crop in drawn]
        targets = [_target(crop, plane) for crop, plane in zip(drawn, planes, strict=True)]
        return HoleBatch(
            torch.from_numpy(np.stack([plane.inputs for plane in planes])),
            torch.from_numpy(np.stack(targets)[:, None]),
            torch.tensor([plane.centre for plane in planes], dtype=torch.float32),
            torch.tensor([plane.contrast for plane in planes], dtype=torch.float32),
        )


def _target(crop: HoleCrop, plane: LamaPlane) -> NDArray[np.float32]:
    return plane.from_film(np.where(crop.holes, crop.picture, crop.film))


def draw_hole_crop(
    rng: Rng, photos: list[NDArray[np.uint8]], bank: SpriteBank, grains: GrainBank, side: int
) -> HoleCrop:
    """Draw one crop of `side` pixels: random photo, film, grain, resolution and holes."""
    film_type = FILM_TYPES[int(rng.integers(len(FILM_TYPES)))]
    um_per_px, sprites = bank[int(rng.integers(len(bank)))]
    picture = film.random_tone(rng, photo_window(rng, photos[int(rng.integers(len(photos)))], side, um_per_px))
    strength = float(np.exp(rng.uniform(*np.log(film_type.grain)))) * (0.2 if rng.random() < 0.12 else 1)
    grain = grains.draw(rng, picture.shape, float(rng.uniform(*film_type.grain_px)))
    scanner = int(rng.integers(1 << 62))  # both pass the same scanner, with the same sharpening and noise
    seen = film.digitise(np.random.default_rng(scanner), film.add_grain(picture, grain, strength))
    without_grain = film.digitise(np.random.default_rng(scanner), picture)
    if rng.random() < 0.06:  # an uninverted negative that was taken for a positive
        seen, without_grain = np.float32(1) - seen, np.float32(1) - without_grain
    return HoleCrop(seen, without_grain, draw_holes(rng, sprites, side))


def draw_holes(rng: Rng, sprites: list[Sprite], side: int) -> Mask:
    """Let sprites fall until they cover what is wanted; each makes a hole with its penumbra and a little more."""
    holes = np.zeros((side, side), np.bool_)
    wanted = float(rng.uniform(*COVERAGE))
    for _ in range(MOST_SPRITES):
        if holes.mean() >= wanted:
            break
        growth_px = int(rng.integers(0, MOST_GROWTH_PX + 1))
        alpha = np.pad(flipped(rng, sprites[int(rng.integers(len(sprites)))]).alpha, growth_px)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * growth_px + 1, 2 * growth_px + 1))
        shape = cv2.dilate((alpha >= RIM_FRACTION).astype(np.float32), kernel)
        row, column = (int(place) for place in rng.integers(0, side, 2))
        box, inside = clipped(shape, row, column, side, side)
        more = holes.copy()
        if inside.size:
            more[box[0] : box[2], box[1] : box[3]] |= inside > 0
        if more.mean() <= MOST_COVERAGE:
            holes = more
    return holes
