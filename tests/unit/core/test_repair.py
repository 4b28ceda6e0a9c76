"""A repaired frame: edits that cover exactly the mask, at the scan's own depth, with grain and without dust."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from drawing import add_specks, draw_picture
from hypothesis import given, settings
from hypothesis import strategies as st

from spotless_core.arrays.kinds import FloatImage, Mask, Samples
from spotless_core.arrays.masks import grow_mask
from spotless_core.arrays.metrics import grain_ratio, structure_psnr
from spotless_core.detection.mask import describe_defects
from spotless_core.errors import ArrayContractError, ModelError, ScanError
from spotless_core.image_io.scratch import ScratchSpace
from spotless_core.inpainting.cv2_fill import Cv2Fill
from spotless_core.inpainting.inpainter import Crop, Fill
from spotless_core.inpainting.repair import RepairResult, name_methods, repair_frame
from spotless_core.inpainting.tiers import TieredFill
from spotless_core.options import InpaintOptions

WITHOUT_GRAIN = InpaintOptions(grain=False)


class ConstantFill:
    """Fills everything with one value and remembers what it was asked; `is_smooth`: without any of the film's grain."""

    def __init__(self, value: float, *, is_smooth: bool = False) -> None:
        self.name = "constant"
        self.value = value
        self.is_smooth = is_smooth
        self.batches: list[list[Crop]] = []

    def fill(self, crops: Sequence[Crop]) -> list[Fill]:
        self.batches.append(list(crops))
        return [self.fill_of(np.full_like(crop.image, self.value)) for crop in crops]

    def fill_of(self, image: FloatImage) -> Fill:
        return Fill(image, np.zeros_like(image) if self.is_smooth else None)


def _scan(
    height: int = 300, width: int = 260, channels: int = 3, full: int = 65535
) -> tuple[Samples, FloatImage, Mask]:
    """A dusty frame, the clean film below it, and where the dust is."""
    grey = draw_picture(height, width)
    clean = np.repeat(grey[..., None], channels, axis=2)
    mask = add_specks(grey, 12)
    dirty = np.repeat(grey[..., None], channels, axis=2)
    return np.rint(dirty * full).astype(np.uint16 if full > 255 else np.uint8), clean, mask


def _applied(frame: Samples, result: RepairResult) -> Samples:
    repaired = frame.copy()
    for edit in result.edits:
        height, width = edit.mask.shape
        repaired[edit.top : edit.top + height, edit.left : edit.left + width][edit.mask] = edit.samples[edit.mask]
    return repaired


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), height=st.integers(3, 200), width=st.integers(3, 200), grain=st.booleans())
def test_the_edits_cover_each_masked_pixel_exactly_once(seed: int, height: int, width: int, *, grain: bool) -> None:
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 65536, (height, width, 1), dtype=np.uint16)
    mask = rng.random((height, width)) < 0.02
    mask[0, 0], mask[-1, -1] = False, True

    result = repair_frame(frame, 65535, mask, Cv2Fill("ns"), InpaintOptions(grain=grain), seed=1)

    count = np.zeros(mask.shape, dtype=int)
    for edit in result.edits:
        area = count[edit.top : edit.top + edit.mask.shape[0], edit.left : edit.left + edit.mask.shape[1]]
        area += edit.mask
        assert edit.samples.shape == (*edit.mask.shape, 1) and edit.samples.dtype == np.uint16
    np.testing.assert_array_equal(count, mask.astype(int))


@pytest.mark.parametrize(("channels", "full"), [(1, 255), (3, 255), (1, 65535), (3, 65535)])
def test_dust_gives_way_to_film_with_grain(channels: int, full: int) -> None:
    frame, clean, mask = _scan(channels=channels, full=full)

    result = repair_frame(frame, full, mask, Cv2Fill("ns"), InpaintOptions(), seed=1)

    repaired = _applied(frame, result).astype(np.float32) / full
    assert structure_psnr(repaired, clean, mask) > 30
    assert ((grain_ratio(repaired, mask) > 0.75) & (grain_ratio(repaired, mask) < 1.25)).all()


def test_the_frame_and_the_mask_are_not_written_to() -> None:
    frame, _, mask = _scan()
    frame.setflags(write=False)
    mask.setflags(write=False)

    result = repair_frame(frame, 65535, mask, Cv2Fill("telea"), InpaintOptions(), seed=1)

    assert result.edits


@pytest.mark.parametrize(("value", "stored"), [(100.4 / 255, 100), (100.6 / 255, 101), (1.2, 255), (-0.1, 0)])
def test_fills_are_rounded_and_kept_in_range(value: float, stored: int) -> None:
    frame, _, mask = _scan(full=255)

    result = repair_frame(frame, 255, mask, ConstantFill(value), WITHOUT_GRAIN, seed=1)

    assert set(_applied(frame, result)[mask].ravel()) == {stored}


@pytest.mark.parametrize(("dtype", "white"), [(np.float32, 1.0), (np.float16, 1.0), (np.float32, 7.5)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_float_frame_is_repaired_up_to_its_white_without_rounding(
    channels: int, dtype: type[np.floating], white: float
) -> None:
    whole, clean, mask = _scan(channels=channels)
    frame = (whole / 65535 * white).astype(dtype)

    result = repair_frame(frame, white, mask, Cv2Fill("ns"), InpaintOptions(), seed=1, value_max=white)

    assert {edit.samples.dtype for edit in result.edits} == {np.dtype(dtype)}
    repaired = _applied(frame, result).astype(np.float32) / white
    assert structure_psnr(repaired, clean, mask) > 30
    assert ((grain_ratio(repaired, mask) > 0.75) & (grain_ratio(repaired, mask) < 1.25)).all()
    if dtype is np.float32:
        assert (np.rint(repaired[mask] * 65535) / 65535 != repaired[mask]).any()


def test_what_is_no_number_or_beyond_white_does_not_spread_into_a_repair() -> None:
    whole, _, mask = _scan()
    frame = (whole / 65535).astype(np.float32)
    rim = grow_mask(mask, 4) & ~mask
    frame[rim] = np.random.default_rng(1).choice([np.nan, np.inf, -np.inf, 50.0], (int(rim.sum()), 3))

    result = repair_frame(frame, 1.0, mask, Cv2Fill("telea"), InpaintOptions(), seed=1)

    repaired = _applied(frame, result)[mask]
    assert np.isfinite(repaired).all()
    assert 0 <= repaired.min() <= repaired.max() <= 1


def test_inks_are_repaired_like_light() -> None:
    frame, clean, mask = _scan(channels=4)

    result = repair_frame(frame, 65535, mask, Cv2Fill("ns"), InpaintOptions(), seed=1)

    assert {edit.samples.shape[2] for edit in result.edits} == {4}
    assert structure_psnr(_applied(frame, result).astype(np.float32) / 65535, clean, mask) > 30


def test_a_frame_read_through_windows_gets_the_same_edits(tmp_path: Path) -> None:
    frame, _, mask = _scan()
    mask[0:5, 0:5] = mask[-3:, 100:120] = True
    with ScratchSpace([tmp_path], memory_bytes=0) as space:
        plane = space.plane(frame.shape, frame.dtype)
        plane.write_rows(0, frame)

        seen = repair_frame(plane, 65535, mask, Cv2Fill("ns"), InpaintOptions(), seed=1)

    whole = repair_frame(frame, 65535, mask, Cv2Fill("ns"), InpaintOptions(), seed=1)
    assert (_applied(frame, seen) == _applied(frame, whole)).all()


def test_no_fill_exceeds_the_largest_value_the_frame_uses() -> None:
    frame, _, mask = _scan()

    result = repair_frame(frame, 65535, mask, ConstantFill(0.9), WITHOUT_GRAIN, seed=1, value_max=16383)

    assert set(_applied(frame, result)[mask].ravel()) == {16383}


def test_the_method_sees_stored_samples_divided_by_full_scale() -> None:
    frame, _, mask = _scan()
    method = ConstantFill(0.5)

    repair_frame(frame, 65535, mask, method, WITHOUT_GRAIN, seed=1)

    crop = method.batches[0][0]
    values = crop.image * np.float32(65535)
    assert crop.image.dtype == np.float32
    np.testing.assert_allclose(values, np.rint(values), atol=0.01)
    assert all(len({crop.image.shape for crop in batch}) == 1 for batch in method.batches)


def test_the_same_seed_gives_the_same_samples() -> None:
    frame, _, mask = _scan()

    first, again, other = (
        _applied(frame, repair_frame(frame, 65535, mask, Cv2Fill("ns"), InpaintOptions(), seed=seed))
        for seed in (4, 4, 5)
    )

    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_flat_film_without_grain_is_filled_to_the_very_level() -> None:
    frame = np.full((200, 200, 3), 1001, dtype=np.uint16)
    mask = np.zeros((200, 200), dtype=np.bool_)
    mask[50:62, 70:80] = True
    frame[mask] = 60000

    result = repair_frame(frame, 65535, mask, Cv2Fill("ns"), InpaintOptions(), seed=1)

    assert set(_applied(frame, result).ravel()) == {1001}


def test_a_hole_at_the_border_is_filled_from_inside_the_frame() -> None:
    frame, clean, _ = _scan()
    mask = np.zeros(frame.shape[:2], dtype=np.bool_)
    mask[:8, 40:52], mask[290:, 250:] = True, True
    frame[mask] = 65535

    result = repair_frame(frame, 65535, mask, Cv2Fill("ns"), InpaintOptions(), seed=1)

    assert structure_psnr(_applied(frame, result).astype(np.float32) / 65535, clean, mask) > 25


def test_each_edit_says_what_filled_it() -> None:
    frame, _, mask = _scan()
    row, column = (int(values[0]) for values in np.nonzero(mask))

    result = repair_frame(frame, 65535, mask, Cv2Fill("telea"), InpaintOptions(), seed=1)

    assert result.methods == ["telea"] * len(result.edits)
    assert result.method_at(row, column) == "telea"
    assert result.method_at(0, 0) == ""


def test_what_filled_each_region_and_what_went_wrong_is_told() -> None:
    class HalfBroken(ConstantFill):
        def fill(self, crops: Sequence[Crop]) -> list[Fill]:
            if any(crop.mask[:, 20:].any() for crop in crops):
                raise ModelError("not finite")
            return super().fill(crops)

    frame = np.full((700, 700, 1), 30000, dtype=np.uint16)
    mask = np.zeros((700, 700), dtype=np.bool_)
    mask[10:16, 4:10] = mask[300:306, 300:306] = mask[600:606, 600:606] = True
    tiers = TieredFill(HalfBroken(0.9), Cv2Fill("ns"), {"flat": 0, "textured": 0, "edge": 0})

    result = repair_frame(frame, 65535, mask, tiers, WITHOUT_GRAIN, seed=1)

    assert [result.method_at(*place) for place in ((12, 6), (302, 302), (602, 602))] == ["constant", "ns", "ns"]
    assert result.notes == ("2 regions were filled by ns: not finite",)
    assert [defect.method for defect in name_methods(describe_defects(mask, None, 6.0), result, mask.shape)] == [
        "constant",
        "ns",
        "ns",
    ]


def test_weak_detail_of_a_smooth_fill_is_picture_and_of_any_other_a_streak() -> None:
    class StripeFill(ConstantFill):
        def fill(self, crops: Sequence[Crop]) -> list[Fill]:
            images = [np.full_like(crop.image, 0.45) + stripes[: crop.image.shape[1], None] for crop in crops]
            return [self.fill_of(image) for image in images]

    rng = np.random.default_rng(1)
    clean = 0.45 + 0.02 * rng.standard_normal((256, 256, 1), dtype=np.float32)
    frame = np.rint(clean * 65535).astype(np.uint16)
    mask = np.zeros((256, 256), dtype=np.bool_)
    mask[100:140, 100:140] = True
    stripes = np.where(np.arange(256) // 4 % 2, 0.02, -0.02).astype(np.float32)
    smooth, other = StripeFill(0, is_smooth=True), StripeFill(0)

    strength = []
    for method in (smooth, other):
        repaired = _applied(frame, repair_frame(frame, 65535, mask, method, InpaintOptions(), seed=1))
        inside = repaired[104:136, 104:136, 0].mean(axis=0) / 65535
        strength.append(float(np.abs(np.fft.rfft(inside - inside.mean()))[4]) / (32 / np.pi * 2 * 0.02))

    assert strength[0] > 0.8
    assert strength[1] < 0.5


def test_the_budget_of_time_is_looked_at_between_batches() -> None:
    frame, _, mask = _scan()
    mask[20:24, 10:250] = True
    instants = iter([0.0, 1.0, 2.5])

    result = repair_frame(
        frame, 65535, mask, Cv2Fill("ns"), InpaintOptions(max_seconds=2.0), seed=1, clock=lambda: next(instants)
    )

    assert result.edits == [] and result.methods == []
    assert result.left_over == 1


def test_a_repair_within_its_time_is_the_repair_without_a_limit() -> None:
    frame, _, mask = _scan()

    limited, free = (
        repair_frame(frame, 65535, mask, Cv2Fill("ns"), InpaintOptions(max_seconds=limit), seed=1, clock=lambda: 7.0)
        for limit in (1.0, 0.0)
    )

    assert limited.left_over == free.left_over == 0
    np.testing.assert_array_equal(_applied(frame, limited), _applied(frame, free))


def test_progress_rises_to_one() -> None:
    frame, _, mask = _scan()
    mask[20:24, 10:250] = True
    seen: list[float] = []

    repair_frame(frame, 65535, mask, Cv2Fill("ns"), InpaintOptions(), seed=1, on_progress=seen.append)

    assert len(seen) >= 2 and seen == sorted(seen) and seen[-1] == 1.0


def test_an_empty_mask_makes_no_edits() -> None:
    frame, _, mask = _scan()

    result = repair_frame(frame, 65535, np.zeros_like(mask), Cv2Fill("ns"), InpaintOptions(), seed=1)

    assert result.edits == [] and result.methods == []


def test_a_mask_over_everything_is_refused() -> None:
    frame, _, mask = _scan()

    with pytest.raises(ScanError, match="covers every pixel"):
        repair_frame(frame, 65535, np.ones_like(mask), Cv2Fill("ns"), InpaintOptions(), seed=1)


def test_a_frame_of_two_channels_is_refused() -> None:
    with pytest.raises(ArrayContractError, match="H×W×3"):
        repair_frame(
            np.zeros((9, 9, 2), dtype=np.uint8),
            255,
            np.zeros((9, 9), dtype=np.bool_),
            Cv2Fill("ns"),
            WITHOUT_GRAIN,
            seed=1,
        )
