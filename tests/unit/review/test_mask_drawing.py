"""Edits drawn into a mask: exact, and nothing else changes."""

import math
from pathlib import Path

import numpy as np
import pytest
from drawing_review import draw_frame
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from spotless_core.arrays.kinds import Mask
from spotless_core.arrays.pieces import trace_mask
from spotless_core.image_io.mask_file import read_mask
from spotlessd.review.edits import BoxEdit, Choice, Edits, Mode, Stroke
from spotlessd.review.frame_files import FrameFiles
from spotlessd.review.mask_drawing import apply_edits_inplace, draw_mask
from spotlessd.review.picture_source import PictureError

SIDE = 40
masks = arrays.arrays(np.bool_, (SIDE, SIDE), elements=st.booleans(), fill=st.just(False))
places = st.floats(-6, SIDE + 6, allow_nan=False)
strokes = st.builds(
    Stroke,
    st.just(Mode.ADD),
    st.floats(0.5, 9),
    st.lists(st.tuples(places, places), min_size=1, max_size=4).map(tuple),
)


def edited(mask: Mask, edits: Edits, boxes: list[tuple[int, int, int, int]] | None = None) -> Mask:
    copy = mask.copy()
    apply_edits_inplace(copy, edits, boxes or [])
    return copy


def distance(x: float, y: float, one: tuple[float, float], other: tuple[float, float]) -> float:
    dx, dy = other[0] - one[0], other[1] - one[1]
    length = dx * dx + dy * dy
    along = 0.0 if length == 0 else min(max(((x - one[0]) * dx + (y - one[1]) * dy) / length, 0.0), 1.0)
    return math.hypot(x - one[0] - along * dx, y - one[1] - along * dy)


@given(masks, st.data())
@settings(max_examples=60, deadline=None)
def test_taking_back_removes_exactly_its_pieces(mask: Mask, data: st.DataObject) -> None:
    pieces = trace_mask(mask)
    indexes = data.draw(st.sets(st.integers(0, len(pieces) - 1), max_size=5)) if len(pieces) else set()

    left = edited(mask, Edits(Choice.EDITED, tuple(indexes)), pieces.boxes)

    taken = np.zeros_like(mask)
    pieces.paint_inplace(taken, indexes)
    assert np.array_equal(left, mask & ~taken)


@given(strokes)
@settings(max_examples=80, deadline=None)
def test_a_stroke_marks_every_pixel_whose_centre_it_reaches_and_no_other(stroke: Stroke) -> None:
    drawn = edited(np.zeros((SIDE, SIDE), np.bool_), Edits(Choice.EDITED, strokes=(stroke,)))

    under = {(math.floor(y), math.floor(x)) for x, y in stroke.points}
    ends = stroke.points[1:] or stroke.points
    for row in range(SIDE):
        for column in range(SIDE):
            far = min(distance(column + 0.5, row + 0.5, *pair) for pair in zip(stroke.points, ends, strict=False))
            if (row, column) in under:
                assert drawn[row, column]
            elif abs(far - stroke.radius) > 1e-6:
                assert drawn[row, column] == (far < stroke.radius)


@given(masks, strokes)
@settings(max_examples=60, deadline=None)
def test_what_is_added_and_removed_again_leaves_no_trace_outside_the_stroke(mask: Mask, stroke: Stroke) -> None:
    back = Stroke(Mode.REMOVE, stroke.radius, stroke.points)
    reach = edited(np.zeros_like(mask), Edits(Choice.EDITED, strokes=(stroke,)))

    both = edited(mask, Edits(Choice.EDITED, strokes=(stroke, back)))

    assert np.array_equal(both, mask & ~reach)


def test_boxes_come_after_strokes_and_strokes_after_what_is_taken_back() -> None:
    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[10:14, 10:14] = True
    edits = Edits(
        Choice.EDITED,
        (0,),
        (Stroke(Mode.ADD, 1.0, ((12.0, 12.0),)),),
        (BoxEdit(Mode.REMOVE, (12, 0, SIDE, SIDE)), BoxEdit(Mode.ADD, (30, 30, 31, 33))),
    )

    drawn = edited(mask, edits, [(10, 10, 14, 14)])

    assert np.argwhere(drawn).tolist() == [[11, 11], [11, 12], [30, 30], [30, 31], [30, 32]]


def test_a_piece_that_is_not_there_is_refused() -> None:
    with pytest.raises(PictureError, match="not in the mask any more"):
        edited(np.zeros((SIDE, SIDE), np.bool_), Edits(Choice.EDITED, (0,)), [(1, 1, 5, 5)])


def test_an_edited_mask_is_kept_under_its_content(tmp_path: Path) -> None:
    files, _, _, mask = draw_frame(tmp_path)
    edits = Edits(Choice.EDITED, boxes=(BoxEdit(Mode.ADD, (0, 0, 9, 7)),))

    paths = [draw_mask(files, edits, [], tmp_path / "state") for _ in range(2)]

    assert paths[0] == paths[1]
    assert [path.name for path in (tmp_path / "state" / "given_masks").iterdir()] == [paths[0].name]
    expected = mask.copy()
    expected[:9, :7] = True
    assert np.array_equal(read_mask(paths[0], mask.shape), expected)


@pytest.mark.parametrize("choice", [Choice.PROPOSED, Choice.ORIGINAL])
def test_proposed_is_the_mask_and_original_an_empty_one(tmp_path: Path, choice: Choice) -> None:
    files, _, _, mask = draw_frame(tmp_path)

    drawn = read_mask(draw_mask(files, Edits(choice), [], tmp_path / "state"), mask.shape)

    assert np.array_equal(drawn, mask if choice is Choice.PROPOSED else np.zeros_like(mask))


def test_a_frame_without_a_mask_starts_from_an_empty_one(tmp_path: Path) -> None:
    files, _, _, mask = draw_frame(tmp_path)
    bare = FrameFiles(files.job, files.key, files.scan)
    edits = Edits(Choice.EDITED, strokes=(Stroke(Mode.ADD, 3.0, ((100.0, 50.0),)),))

    drawn = read_mask(draw_mask(bare, edits, [], tmp_path / "state"), mask.shape)

    assert drawn[50, 100]
    assert 20 < drawn.sum() < 40


def test_detecting_anew_has_no_mask_to_draw(tmp_path: Path) -> None:
    files, *_ = draw_frame(tmp_path)

    with pytest.raises(PictureError, match="anew"):
        draw_mask(files, Edits(Choice.AGAIN, sensitivity="high"), [], tmp_path / "state")
