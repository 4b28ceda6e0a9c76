"""Edits by rows: however rows are asked for, the edits are applied in their order, only under their masks."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from spotless_core.image_io.edited_rows import EditedRows
from spotless_core.photo import Edit, ScanInfo

HEIGHT, WIDTH = 200, 20
INFO = ScanInfo("tiff", WIDTH, HEIGHT, 1, 1, 8, "none", "exact")


@settings(max_examples=60, deadline=None)
@given(
    places=st.lists(
        st.tuples(st.integers(0, 120), st.integers(0, 10), st.integers(1, 80), st.integers(1, 10)), max_size=6
    ),
    seed=st.integers(0, 2**32 - 1),
    step=st.integers(1, HEIGHT),
)
def test_later_edits_win_however_many_rows_are_asked_for(
    places: list[tuple[int, int, int, int]], seed: int, step: int
) -> None:
    random = np.random.default_rng(seed)
    frame = random.integers(0, 256, (HEIGHT, WIDTH, 1)).astype(np.uint8)
    expected, edits = frame.copy(), []
    for top, left, height, width in places:
        edit = Edit(
            top,
            left,
            random.integers(0, 256, (height, width, 1)).astype(np.uint8),
            random.random((height, width)) < 0.5,
        )
        edits.append(edit)
        expected[top : top + height, left : left + width][edit.mask] = edit.samples[edit.mask]
    edited = EditedRows(edits, INFO)

    for top in range(0, HEIGHT, step):
        rows = frame[top : top + step].copy()
        touched = edited.touch(top, top + len(rows))
        changed = edited.apply_inplace(rows, top)

        assert np.array_equal(rows, expected[top : top + step])
        assert touched or not changed.any()
        assert not ((rows != frame[top : top + step])[..., 0] & ~changed).any()
