"""How good a repair is, measured against the clean film and against the film around it.

In: float32 images in [0, 1] and the mask of what was repaired. Out: numbers. PSNR alone rewards blur, so it stands
beside the grain: its strength inside the mask against the ring around it, and its spectrum (a mean Hann-windowed
periodogram over 32 × 32 windows, in radial bins). H×W images count as one channel. The parts these measures are made
of are public, for evaluations that add up many frames.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import FloatImage, Mask, require_mask
from spotless_core.errors import ArrayContractError

STRUCTURE_SIGMA_PX = 1.5
"""Low-pass under which grain vanishes and the picture stays."""
PICTURE_SIGMA_PX = 6.0
"""What is smoother than this is picture, not grain."""
WINDOW_PX = 32
RADIAL_BINS = 8
FLOOR_POWER = 1e-12
"""Added to powers before the logarithm: a twentieth of a 16-bit level, squared, so that clean film has a level."""
RING_PX, RING_GAP_PX = 12, 2
"""Width of the ring in which the film's own grain is measured, and its distance from the mask."""


def masked_psnr(result: FloatImage, truth: FloatImage, mask: Mask) -> float:
    """Return the peak signal-to-noise ratio inside `mask`, dB, for a peak of 1; infinite where both are equal.

    Raises:
        ArrayContractError: shapes differ or the mask is empty.
    """
    _require_pair(result, truth, mask)
    error = float(np.mean((result[mask].astype(np.float64) - truth[mask]) ** 2))
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def structure_psnr(result: FloatImage, truth: FloatImage, mask: Mask) -> float:
    """Return the PSNR inside `mask` after a 1.5 px low-pass of both images: the picture without its grain."""
    _require_pair(result, truth, mask)
    return masked_psnr(low_pass(result, STRUCTURE_SIGMA_PX), low_pass(truth, STRUCTURE_SIGMA_PX), mask)


def grain_ratio(
    image: FloatImage, mask: Mask, ring_px: int = RING_PX, gap_px: int = RING_GAP_PX
) -> NDArray[np.float64]:
    """Return the grain's standard deviation inside `mask` over that in the ring around it, per channel (1 = equal).

    The ring is `ring_px` wide and starts `gap_px` outside the mask.

    Raises:
        ArrayContractError: the mask is empty or leaves no ring.
    """
    require_mask(mask, (image.shape[0], image.shape[1]))
    ring = ring_around(mask, ring_px, gap_px)
    if not mask.any() or not ring.any():
        raise ArrayContractError("grain_ratio: the mask is empty or leaves no ring around it.")
    grain = grain_of(image)
    outside = np.maximum(grain[ring].std(axis=0, dtype=np.float64), np.sqrt(FLOOR_POWER))
    return np.asarray(grain[mask].std(axis=0, dtype=np.float64) / outside)


def log_spectral_distance(image: FloatImage, mask: Mask) -> NDArray[np.float64]:
    """Return how far the grain's spectrum on the repairs is from that on clean film, dB, per channel (0 = alike).

    Windows are centred on the connected parts of `mask`, and on an even lattice of clean spots; parts nearer than
    half a window to the border are left out.

    Raises:
        ArrayContractError: no part of the mask, or no clean spot, has a whole window.
    """
    require_mask(mask, (image.shape[0], image.shape[1]))
    grain = grain_of(image)
    repaired = window_spectra(grain, _repaired_corners(mask))
    clean = window_spectra(grain, _clean_corners(mask))
    if not len(repaired) or not len(clean):
        raise ArrayContractError("log_spectral_distance: no window fits; a larger image or a smaller mask expected.")
    return spectral_distance(repaired.mean(axis=0), clean.mean(axis=0))


def low_pass(image: FloatImage, sigma_px: float) -> FloatImage:
    """Return `image` under a Gaussian of `sigma_px`, the border reflected; shape kept."""
    blurred = cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, dtype=np.float32).reshape(image.shape)


def grain_of(image: FloatImage) -> FloatImage:
    """Return what a 6 px low-pass removes from `image` (H×W or H×W×C): grain and fine detail, H×W×C float32."""
    grain = image - low_pass(image, PICTURE_SIGMA_PX)
    return grain if grain.ndim == 3 else grain[..., None]


def ring_around(mask: Mask, ring_px: int = RING_PX, gap_px: int = RING_GAP_PX) -> Mask:
    """Return the pixels more than `gap_px` and at most `gap_px + ring_px` outside `mask` (H×W bool)."""
    return _grow(mask, gap_px + ring_px) & ~_grow(mask, gap_px)


def window_corner(row: float, column: float, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the top left corner of the window centred on (row, column); None if it is not inside `shape`."""
    top, left = round(row) - WINDOW_PX // 2, round(column) - WINDOW_PX // 2
    return (top, left) if 0 <= top <= shape[0] - WINDOW_PX and 0 <= left <= shape[1] - WINDOW_PX else None


def window_spectra(grain: FloatImage, corners: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """Return the power of `grain` (H×W×C) in radial bins for each window: n×`RADIAL_BINS`×C, lowest frequency first.

    `corners`: top left of each 32 × 32 window, which is weighted by Hann's window; 0.5 cycles per pixel end the bins.
    """
    hann = np.hanning(WINDOW_PX)
    window = np.outer(hann, hann)[..., None]
    frequency = np.fft.fftfreq(WINDOW_PX)
    radius = np.hypot(frequency[:, None], frequency[None, :])
    ring = (radius / 0.5 * RADIAL_BINS).astype(int)
    spectra = np.empty((len(corners), RADIAL_BINS, grain.shape[2]))
    for index, (top, left) in enumerate(corners):
        patch = grain[top : top + WINDOW_PX, left : left + WINDOW_PX]
        power = np.abs(np.fft.fft2(patch * window, axes=(0, 1))) ** 2 / float(np.sum(window**2))
        spectra[index] = [power[ring == number].mean(axis=0) for number in range(RADIAL_BINS)]
    return spectra


def spectral_distance(power: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the root mean square over the bins of the difference of two spectra (`RADIAL_BINS`×C) in dB: C values."""
    distance = 10 * np.log10((power + FLOOR_POWER) / (other + FLOOR_POWER))
    return np.asarray(np.sqrt(np.mean(distance**2, axis=0)))


def _require_pair(result: FloatImage, truth: FloatImage, mask: Mask) -> None:
    if result.shape != truth.shape:
        raise ArrayContractError(f"metrics: shapes {result.shape} and {truth.shape}; equal ones expected.")
    require_mask(mask, (truth.shape[0], truth.shape[1]))
    if not mask.any():
        raise ArrayContractError("metrics: the mask is empty; nothing to measure.")


def _grow(mask: Mask, radius_px: int) -> Mask:
    if radius_px == 0:
        return mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1, 2 * radius_px + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel)) > 0


def _repaired_corners(mask: Mask) -> list[tuple[int, int]]:
    _, _, _, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    corners = (window_corner(y, x, mask.shape) for x, y in centres[1:])
    return [corner for corner in corners if corner is not None]


def _clean_corners(mask: Mask) -> list[tuple[int, int]]:
    height, width = mask.shape
    return [
        (y, x)
        for y in range(0, height - WINDOW_PX + 1, WINDOW_PX // 2)
        for x in range(0, width - WINDOW_PX + 1, WINDOW_PX // 2)
        if not mask[y : y + WINDOW_PX, x : x + WINDOW_PX].any()
    ]
