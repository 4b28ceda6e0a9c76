"""Film as a scanner sees it: soft picture, tone, grain, noise, sharpening, and dust composited in density.

Comes in: a clean photograph (grey, gamma-coded, float32 in [0, 1]). Goes out: what a scan of it on film would look
like, before (`expose`) and after (`digitise`) dust falls on it. A particle adds optical density to the film: on a
negative, the inverted positive turns bright there, on a slide dark. Densities add in log exposure, so a speck vanishes
on white sky of a negative as it does on real film. Grain is correlated noise, strongest in the mid-tones (ISO 10505
granularity falls towards clear film and towards Dmax).
"""

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import GreyImage

Rng: TypeAlias = np.random.Generator

DISPLAY_GAMMA = 2.2
BLACK_EXPOSURE = 0.004
"""Relative exposure of the deepest black: film base, flare and scanner offset keep it above zero."""
NEGATIVE_CONTRAST = 0.65
"""Density of a negative per unit of log exposure (the slope of its characteristic curve)."""
GAMMA_SPREAD = 0.28
BLACKS, WHITES = (-0.03, 0.10), (0.86, 1.06)
"""What becomes of black and white: sensing an encoding stretches a frame until a thousandth of it is clipped."""
CODINGS = (0.55, 0.87, 0.93)
"""Cumulative shares of how the detector is shown a scan: as it is, mis-curved, in density; the rest upside down."""
CURVE, CURVE_SPREAD = -0.1, 0.4
"""Logarithm of the exponent of a mis-curved scan, mean and deviation: a dark frame is easily taken for linear."""
GRAIN_FIELD_PX = 768
GRAIN_FIELDS = 24
SHARED_GRAIN = 0.55
"""Share of the grain's variance that the channels of colour film have in common."""


@dataclass(frozen=True, slots=True)
class FilmType:
    """`dust_sign`: +1 where a particle turns bright in the positive, -1 dark. `density_gain`: change of log10 exposure
    of the positive per unit of density (1/contrast of the film). `grain`: standard deviation range in mid grey.
    """

    name: str
    dust_sign: int
    density_gain: float
    grain: tuple[float, float]
    grain_px: tuple[float, float]


COLOR_NEGATIVE = FilmType("color_negative", 1, 1 / NEGATIVE_CONTRAST, (0.008, 0.035), (0.5, 1.1))
SLIDE = FilmType("slide", -1, 1.0, (0.006, 0.028), (0.5, 1.0))
BLACK_AND_WHITE = FilmType("black_and_white", 1, 1 / 0.7, (0.012, 0.06), (0.5, 1.3))
FILM_TYPES = (COLOR_NEGATIVE, SLIDE, BLACK_AND_WHITE)


class GrainBank:
    """Fields of unit-variance grain of several grain sizes, made once; a crop is a random window of one, flipped."""

    def __init__(self, rng: Rng) -> None:
        self.sigmas_px = np.linspace(0.35, 1.6, GRAIN_FIELDS)
        self.fields = [_unit_grain(rng, float(sigma), GRAIN_FIELD_PX) for sigma in self.sigmas_px]

    def draw(self, rng: Rng, shape: tuple[int, int], sigma_px: float) -> GreyImage:
        """Return unit-variance grain of about `sigma_px` correlation, float32, `shape` at most 768 a side."""
        field = self.fields[int(np.argmin(np.abs(self.sigmas_px - sigma_px)))]
        top, left = (int(rng.integers(0, GRAIN_FIELD_PX - side + 1)) for side in shape)
        window = field[top : top + shape[0], left : left + shape[1]]
        if rng.random() < 0.5:
            window = window[::-1]
        if rng.random() < 0.5:
            window = window[:, ::-1]
        return window if rng.random() < 0.5 else -window

    def draw_color(self, rng: Rng, shape: tuple[int, int], sigma_px: float) -> NDArray[np.float32]:
        """Return the grain of three dye layers, H×W×3, each of unit variance; `SHARED_GRAIN` of it is in all three."""
        shared = self.draw(rng, shape, sigma_px)
        own = np.stack([self.draw(rng, shape, sigma_px) for _ in range(3)], axis=2)
        grain = np.float32(SHARED_GRAIN**0.5) * shared[..., None] + np.float32((1 - SHARED_GRAIN) ** 0.5) * own
        return np.asarray(grain, np.float32)


def _unit_grain(rng: Rng, sigma_px: float, side: int) -> GreyImage:
    noise = rng.standard_normal((side, side), dtype=np.float32)
    fine = cv2.GaussianBlur(noise, (0, 0), sigma_px)
    clumps = cv2.GaussianBlur(rng.standard_normal((side, side), dtype=np.float32), (0, 0), 2.5 * sigma_px)
    grain = fine / fine.std() + 0.35 * clumps / clumps.std()
    return (grain / grain.std()).astype(np.float32)


def enlarge(grey: GreyImage, shape: tuple[int, int], scale: float, blur_px: float) -> GreyImage:
    """Resample `grey` by `scale` to `shape` and soften it by a Gaussian of `blur_px`, as lens, film and scanner do."""
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    result = cv2.resize(grey, (shape[1], shape[0]), interpolation=method)
    if blur_px > 0.2:
        result = cv2.GaussianBlur(result, (0, 0), blur_px)
    return np.clip(result, 0, 1).astype(np.float32)


def random_tone(rng: Rng, grey: GreyImage) -> GreyImage:
    """Vary exposure, contrast and gamma as films, printers' profiles and scanning programs do."""
    gamma = float(np.exp(rng.normal(0, GAMMA_SPREAD)))
    black, white = float(rng.uniform(*BLACKS)), float(rng.uniform(*WHITES))
    return (black + (white - black) * np.power(np.clip(grey, 0, 1), gamma)).astype(np.float32)


def add_grain(grey: GreyImage, grain: GreyImage, strength: float) -> GreyImage:
    """Add unit-variance `grain` scaled to `strength` in mid grey, weaker in deep shadows and highlights."""
    envelope = strength * (0.35 + 2.6 * grey * (1 - grey))
    return np.clip(grey + envelope * grain, 0, 1).astype(np.float32)


def to_log_exposure(grey: GreyImage) -> NDArray[np.float32]:
    """Gamma-coded grey in [0, 1] → log10 of relative exposure."""
    return np.log10(np.power(grey, DISPLAY_GAMMA) + BLACK_EXPOSURE).astype(np.float32)


def from_log_exposure(log_exposure: NDArray[np.float32]) -> GreyImage:
    """Inverse of `to_log_exposure`, clipped to [0, 1] (the scanner's white and black)."""
    exposure = np.power(np.float32(10), log_exposure) - np.float32(BLACK_EXPOSURE)
    return np.power(np.clip(exposure, 0, 1), np.float32(1 / DISPLAY_GAMMA)).astype(np.float32)


def recode(rng: Rng, grey: GreyImage) -> GreyImage:
    """What the scanning program makes of the film, as the detector is then shown it: most often a gamma-coded positive.

    Else: a colour negative that was inverted in density (log-coded, as arrays/encoding.py does it); a negative without
    an orange mask that was taken for a positive, transmission T = 10^-D with D = 0.65 · log exposure; or a tone curve
    that sensing the transfer did not quite undo. All keep [0, 1].
    """
    choice = rng.random()
    if choice < CODINGS[0]:
        return grey
    if choice < CODINGS[1]:
        curved: GreyImage = np.power(grey, np.float32(np.exp(rng.normal(CURVE, CURVE_SPREAD))))
        return curved
    depth = to_log_exposure(grey) - np.float32(np.log10(BLACK_EXPOSURE))  # 0 … 2.4 over the deepest black
    if choice < CODINGS[2]:
        return np.clip(depth / np.float32(-np.log10(BLACK_EXPOSURE)), 0, 1)
    transmission = np.power(np.float32(10), np.float32(-NEGATIVE_CONTRAST) * depth)
    return np.clip(np.power(transmission, np.float32(1 / DISPLAY_GAMMA)), 0, 1)


def digitise(rng: Rng, grey: GreyImage) -> GreyImage:
    """What the scanner and its program add after the dust: optics, noise, resampling, sharpening with halos, JPEG,
    8 bit; H×W or H×W×3 (RGB), float32 in [0, 1].
    """
    if rng.random() < 0.6:
        grey = cv2.GaussianBlur(grey, (0, 0), float(rng.uniform(0.3, 0.8)))
    grey = grey + rng.standard_normal(grey.shape, dtype=np.float32) * np.float32(rng.uniform(0.0005, 0.006))
    if rng.random() < 0.08:  # interpolated resolution
        factor = float(rng.uniform(0.6, 0.95))
        small = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        grey = cv2.resize(small, (grey.shape[1], grey.shape[0]), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.25:
        soft = cv2.GaussianBlur(grey, (0, 0), float(rng.uniform(0.8, 2.0)))
        grey = grey + np.float32(rng.uniform(0.3, 1.5)) * (grey - soft)
    grey = np.clip(grey, 0, 1)
    if rng.random() < 0.15:
        quality = int(rng.integers(70, 97))
        stored = np.rint(grey * 255).astype(np.uint8)
        if stored.ndim == 3:
            stored = np.ascontiguousarray(stored[..., ::-1])  # OpenCV codes BGR
        coded = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        read = np.asarray(cv2.imdecode(coded, cv2.IMREAD_UNCHANGED), np.float32)
        grey = (read[..., ::-1] if read.ndim == 3 else read) / np.float32(255)
    elif rng.random() < 0.2:
        grey = np.rint(grey * np.float32(255)) / np.float32(255)
    return np.ascontiguousarray(grey, dtype=np.float32)
