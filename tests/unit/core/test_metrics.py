"""The measures tell a good repair from a glassy one."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotless_core.arrays.kinds import FloatImage, Mask
from spotless_core.arrays.metrics import (
    RADIAL_BINS,
    WINDOW_PX,
    grain_ratio,
    log_spectral_distance,
    masked_psnr,
    ring_around,
    spectral_distance,
    structure_psnr,
    window_corner,
    window_spectra,
)
from spotless_core.errors import ArrayContractError


def _grain(shape: tuple[int, ...], seed: int, width_px: float = 0.8) -> FloatImage:
    noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), width_px) if width_px else noise
    return np.asarray(0.02 * noise / noise.std(), dtype=np.float32)


def _discs(side: int = 384) -> Mask:
    mask = np.zeros((side, side), dtype=np.uint8)
    for row in range(48, side - 40, 72):
        for column in range(48, side - 40, 72):
            cv2.circle(mask, (column, row), 13, 1, -1)
    return mask > 0


def _film(seed: int = 1) -> FloatImage:
    return np.float32(0.4) + _grain((384, 384, 3), seed)


def test_psnr_of_a_known_error() -> None:
    truth = np.full((10, 10, 1), 0.5, dtype=np.float32)
    mask = np.zeros((10, 10), dtype=np.bool_)
    mask[2:5, 2:5] = True
    result = truth.copy()
    result[mask] += np.float32(0.1)
    result[8, 8] = 1.0

    assert masked_psnr(result, truth, mask) == pytest.approx(20.0, abs=1e-4)


def test_psnr_of_equal_images_is_infinite() -> None:
    film = _film()

    assert masked_psnr(film, film, _discs()) == float("inf")


def test_structure_psnr_forgives_other_grain_and_not_another_picture() -> None:
    mask = _discs()
    scene = np.full((384, 384, 3), 0.4, dtype=np.float32)

    other_grain = structure_psnr(scene + _grain(scene.shape, 2), scene, mask)
    other_picture = structure_psnr(scene + np.float32(0.05), scene, mask)

    assert other_grain > masked_psnr(scene + _grain(scene.shape, 2), scene, mask) + 5
    assert other_grain > other_picture + 8


def test_grain_ratio_is_one_on_untouched_film_and_near_zero_on_glass() -> None:
    film, mask = _film(), _discs()
    glass = film.copy()
    glass[mask] = 0.4

    assert grain_ratio(film, mask) == pytest.approx([1, 1, 1], abs=0.06)
    assert (grain_ratio(glass, mask) < 0.25).all()


def test_spectral_distance_tells_film_grain_from_white_noise_and_glass() -> None:
    film, mask = _film(), _discs()
    white, glass, other = film.copy(), film.copy(), film.copy()
    white[mask] = (np.float32(0.4) + _grain(film.shape, 5, width_px=0))[mask]
    glass[mask] = 0.4
    other[mask] = _film(seed=7)[mask]

    distances = {
        name: log_spectral_distance(image, mask).mean()
        for name, image in (("film", film), ("other", other), ("white", white), ("glass", glass))
    }

    assert distances["film"] < 1 and distances["other"] < 1
    assert distances["white"] > 2 and distances["glass"] > 2


def test_a_grey_image_without_a_channel_axis_counts_as_one_channel() -> None:
    film, mask = _film()[..., 0], _discs()

    assert grain_ratio(film, mask).shape == (1,)
    assert log_spectral_distance(film, mask).shape == (1,)


def test_an_empty_mask_has_nothing_to_measure() -> None:
    film = _film()
    empty = np.zeros((384, 384), dtype=np.bool_)

    for measure in (lambda: masked_psnr(film, film, empty), lambda: grain_ratio(film, empty)):
        with pytest.raises(ArrayContractError):
            measure()


def test_different_shapes_are_refused() -> None:
    with pytest.raises(ArrayContractError, match="equal ones"):
        masked_psnr(_film(), _film()[:100], _discs())


def test_without_a_whole_window_there_is_no_spectral_distance() -> None:
    at_the_border, everywhere = np.zeros((2, 64, 64), np.bool_)
    at_the_border[:4, :4] = True
    everywhere[8:56, 8:56] = True

    for mask in (at_the_border, everywhere):
        with pytest.raises(ArrayContractError, match="no window fits"):
            log_spectral_distance(_film()[:64, :64], mask)


@settings(max_examples=60, deadline=None)
@given(radius_px=st.integers(0, 9), ring_px=st.integers(1, 12), gap_px=st.integers(0, 4))
def test_the_ring_begins_beyond_the_gap_and_ends_with_its_width(radius_px: int, ring_px: int, gap_px: int) -> None:
    mask = np.zeros((64, 64), np.uint8)
    cv2.circle(mask, (32, 32), radius_px, 1, -1)
    away = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)

    ring = ring_around(mask > 0, ring_px, gap_px)

    assert ring[(away > gap_px + 1) & (away < gap_px + ring_px - 1)].all()
    assert not ring[away < gap_px - 1].any()
    assert not ring[away > gap_px + ring_px + 1].any()


@settings(max_examples=60, deadline=None)
@given(row=st.floats(-20, 100), column=st.floats(-20, 120))
def test_a_window_lies_whole_inside_or_is_none(row: float, column: float) -> None:
    corner = window_corner(row, column, (80, 100))

    half = WINDOW_PX // 2
    is_inside = half <= round(row) <= 80 - half and half <= round(column) <= 100 - half
    assert (corner is not None) == is_inside
    if corner is not None:
        assert corner == (round(row) - half, round(column) - half)


def test_the_spectrum_of_white_noise_is_its_variance_in_every_bin() -> None:
    noise = np.random.default_rng(1).normal(0, 0.02, (400, 400, 2)).astype(np.float32)
    corners = [(row, column) for row in range(0, 360, 16) for column in range(0, 360, 16)]

    spectra = window_spectra(noise, corners)

    assert spectra.shape == (len(corners), RADIAL_BINS, 2)
    assert spectra.mean(axis=0) == pytest.approx(np.full((RADIAL_BINS, 2), 0.02**2), rel=0.1)


@pytest.mark.parametrize("cycles_per_px", [0.1, 0.2, 0.3, 0.4])
def test_a_wave_is_in_the_bin_of_its_frequency(cycles_per_px: float) -> None:
    rows, columns = np.mgrid[0:64, 0:64]
    wave = np.sin(2 * np.pi * cycles_per_px * (rows * 0.6 + columns * 0.8)).astype(np.float32)[..., None]

    (spectrum,) = window_spectra(wave, [(16, 16)])

    assert int(spectrum[:, 0].argmax()) == int(cycles_per_px / 0.5 * RADIAL_BINS)


def test_half_the_power_is_three_decibels_away_in_either_direction() -> None:
    power = np.random.default_rng(2).uniform(1e-5, 1e-3, (RADIAL_BINS, 3))

    assert spectral_distance(power, power / 2) == pytest.approx([3.0103] * 3, rel=1e-4)
    assert spectral_distance(power / 2, power) == pytest.approx([3.0103] * 3, rel=1e-4)
