"""Training crops for the inpainter: a photograph on dusty film with many masked defects, and what belongs into them.

Dense holes teach much per step. Grain cannot be guessed and is put back after the fill, so what belongs into a hole is
the picture as the film shows it but without grain; where a thin veil is shown to the network, with its grain, the more
the thinner it is: what can be recovered need not be made up. Holes have the shapes of dust, with their penumbra and a
little more, as masks do; under them lies the dust itself, from opaque to barely veiled, and now and then nothing at
all: a detector is sometimes wrong, and the network should then give the picture back. `draw_hole_crop` is a pure
function of its random generator, so a resumed run sees what it would have seen.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from spotless_core.arrays.kinds import FloatImage, GreyImage, Mask
from spotless_core.inpainting.lama_input import LamaInput, prepare_input
from spotless_core.training import film
from spotless_core.training.batches import SpriteBanks
from spotless_core.training.dataset import (
    RIM_FRACTION,
    TRUTH_FRACTION,
    SpriteBank,
    clipped,
    draw_density,
    draw_window,
    flipped,
)
from spotless_core.training.film import BLACK_AND_WHITE, FILM_TYPES, FilmType, GrainBank, Rng
from spotless_core.training.lookalikes import add_lookalikes
from spotless_core.training.run_config import InpainterRun
from spotless_core.training.synthetic_dust import RealShape, Sprite

COVERAGE = (0.05, 0.25)
"""Range of the share of a crop that is holes."""
MOST_COVERAGE = 0.4
"""A sprite that would take more than this share is left out."""
MOST_SPRITES = 80
GROWTH_PX = (0, 3)
"""Holes reach up to so much beyond the penumbra, as masks do."""
TIGHT_SHARE = 0.2
"""Share of the crops whose masks leave out the penumbra: the film around such a hole is not quite clean."""
NOTHING_SHARE = 0.1
"""Share of the holes with nothing but film under them."""
BLOT_SHARE = 0.15
"""Share of the crops that have a blot, larger than dust is."""
BLOT_PX = (8.0, 24.0)
"""Range of its mean radius."""
THIN = 0.4
"""Change of log10 exposure under which 1/e of the grain is asked for: what comes back of it is true, not noise."""
LOOKALIKE_SHARE = 0.35
TINTED_SHARE = 0.3
"""Share of the scratches on colour film that take more off one layer than off another."""
NEGATIVE_SHARE, LINEAR_SHARE = 0.1, 0.1
"""Shares of scans stored as a negative, and without gamma."""


@dataclass(frozen=True, slots=True)
class HoleCrop:
    """One crop: side×side×3 float32 in [0, 1] each, but for `thinness` (one channel) and `holes` (side×side bool).

    `film`: the scan with its dust. `clean`: the same without dust. `picture`: the same without dust and grain.
    `thinness`: 1 where nothing lies on the film, towards 0 under opaque dust.
    """

    film: FloatImage
    clean: FloatImage
    picture: FloatImage
    thinness: FloatImage
    holes: Mask

    def wanted(self, *, is_shown: bool) -> FloatImage:
        """What belongs into the holes if what lies under the mask `is_shown`, or not."""
        return self.picture + self.thinness * (self.clean - self.picture) if is_shown else self.picture


class HoleBatch(NamedTuple):
    """N crops in the network's units (inpainting/lama_input.py).

    `inputs`: N×k×side×side float32. `target`: N×3×side×side float32, what belongs into the holes; `grain`: the same,
    what the film without dust has beyond it. `holes`: N×1×side×side float32, 0 or 1. `cheap`: N×3×side×side float32,
    the cheap fill. `centre`, `contrast`: N×3×1×1 float32, value on film = centre + contrast × value.
    """

    inputs: Tensor
    target: Tensor
    grain: Tensor
    holes: Tensor
    cheap: Tensor
    centre: Tensor
    contrast: Tensor


class HoleBatches(Dataset[HoleBatch]):
    """Item `step` → the batch of that step. `veil_share`: share of its crops that show what lies under the mask."""

    def __init__(
        self,
        photos: list[NDArray[np.uint8]],
        real: dict[str, list[RealShape]],
        run: InpainterRun,
        seed: int,
        veil_share: float | None = None,
    ) -> None:
        self.photos, self.run, self.seed = photos, run, seed
        self.veil_share = run.veil_share * run.veil if veil_share is None else veil_share
        self.grains = GrainBank(np.random.default_rng((seed, 0)))
        self.banks = SpriteBanks(real, seed)

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, step: int) -> HoleBatch:
        cv2.setNumThreads(0)
        bank = self.banks.at(step)
        rng = np.random.default_rng((self.seed, 2, step))
        drawn, ready, targets, grains = [], [], [], []
        for _ in range(self.run.batch):
            crop = draw_hole_crop(rng, self.photos, bank, self.grains, self.run.side)
            is_shown = bool(rng.random() < self.veil_share)
            drawn.append(crop)
            ready.append(self._prepared(crop, show_veil=is_shown))
            targets.append(ready[-1].from_film(crop.wanted(is_shown=is_shown)))
            grains.append(ready[-1].from_film(crop.clean) - targets[-1])
        return HoleBatch(
            _stacked([each.inputs for each in ready]),
            _stacked(targets),
            _stacked(grains),
            _stacked([crop.holes.astype(np.float32)[None] for crop in drawn]),
            _stacked([each.from_film(each.cheap) for each in ready]),
            _stacked([each.centre[:, None, None] for each in ready]),
            _stacked([each.contrast[:, None, None] for each in ready]),
        )

    def _prepared(self, crop: HoleCrop, *, show_veil: bool) -> LamaInput:
        planes = {"has_cheap_fill": self.run.cheap_fill, "sees_veil": self.run.veil}
        return prepare_input(crop.film, crop.holes, **planes, show_veil=show_veil)


def _stacked(arrays: list[NDArray[np.float32]]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))


def draw_hole_crop(
    rng: Rng, photos: list[NDArray[np.uint8]], bank: SpriteBank, grains: GrainBank, side: int
) -> HoleCrop:
    """Draw one crop of `side` pixels: random photo (h×w×3), film, grain, resolution, dust and mask."""
    film_type = FILM_TYPES[int(rng.integers(len(FILM_TYPES)))]
    um_per_px, sprites = bank[int(rng.integers(len(bank)))]
    photo = photos[int(rng.integers(len(photos)))]
    window, blur_px = draw_window(rng, photo, side, um_per_px, lookalikes=False)
    window = _with_lookalikes(rng, window)
    if film_type is BLACK_AND_WHITE:
        window = cv2.cvtColor(window, cv2.COLOR_RGB2GRAY)
    scale = side / window.shape[0]
    picture = film.enlarge(window.astype(np.float32) / np.float32(255), (side, side), scale, blur_px)
    picture = film.random_tone(rng, picture)
    strength = float(np.exp(rng.uniform(*np.log(film_type.grain)))) * (0.2 if rng.random() < 0.12 else 1)
    draw = grains.draw if film_type is BLACK_AND_WHITE else grains.draw_color
    grainy = film.add_grain(picture, draw(rng, (side, side), float(rng.uniform(*film_type.grain_px))), strength)
    change, holes = draw_defects(rng, sprites, side, film_type)
    if film_type is BLACK_AND_WHITE:
        change = change[..., 0]
    dusty = np.where(change == 0, grainy, film.from_log_exposure(film.to_log_exposure(grainy) + change))
    scanner = int(rng.integers(1 << 62))  # all pass the same scanner, with the same sharpening and noise
    scans = [film.digitise(np.random.default_rng(scanner), each) for each in (dusty, grainy, picture)]
    if (stored := rng.random()) < NEGATIVE_SHARE:
        scans = [np.float32(1) - each for each in scans]
    elif stored < NEGATIVE_SHARE + LINEAR_SHARE:
        scans = [each**film.DISPLAY_GAMMA for each in scans]
    seen, clean, alone = (_three(each) for each in scans)
    thinness = np.exp(-np.abs(_three(change)).max(axis=2, keepdims=True) / np.float32(THIN))
    return HoleCrop(seen, clean, alone, thinness, holes)


def draw_defects(rng: Rng, sprites: list[Sprite], side: int, film_type: FilmType) -> tuple[FloatImage, Mask]:
    """Let sprites fall until their holes cover what is wanted.

    Returns the change of log10 exposure (side×side×3 float32) and the holes (side×side bool).
    """
    change = np.zeros((side, side, 3), np.float32)
    holes = np.zeros((side, side), np.bool_)
    wanted = float(rng.uniform(*COVERAGE))
    level = TRUTH_FRACTION if rng.random() < TIGHT_SHARE else RIM_FRACTION
    falling = [_blot(rng)] if rng.random() < BLOT_SHARE else []
    for _ in range(MOST_SPRITES):
        if holes.mean() >= wanted:
            break
        sprite = falling.pop() if falling else flipped(rng, sprites[int(rng.integers(len(sprites)))])
        growth_px = int(rng.integers(GROWTH_PX[0], GROWTH_PX[1] + 1))
        alpha = np.pad(sprite.alpha, growth_px)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * growth_px + 1, 2 * growth_px + 1))
        shape = cv2.dilate((alpha >= level).astype(np.float32), kernel)
        row, column = (int(place) for place in rng.integers(0, side, 2))
        box, inside = clipped(shape, row, column, side, side)
        if not inside.size:
            continue
        place = np.s_[box[0] : box[2], box[1] : box[3]]
        more = holes.copy()
        more[place] |= inside > 0
        if more.mean() > MOST_COVERAGE:
            continue
        holes = more
        if rng.random() >= NOTHING_SHARE:
            _, fallen = clipped(alpha, row, column, side, side)
            change[place] += fallen[..., None] * _densities(rng, sprite.kind, film_type)
    return change, holes


def _densities(rng: Rng, kind: str, film_type: FilmType) -> NDArray[np.float32]:
    """The change of log exposure of each layer: particles are neutral, a scratch may spare a layer of the film."""
    density = np.full(3, draw_density(rng, kind, film_type), np.float32)
    if kind in {"scratch", "transport_line"} and film_type is not BLACK_AND_WHITE and rng.random() < TINTED_SHARE:
        density *= rng.uniform(0, 1, 3).astype(np.float32)
    return density


def _blot(rng: Rng) -> Sprite:
    """A blot with a ragged edge: smooth noise about a disc."""
    radius = float(rng.uniform(*BLOT_PX))
    side = int(3 * radius)
    y, x = np.mgrid[:side, :side].astype(np.float32) - np.float32((side - 1) / 2)
    ragged = cv2.GaussianBlur(rng.standard_normal((side, side), np.float32), (0, 0), radius / 4)
    edge = np.float32(radius) * (1 + np.float32(0.25) * ragged / max(float(ragged.std()), 1e-6)) - np.hypot(x, y)
    return Sprite("dirt", np.clip(edge / np.float32(rng.uniform(0.7, 2.5)) + np.float32(0.5), 0, 1))


def _with_lookalikes(rng: Rng, window: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Draw text, wires, stars and the like into some windows, in grey: edges that must not be torn."""
    if rng.random() >= LOOKALIKE_SHARE:
        return window
    grey = cv2.cvtColor(window, cv2.COLOR_RGB2GRAY)
    drawn = add_lookalikes(rng, grey).astype(np.int16) - grey
    return np.clip(window.astype(np.int16) + drawn[..., None], 0, 255).astype(np.uint8)


def _three(image: FloatImage | GreyImage) -> FloatImage:
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
