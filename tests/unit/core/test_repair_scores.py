"""Scores of repairs: a perfect one has no error, a glassy one no grain, and sums pool as they should."""

from dataclasses import replace

import numpy as np
import pytest
from drawing_repairs import discs_frame, lattice, soft_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spotless_core.arrays.masks import grow_mask
from spotless_core.training.repair_frames import RepairFrame
from spotless_core.training.repair_groups import group_by
from spotless_core.training.repair_scores import (
    DefectFacts,
    DefectScore,
    FrameJudge,
    Quality,
    Touched,
    quality_of,
)


def _pasted(frame: RepairFrame, filled: NDArray[np.generic]) -> NDArray[np.uint16]:
    return np.where(frame.mask[..., None], filled, frame.dusty).astype(np.uint16)


def _quality(frame: RepairFrame, repaired: NDArray[np.uint16]) -> Quality:
    judge = FrameJudge(frame)
    cheap = judge.score(frame.dusty, Touched())
    return quality_of(judge.facts, judge.score(repaired, Touched()), cheap)


@pytest.fixture(params=[1, 3])
def frame(request: pytest.FixtureRequest) -> RepairFrame:
    return discs_frame(soft_picture(channels=request.param), lattice())


def test_the_film_itself_has_no_error_and_its_own_grain(frame: RepairFrame) -> None:
    quality = _quality(frame, _pasted(frame, frame.clean))

    assert quality.psnr == quality.structure_psnr == 100.0
    assert quality.gain_db > 50
    assert quality.grain.ratio == quality.grain.worst_ratio == pytest.approx(1.0)
    assert quality.grain.distance_db == quality.grain.worst_distance_db == pytest.approx(0.0, abs=1e-6)
    assert quality.grain.defects == quality.grain.windows == len(lattice()) == quality.defects


def test_glass_has_the_picture_and_not_the_grain(frame: RepairFrame) -> None:
    glass = _quality(frame, _pasted(frame, np.rint(frame.picture * 65535)))
    other = _quality(frame, _pasted(frame, frame.regrained))

    assert glass.structure_psnr > other.structure_psnr  # new grain is not the old one
    assert glass.picture_psnr > glass.structure_psnr + 3
    assert glass.grain.worst_ratio is not None and glass.grain.worst_ratio < 0.4
    assert glass.grain.distance_db is not None and glass.grain.distance_db > 2
    assert other.grain.ratio == pytest.approx(1.0, abs=0.1)
    assert other.grain.worst_distance_db is not None and other.grain.worst_distance_db < 1.6


def test_doing_nothing_is_no_gain_over_doing_nothing(frame: RepairFrame) -> None:
    quality = _quality(frame, frame.dusty)

    assert quality.gain_db == 0.0
    assert quality.defect_gain_db == 0.0
    assert quality.structure_psnr < 12


def test_the_worst_channel_is_the_one_furthest_from_the_film() -> None:
    frame = discs_frame(soft_picture(), lattice())
    repaired = _pasted(frame, frame.clean)
    repaired[..., 1] = _pasted(frame, np.rint(frame.picture * 65535))[..., 1]

    grain = _quality(frame, repaired).grain

    assert grain.ratio is not None and grain.worst_ratio is not None
    assert grain.ratio == pytest.approx((2 + grain.worst_ratio) / 3, rel=1e-3)
    assert grain.worst_ratio < 0.4
    assert grain.worst_distance_db == pytest.approx(3 * (grain.distance_db or 0), rel=1e-3)


def test_grain_is_not_judged_where_the_picture_has_detail_of_its_own() -> None:
    picture = soft_picture()
    rows, columns = np.mgrid[0:160, 0:100]
    picture[:, :100] += np.where((rows + columns) % 8 < 4, 0.1, -0.1)[..., None].astype(np.float32)
    frame = discs_frame(picture, lattice())

    facts = FrameJudge(frame).facts

    calm = {defect.box[1] > 100: fact.is_calm for defect, fact in zip(frame.defects, facts, strict=True)}
    assert calm == {False: False, True: True}
    assert [fact.is_window_calm for fact in facts if fact.is_calm].count(True) > 0
    quality = _quality(frame, _pasted(frame, frame.clean))
    assert quality.grain.defects < quality.grain_and_detail.defects == len(facts)


def test_a_defect_at_the_border_has_no_spectrum_and_still_counts() -> None:
    frame = discs_frame(soft_picture(), [(8, 8), (60, 60)])

    quality = _quality(frame, _pasted(frame, frame.clean))

    assert quality.defects == quality.grain.defects == 2
    assert quality.grain.windows == 1


def test_changed_pixels_are_counted_in_the_penumbra_in_the_growth_and_outside() -> None:
    frame = discs_frame(soft_picture(), [(60, 60), (100, 120)])
    judge = FrameJudge(frame)
    untouched, filled, careless = Touched(), Touched(), Touched()

    judge.score(frame.dusty, untouched)
    inverted = _pasted(frame, 65535 - frame.dusty.astype(np.int64))
    judge.score(inverted, filled)
    inverted[5, 5, 1] ^= 1
    judge.score(inverted, careless)

    assert untouched == Touched(0, 0, 0)
    penumbra = int(frame.penumbra.sum())
    growth = int(frame.mask.sum()) - penumbra
    assert filled == Touched(penumbra, growth, 0)
    assert filled.over_repair == growth / penumbra
    assert careless == Touched(penumbra, growth, 1)


def test_a_defect_is_grouped_by_what_it_is_and_where_it_lies() -> None:
    frame = discs_frame(soft_picture(), [(60, 60)], kinds=("dirt",), film="color_negative", dpi=2400)

    (fact,) = FrameJudge(frame).facts

    assert fact.groups == {
        "film": "color_negative",
        "surroundings": "flat",
        "kind": "dirt",
        "density": "dense 0.4-0.8",
        "contrast": "10-20",
        "size on the scan": "64-256 px",
        "size on the film": "130-250 µm",
        "dpi": "2400",
        "stored": "16 bit",
        "rim": "clean",
    }
    assert fact.pixels == int(frame.mask.sum())


def test_a_rim_that_the_dust_changed_beyond_the_mask_is_told_from_a_clean_one() -> None:
    frame = discs_frame(soft_picture(), [(60, 60), (60, 150), (4, 4)])
    halo = grow_mask(frame.mask, 2) & ~frame.mask
    halo[:, :100] = False
    frame.dusty[halo] += 1500

    rims = [fact.groups["rim"] for fact in FrameJudge(frame).facts]

    assert rims == ["clean", "halo", "clean"]


def test_size_on_the_film_follows_the_resolution() -> None:
    fine, coarse = (FrameJudge(discs_frame(soft_picture(), [(60, 60)], dpi=dpi)).facts[0] for dpi in (4000, 2400))

    assert fine.groups["size on the scan"] == coarse.groups["size on the scan"]
    assert fine.groups["size on the film"] == "80-130 µm"


def test_bands_come_in_their_order_and_names_by_the_alphabet() -> None:
    frame = discs_frame(soft_picture(), lattice(), kinds=("short_hair", "dust", "dirt"))
    frame.defects[0] = replace(frame.defects[0], density=2.0, contrast=30.0)
    frame.defects[1] = replace(frame.defects[1], density=0.1, contrast=2.0)
    frame.defects[2] = replace(frame.defects[2], density=0.2, contrast=3.5)

    groups = group_by(fact.groups for fact in FrameJudge(frame).facts)

    assert list(groups["kind"]) == ["dirt", "dust", "short_hair"]
    assert list(groups["density"]) == ["veil <0.15", "thin 0.15-0.4", "dense 0.4-0.8", "opaque >0.8"]
    assert list(groups["contrast"]) == ["<3", "3-4", "10-20", ">20"]
    assert groups["density"]["opaque >0.8"] == [0]
    for members in groups.values():
        assert sorted(index for indexes in members.values() for index in indexes) == list(range(len(frame.defects)))


@settings(max_examples=50, deadline=None)
@given(
    defects=st.lists(
        st.tuples(st.integers(1, 5000), st.floats(1e-7, 0.5), st.floats(1e-7, 0.5)), min_size=1, max_size=20
    )
)
def test_errors_are_pooled_over_pixels_and_gains_averaged_over_defects(
    defects: list[tuple[int, float, float]],
) -> None:
    facts = [DefectFacts({}, pixels, np.ones(3), None, is_calm=True, is_window_calm=False) for pixels, _, _ in defects]
    ours, cheap = (
        [DefectScore(0.0, square * pixels, 0.0, np.ones(3), None) for pixels, square in chosen]
        for chosen in ([(n, a) for n, a, _ in defects], [(n, b) for n, _, b in defects])
    )

    quality = quality_of(facts, ours, cheap)

    pixels = sum(n for n, _, _ in defects)
    mean_ours, mean_cheap = (sum(n * pair[i] for n, *pair in defects) / pixels for i in (0, 1))
    assert quality.structure_psnr == pytest.approx(-10 * np.log10(mean_ours))
    assert quality.gain_db == pytest.approx(10 * np.log10(mean_cheap / mean_ours), abs=1e-6)
    gains = [10 * np.log10((b + 1e-8) / (a + 1e-8)) for _, a, b in defects]
    assert quality.defect_gain_db == pytest.approx(np.mean(gains), abs=1e-6)
    assert quality.grain.distance_db is None and quality.grain.worst_distance_db is None
    assert quality.grain.ratio == pytest.approx(1.0)
