"""Pieces found band by band are the pieces of the whole, in the same order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotless_core.arrays import windows
from spotless_core.arrays.kinds import Mask
from spotless_core.arrays.masks import find_pieces, measure_shape, seed_and_grow
from spotless_core.arrays.pieces import Pieces, trace_mask, trace_seeds

SIZES = st.integers(1, 70)


@pytest.fixture(autouse=True)
def _low_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "LEAST_BAND_ROWS", 4)
    monkeypatch.setattr(windows, "BAND_PX", 1)


def random_mask(height: int, width: int, density: float, seed: int) -> Mask:
    return np.random.default_rng(seed).random((height, width)) < density


def require_same(pieces: Pieces, mask: Mask) -> None:
    """Compare with OpenCV's labels of the whole mask."""
    whole = find_pieces(mask)
    assert pieces.boxes == whole.boxes
    assert pieces.areas.tolist() == whole.areas.tolist()
    for index, box in enumerate(whole.boxes):
        piece = whole.labels[box[0] : box[2], box[1] : box[3]] == index + 1
        assert (pieces.cut([index], box) == piece).all()
        assert pieces.shape_of(index) == measure_shape(piece)


@settings(deadline=None, max_examples=200)
@given(SIZES, SIZES, st.sampled_from([0.02, 0.2, 0.35, 0.5, 0.7, 0.97]), st.integers(0, 2**16))
def test_a_mask_of_any_kind_has_the_pieces_that_opencv_finds_in_the_whole(
    height: int, width: int, density: float, seed: int
) -> None:
    mask = random_mask(height, width, density, seed)

    require_same(trace_mask(mask), mask)


@settings(deadline=None, max_examples=200)
@given(SIZES, SIZES, st.sampled_from([0.3, 0.6, 0.8]), st.sampled_from([0.5, 0.95, 1.1]), st.integers(0, 2**16))
def test_only_pieces_with_a_seed_are_kept_and_their_peaks_are_the_first_highest(
    height: int, width: int, grow: float, seed_level: float, seed: int
) -> None:
    values = np.random.default_rng(seed).integers(0, 12, (height, width)).astype(np.float32) / 11

    pieces = trace_seeds(values, seed_level, grow)

    require_same(pieces, seed_and_grow(values, seed_level, grow))
    for index, (box, peak) in enumerate(zip(pieces.boxes, pieces.peaks, strict=True)):
        part = np.where(pieces.cut([index], box), values[box[0] : box[2], box[1] : box[3]], -1)
        row, column = np.unravel_index(part.argmax(), part.shape)
        assert peak == (float(part.max()), box[0] + row, box[1] + column)


@settings(deadline=None)
@given(SIZES, SIZES, st.integers(0, 2**16), st.tuples(SIZES, SIZES, SIZES, SIZES))
def test_what_a_piece_has_in_a_place_is_cut_and_boxed(
    height: int, width: int, seed: int, place: tuple[int, int, int, int]
) -> None:
    mask = random_mask(height, width, 0.5, seed)
    pieces, whole = trace_mask(mask), find_pieces(mask)
    top, left = min(place[0], place[2]) - 1, min(place[1], place[3]) - 1
    box = (top, left, max(place[0], place[2]), max(place[1], place[3]))

    for index in range(len(pieces)):
        inside = whole.labels[top : box[2], left : box[3]] == index + 1
        assert (pieces.cut([index], box)[: inside.shape[0], : inside.shape[1]] == inside).all()
        rows, columns = np.nonzero(inside)
        if rows.size:
            expected = (top + rows.min(), left + columns.min(), top + rows.max() + 1, left + columns.max() + 1)
            assert pieces.box_within(index, box) == expected
        else:
            assert pieces.box_within(index, box) is None


def test_painting_all_pieces_gives_the_mask_back() -> None:
    mask = random_mask(60, 50, 0.4, 7)
    pieces, painted = trace_mask(mask), np.zeros_like(mask)

    pieces.paint_inplace(painted, range(len(pieces)))

    assert (painted == mask).all()
    assert pieces.areas.sum() == mask.sum()


def test_a_frame_is_covered_by_bands_of_an_even_number_of_rows() -> None:
    cover = list(windows.bands(11, 999))

    assert cover == [(0, 4), (4, 8), (8, 11)]
