"""Edits by rows: however rows are asked for, the edits are applied in their order, only under their masks."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from spotless_core.image_io.edited_rows import EditedRows
from spotless_core.image_io.kept_samples import EditedWindows
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


@settings(max_examples=60, deadline=None)
@given(
    window=st.tuples(st.integers(0, HEIGHT), st.integers(0, HEIGHT), st.integers(0, WIDTH), st.integers(0, WIDTH)),
    steps=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_window_shows_the_edits_and_the_frame_stays_as_it_was(
    window: tuple[int, int, int, int], steps: tuple[int, int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    frame = random.integers(0, 256, (HEIGHT, WIDTH, 1)).astype(np.uint8)
    before = frame.copy()
    edit = Edit(70, 4, random.integers(0, 256, (60, 9, 1)).astype(np.uint8), random.random((60, 9)) < 0.5)
    expected = frame.copy()
    EditedRows([edit], INFO).apply_inplace(expected, 0)
    place = (slice(window[0], window[1], steps[0]), slice(window[2], window[3], steps[1]))

    seen = EditedWindows(frame, [edit], INFO)[place]

    assert np.array_equal(seen, expected[place])
    assert np.array_equal(frame, before)
