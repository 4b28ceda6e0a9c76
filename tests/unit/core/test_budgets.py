"""What is held for a person: by coverage, by the width of a hole, by time; never by the length of a scratch."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotless_core.arrays.kinds import Mask
from spotless_core.detection.mask import describe_defects
from spotless_core.inpainting.budgets import holes_wider_than, reason_of_time, reasons_to_hold
from spotless_core.options import InpaintOptions, MaskOptions, RestoreOptions

UM = 6.35
OPTIONS = RestoreOptions(mask=MaskOptions(max_coverage=1.0), inpaint=InpaintOptions(max_hole_um=254.0))


def _disc(radius: int, row: int = 200, column: int = 150) -> Mask:
    mask = np.zeros((400, 300), np.uint8)
    cv2.circle(mask, (column, row), radius, 1, -1)
    return mask > 0


def _reasons(mask: Mask, options: RestoreOptions = OPTIONS) -> tuple[str, ...]:
    return reasons_to_hold(mask, describe_defects(mask, None, UM), float(mask.mean()), options, UM)


@settings(max_examples=30, deadline=None)
@given(radius=st.integers(5, 60), row=st.integers(70, 320), column=st.integers(70, 220))
def test_the_width_of_a_blot_is_its_diameter(radius: int, row: int, column: int) -> None:
    mask = _disc(radius, row, column)

    ((_, width_px),) = holes_wider_than(mask, describe_defects(mask, None, UM), 2.0)

    assert width_px == pytest.approx(2 * radius + 1, abs=2)


def test_a_hole_wider_than_allowed_is_named_with_its_place_and_width() -> None:
    (reason,) = _reasons(_disc(25))

    assert reason.startswith("held: the hole at row 200, column 150 is 3")
    assert "254 µm" in reason and "inpaint.max_hole_um" in reason


def test_a_hole_as_wide_as_allowed_is_repaired() -> None:
    assert _reasons(_disc(19)) == ()


@pytest.mark.parametrize("thickness", [2, 12])
def test_a_scratch_over_the_whole_frame_is_not_wide(thickness: int) -> None:
    mask = np.zeros((400, 300), np.uint8)
    cv2.line(mask, (0, 0), (299, 399), 1, thickness)

    assert _reasons(mask > 0) == ()


def test_a_blot_over_the_frames_corner_is_as_wide_as_if_the_rest_were_there() -> None:
    (reason,) = _reasons(_disc(21, 0, 0))

    assert "row 11, column 11" in reason


def test_of_many_wide_holes_the_widest_are_named_and_the_others_counted() -> None:
    mask = np.zeros((400, 300), np.bool_)
    for index in range(8):
        mask |= _disc(21 + (index == 6), 45 + 90 * (index // 2), 70 + 150 * (index % 2))

    reasons = _reasons(mask)

    assert len(reasons) == 6
    assert "row 315, column 70" in reasons[0]
    assert reasons[5] == "held: 3 more holes are wider than that"


def test_coverage_over_the_budget_holds_the_frame() -> None:
    (reason,) = _reasons(_disc(19), RestoreOptions(mask=MaskOptions(max_coverage=0.005)))

    assert reason == "held: 0.94% of the frame would be repaired, 0.50% is allowed (mask.max_coverage)"


def test_an_empty_mask_is_never_held() -> None:
    assert _reasons(np.zeros((400, 300), np.bool_)) == ()


def test_the_reason_of_time_says_how_much_was_left() -> None:
    assert reason_of_time(12, 2.5) == "held: 12 regions were not filled within 2.5 s (inpaint.max_seconds)"
