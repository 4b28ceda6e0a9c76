import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotless_core.detection import extent
from spotless_core.detection.extent import REACH_UM, extend_core_inplace
from spotless_core.detection.mask import Thresholds, make_mask
from spotless_core.options import MaskOptions

UM = 6.35  # 4000 dpi
FILM, DUST = 0.4, 0.9
SHAPE = (240, 320)


def film(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(FILM, 0.01, SHAPE).astype(np.float32)


def disc(row: int, column: int, radius: int) -> np.ndarray:
    plane = np.zeros(SHAPE, np.uint8)
    cv2.circle(plane, (column, row), radius, 1, -1)
    return plane > 0


def hair(start: tuple[int, int], end: tuple[int, int]) -> np.ndarray:
    plane = np.zeros(SHAPE, np.uint8)
    cv2.line(plane, start[::-1], end[::-1], 1, 5)
    return plane > 0


def extended(core: np.ndarray, grey: np.ndarray, probability: np.ndarray | None = None) -> np.ndarray:
    result = core.copy()
    extend_core_inplace(
        result, np.where(core, 0.9, 0.0).astype(np.float32) if probability is None else probability, grey, UM
    )
    return result


def test_a_hole_in_a_blot_that_has_the_blots_tone_is_filled() -> None:
    grey, blot = film(), disc(100, 100, 20)
    grey[blot] = DUST

    assert (extended(blot & ~disc(100, 100, 9), grey) == blot).all()


@pytest.mark.parametrize("tone", [FILM, FILM - 0.3, FILM + 0.15])
def test_film_inside_a_loop_of_hair_is_kept(tone: float) -> None:
    grey, inside = film(), disc(100, 100, 15)
    loop = disc(100, 100, 20) & ~inside
    grey[inside] = tone
    grey[loop] = DUST

    assert (extended(loop, grey) == loop).all()


def test_film_inside_a_dark_letter_that_was_taken_for_dust_is_kept() -> None:
    grey, inside = film(), disc(100, 100, 12)
    letter = disc(100, 100, 16) & ~inside
    grey[letter] = 0.05

    assert (extended(letter, grey) == letter).all()


def test_a_hair_over_dark_and_bright_picture_does_not_take_the_bright_inside_of_its_loop() -> None:
    grey = film()
    grey[:, 160:] += 0.35
    inside = disc(100, 220, 15)
    piece = (disc(100, 220, 20) & ~inside) | hair((100, 40), (100, 200))
    grey[piece] = 0.98

    assert not (extended(piece, grey) & disc(100, 220, 14)).any()


def test_the_rest_of_a_hair_is_followed_where_the_network_was_unsure_of_it() -> None:
    grey, whole = film(), hair((100, 60), (100, 120))
    grey[whole] = DUST
    core = whole & (np.arange(SHAPE[1]) < 100)
    probability = np.where(core, 0.9, np.where(whole, 0.12, 0.0)).astype(np.float32)

    assert (extended(core, grey, probability) == whole).all()


def test_what_the_network_rules_out_is_not_followed_however_alike() -> None:
    grey, whole = film(), hair((100, 60), (100, 120))
    grey[whole] = DUST
    core = whole & (np.arange(SHAPE[1]) < 100)

    assert (extended(core, grey) == core).all()


def test_what_the_network_is_unsure_of_is_not_taken_when_unlike() -> None:
    grey, blot = film(), disc(100, 100, 10)
    grey[blot] = DUST
    grey[disc(100, 124, 10)] = FILM - 0.3
    probability = np.where(blot, 0.9, 0.2).astype(np.float32)
    probability[:, 140:] = probability[:, :60] = probability[:60] = probability[140:] = 0

    assert (extended(blot, grey, probability) & ~disc(100, 100, 11)).sum() == 0


def test_a_piece_is_followed_no_further_than_its_reach() -> None:
    grey, whole = film(), hair((100, 40), (100, 300))
    grey[whole] = DUST
    core = whole & (np.arange(SHAPE[1]) < 100)
    probability = np.where(whole, 0.2, 0.0).astype(np.float32)

    columns = np.flatnonzero(extended(core, grey, probability).any(axis=0))

    assert columns.max() == 99 + np.ceil(REACH_UM / UM)


def test_a_piece_in_the_tone_of_the_film_stays_as_it_is() -> None:
    grey, blot = film(), disc(100, 100, 20)
    ring = blot & ~disc(100, 100, 9)

    assert (extended(ring, grey, np.where(blot, 0.2, 0.0).astype(np.float32)) == ring).all()


def test_a_long_piece_looked_at_in_parts_is_followed_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    grey, whole = film(), hair((20, 20), (200, 300))
    grey[whole] = DUST
    core = whole & (np.random.default_rng(3).random(SHAPE) < 0.8)
    probability = np.where(whole, 0.2, 0.0).astype(np.float32)
    together = extended(core, grey, probability)
    monkeypatch.setattr(extent, "PART_PX", 50)

    in_parts = extended(core, grey, probability)

    assert (in_parts & whole == together & whole).mean() > 0.999
    assert (in_parts & whole).sum() > 0.98 * whole.sum()


def test_a_blot_that_would_grow_over_the_size_cap_keeps_its_extent() -> None:
    grey, blot = film(), disc(100, 100, 30)
    grey[blot] = DUST
    probability = np.where(disc(100, 100, 12), 0.95, np.where(blot, 0.15, 0.0)).astype(np.float32)
    thresholds = Thresholds(0.4, 0.25)

    small = make_mask(probability, thresholds, MaskOptions(max_speck_um=300), UM, grey)
    large = make_mask(probability, thresholds, MaskOptions(max_speck_um=700), UM, grey)

    assert (small.core == disc(100, 100, 12)).all()
    assert (large.core == blot).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**16), share=st.floats(0.02, 0.6))
def test_nothing_is_taken_away_and_nothing_added_beyond_reach(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    grey = cv2.GaussianBlur(rng.random((90, 110)).astype(np.float32), (0, 0), 2)
    probability = cv2.GaussianBlur(rng.random((90, 110)).astype(np.float32), (0, 0), 1.5)
    core = probability > np.quantile(probability, 1 - share / 10)
    result = core.copy()

    extend_core_inplace(result, probability, grey, 50.0)

    reach = int(np.ceil(REACH_UM / 50.0))
    near = cv2.dilate(core.view(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8)) > 0
    assert (result & core == core).all()
    assert not (result & ~near & (probability < extent.LEAST_PROBABILITY)).any()
    assert (cv2.connectedComponents(result.view(np.uint8))[0]) <= cv2.connectedComponents(core.view(np.uint8))[0]
