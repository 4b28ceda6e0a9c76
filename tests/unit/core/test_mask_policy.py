from pathlib import Path

import cv2
import numpy as np
import pytest

from spotless_core.arrays import windows
from spotless_core.arrays.masks import find_pieces, grow_mask, measure_shape, seed_and_grow
from spotless_core.detection import evidence
from spotless_core.detection.evidence import FEATURES, gather, score
from spotless_core.detection.mask import (
    Thresholds,
    cautious_if_coarse,
    describe_defects,
    find_core,
    make_mask,
    thresholds_for,
)
from spotless_core.detection.scale import micrometres_per_pixel
from spotless_core.errors import ModelError, OptionsError
from spotless_core.networks.weights import ModelEntry
from spotless_core.options import FilmFormat, MaskOptions, Sensitivity
from spotless_core.photo import ScanInfo

THRESHOLDS = Thresholds(seed=0.8, grow=0.4)
UM = 6.35  # 4000 dpi
GREY = np.full((300, 400), 0.5, np.float32)


def probability(*discs: tuple[int, int, int, float]) -> np.ndarray:
    field = np.full((300, 400), 0.01, np.float32)
    for row, column, radius, value in discs:
        disc = np.zeros(field.shape, np.uint8)
        cv2.circle(disc, (column, row), radius, 1, -1)
        field[disc > 0] = value
    return field


def test_a_piece_without_a_seed_is_not_marked() -> None:
    found = make_mask(probability((50, 50, 5, 0.7), (150, 150, 5, 0.95)), THRESHOLDS, MaskOptions(), UM, GREY)

    assert len(found.defects) == 1
    assert found.core[150, 150]
    assert not found.core[50, 50]


def test_a_defect_extends_down_to_the_growing_threshold() -> None:
    field = probability((100, 100, 9, 0.5), (100, 100, 3, 0.95))

    core = seed_and_grow(field, 0.8, 0.4)

    assert core[100, 108]
    assert int(core.sum()) == int((field >= 0.4).sum())


def test_the_penumbra_is_inside_the_mask() -> None:
    options = MaskOptions(grow_um=3 * UM)

    found = make_mask(probability((100, 100, 5, 0.95)), THRESHOLDS, options, UM, GREY)

    assert found.mask[100, 108]
    assert not found.mask[100, 110]
    assert (found.mask & found.core).sum() == found.core.sum()


def test_on_a_coarse_scan_the_mask_still_takes_in_the_rim() -> None:
    found = make_mask(probability((100, 100, 5, 0.95)), THRESHOLDS, MaskOptions(grow_um=12), 25.0, GREY)

    assert found.mask[100, 106]
    assert not found.mask[100, 108]


def test_grain_smaller_than_the_floor_is_left_alone() -> None:
    field = probability()
    field[40, 40:43] = 0.99

    assert make_mask(field, THRESHOLDS, MaskOptions(), UM, GREY).defects == ()


def test_a_speck_over_the_size_cap_is_left_alone_and_noted() -> None:
    found = make_mask(probability((150, 200, 70, 0.99)), THRESHOLDS, MaskOptions(max_speck_um=700), UM, GREY)

    assert found.coverage == 0
    assert "size caps" in found.left_alone[0]


def test_a_long_weak_line_must_earn_more_than_a_weak_speck() -> None:
    field = probability((50, 50, 5, 0.5))
    field[50, 50] = 0.9
    field[200, 10:390] = field[201, 10:390] = 0.5
    field[200, 100] = 0.9

    found = make_mask(field, THRESHOLDS, MaskOptions(), UM, GREY)

    assert [d.kind for d in found.defects] == ["speck"]


def test_a_strong_long_line_is_a_scratch_with_its_length_on_film() -> None:
    field = probability()
    field[200:202, 10:390] = 0.97

    (scratch,) = make_mask(field, THRESHOLDS, MaskOptions(grow_um=0), UM, GREY).defects

    assert scratch.kind == "scratch"
    assert scratch.length_um == pytest.approx(380 * UM, rel=0.01)
    assert scratch.score == pytest.approx(0.97, abs=0.001)


def test_the_same_piece_has_the_same_size_on_film_at_any_resolution() -> None:
    fine = make_mask(probability((100, 100, 10, 0.95)), THRESHOLDS, MaskOptions(grow_um=0), 25400 / 4800, GREY)
    coarse = make_mask(probability((100, 100, 5, 0.95)), THRESHOLDS, MaskOptions(grow_um=0), 25400 / 2400, GREY)

    assert fine.defects[0].length_um == pytest.approx(coarse.defects[0].length_um, rel=0.06)


def test_a_clean_frame_gives_an_empty_mask() -> None:
    found = make_mask(probability(), THRESHOLDS, MaskOptions(), UM, GREY)

    assert found.coverage == 0
    assert not found.mask.any()


def test_a_persons_mask_is_described_as_given() -> None:
    mask = np.zeros((50, 50), bool)
    mask[10:14, 10:14] = True

    (defect,) = describe_defects(mask, None, UM)

    assert (defect.kind, defect.score, defect.box) == ("given", 1.0, (10, 10, 14, 14))


def test_pieces_that_touch_at_a_corner_are_one() -> None:
    mask = np.zeros((10, 10), bool)
    mask[2, 2] = mask[3, 3] = True

    assert len(find_pieces(mask).boxes) == 1


def test_growing_by_nothing_returns_a_copy() -> None:
    mask = np.zeros((5, 5), bool)
    mask[2, 2] = True

    grown = grow_mask(mask, 0.0)

    assert grown is not mask
    assert (grown == mask).all()


def test_a_diagonal_line_is_measured_along_itself() -> None:
    shape = measure_shape(np.eye(100, dtype=bool))

    assert shape.length == pytest.approx(141, rel=0.02)
    assert shape.stroke < 1


def test_on_a_coarse_scan_a_line_among_others_of_its_tone_is_a_twig_and_left_alone() -> None:
    grey = np.random.default_rng(1).normal(0.8, 0.01, (300, 400)).astype(np.float32)
    field = probability()
    for row in (80, 220):
        field[row : row + 4, 100:250] = 0.95
        grey[row : row + 4, 100:250] = 0.2
    for column in range(105, 250, 12):  # side twigs that the detector did not see
        grey[200:240, column : column + 3] = 0.2
    weights = dict.fromkeys(FEATURES, 0.0) | {"bias": 1.0}

    core, _ = find_core(field, Thresholds(0.3, 0.2, 0.0, weights), MaskOptions(), 20.0, grey)

    assert core[82, 150]
    assert not core[222, 150]


def test_a_scan_coarser_than_the_calibration_is_treated_with_caution_and_says_so() -> None:
    fine, no_note = cautious_if_coarse(MaskOptions(), 25400 / 2400)
    coarse, note = cautious_if_coarse(MaskOptions(), 25400 / 1200)

    assert (fine.sensitivity, no_note) == (Sensitivity.NORMAL, "")
    assert coarse.sensitivity is Sensitivity.LOW
    assert "1200 dpi" in note


def test_thresholds_follow_the_sensitivity() -> None:
    entry = ModelEntry("detector", Path(), "", "", {}, {}, {"normal": {"seed": 0.9, "grow": 0.5}})

    assert thresholds_for(MaskOptions(), entry) == Thresholds(0.9, 0.5)
    with pytest.raises(ModelError, match="sensitivity high"):
        thresholds_for(MaskOptions(sensitivity=Sensitivity.HIGH), entry)


def test_a_candidate_in_texture_needs_more_than_one_on_smooth_film() -> None:
    rng = np.random.default_rng(1)
    grey = rng.normal(0.5, 0.01, (300, 400)).astype(np.float32)
    grey[:, 200:] = rng.normal(0.5, 0.12, (300, 200)).astype(np.float32)
    field = probability((150, 100, 6, 0.7), (150, 300, 6, 0.7))
    grey[field > 0.5] = 0.8
    weights = dict.fromkeys(FEATURES, 0.0) | {"probability": 1.0, "texture": -2.0, "bias": -5.0}

    core, _ = find_core(field, Thresholds(0.3, 0.2, 0.0, weights), MaskOptions(), UM, grey)

    assert core[150, 100]
    assert not core[150, 300]


def features_of(field: np.ndarray, grey: np.ndarray) -> list[dict[str, float]]:
    table = gather(field, grey, UM, 0.3, 0.2, 4).features
    return [dict(zip(FEATURES, row, strict=True)) for row in table]


def test_the_features_of_a_candidate_are_its_form_and_its_surroundings() -> None:
    field = probability((150, 200, 6, 0.9))
    grey = np.full((300, 400), 0.3, np.float32)
    grey[field > 0.5] = 0.7

    (features,) = features_of(field, grey)

    assert features["probability"] == pytest.approx(np.log(9), abs=0.01)
    assert features["mean"] == pytest.approx(np.log(9), abs=0.01)
    assert features["area"] == pytest.approx(np.log((field > 0.5).sum()))
    assert features["texture"] == pytest.approx(np.log(0.01), abs=0.01)
    assert features["contrast"] == pytest.approx(np.log(0.41), abs=0.01)
    table = np.array([list(features.values())])
    assert score(table, dict.fromkeys(FEATURES, 0.0) | {"bias": 2.0})[0] == 2.0
    assert score(table, {"bias": 2.0})[0] == 2.0  # a manifest of before a feature gives it no weight


def test_a_soft_candidate_is_less_sharp_at_the_same_contrast() -> None:
    field = probability((150, 100, 6, 0.9), (150, 300, 6, 0.9))
    grey = np.where(field > 0.5, 0.7, 0.3).astype(np.float32)
    grey[:, 200:] = cv2.GaussianBlur(grey, (0, 0), 3)[:, 200:]

    sharp, soft = features_of(field, grey)

    assert sharp["sharpness"] > soft["sharpness"] + 0.3


def test_a_bright_candidate_among_dark_dust_speaks_against_itself() -> None:
    places = [(40, 40 + 60 * i, 5, 0.99) for i in range(6)]
    field = probability(*places, (200, 200, 5, 0.9))
    grey = np.where(field > 0.5, 0.2, 0.5).astype(np.float32)
    grey[190:211, 190:211] = np.where(field > 0.5, 0.9, 0.5)[190:211, 190:211]

    found = features_of(field, grey)

    assert [row["polarity"] > 0.5 for row in found] == [True] * 6 + [False]
    assert found[-1]["polarity"] < -0.6


def test_a_lone_candidate_has_no_company_to_agree_with() -> None:
    field = probability((150, 200, 6, 0.99))

    (features,) = features_of(field, np.where(field > 0.5, 0.7, 0.3).astype(np.float32))

    assert features["polarity"] == 0


def test_a_frame_without_candidates_has_an_empty_table() -> None:
    assert gather(probability(), GREY, UM, 0.3, 0.2, 4).features.shape == (0, len(FEATURES))


def test_a_negative_size_is_refused_with_its_key() -> None:
    with pytest.raises(OptionsError, match=r"mask\.max_speck_um = -1"):
        MaskOptions(max_speck_um=-1)


@pytest.mark.parametrize(
    ("dpi", "film_format", "expected", "noted"),
    [
        (4000.0, FilmFormat.AUTO, 6.35, False),
        (None, FilmFormat.AUTO, 36000 / 6000, True),
        (72.0, FilmFormat.AUTO, 36000 / 6000, True),
        (4000.0, FilmFormat.SHEET_4X5, 120000 / 6000, False),
    ],
)
def test_the_scale_comes_from_the_film_format_then_the_tag_then_a_35_mm_frame(
    dpi: float | None, film_format: FilmFormat, expected: float, noted: bool
) -> None:
    info = ScanInfo("tiff", 6000, 4000, 3, 3, 16, "lzw", "exact", dpi=dpi)

    um_per_px, note = micrometres_per_pixel(info, film_format)

    assert um_per_px == pytest.approx(expected)
    assert bool(note) is noted


def test_the_film_is_as_dusty_as_its_other_sure_candidates_say() -> None:
    places = [(40, 40 + 60 * i, 5, 0.99) for i in range(6)]
    tone = np.full((300, 400), 0.5, np.float32)

    dusty = features_of(probability(*places, (200, 200, 5, 0.9)), tone)
    alone = features_of(probability((200, 200, 5, 0.9)), tone)
    doubtful = features_of(probability((200, 200, 5, 0.9), (100, 100, 5, 0.5)), tone)

    frame_mm2 = 300 * 400 * (UM / 1000) ** 2
    sure = (2 * 0.99 - 1) ** 2
    assert alone[0]["dustiness"] == pytest.approx(np.log(0.02))
    assert dusty[-1]["dustiness"] == pytest.approx(np.log(6 * sure / frame_mm2 + 0.02), abs=1e-3)
    assert doubtful[1]["dustiness"] == pytest.approx(np.log(0.02))  # a probability of a half says nothing


def test_a_doubtful_candidate_counts_on_dusty_film_and_a_sure_one_on_any() -> None:
    places = [(40, 40 + 60 * i, 5, 0.99) for i in range(6)]
    weights = {"probability": 1.0, "dustiness": 0.7, "bias": 0.0}
    thresholds = Thresholds(0.4, 0.25, 0.5, weights)
    tone = np.full((300, 400), 0.5, np.float32)

    on_dusty, _ = find_core(probability(*places, (200, 200, 5, 0.7)), thresholds, MaskOptions(), UM, tone)
    on_clean, _ = find_core(probability((200, 200, 5, 0.7)), thresholds, MaskOptions(), UM, tone)
    sure, _ = find_core(probability((200, 200, 5, 0.999)), thresholds, MaskOptions(), UM, tone)

    assert on_dusty[200, 200]
    assert not on_clean[200, 200]
    assert sure[200, 200]


def test_a_candidate_is_measured_the_same_wherever_its_surroundings_are_cut() -> None:
    rng = np.random.default_rng(4)
    grey = cv2.GaussianBlur(rng.random((300, 400)).astype(np.float32), (0, 0), 1.5)
    field = probability((3, 200, 3, 0.9), (150, 200, 6, 0.9), (297, 396, 5, 0.99))

    whole = features_of(field, grey)
    part = features_of(field[100:200, 150:260], grey[100:200, 150:260])

    for name in ("grain", "texture", "contrast", "company", "sharpness", "area", "mean"):
        assert part[0][name] == pytest.approx(whole[1][name], abs=1e-5)


def test_of_a_piece_round_the_whole_frame_only_the_part_at_its_peak_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evidence, "LOOK_PX", 60)
    field = probability((150, 200, 6, 0.95))
    field[[2, -3], 2:-2] = field[2:-2, [2, -3]] = 0.5  # the edge of the holder
    field[297, 300] = 0.99
    grey = np.full((300, 400), 0.5, np.float32)
    grey[field > 0.4] = 0.8
    seen: list[tuple[int, ...]] = []

    class Watched(np.ndarray):
        def __getitem__(self, place: tuple[slice, slice]) -> np.ndarray:
            part = super().__getitem__(place)
            seen.append(part.shape)
            return np.asarray(part)

    holder, speck = features_of(field, grey.view(Watched))

    assert max(max(shape) for shape in seen) <= 60 + 2 * evidence.FINE_REACH_PX
    assert holder["probability"] == pytest.approx(np.log(99), abs=0.01)
    assert holder["area"] == pytest.approx(np.log(2 * 396 + 2 * 294))
    assert holder["contrast"] == pytest.approx(speck["contrast"], abs=0.05)
    assert holder["polarity"] > 0


def test_a_defect_across_many_bands_has_the_highest_score_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "BAND_PX", 1)
    monkeypatch.setattr(windows, "LEAST_BAND_ROWS", 4)
    field = np.full((300, 400), 0.01, np.float32)
    field[20:280, 200:203] = 0.7
    field[251, 201] = 0.93

    (scratch,) = describe_defects(field > 0.4, field, UM)

    assert scratch.score == pytest.approx(0.93, abs=1e-4)
    assert scratch.box == (20, 200, 280, 203)
