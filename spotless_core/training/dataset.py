"""Training crops: a clean photograph becomes a piece of dusty film, with the truth a person could mark.

`draw_crop` is a pure function of its random generator, so step N of a run always sees the same batch: a resumed run
goes on as if it had never stopped. The visibility rule: an element counts if the change it makes, averaged over its
core, is at least `VISIBLE_CONTRAST`, and as many times the local standard deviation of grain and texture as its size
asks for: `SPECK_SIGMAS` for a speck, falling to `LARGE_SIGMAS` for a hair or a blot (the eye sums along a line). Below
`HIDDEN_SHARE` of either it is nothing; in between, and on the soft rim, it counts neither way. The figures were read
off drawn specks and hairs of 0 to 4 standard deviations on grainy photographs, looked at at 100 %.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import GreyImage, Mask
from spotless_core.errors import MissingInputError
from spotless_core.training import film
from spotless_core.training.film import FILM_TYPES, FilmType, GrainBank, Rng
from spotless_core.training.lookalikes import add_lookalikes
from spotless_core.training.synthetic_dust import RealShape, Sprite, draw_sprite

VISIBLE_CONTRAST = 0.035
SPECK_SIGMAS, LARGE_SIGMAS = 3.0, 2.0
SPECK_PX, LARGE_PX = 100.0, 500.0
"""Areas of the core up to which an element is seen as a speck, and from which as something large."""
HIDDEN_SHARE = 0.4
FILM_SHARES = (0.34, 0.40, 0.26)
"""Colour negative, slide, black and white: dark dust among dark picture detail takes longest to learn."""
CORE_FRACTION = 0.6
"""The core of an element, which the visibility rule goes by, is where its alpha reaches this."""
SIGMA_LOW_PASS_PX, SIGMA_WINDOW_PX = 3.0, 25
"""Local standard deviation: of what this Gaussian removes, in a square window of this side."""
TRUTH_FRACTION = 0.35
"""A pixel belongs to an element where the element's alpha reaches this fraction of its peak."""
RIM_FRACTION = 0.08
"""Between this and `TRUTH_FRACTION` lies the penumbra, which counts neither way."""
PICTURE_UM = 12.7
"""Length on the film of one pixel of a photograph: 1,900 of them fill the 24 mm of a sharp 35 mm frame."""
SCALES = (0.6, 3.2)
SHARP_BLUR, SOFT_BLUR = (0.25, 0.7), (0.7, 2.0)
"""Ranges of the Gaussian softening by lens and film, in pixels of the photograph."""
SPRITES_PER_BANK = 1500
PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff"}
PARTICLE_DENSITY = (0.06, 1.4)
"""Range of the optical density of dust, dirt, hairs and lint: barely veiled to opaque."""
DENSITIES = {"scratch": (0.03, 0.6), "transport_line": (0.018, 0.155), "drying_mark": (0.02, 0.15)}
"""The same of what is no particle. A transport line takes or gives 4 to 30 % of the light."""
IGNORED: int = 255
"""Truth value of pixels that count neither way; 0 is clean, 1 is dust."""

SpriteBank: TypeAlias = list[tuple[float, list[Sprite]]]


@dataclass(frozen=True, slots=True)
class Crop:
    """`grey` float32 side×side in [0, 1] and `truth` uint8: 0 clean, 1 dust, 255 counts neither way."""

    grey: GreyImage
    truth: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Element:
    """One element as it fell: kind, box (top, left, bottom, right), and whether a person can see it.

    `change`: mean change of grey over its core. `sigma`: local standard deviation of grain and texture there.
    """

    kind: str
    box: tuple[int, int, int, int]
    visible: bool
    change: float
    sigma: float

    @property
    def contrast(self) -> float:
        """Change in local standard deviations, what the visibility rule goes by."""
        return self.change / max(self.sigma, 1e-6)


def load_photos(folder: Path, *, color: bool = False) -> list[NDArray[np.uint8]]:
    """Read every photograph under `folder` as 8-bit grey (Rec. 601 luma), or as RGB (h×w×3); subfolders included."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES)
    if not paths:
        raise MissingInputError(f"{folder}: no photographs ({', '.join(sorted(PHOTO_SUFFIXES))}) there.")
    photos = []
    for path in paths:
        photo = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR if color else cv2.IMREAD_GRAYSCALE)
        if photo is not None and min(photo.shape[:2]) >= 128:
            photos.append(np.ascontiguousarray(photo[..., ::-1]) if color else photo)
    return photos


def make_sprite_bank(rng: Rng, real: dict[str, list[RealShape]], count: int = SPRITES_PER_BANK) -> SpriteBank:
    """Draw `count` sprites in groups of one resolution each: (micrometres per pixel, sprites)."""
    resolutions = np.exp(rng.uniform(np.log(25400 / 6400), np.log(25400 / 1200), 10))
    return [(float(um), [draw_sprite(rng, float(um), real) for _ in range(count // 10)]) for um in resolutions]


def visibility(change: float, sigma: float, area_px: float) -> str:
    """Apply the visibility rule: visible, unsure or hidden.

    `change`: mean change of grey over the core. `sigma`: local standard deviation. `area_px`: pixels of the core.
    """
    largeness = np.log(max(area_px, 1) / SPECK_PX) / np.log(LARGE_PX / SPECK_PX)
    needed = sigma * (SPECK_SIGMAS + (LARGE_SIGMAS - SPECK_SIGMAS) * float(np.clip(largeness, 0, 1)))
    if change >= VISIBLE_CONTRAST and change >= needed:
        return "visible"
    if change < HIDDEN_SHARE * VISIBLE_CONTRAST or change < HIDDEN_SHARE * needed:
        return "hidden"
    return "unsure"


def local_sigma(grey: GreyImage) -> GreyImage:
    """Standard deviation of what a 3 px low-pass removes, in a 25 px window: grain and texture around each pixel."""
    high = grey - cv2.GaussianBlur(grey, (0, 0), SIGMA_LOW_PASS_PX)
    return np.sqrt(cv2.blur(high * high, (SIGMA_WINDOW_PX, SIGMA_WINDOW_PX)))


def drop_elements(
    rng: Rng, clean: GreyImage, film_type: FilmType, sprites: list[Sprite], positions: NDArray[np.int64]
) -> tuple[GreyImage, NDArray[np.uint8], list[Element]]:
    """Let `sprites` fall on `clean` at `positions` (n×2: centre row, column) in density; returns dusty, truth,
    elements.
    """
    log_exposure = film.to_log_exposure(clean)
    sigma = local_sigma(clean)
    truth = np.zeros(clean.shape, np.uint8)
    height, width = clean.shape
    elements = []
    for sprite, (row, column) in zip(sprites, positions, strict=True):
        box, alpha = clipped(sprite.alpha, int(row), int(column), height, width)
        if alpha.size == 0:
            continue
        place = np.s_[box[0] : box[2], box[1] : box[3]]
        before = film.from_log_exposure(log_exposure[place])
        log_exposure[place] += draw_density(rng, sprite.kind, film_type) * alpha
        difference = np.abs(film.from_log_exposure(log_exposure[place]) - before)
        core = alpha >= CORE_FRACTION
        if not core.any():
            continue
        change, noise = float(difference[core].mean()), float(sigma[place][core].mean())
        seen = visibility(change, noise, float(core.sum()))
        body, rim = alpha >= TRUTH_FRACTION, alpha >= RIM_FRACTION
        region = truth[place]
        if seen == "visible":
            region[rim & (region == 0)] = IGNORED
            region[body] = 1
        elif seen == "unsure":
            region[rim & (region == 0)] = IGNORED
        if seen != "hidden":
            elements.append(Element(sprite.kind, box, seen == "visible", change, noise))
    return film.from_log_exposure(log_exposure), truth, elements


def clipped(
    alpha: NDArray[np.float32], row: int, column: int, height: int, width: int
) -> tuple[tuple[int, int, int, int], NDArray[np.float32]]:
    """Centre `alpha` on (row, column) of a height×width picture; returns its box there and the part that is inside."""
    top, left = row - alpha.shape[0] // 2, column - alpha.shape[1] // 2
    box = (max(top, 0), max(left, 0), min(top + alpha.shape[0], height), min(left + alpha.shape[1], width))
    if box[0] >= box[2] or box[1] >= box[3]:
        return box, alpha[:0]
    return box, alpha[box[0] - top : box[2] - top, box[1] - left : box[3] - left]


def draw_density(rng: Rng, kind: str, film_type: FilmType) -> float:
    """Draw the signed change of log10 exposure of one element: particles absorb, scratches add or remove density."""
    sign = film_type.dust_sign
    if kind in {"scratch", "transport_line"}:
        sign = sign if rng.random() < 0.5 else -sign
    density = float(np.exp(rng.uniform(*np.log(DENSITIES.get(kind, PARTICLE_DENSITY)))))
    return sign * density * film_type.density_gain


def scatter(rng: Rng, count: int, height: int, width: int) -> NDArray[np.int64]:
    """Place `count` elements: most anywhere, a third in clusters, as lint and fingerprints gather dust."""
    places = rng.uniform(0, 1, (count, 2)) * (height, width)
    if count > 4 and rng.random() < 0.5:
        clustered = rng.random(count) < 0.35
        centre = rng.uniform(0, 1, 2) * (height, width)
        places[clustered] = centre + rng.normal(0, 0.12, (int(clustered.sum()), 2)) * (height, width)
    return places.astype(np.int64)


def draw_crop(rng: Rng, photos: list[NDArray[np.uint8]], bank: SpriteBank, grains: GrainBank, side: int) -> Crop:
    """Draw one crop of `side` pixels: random photo, film, resolution, dust (an eighth of the crops has none)."""
    film_type = draw_film_type(rng)
    um_per_px, sprites = bank[int(rng.integers(len(bank)))]
    grey = photo_window(rng, photos[int(rng.integers(len(photos)))], side, um_per_px)
    grey = film.random_tone(rng, grey)
    strength = draw_grain_strength(rng, film_type)
    grain = grains.draw(rng, grey.shape, float(rng.uniform(*film_type.grain_px)))
    clean = film.add_grain(grey, grain, strength)
    chosen, positions = draw_fall(rng, sprites, side)
    dusty, truth, _ = drop_elements(rng, clean, film_type, chosen, positions)
    return Crop(film.digitise(rng, film.recode(rng, dusty)), truth)


def draw_film_type(rng: Rng) -> FilmType:
    """Draw the film of a crop by `FILM_SHARES`."""
    return FILM_TYPES[int(rng.choice(len(FILM_TYPES), p=FILM_SHARES))]


def draw_grain_strength(rng: Rng, film_type: FilmType) -> float:
    """Draw the standard deviation of the grain in mid grey; an eighth of the crops has a fifth of it."""
    return float(np.exp(rng.uniform(*np.log(film_type.grain)))) * (0.2 if rng.random() < 0.12 else 1)


def draw_fall(rng: Rng, sprites: list[Sprite], side: int) -> tuple[list[Sprite], NDArray[np.int64]]:
    """Draw what falls on a crop of `side` pixels: sprites, and the n×2 positions of their centres (row, column)."""
    count = 0 if rng.random() < 0.12 else int(rng.integers(1, 30))
    chosen = [flipped(rng, sprites[int(i)]) for i in rng.integers(0, len(sprites), count)]
    return chosen, scatter(rng, count, side, side)


def photo_window(rng: Rng, photo: NDArray[np.uint8], side: int, um_per_px: float) -> GreyImage:
    """Cut a random window, turned, enlarged to `side` pixels as a scan at `um_per_px` shows it: float32 in [0, 1]."""
    window, blur_px = draw_window(rng, photo, side, um_per_px)
    grey = window.astype(np.float32) / np.float32(255)
    return film.enlarge(grey, (side, side), side / window.shape[0], blur_px)


def draw_window(
    rng: Rng, photo: NDArray[np.uint8], side: int, um_per_px: float, *, lookalikes: bool = True
) -> tuple[NDArray[np.uint8], float]:
    """Cut a random square window, turned, that a crop of `side` pixels shows; with `lookalikes` a third have one.

    Returns the window (uint8, grey or RGB as `photo`, its own size) and the blur in pixels of the enlarged crop.

    A photograph's pixel is about `PICTURE_UM` long on the film, and lens and film have softened it: so at 2400 dpi and
    more the picture is softer than the dust that lies on it, which is how a person tells the two apart.
    """
    scale = float(np.clip(PICTURE_UM / um_per_px * np.exp(rng.uniform(-0.45, 0.35)), *SCALES))
    source = min(int(np.ceil(side / scale)), *photo.shape[:2])
    top, left = (int(rng.integers(0, length - source + 1)) for length in photo.shape[:2])
    window = photo[top : top + source, left : left + source]
    if rng.random() < 0.5:
        window = window[:, ::-1]
    window = np.ascontiguousarray(np.rot90(window, int(rng.integers(4))) if rng.random() < 0.3 else window)
    if lookalikes and rng.random() < 0.35:
        window = add_lookalikes(rng, window)
    blur_px = float(rng.uniform(*SHARP_BLUR) if rng.random() < 0.85 else rng.uniform(*SOFT_BLUR)) * (side / source)
    return window, blur_px


def flipped(rng: Rng, sprite: Sprite) -> Sprite:
    """Return `sprite` in one of four positions, so that one drawing serves often."""
    alpha = sprite.alpha
    if rng.random() < 0.5:
        alpha = alpha[::-1]
    if rng.random() < 0.5:
        alpha = alpha.T
    return Sprite(sprite.kind, alpha)


def truth_masks(truth: NDArray[np.uint8]) -> tuple[Mask, Mask]:
    """Split a truth map into (dust, counts) masks."""
    return truth == 1, truth != IGNORED
