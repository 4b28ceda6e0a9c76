"""The mask becomes crops: every masked pixel is owned once, whatever the mask."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotless_core.arrays.kinds import Mask
from spotless_core.errors import ArrayContractError, ScanError
from spotless_core.inpainting.regions import BATCH_PIXELS, Region, batches, cut_mask, cut_samples, find_regions


def _mask(height: int, width: int, *boxes: tuple[int, int, int, int]) -> Mask:
    mask = np.zeros((height, width), dtype=np.bool_)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


def _owners(mask: Mask, regions: list[Region]) -> np.ndarray:
    count = np.zeros(mask.shape, dtype=int)
    for region in regions:
        top, left, bottom, right = region.own_box
        count[top:bottom, left:right] += region.own
    return count


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(2, 150),
    width=st.integers(2, 150),
    context_px=st.sampled_from([0, 8, 32]),
    density=st.sampled_from([0.001, 0.05, 0.6]),
    seed=st.integers(0, 2**16),
)
def test_every_masked_pixel_is_owned_by_exactly_one_region(
    height: int, width: int, context_px: int, density: float, seed: int
) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < density
    mask[0, 0] = False

    regions = find_regions(mask, context_px)

    np.testing.assert_array_equal(_owners(mask, regions), mask.astype(int))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**16), context_px=st.sampled_from([4, 32, 100]))
def test_a_window_is_square_and_holds_all_that_it_owns(seed: int, context_px: int) -> None:
    mask = np.random.default_rng(seed).random((90, 140)) < 0.01

    regions = find_regions(mask, context_px)

    for region in regions:
        top, left, bottom, right = region.window
        assert bottom - top == right - left == region.side_px
        assert top <= region.own_box[0] and left <= region.own_box[1]
        assert bottom >= region.own_box[2] and right >= region.own_box[3]


def test_a_small_defect_gets_the_smallest_crop_that_leaves_the_context() -> None:
    mask = _mask(900, 900, (400, 400, 420, 415))

    sides = [find_regions(mask, context_px)[0].side_px for context_px in (20, 32, 60, 120, 200)]

    assert sides == [64, 128, 256, 512, 512]


def test_a_thick_defect_is_shown_with_as_much_film_as_it_is_thick() -> None:
    blot, hair = _mask(900, 900, (400, 400, 500, 500)), _mask(900, 900, (400, 400, 404, 500))

    sides = [find_regions(mask, 32)[0].side_px for mask in (blot, hair)]

    assert sides == [512, 256]


@pytest.mark.parametrize("top", [386, 510])
def test_a_speck_beside_a_blot_is_filled_in_the_blots_crop(top: int) -> None:
    mask = _mask(900, 900, (400, 400, 500, 500), (top, 440, top + 4, 444))

    (region,) = find_regions(mask, 32)

    assert region.side_px == 512
    assert region.own_box == (min(400, top), 400, max(500, top + 4), 500)


def test_a_defect_that_just_fits_the_largest_crop_is_not_cut_for_the_sake_of_context() -> None:
    mask = _mask(1500, 1500, (400, 400, 848, 848))

    (region,) = find_regions(mask, 32)

    assert region.own_box == (400, 400, 848, 848)
    assert region.side_px == 512


def test_near_defects_share_a_crop_and_far_ones_do_not() -> None:
    mask = _mask(600, 600, (100, 100, 108, 108), (112, 118, 120, 126), (400, 400, 408, 408))

    regions = find_regions(mask, 32)

    assert [region.own_box for region in regions] == [(100, 100, 120, 126), (400, 400, 408, 408)]


def test_a_scratch_over_the_whole_frame_is_cut_into_crops_of_512() -> None:
    mask = _mask(2000, 700, (0, 300, 2000, 304))

    regions = find_regions(mask, 32)

    assert len(regions) == 5
    assert {region.side_px for region in regions} == {512}
    np.testing.assert_array_equal(_owners(mask, regions), mask.astype(int))


def test_a_crop_without_clean_film_is_enlarged_until_it_has_some() -> None:
    mask = _mask(1400, 1400, (50, 50, 1350, 1350))

    regions = find_regions(mask, 32)

    assert all(np.count_nonzero(~cut_mask(mask, region.window)) > 0 for region in regions)


def test_a_crop_at_the_border_is_moved_inside_the_frame() -> None:
    mask = _mask(300, 300, (0, 292, 6, 300))

    (region,) = find_regions(mask, 32)

    assert region.window == (0, 172, 128, 300)


def test_what_sticks_out_of_a_small_frame_is_reflected() -> None:
    frame = np.arange(20, dtype=np.uint16).reshape(4, 5, 1)

    cut = cut_samples(frame, (-2, -1, 6, 7))

    np.testing.assert_array_equal(cut, np.pad(frame, ((2, 2), (1, 2), (0, 0)), mode="reflect"))


def test_a_cut_is_a_copy() -> None:
    frame = np.zeros((9, 9, 1), dtype=np.uint8)

    cut_samples(frame, (2, 2, 5, 5))[:] = 7

    assert not frame.any()


def test_the_mirror_image_of_a_hole_is_a_hole() -> None:
    mask = _mask(10, 10, (1, 4, 2, 6))

    cut = cut_mask(mask, (-3, 0, 10, 10))

    assert cut[2, 4:6].all() and cut[4, 4:6].all() and np.count_nonzero(cut) == 4


def test_batches_hold_one_size_each_and_stay_in_their_budget() -> None:
    rng = np.random.default_rng(3)
    mask = np.zeros((1500, 1500), dtype=np.bool_)
    for row, column in rng.integers(0, 1450, (150, 2)):
        mask[row : row + 6, column : column + 6] = True
    mask[700:900, 20:30] = True

    regions = find_regions(mask, 32)
    groups = list(batches(regions))

    assert all(len({region.side_px for region in group}) == 1 for group in groups)
    assert all(len(group) * group[0].side_px ** 2 <= BATCH_PIXELS for group in groups)
    assert sorted(r.own_box for group in groups for r in group) == sorted(r.own_box for r in regions)


def test_an_empty_mask_has_no_regions() -> None:
    assert find_regions(np.zeros((50, 40), dtype=np.bool_), 32) == []


def test_a_mask_over_everything_is_refused() -> None:
    with pytest.raises(ScanError, match="covers every pixel"):
        find_regions(np.ones((30, 30), dtype=np.bool_), 32)


def test_a_mask_that_is_not_bool_is_refused() -> None:
    with pytest.raises(ArrayContractError, match="bool"):
        find_regions(np.ones((30, 30), dtype=np.uint8), 32)  # type: ignore[arg-type]
