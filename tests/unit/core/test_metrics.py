"""The measures tell a good repair from a glassy one."""

import cv2
import numpy as np
import pytest

from spotless_core.arrays.kinds import FloatImage, Mask
from spotless_core.arrays.metrics import grain_ratio, log_spectral_distance, masked_psnr, structure_psnr
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
