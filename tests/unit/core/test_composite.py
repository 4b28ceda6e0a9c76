"""A fill goes into the photo under the mask and nowhere else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotless_core.arrays.composite import composite
from spotless_core.errors import ArrayContractError


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**16), feather_px=st.integers(0, 5), channels=st.sampled_from([1, 3]))
def test_pixels_outside_the_mask_come_back_bit_identical(seed: int, feather_px: int, channels: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.random((24, 31, channels), dtype=np.float32)
    fill = rng.random((24, 31, channels), dtype=np.float32)
    mask = rng.random((24, 31)) < 0.4

    result = composite(image, fill, mask, feather_px)

    np.testing.assert_array_equal(result[~mask], image[~mask])


def test_a_hard_edge_takes_the_fill_unchanged() -> None:
    rng = np.random.default_rng(1)
    image, fill = rng.random((2, 20, 20, 3), dtype=np.float32)
    mask = np.zeros((20, 20), dtype=np.bool_)
    mask[5:12, 6:15] = True

    result = composite(image, fill, mask, 0)

    np.testing.assert_array_equal(result[mask], fill[mask])


def test_a_feather_ramps_inside_the_mask_only() -> None:
    image, fill = np.zeros((21, 21, 1), dtype=np.float32), np.ones((21, 21, 1), dtype=np.float32)
    mask = np.zeros((21, 21), dtype=np.bool_)
    mask[:, 5:16] = True

    row = composite(image, fill, mask, 3)[10, :, 0]

    np.testing.assert_allclose(row[4:10], [0, 0.25, 0.5, 0.75, 1, 1], atol=1e-6)


def test_the_inputs_are_not_written_to() -> None:
    image, fill = np.zeros((9, 9, 3), dtype=np.float32), np.ones((9, 9, 3), dtype=np.float32)
    image.setflags(write=False)
    fill.setflags(write=False)

    result = composite(image, fill, np.ones((9, 9), dtype=np.bool_), 2)

    assert result is not image and not image.any()


@pytest.mark.parametrize("feather_px", [-1, -5])
def test_a_negative_feather_is_refused(feather_px: int) -> None:
    image = np.zeros((9, 9, 3), dtype=np.float32)

    with pytest.raises(ArrayContractError, match="feather_px"):
        composite(image, image, np.ones((9, 9), dtype=np.bool_), feather_px)


def test_a_fill_of_another_shape_is_refused() -> None:
    image = np.zeros((9, 9, 3), dtype=np.float32)

    with pytest.raises(ArrayContractError, match="equal float32"):
        composite(image, image[:8], np.ones((9, 9), dtype=np.bool_), 0)
