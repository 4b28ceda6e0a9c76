"""Evaluation frames for repairs, drawn by hand: soft film with grain, discs of dust on it."""

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import FloatImage
from spotless_core.arrays.masks import grow_mask
from spotless_core.training.repair_frames import BITS_16, Defect, RepairFrame

RADIUS_PX = 6


def film_grain(shape: tuple[int, ...], seed: int, strength: float = 0.03) -> FloatImage:
    noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 0.8).reshape(shape)
    return np.asarray(strength * noise / noise.std(), np.float32)


def discs_frame(
    picture: FloatImage,
    places: list[tuple[int, int]],
    *,
    kinds: tuple[str, ...] = ("dust",),
    film: str = "slide",
    dpi: int = 4000,
    photo: int = 0,
) -> RepairFrame:
    """Black discs of 6 px radius centred on `places` (row, column) of `picture` (H×W×C); kinds take turns."""
    clean, regrained = (_samples(picture + film_grain(picture.shape, seed)) for seed in (1, 2))
    penumbra = np.zeros(picture.shape[:2], np.uint8)
    defects = []
    for number, (row, column) in enumerate(places):
        disc = np.zeros_like(penumbra)
        cv2.circle(disc, (column, row), RADIUS_PX, 1, -1)
        penumbra |= disc
        own = grow_mask(disc > 0, 2)
        rows, columns = (np.flatnonzero(own.any(axis=axis)) for axis in (1, 0))
        box = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
        mask = own[box[0] : box[2], box[1] : box[3]]
        defects.append(Defect(kinds[number % len(kinds)], box, mask, contrast=12.0, density=0.5))
    dusty = clean.copy()
    dusty[penumbra > 0] = 1000
    name = f"photo {photo}, {film}, {dpi} dpi"
    return RepairFrame(name, photo, film, dpi, BITS_16, picture, clean, dusty, regrained, penumbra > 0, defects)


def soft_picture(height: int = 160, width: int = 200, channels: int = 3) -> FloatImage:
    """Mid tones that change slowly, another brightness in each channel."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    scene = 0.45 + 0.1 * np.sin(columns / 60) + 0.1 * np.cos(rows / 70)
    return np.stack([scene + np.float32(0.03 * channel) for channel in range(channels)], axis=2).astype(np.float32)


def lattice(height: int = 160, width: int = 200) -> list[tuple[int, int]]:
    """Centres of discs, 40 px apart, each with room for a window."""
    return [(row, column) for row in range(30, height - 25, 40) for column in range(30, width - 25, 40)]


def _samples(image: FloatImage) -> NDArray[np.uint16]:
    return np.rint(np.clip(image, 0, 1) * 65535).astype(np.uint16)
