"""Grain put back has the film's strength, spectrum and colour, and none is added to grainless film."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotless_core.arrays.grain import put_grain_back
from spotless_core.arrays.grain_measure import FilmGrain, measure_crop_grain, measure_frame_grain
from spotless_core.arrays.kinds import FloatImage, Mask
from spotless_core.arrays.metrics import grain_ratio, log_spectral_distance

SIDE = 384
NO_GRAIN = np.zeros((SIDE, SIDE, 1), np.float32)


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


def _texture(strength: float = 0.06) -> FloatImage:
    """Detail of the picture, coarser than grain and stronger, in all channels alike."""
    rough = cv2.GaussianBlur(np.random.default_rng(9).standard_normal((SIDE, SIDE), dtype=np.float32), (0, 0), 2.0)
    return np.repeat((strength * rough / rough.std())[..., None], 3, axis=2).astype(np.float32)


def _measured(film: FloatImage, hole: Mask) -> FilmGrain:
    samples = np.rint(np.clip(film, 0, 1) * 65535).astype(np.uint16)
    measured = measure_frame_grain(samples, 65535, hole, np.random.default_rng(3))
    assert measured is not None
    return measured


def _deviation(film: FilmGrain, level: float) -> float:
    return float(film.sigma_at(np.full((1, 1, film.sigma.shape[1]), level, dtype=np.float32)).mean())


def test_a_frame_half_full_of_texture_shows_its_grain_all_the_same() -> None:
    scene = _scene()
    scene[:, : SIDE // 2] += _texture()[:, : SIDE // 2]

    film = _measured(scene + _grain(1), _holes())

    assert _deviation(film, 0.45) == pytest.approx(0.02, rel=0.15)


def test_strength_is_measured_for_each_brightness() -> None:
    level = np.linspace(0.1, 0.9, SIDE, dtype=np.float32)[None, :, None] * np.ones((SIDE, 1, 3), dtype=np.float32)
    strength = 0.3 + 0.7 * np.sin(np.pi * level)

    film = _measured(level + strength * _grain(1), _holes())

    for brightness in (0.2, 0.5, 0.8):
        wanted = 0.02 * (0.3 + 0.7 * np.sin(np.pi * brightness))
        assert _deviation(film, brightness) == pytest.approx(wanted, rel=0.2)


def test_what_is_masked_is_not_measured() -> None:
    hole = _holes(24)
    dusty = _scene() + _grain(1)
    dusty[hole] = np.random.default_rng(4).random((SIDE, SIDE, 3), dtype=np.float32)[hole]

    film = _measured(dusty, hole)

    assert _deviation(film, 0.45) == pytest.approx(0.02, rel=0.15)


def test_clipped_film_does_not_make_the_rest_look_grainless() -> None:
    scene = np.full((SIDE, SIDE, 3), 0.8, dtype=np.float32)
    scene[: SIDE // 2] = 1.2

    film = _measured(scene + _grain(1), _holes())

    assert _deviation(film, 0.8) == pytest.approx(0.02, rel=0.15)


def test_rounding_to_eight_bits_is_no_grain() -> None:
    samples = np.rint(_scene() * 255).astype(np.uint8)

    film = measure_frame_grain(samples, 255, _holes(), np.random.default_rng(3))

    assert film is not None and film.sigma.max() < 0.2 / 255


def test_a_mask_without_clean_film_has_no_grain_to_measure() -> None:
    nothing_clean = np.ones((SIDE, SIDE), dtype=np.bool_)

    assert measure_crop_grain(_scene(), nothing_clean, np.random.default_rng(1)) is None
    assert (
        measure_frame_grain(np.zeros((9, 7, 3), np.uint8), 255, nothing_clean[:9, :7], np.random.default_rng(1)) is None
    )


@pytest.mark.parametrize("with_film", [True, False])
def test_grain_goes_on_along_the_rim_without_a_seam(*, with_film: bool) -> None:
    film, hole = _scene() + _grain(1), _holes()
    glass = np.where(hole[..., None], _scene(), film)

    repaired = put_grain_back(
        film,
        glass,
        hole,
        hole,
        np.random.default_rng(1),
        film=_measured(film, hole) if with_film else None,
        own_grain=NO_GRAIN,
    )

    rim = hole[:, 1:] != hole[:, :-1]
    step, usual = (np.diff(plane - _scene(), axis=1)[rim].std() for plane in (repaired, film))
    assert step < 1.25 * usual


@pytest.mark.parametrize("share", [0.5, 0.8, 1.0])
def test_grain_that_the_fill_brought_back_is_not_put_there_twice(share: float) -> None:
    grain, hole = _grain(1), _holes()
    film = _scene() + grain
    recovered = np.where(hole[..., None], _scene() + np.float32(share) * grain, film)

    repaired, ignorant = (
        put_grain_back(film, recovered, hole, hole, np.random.default_rng(1), film=_measured(film, hole), own_grain=own)
        for own in (np.full_like(film, share), NO_GRAIN)
    )

    ratio = grain_ratio(repaired, hole)
    assert ((ratio > 0.8) & (ratio < 1.15)).all()
    assert np.abs(repaired - film)[hole].mean() < 0.9 * np.abs(ignorant - film)[hole].mean()
    if share == 1.0:
        np.testing.assert_allclose(repaired, film, atol=1e-4)


def test_detail_of_a_smooth_fill_stays_to_the_sample_where_the_film_has_no_grain() -> None:
    scene, hole = _scene() + _texture(0.01), _holes()

    repaired = put_grain_back(
        scene, scene, hole, hole, np.random.default_rng(1), film=_measured(_scene(), hole), own_grain=NO_GRAIN
    )

    np.testing.assert_allclose(repaired, scene, atol=2e-4)


def test_a_faint_line_in_a_smooth_fill_is_kept_under_the_grain_and_a_classical_fills_streak_is_not() -> None:
    film, hole = _scene() + _grain(1), np.zeros((SIDE, SIDE), dtype=np.bool_)
    hole[150:230, 60:320] = True
    line = np.zeros((SIDE, SIDE, 3), dtype=np.float32)
    line[188:192, 80:300] = 0.02
    glass = np.where(hole[..., None], _scene() + line, film)

    kept, smoothed = (
        (
            put_grain_back(film, glass, hole, hole, np.random.default_rng(1), own_grain=NO_GRAIN if smooth else None)
            - _scene()
        )[188:192, 90:290].mean()
        for smooth in (True, False)
    )

    assert kept == pytest.approx(0.02, abs=0.003)
    assert smoothed < 0.014


def test_a_busy_surrounding_is_not_taken_for_grain() -> None:
    busy, hole = _scene() + _texture(), _holes()
    busy[:, -80:] = _scene()[:, -80:]
    film = busy + _grain(1, strength=0.01)
    glass = np.where(hole[..., None], busy, film)

    repaired = put_grain_back(
        film, glass, hole, hole, np.random.default_rng(1), film=_measured(film, hole), own_grain=NO_GRAIN
    )

    added = (repaired - busy)[hole]
    assert 0.005 < added.std() < 0.013


def test_a_repair_that_is_as_busy_as_its_rim_gets_little_on_top() -> None:
    film, hole = _scene() + _grain(1), _holes()

    repaired = put_grain_back(
        film, film, hole, hole, np.random.default_rng(1), film=_measured(film, hole), own_grain=NO_GRAIN
    )

    assert (repaired - film)[hole].std() < 0.7 * 0.02


@pytest.mark.parametrize("smooth", [True, False])
def test_film_that_shows_less_grain_here_than_the_frame_gets_less(*, smooth: bool) -> None:
    film, hole = _scene() + _grain(1), _holes()
    glass = np.where(hole[..., None], _scene(), film)
    frame = _measured(film, hole)
    stronger = replace(frame, sigma=3 * frame.sigma)

    repaired = put_grain_back(
        film, glass, hole, hole, np.random.default_rng(1), film=stronger, own_grain=NO_GRAIN if smooth else None
    )

    assert ((grain_ratio(repaired, hole) > 0.8) & (grain_ratio(repaired, hole) < 1.2)).all()


def test_clipped_white_stays_white() -> None:
    scene = _scene()
    scene[: SIDE // 2] = 1.3
    film, hole = np.clip(scene + _grain(1), 0, 1), _holes()
    glass = np.where(hole[..., None], np.clip(scene, 0, 1), film)

    repaired = put_grain_back(
        film, glass, hole, hole, np.random.default_rng(1), film=_measured(film, hole), own_grain=NO_GRAIN
    )

    white = hole.copy()
    white[SIDE // 2 :] = False
    assert repaired[white].min() > 1 - 1e-4


def test_a_grey_scan_stored_as_rgb_stays_grey() -> None:
    film, hole = np.repeat((_scene() + _grain(1))[..., :1], 3, axis=2), _holes()
    glass = np.where(hole[..., None], np.repeat(_scene()[..., :1], 3, axis=2), film)

    repaired = put_grain_back(
        film, glass, hole, hole, np.random.default_rng(1), film=_measured(film, hole), own_grain=NO_GRAIN
    )

    assert (repaired - glass)[hole].std() > 0.01
    np.testing.assert_allclose(repaired[..., 0], repaired[..., 2], atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    channels=st.sampled_from([1, 3]),
    amount=st.sampled_from([0.0, 1e-7, 0.02, 1.0]),
    smooth=st.booleans(),
)
def test_any_crop_comes_back_finite_in_range_and_unchanged_outside(
    seed: int, height: int, width: int, channels: int, amount: float, *, smooth: bool
) -> None:
    rng = np.random.default_rng(seed)
    film = np.clip(0.5 + amount * rng.standard_normal((height, width, channels)), 0, 1).astype(np.float32)
    hole = cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), 3) > 0.15
    own = hole & (rng.random((height, width)) < 0.7)

    repaired = put_grain_back(film, film, hole, own, rng, own_grain=NO_GRAIN if smooth else None)

    assert repaired.dtype == np.float32 and np.isfinite(repaired).all()
    assert repaired.min() >= 0 and repaired.max() <= 1
    np.testing.assert_array_equal(repaired[~own], film[~own])
