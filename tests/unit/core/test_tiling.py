import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotless_core.errors import ArrayContractError
from spotless_core.tiling.blend import TileBlender, window
from spotless_core.tiling.grid import tile_boxes, tile_starts


@given(st.integers(1, 3000), st.integers(32, 1024), st.integers(8, 1024))
def test_tiles_cover_every_pixel_and_stay_inside(length: int, tile: int, stride: int) -> None:
    starts = tile_starts(length, tile, min(stride, tile))

    covered = np.zeros(length, int)
    for start in starts:
        assert start >= 0
        assert start + min(tile, length) <= length
        covered[start : start + tile] += 1
    assert covered.min() >= 1
    assert starts == sorted(set(starts))


@given(st.integers(20, 150), st.integers(20, 150), st.integers(16, 64), st.integers(8, 16))
def test_blending_tiles_of_a_picture_gives_the_picture_back(height: int, width: int, tile: int, stride: int) -> None:
    picture = np.random.default_rng(height).random((height, width), np.float32)
    blender = TileBlender(height, width, min(tile, height), min(tile, width), stride)
    bands, taken = [], 0

    for box in tile_boxes(height, width, min(tile, height), min(tile, width), stride):
        if box[0] > taken:
            bands.append(blender.take(box[0]))
            taken = box[0]
        blender.add(box, picture[box[0] : box[2], box[1] : box[3]])
    bands.append(blender.take(height))

    assert np.abs(np.concatenate(bands) - picture).max() < 1e-5


def test_a_tile_on_rows_that_were_given_out_is_our_own_mistake() -> None:
    blender = TileBlender(40, 20, 20, 20, 10)
    tile = np.ones((20, 20), np.float32)
    blender.add((0, 0, 20, 20), tile)
    blender.take(10)

    with pytest.raises(ArrayContractError, match="rows 0 to 20"):
        blender.add((0, 0, 20, 20), tile)


def test_window_weights_are_smooth_symmetric_and_never_zero() -> None:
    weights = window(64)

    assert weights.min() > 0
    assert np.allclose(weights, weights[::-1])
    assert np.abs(np.diff(weights)).max() < 0.06
    assert weights.argmax() in {31, 32}


@pytest.mark.parametrize("length", [1, 31, 64])
def test_a_frame_smaller_than_a_tile_needs_one_tile(length: int) -> None:
    assert tile_starts(length, 64, 32) == [0]
