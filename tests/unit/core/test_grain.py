"""Grain put back has the film's strength, spectrum and colour, and none is added to grainless film."""

import cv2
import numpy as np
import pytest

from spotless_core.arrays.grain import put_grain_back
from spotless_core.arrays.kinds import FloatImage, Mask
from spotless_core.arrays.metrics import grain_ratio, log_spectral_distance

SIDE = 384


def _scene() -> FloatImage:
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    return np.stack([0.3 + 0.3 * columns, 0.35 + 0.2 * rows, 0.4 + 0.1 * rows * columns], axis=2).astype(np.float32)


def _grain(seed: int, shared: float = 0.8, strength: float = 0.02) -> FloatImage:
    """Correlated in space, and between channels by `shared` squared."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((SIDE, SIDE, 1), dtype=np.float32)
    single = rng.standard_normal((SIDE, SIDE, 3), dtype=np.float32)
    noise = cv2.GaussianBlur(shared * common + np.sqrt(1 - shared**2) * single, (0, 0), 0.8)
    return np.asarray(strength * noise / noise.std(), dtype=np.float32)


def _holes(radius_px: int = 13) -> Mask:
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    for row in range(48, SIDE - 40, 72):
        for column in range(48, SIDE - 40, 72):
            cv2.circle(mask, (column, row), radius_px, 1, -1)
    return mask > 0


def _repaired(film: FloatImage, hole: Mask, seed: int = 1) -> FloatImage:
    glass = film.copy()
    glass[hole] = _scene()[hole]
    return put_grain_back(film, glass, hole, hole, np.random.default_rng(seed))


@pytest.mark.parametrize("radius_px", [6, 13, 24])
def test_grain_in_a_repair_is_as_strong_as_around_it(radius_px: int) -> None:
    hole = _holes(radius_px)

    ratio = grain_ratio(_repaired(_scene() + _grain(1), hole), hole)

    assert ((ratio > 0.8) & (ratio < 1.2)).all()


def test_grain_in_a_repair_has_the_films_spectrum() -> None:
    hole = _holes()

    distance = log_spectral_distance(_repaired(_scene() + _grain(1), hole), hole)

    assert (distance < 2).all()


@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_grain_in_a_repair_is_as_correlated_between_channels_as_the_film(shared: float) -> None:
    hole = _holes()

    added = (_repaired(_scene() + _grain(1, shared), hole) - _scene())[hole]

    assert np.corrcoef(added[:, 0], added[:, 2])[0, 1] == pytest.approx(shared, abs=0.15)


def test_bright_film_with_more_grain_gives_no_grain_to_dark_film() -> None:
    dark = np.arange(SIDE)[None, :, None] < SIDE // 2
    scene = np.where(dark, np.float32(0.2), np.float32(0.7)) * np.ones((SIDE, SIDE, 3), dtype=np.float32)
    film = scene + _grain(1) * np.where(dark, np.float32(0.2), np.float32(1))
    hole = _holes()
    glass = np.where(hole[..., None], scene, film)

    added = put_grain_back(film, glass, hole, hole, np.random.default_rng(1)) - scene
    far = hole & (np.abs(np.arange(SIDE) - SIDE // 2) > 30)[None, :]

    assert added[far & dark[..., 0]].std() == pytest.approx(0.004, rel=0.25)
    assert added[far & ~dark[..., 0]].std() == pytest.approx(0.02, rel=0.25)


def test_an_edge_of_the_picture_is_not_copied_into_a_smooth_place() -> None:
    scene = np.full((SIDE, SIDE, 3), 0.4, dtype=np.float32)
    scene[:, 200:202] = 0.9
    scene[100:102] = 0.9
    film = cv2.GaussianBlur(scene, (0, 0), 1) + _grain(1, strength=0.01)
    hole = np.zeros((SIDE, SIDE), dtype=np.bool_)
    hole[140:165, 225:250] = True
    glass = film.copy()
    glass[hole] = 0.4

    for seed in range(8):
        repaired = put_grain_back(film, glass, hole, hole, np.random.default_rng(seed))

        assert np.abs(repaired[hole] - 0.4).max() < 0.06


def test_film_without_grain_gets_none() -> None:
    scene, hole = _scene(), _holes()

    repaired = put_grain_back(scene, scene, hole, hole, np.random.default_rng(1))

    np.testing.assert_allclose(repaired, scene, atol=1e-4)


def test_only_the_owned_pixels_change() -> None:
    film, hole = _scene() + _grain(1), _holes()
    own = hole.copy()
    own[: SIDE // 2] = False
    glass = film.copy()
    glass[hole] = _scene()[hole]

    repaired = put_grain_back(film, glass, hole, own, np.random.default_rng(1))

    np.testing.assert_array_equal(repaired[~own], glass[~own])
    assert (repaired[own] != glass[own]).any()


def test_the_same_seed_gives_the_same_grain_and_another_one_other_grain() -> None:
    film, hole = _scene() + _grain(1), _holes()

    first, again, other = _repaired(film, hole, 5), _repaired(film, hole, 5), _repaired(film, hole, 6)

    np.testing.assert_array_equal(first, again)
    assert (first[hole] != other[hole]).any()


def test_a_crop_with_no_clean_patch_keeps_its_fill() -> None:
    film = (_scene() + _grain(1))[:64, :64]
    hole = np.ones((64, 64), dtype=np.bool_)
    hole[::8, ::8] = False

    repaired = put_grain_back(film, film, hole, hole, np.random.default_rng(1))

    np.testing.assert_array_equal(repaired, film)


def test_a_grey_crop_gets_grain_too() -> None:
    film, hole = (_scene() + _grain(1))[..., :1], _holes()
    glass = film.copy()
    glass[hole] = _scene()[..., :1][hole]

    ratio = grain_ratio(put_grain_back(film, glass, hole, hole, np.random.default_rng(1)), hole)

    assert ratio.shape == (1,) and 0.8 < ratio[0] < 1.2
