"""Evaluation frames for repairs: held-out photographs on film in colour, with the dust a person sees, and without it.

Every photograph × colour negative, slide (RGB), black and white (one channel) × 2400 and 4000 dpi, made the way
evaluation_frames.py makes its grey ones: held-out real shapes and drawn scratches fall in density, particles on all
channels alike. Only what a person can see falls: what nobody marks is the detector's matter. All pictures of a frame
pass one scanner with one seed, so they share its noise, sharpening and compression and differ in the film alone. JPEG
and 8 bits stay among the scanners, as they are among real ones, but every second photograph is scanned at 16 bit
throughout: there nothing but the repair itself parts a result from the truth. A frame is a pure function of `SEED`,
photograph, film and resolution. Frames come one at a time: the caller decides which it keeps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from spotless_core.arrays.kinds import Box, FloatImage, GreyImage, Mask
from spotless_core.arrays.masks import grow_mask
from spotless_core.errors import OptionsError
from spotless_core.training import film
from spotless_core.training.batches import held_out_photos, real_by_kind
from spotless_core.training.dataset import (
    CORE_FRACTION,
    RIM_FRACTION,
    clipped,
    draw_density,
    local_sigma,
    scatter,
    visibility,
)
from spotless_core.training.evaluation_frames import ELEMENTS_PER_MM2, ENLARGE, SCRATCH_SHARE, Materials
from spotless_core.training.film import BLACK_AND_WHITE, FILM_TYPES, FilmType, GrainBank, Rng
from spotless_core.training.run_config import InpainterRun
from spotless_core.training.synthetic_dust import RealShape, Sprite, draw_sprite

SEED = 20261
SIDE = 768
GROWTH_PX = 2
"""A defect's mask is its penumbra grown by this."""
COLORED_SCRATCHES = 1 / 3
"""Share of the scratches on colour film that cut its layers unequally."""
GRAIN_WINDOW = 3
"""Grain is laid in windows of a field's side over this: two windows as large as the field would be one picture."""
LOSSLESS_EVERY = 2
FULL_SCALE = np.float32(65535)
BITS_16, BITS_8 = "16 bit", "8 bit or JPEG"


@dataclass(frozen=True, slots=True)
class Defect:
    """One element a person can see. `box`: of its mask, inside the frame. `mask`: h×w bool, penumbra grown by 2 px.

    `contrast`: mean change over its core, in local standard deviations. `density`: optical, of its densest layer.
    """

    kind: str
    box: Box
    mask: Mask
    contrast: float
    density: float

    @property
    def place(self) -> tuple[slice, slice]:
        """Where `mask` lies in the frame."""
        return np.s_[self.box[0] : self.box[2], self.box[1] : self.box[3]]


@dataclass(frozen=True, slots=True)
class RepairFrame:
    """One frame, C = 1 or 3. `clean`, `dusty`, `regrained` (the clean film with other grain): H×W×C uint16.

    `picture`: H×W×C float32 in [0, 1], the clean film without grain. `penumbra`: H×W bool, all defects before growth.
    `stored`: "16 bit" or "8 bit or JPEG". `photo`: number of the photograph in its folder's sorted order.
    """

    name: str
    photo: int
    film: str
    dpi: int
    stored: str
    picture: FloatImage
    clean: NDArray[np.uint16]
    dusty: NDArray[np.uint16]
    regrained: NDArray[np.uint16]
    penumbra: Mask
    defects: list[Defect]

    @property
    def mask(self) -> Mask:
        """All defects' masks in one: H×W bool."""
        union = np.zeros(self.penumbra.shape, np.bool_)
        for defect in self.defects:
            union[defect.place] |= defect.mask
        return union

    @property
    def um_per_px(self) -> float:
        """Micrometres on the film per pixel."""
        return 25400 / self.dpi


def load_color_materials(run: InpainterRun, photos: int | None = None) -> Materials:
    """Load the run's held-out photographs in RGB (the first `photos` of them, None = all), held-out shapes and grain.

    Raises:
        OptionsError: `photos` is less than one.
        MissingInputError: the folder holds none.
    """
    if photos is not None and photos < 1:
        raise OptionsError(f"photos = {photos}; at least 1 expected.")
    loaded = held_out_photos(run, color=True)[:photos]
    return Materials(loaded, real_by_kind(run, run.validation_scans), GrainBank(np.random.default_rng(SEED)))


def make_repair_frames(materials: Materials, numbers: Sequence[int] | None = None) -> Iterator[RepairFrame]:
    """Make the frames of the photographs `numbers` (None = all), one at a time."""
    numbers = range(len(materials.photos)) if numbers is None else numbers
    jobs = [(number, film_type, dpi) for number in numbers for film_type in FILM_TYPES for dpi in ENLARGE]
    for number, film_type, dpi in tqdm(jobs, unit="frame", dynamic_ncols=True):
        yield make_repair_frame(materials, number, film_type, dpi)


def make_repair_frame(materials: Materials, number: int, film_type: FilmType, dpi: int) -> RepairFrame:
    """Make the frame of photograph `number` on `film_type` at `dpi`, one of `ENLARGE`."""
    rng = np.random.default_rng((SEED, number, FILM_TYPES.index(film_type), dpi))
    picture = _picture(rng, materials.photos[number], film_type, dpi)
    clean = _grained(rng, picture, film_type, materials.grains)
    dusty, penumbra, defects = _dusty(rng, clean, film_type, dpi, materials.real)
    regrained = _grained(rng, picture, film_type, materials.grains)
    seed, scanned = _first_scan(rng, clean, is_lossless=number % LOSSLESS_EVERY == 0)
    return RepairFrame(
        name=f"photo {number}, {film_type.name}, {dpi} dpi",
        photo=number,
        film=film_type.name,
        dpi=dpi,
        stored=BITS_8 if _is_in_8_bits(scanned) else BITS_16,
        picture=_scan(seed, picture),
        clean=_samples(scanned),
        dusty=_samples(_scan(seed, dusty)),
        regrained=_samples(_scan(seed, regrained)),
        penumbra=penumbra,
        defects=defects,
    )


def drop_visible(
    rng: Rng, clean: FloatImage, film_type: FilmType, sprites: Sequence[Sprite], positions: NDArray[np.int64]
) -> tuple[FloatImage, Mask, list[Defect]]:
    """Let those of `sprites` fall on `clean` (H×W×C, read only) at `positions` that a person can see there.

    `positions`: n×2, centre row and column. Returns the dusty film, the union of the penumbras, and the defects.
    """
    log_exposure = film.to_log_exposure(clean)
    height, width, channels = clean.shape
    sigma = local_sigma(np.asarray(clean.mean(axis=2), np.float32))
    penumbra, covered = (np.zeros((height, width), np.bool_) for _ in range(2))
    defects = []
    for sprite, (row, column) in zip(sprites, positions, strict=True):
        density = draw_density(rng, sprite.kind, film_type)
        layers = _layers(rng, sprite.kind, channels)
        box, alpha = clipped(sprite.alpha, int(row), int(column), height, width)
        core = alpha >= CORE_FRACTION
        if not core.any():
            continue
        place = np.s_[box[0] : box[2], box[1] : box[3]]
        fallen = log_exposure[place] + np.float32(density) * alpha[..., None] * layers
        change = np.abs(film.from_log_exposure(fallen) - film.from_log_exposure(log_exposure[place])).mean(axis=2)
        seen, noise = float(change[core].mean()), float(sigma[place][core].mean())
        if visibility(seen, noise, float(core.sum())) != "visible":
            continue
        log_exposure[place] = fallen
        rim = alpha >= RIM_FRACTION
        penumbra[place] |= rim
        covered[place] |= alpha > 0
        own_box, own = _grown(box, rim, height, width)
        strength = abs(density) / film_type.density_gain
        defects.append(Defect(sprite.kind, own_box, own, seen / max(noise, 1e-6), strength))
    return np.where(covered[..., None], film.from_log_exposure(log_exposure), clean), penumbra, defects


def _layers(rng: Rng, kind: str, channels: int) -> NDArray[np.float32]:
    """Share of an element's density in each channel, at most 1; unequal for some scratches on colour film."""
    if kind != "scratch" or channels == 1 or rng.random() >= COLORED_SCRATCHES:
        return np.ones(channels, np.float32)
    shares = rng.uniform(0, 1, channels)
    return (shares / shares.max()).astype(np.float32)


def _grown(box: Box, rim: Mask, height: int, width: int) -> tuple[Box, Mask]:
    """Grow `rim` by `GROWTH_PX`; returns the tight box of what of it lies inside the frame, and the mask in it."""
    room = GROWTH_PX + 1
    wide = grow_mask(np.pad(rim, room), GROWTH_PX)
    top, left = box[0] - room, box[1] - room
    inside = wide[max(-top, 0) : height - top, max(-left, 0) : width - left]
    rows, columns = np.nonzero(inside)
    low, high = (int(rows.min()), int(columns.min())), (int(rows.max()) + 1, int(columns.max()) + 1)
    top, left = max(top, 0), max(left, 0)
    tight = inside[low[0] : high[0], low[1] : high[1]].copy()
    return (top + low[0], left + low[1], top + high[0], left + high[1]), tight


def _picture(rng: Rng, photo: NDArray[np.uint8], film_type: FilmType, dpi: int) -> FloatImage:
    """The middle of `photo`, enlarged and softened as film is, in a random tone: H×W×C float32."""
    if film_type is BLACK_AND_WHITE:
        photo = np.asarray(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY))
    scale = ENLARGE[dpi]
    source = min(int(SIDE / scale), *photo.shape[:2])
    top, left = ((length - source) // 2 for length in photo.shape[:2])
    window = photo[top : top + source, left : left + source].astype(np.float32) / np.float32(255)
    side = min(SIDE, round(source * scale))
    toned = film.random_tone(rng, film.enlarge(window, (side, side), scale, 0.5 * scale))
    return np.clip(toned, 0, 1).reshape(side, side, -1)


def _grained(rng: Rng, picture: FloatImage, film_type: FilmType, grains: GrainBank) -> FloatImage:
    strength = float(np.sqrt(film_type.grain[0] * film_type.grain[1]))
    sigma_px = float(np.mean(film_type.grain_px))
    grain = np.empty_like(picture)
    step = film.GRAIN_FIELD_PX // GRAIN_WINDOW
    for top in range(0, grain.shape[0], step):
        for left in range(0, grain.shape[1], step):
            part = grain[top : top + step, left : left + step]
            shape = (part.shape[0], part.shape[1])
            is_color = part.shape[2] == 3
            part[:] = grains.draw_color(rng, shape, sigma_px) if is_color else _layer(grains, rng, shape, sigma_px)
    return film.add_grain(picture, grain, strength)


def _layer(grains: GrainBank, rng: Rng, shape: tuple[int, int], sigma_px: float) -> FloatImage:
    return grains.draw(rng, shape, sigma_px)[..., None]


def _dusty(
    rng: Rng, clean: FloatImage, film_type: FilmType, dpi: int, real: dict[str, list[RealShape]]
) -> tuple[FloatImage, Mask, list[Defect]]:
    um_per_px = 25400 / dpi
    height, width = clean.shape[:2]
    count = int(rng.poisson(ELEMENTS_PER_MM2 * height * width * (um_per_px / 1000) ** 2))
    weights = {kind: len(shapes) for kind, shapes in real.items() if kind != "scratch"} or {"dust": 1}
    total = sum(weights.values())
    sprites = []
    for _ in range(count):
        kind = "scratch"
        if rng.random() >= SCRATCH_SHARE:
            kind = str(rng.choice(list(weights), p=[weight / total for weight in weights.values()]))
        sprites.append(draw_sprite(rng, um_per_px, real, kind, real_share=1.0))
    return drop_visible(rng, clean, film_type, sprites, scatter(rng, count, height, width))


def _first_scan(rng: Rng, clean: FloatImage, *, is_lossless: bool) -> tuple[int, FloatImage]:
    """Draw a scanner (its seed) and scan `clean` with it; with `is_lossless` the first one drawn that keeps 16 bits."""
    while True:
        seed = int(rng.integers(1 << 30))
        scanned = _scan(seed, clean)
        if not (is_lossless and _is_in_8_bits(scanned)):
            return seed, scanned


def _is_in_8_bits(scanned: FloatImage) -> bool:
    """Whether every value is one of 256, as after JPEG too."""
    return bool(np.abs(scanned * np.float32(255) - np.rint(scanned * np.float32(255))).max() < 1e-3)


def _scan(seed: int, film_picture: FloatImage) -> FloatImage:
    plane: GreyImage | FloatImage = film_picture[..., 0] if film_picture.shape[2] == 1 else film_picture
    return film.digitise(np.random.default_rng(seed), plane).reshape(film_picture.shape)


def _samples(scanned: FloatImage) -> NDArray[np.uint16]:
    return np.rint(scanned * FULL_SCALE).astype(np.uint16)
