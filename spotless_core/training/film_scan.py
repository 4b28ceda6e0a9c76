"""A whole dusty film scan, as a scanner would write it, made from one clean photograph: for the demo and for
benchmarks.

Comes in: a photograph (RGB). Goes out: a 16-bit RGB TIFF (LZW with predictor, ICC profile, 4000 dpi) and the truth:
the visible elements that fell on it. The photograph is enlarged and softened as film is, grain is added per channel,
dust falls in density on all channels alike.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import ImageCms

from spotless_core.arrays.kinds import Mask, RgbImage
from spotless_core.training import film
from spotless_core.training.dataset import TRUTH_FRACTION, visibility
from spotless_core.training.film import COLOR_NEGATIVE, FilmType, GrainBank, Rng
from spotless_core.training.synthetic_dust import Sprite, draw_sprite

DPI = 4000
ROWS_PER_STRIP = 64
GRAIN_STRENGTH = 0.022
GRAIN_PX = 0.9
ELEMENTS_PER_MM2 = 0.5


@dataclass(frozen=True, slots=True)
class FallenElement:
    """One element on the scan: its kind, box (top, left, bottom, right), and whether a person can see it."""

    kind: str
    box: tuple[int, int, int, int]
    is_visible: bool


@dataclass(frozen=True, slots=True)
class FilmScan:
    """`clean` and `dusty`: H×W×3 uint16. `truth`: H×W bool, the visible dust. `elements`: what fell."""

    clean: NDArray[np.uint16]
    dusty: NDArray[np.uint16]
    truth: Mask
    elements: tuple[FallenElement, ...]


def make_film_scan(photo: NDArray[np.uint8], height: int, width: int, seed: int) -> FilmScan:
    """Make a scan of `height`×`width` from the middle of `photo` (h×w×3 uint8); the same seed gives the same scan."""
    rng = np.random.default_rng((seed, height, width))
    clean = _film_picture(rng, photo, height, width)
    log_exposure_change, sprites, places = _fall(rng, height, width, COLOR_NEGATIVE)
    dusty = np.empty_like(clean)
    for top in range(0, height, 512):  # in bands: the logarithms of a whole frame need its size four times over
        rows = np.s_[top : top + 512]
        changed = film.to_log_exposure(clean[rows]) + log_exposure_change[rows, :, None]
        dusty[rows] = np.where(log_exposure_change[rows, :, None] == 0, clean[rows], film.from_log_exposure(changed))
    truth, elements = _truth(clean, dusty, sprites, places)
    return FilmScan(_sixteen_bit(clean), _sixteen_bit(dusty), truth, elements)


def write_scanner_tiff(path: Path, samples: NDArray[np.uint16]) -> None:
    """Write `samples` (H×W×3 uint16) the way a scanner program does: LZW with predictor, strips, sRGB profile, 4000
    dpi.
    """
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tifffile.imwrite(
        path,
        samples,
        photometric="rgb",
        compression="lzw",
        predictor=True,
        rowsperstrip=ROWS_PER_STRIP,
        resolution=(DPI, DPI),
        resolutionunit="INCH",
        iccprofile=profile,
        software="a film scanner",
        metadata=None,
    )


def _film_picture(rng: Rng, photo: NDArray[np.uint8], height: int, width: int) -> RgbImage:
    scale = max(height / photo.shape[0], width / photo.shape[1])
    rows, columns = (min(round(side / scale), limit) for side, limit in zip((height, width), photo.shape, strict=False))
    top, left = (photo.shape[0] - rows) // 2, (photo.shape[1] - columns) // 2
    window = photo[top : top + rows, left : left + columns].astype(np.float32) / np.float32(255)
    picture = np.asarray(cv2.resize(window, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.35 * scale), np.float32)
    np.clip(picture, 0.02, 0.96, out=picture)
    bank = GrainBank(rng)
    shared = _large_grain(rng, bank, height, width)
    for channel in range(3):
        own = _large_grain(rng, bank, height, width)
        grain = np.float32(film.SHARED_GRAIN**0.5) * shared + np.float32((1 - film.SHARED_GRAIN) ** 0.5) * own
        picture[..., channel] = film.add_grain(picture[..., channel], grain, GRAIN_STRENGTH)
    return picture


def _large_grain(rng: Rng, bank: GrainBank, height: int, width: int) -> NDArray[np.float32]:
    """Grain larger than one field, from windows of the bank's fields side by side.

    Windows as large as the field would be one grain: two layers of it could cancel each other.
    """
    grain = np.empty((height, width), np.float32)
    side = film.GRAIN_FIELD_PX // 3
    for top in range(0, height, side):
        for left in range(0, width, side):
            part = grain[top : top + side, left : left + side]
            part[:] = bank.draw(rng, (part.shape[0], part.shape[1]), GRAIN_PX)
    return grain


def _fall(
    rng: Rng, height: int, width: int, film_type: FilmType
) -> tuple[NDArray[np.float32], list[Sprite], list[tuple[int, int]]]:
    """Let dust fall: the change of log exposure (H×W), the sprites and where their top left corners lie."""
    um_per_px = 25400 / DPI
    change = np.zeros((height, width), np.float32)
    count = int(ELEMENTS_PER_MM2 * height * width * (um_per_px / 1000) ** 2)
    sprites, places = [], []
    kinds = ["dust", "dirt", "short_hair", "long_hair", "scratch"]
    for _ in range(count):
        sprite = draw_sprite(rng, um_per_px, {}, str(rng.choice(kinds, p=[0.6, 0.2, 0.12, 0.05, 0.03])))
        sprite_height, sprite_width = sprite.alpha.shape
        top = int(rng.integers(0, max(height - sprite_height, 1)))
        left = int(rng.integers(0, max(width - sprite_width, 1)))
        alpha = np.where(sprite.alpha < 0.01, np.float32(0), sprite.alpha)[: height - top, : width - left]
        density = float(np.exp(rng.uniform(np.log(0.12), np.log(1.2)))) * film_type.dust_sign * film_type.density_gain
        if sprite.kind == "scratch" and rng.random() < 0.5:
            density = -density
        change[top : top + alpha.shape[0], left : left + alpha.shape[1]] += np.float32(density) * alpha
        sprites.append(Sprite(sprite.kind, alpha))
        places.append((top, left))
    return change, sprites, places


def _truth(
    clean: RgbImage, dusty: RgbImage, sprites: list[Sprite], places: list[tuple[int, int]]
) -> tuple[Mask, tuple[FallenElement, ...]]:
    truth = np.zeros(clean.shape[:2], bool)
    elements = []
    for sprite, (top, left) in zip(sprites, places, strict=True):
        height, width = sprite.alpha.shape
        place = np.s_[top : top + height, left : left + width]
        core = sprite.alpha >= 0.6
        around = np.s_[max(top - 12, 0) : top + height + 12, max(left - 12, 0) : left + width + 12]
        change = np.abs(dusty[place] - clean[place]).mean(axis=2)
        grey = clean[around].mean(axis=2)
        sigma = float((grey - cv2.GaussianBlur(grey, (0, 0), 3.0)).std())
        is_visible = bool(core.any()) and visibility(float(change[core].mean()), sigma, float(core.sum())) == "visible"
        if is_visible:
            truth[place] |= sprite.alpha >= TRUTH_FRACTION
        elements.append(FallenElement(sprite.kind, (top, left, top + height, left + width), is_visible))
    return truth, tuple(elements)


def _sixteen_bit(picture: RgbImage) -> NDArray[np.uint16]:
    return np.rint(np.clip(picture, 0, 1) * np.float32(65535)).astype(np.uint16)
