"""The membrane over a hole is smooth and has no overshoot."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotless_core.arrays.membrane import stretch_membrane
from spotless_core.errors import ArrayContractError


def test_a_slope_is_carried_on_over_the_hole() -> None:
    rows, columns = np.mgrid[0:90, 0:110].astype(np.float32)
    slope = (0.2 + 0.004 * rows + 0.002 * columns)[..., None]
    hole = np.hypot(rows - 45, columns - 50) < 25
    dirty = slope.copy()
    dirty[hole] = 1

    filled = stretch_membrane(dirty, hole)

    np.testing.assert_allclose(filled, slope, atol=0.008)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**16), height=st.integers(1, 40), width=st.integers(2, 40), channels=st.sampled_from([1, 3])
)
def test_values_stay_between_the_clean_ones(seed: int, height: int, width: int, channels: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.random((height, width, channels), dtype=np.float32) * 0.5
    hole = rng.random((height, width)) < 0.5
    hole[0, 0], hole[0, 1] = False, True
    image[hole] = 1

    filled = stretch_membrane(image, hole)

    assert filled[hole].max() <= image[~hole].max() + 1e-6
    assert filled[hole].min() >= image[~hole].min() - 1e-6
    np.testing.assert_array_equal(filled[~hole], image[~hole])


def test_a_hole_over_everything_is_refused() -> None:
    with pytest.raises(ArrayContractError, match="no clean pixel"):
        stretch_membrane(np.zeros((9, 9, 1), dtype=np.float32), np.ones((9, 9), dtype=np.bool_))
