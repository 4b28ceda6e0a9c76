"""Scores, reliability and calibration on frames of known truth."""

from dataclasses import replace

import numpy as np
import pytest
from drawing_frames import candidates_frame, dusty_frame, two_elements
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from spotless_core.arrays.kinds import GreyImage
from spotless_core.detection.evidence import DUSTINESS_WEIGHT
from spotless_core.detection.lines import FaintLine
from spotless_core.detection.mask import MaskResult, Thresholds, describe_defects, find_core
from spotless_core.errors import ModelError
from spotless_core.options import MaskOptions, Sensitivity
from spotless_core.training import scores
from spotless_core.training.calibrate import FALSE_PER_MP, calibrate_evidence, find_candidates, fit_calibration
from spotless_core.training.dataset import IGNORED
from spotless_core.training.evaluate import CalibrationCounts, measure_frame
from spotless_core.training.reliability import Reliability, ReliabilityCounts
from spotless_core.training.scores import (
    Counts,
    contrast_band,
    core_of,
    count_frame,
    count_top_hat,
    describe_clean,
    score_clean,
    sum_counts,
)
from spotless_core.training.worst_cases import WorstCases

SEVERAL_THRESHOLDS = {"normal": Thresholds(0.7, 0.4), "high": Thresholds(0.5, 0.3)}


def test_scores_count_pixels_objects_and_false_alarms() -> None:
    truth, elements = two_elements()
    core = np.zeros(truth.shape, bool)
    core[10:20, 10:20] = core[30:35, 70:75] = core[82:88, 82:88] = True
    counts = Counts()

    misses, false_boxes = count_frame(dusty_frame(truth, core, elements), core, counts)
    scores = counts.scores()

    assert scores.precision == pytest.approx(100 / 125)
    assert scores.recall == pytest.approx(0.5)
    assert scores.f1 == pytest.approx(2 * 0.8 * 0.5 / 1.3)
    assert scores.false_per_mp == pytest.approx(1 / 0.01)
    assert (scores.by_kind["dust"].recall, scores.by_kind["dirt"].recall) == (1.0, 0.0)
    assert (scores.objects.elements, scores.objects.recall) == (2, 0.5)
    assert misses == [elements[1]]
    assert false_boxes == [(30, 70, 35, 75)]


@pytest.mark.parametrize(("distance", "precision"), [(1, 1.0), (2, 0.9)])
def test_marks_one_pixel_beside_dust_are_right_and_two_pixels_beside_are_wrong(distance: int, precision: float) -> None:
    truth, elements = two_elements()
    core = np.zeros(truth.shape, bool)
    core[10:20, 10 + distance : 20 + distance] = True
    counts = Counts()

    count_frame(dusty_frame(truth, core, elements), core, counts)

    assert counts.scores().precision == pytest.approx(precision)
    assert counts.scores().recall == pytest.approx((100 - 10 * (distance - 1)) / 200)


def test_objects_are_counted_in_the_band_of_their_contrast() -> None:
    truth, elements = two_elements()
    core = truth == 1
    core[50:60, 50:60] = False
    counts = Counts()

    count_frame(dusty_frame(truth, core, elements), core, counts)
    by_contrast = counts.scores().by_contrast

    assert {band: (found.elements, found.recall) for band, found in by_contrast.items()} == {
        "4-6": (1, 0.0),
        "10-20": (1, 1.0),
    }


@pytest.mark.parametrize(
    ("contrast", "band"),
    [(2.99, "<3"), (3, "3-4"), (5.9, "4-6"), (6, "6-10"), (10, "10-20"), (20, ">20"), (1e9, ">20")],
)
def test_a_contrast_on_the_border_of_two_bands_belongs_to_the_upper_one(contrast: float, band: str) -> None:
    assert contrast_band(contrast) == band


@given(st.lists(st.booleans(), min_size=1, max_size=5))
def test_counts_of_frames_add_up_to_the_counts_of_all_of_them(is_marked: list[bool]) -> None:
    truth, elements = two_elements()
    together, parts = Counts(), []
    for marked in is_marked:
        core = (truth == 1) & marked
        parts.append(Counts())
        count_frame(dusty_frame(truth, core, elements), core, together)
        count_frame(dusty_frame(truth, core, elements), core, parts[-1])

    assert sum_counts(parts) == together
    assert together.scores().objects.recall == pytest.approx(np.mean(is_marked))


def test_nothing_counted_scores_nothing() -> None:
    scores = Counts().scores()

    assert (scores.f1, scores.false_per_mp, scores.objects.elements, scores.by_kind) == (0, 0, 0, {})


@pytest.mark.parametrize("tone", [0.15, 0.75])
def test_the_top_hat_oracle_finds_bright_and_dark_dust_of_any_contrast(tone: float) -> None:
    truth, elements = two_elements()
    grey = np.full(truth.shape, 0.45, np.float32)
    grey[truth == 1] = tone
    grey[30:33, 70:73] += (tone - 0.45) / 3  # a trap for a lower threshold than the best

    scores = count_top_hat(dusty_frame(truth, truth == 1, elements, grey)).scores()

    assert (scores.f1, scores.objects.recall, scores.false_per_mp) == (1.0, 1.0, 0.0)


def clean_mask(core_px: int, mask_px: int) -> MaskResult:
    core, mask = np.zeros((1000, 1000), bool), np.zeros((1000, 1000), bool)
    core[500, 100 : 100 + core_px] = mask[500, 100 : 100 + mask_px] = True
    return MaskResult(mask, core, describe_defects(mask, None, 6.35), float(mask.mean()), ())


@pytest.mark.parametrize(
    ("core_px", "mask_px", "is_core_good", "is_mask_good"),
    [(30, 40, True, True), (40, 41, True, False), (41, 60, False, False)],
)
def test_clean_limits_hold_before_and_after_growth(
    core_px: int, mask_px: int, is_core_good: bool, is_mask_good: bool
) -> None:
    frame = describe_clean("photo 0", clean_mask(core_px, mask_px))

    assert (frame.core_largest_px, frame.largest_px) == (core_px, mask_px)
    assert (frame.core_coverage, frame.coverage) == (core_px / 1e6, mask_px / 1e6)
    assert (frame.is_core_within_limits, frame.is_within_limits) == (is_core_good, is_mask_good)


def test_many_small_pieces_exceed_the_coverage_of_a_clean_frame() -> None:
    result = clean_mask(1, 1)
    result.mask[::50, ::60] = True

    frame = describe_clean("photo 0", replace(result, coverage=float(result.mask.mean())))

    assert frame.largest_px == 1
    assert not frame.is_within_limits


def test_clean_scores_name_the_worst_frames_first_and_good_ones_not_at_all() -> None:
    frames = [describe_clean(f"photo {px}", clean_mask(px, px)) for px in (0, 20, 60, 30)]

    scores = score_clean(frames)

    assert [frame.name for frame in scores.worst] == ["photo 60", "photo 30", "photo 20"]
    assert (scores.frames, scores.share_within_limits, scores.core_share_within_limits) == (4, 0.75, 0.75)
    assert (scores.worst_coverage, scores.mean_coverage) == (60e-6, pytest.approx(27.5e-6))


def curve_of(probability: NDArray[np.float32], is_right: NDArray[np.bool_], parts: int = 1) -> Reliability:
    counts = ReliabilityCounts()
    for values, truths in zip(np.array_split(probability, parts), np.array_split(is_right, parts), strict=True):
        counts.add(values, truths)
    return counts.curve()


def test_probabilities_that_come_true_as_often_as_they_say_have_no_calibration_error() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(200_000, dtype=np.float32)

    honest = curve_of(probability, rng.random(probability.size) < probability)
    boasting = curve_of(probability, rng.random(probability.size) < probability / 2)

    assert honest.error < 0.01
    assert boasting.error == pytest.approx(0.25, abs=0.01)
    assert honest.count == sum(each.count for each in honest.bins) == 200_000


def test_a_reliability_curve_does_not_depend_on_the_parts_it_was_added_in() -> None:
    probability = np.linspace(0, 1, 1001, dtype=np.float32)
    is_right = np.arange(1001) % 3 == 0

    assert curve_of(probability, is_right, parts=7).error == pytest.approx(curve_of(probability, is_right).error)


def test_a_reliability_curve_has_only_bins_that_hold_something() -> None:
    curve = curve_of(np.array([0.5, 0.5, 1.0], np.float32), np.array([True, False, True]))

    assert [(each.count, each.mean_probability, each.observed_share) for each in curve.bins] == [
        (2, 0.5, 0.5),
        (1, 1.0, 1.0),
    ]
    assert curve.bins[1].end == 1
    assert curve_of(np.zeros(0, np.float32), np.zeros(0, bool)) == Reliability(0, 0, [])


def test_candidates_are_right_on_dust_wrong_on_nothing_and_left_out_where_it_cannot_be_said() -> None:
    truth, elements = two_elements()
    probability = np.zeros(truth.shape, np.float32)
    probability[12:18, 12:18] = 0.9  # dust
    probability[30:36, 70:76] = 0.8  # nothing
    probability[82:88, 82:88] = 0.7  # counts neither way
    probability[95, 5:8] = 0.9  # too small

    found = find_candidates(dusty_frame(truth, probability, elements), 0.5, 0.3)

    assert found.is_right.tolist() == [True, False]
    assert found.features[0, 0] > found.features[1, 0]


def test_calibrated_levels_keep_false_objects_within_each_sensitivitys_limit() -> None:
    frames = [candidates_frame(seed) for seed in range(4)]

    thresholds = calibrate_evidence(frames)

    assert set(thresholds) == {"low", "normal", "high"}
    scores = {}
    for name, each in thresholds.items():
        counts = Counts()
        for frame in frames:
            core, _ = find_core(frame.probability.astype(np.float32), each, MaskOptions(), 6.35, frame.grey)
            count_frame(frame, core, counts)
        scores[name] = counts.scores()
        assert scores[name].false_per_mp <= FALSE_PER_MP[name]
        assert scores[name].objects.recall > 0.5
    assert scores["low"].objects.recall <= scores["normal"].objects.recall <= scores["high"].objects.recall
    assert scores["high"].false_per_mp > FALSE_PER_MP["normal"]


def test_a_detector_that_finds_no_dust_cannot_be_calibrated() -> None:
    frame = candidates_frame(0)

    with pytest.raises(ModelError, match="finds no dust"):
        calibrate_evidence([replace(frame, truth=np.zeros_like(frame.truth))])


def test_calibration_counts_judge_pixels_and_candidates_and_leave_out_what_counts_neither_way() -> None:
    truth, elements = two_elements()
    probability = np.where(truth == 0, 0.01, 0.9).astype(np.float32)
    weights = calibrate_evidence([candidates_frame(0)])["normal"].weights
    counts = CalibrationCounts(Thresholds(0.5, 0.3, 0.0, weights))

    counts.add(dusty_frame(truth, probability, elements))
    result = counts.result()

    assert result.pixels.count == 200
    assert result.pixels.error == pytest.approx(0.1, abs=1e-3)
    assert result.all_pixels.count == 100 * 100 - 100
    assert result.candidates is not None
    assert (result.candidates.count, result.candidates.bins[-1].observed_share) == (2, 1.0)


def test_without_weights_of_evidence_there_is_no_curve_of_candidates() -> None:
    counts = CalibrationCounts(Thresholds(0.5, 0.3))

    counts.add(candidates_frame(0))

    assert counts.result().candidates is None


def test_measuring_a_frame_counts_it_at_every_sensitivity_with_and_without_dust() -> None:
    frame = candidates_frame(0)
    frame = replace(frame, clean_probability=(frame.truth == 0) * frame.probability, seconds=3.0)
    worst = WorstCases()

    measured = measure_frame(frame, SEVERAL_THRESHOLDS, worst)

    assert set(measured.counts) == set(measured.clean) == {"normal", "high"}
    assert measured.counts["high"].false_objects > measured.counts["normal"].false_objects
    assert measured.clean["high"].coverage > measured.clean["normal"].coverage > 0
    assert measured.megapixels == pytest.approx(2.0)
    assert worst.galleries["false_alarms"]
    assert worst.galleries["clean_frames"]


def test_faint_lines_are_scored_as_the_pipeline_marks_them(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, elements = two_elements()
    frame = dusty_frame(truth, np.zeros(truth.shape, np.float32), elements)
    asked = []

    def one_line(grey: GreyImage, um_per_px: float, sensitivity: Sensitivity) -> tuple[FaintLine, ...]:
        asked.append((um_per_px, sensitivity))
        return (FaintLine(((0.0, 55.0), (99.0, 55.0)), 2.0, 1, 20.0, 1.0),)

    monkeypatch.setattr(scores, "find_lines", one_line)

    core = core_of(frame, Thresholds(0.3, 0.15), Sensitivity.HIGH)

    assert asked == [(6.35, Sensitivity.HIGH)]
    assert core[:, 54:56].all()
    assert core[:, 60:].sum() == 0


def test_calibration_finds_the_slope_and_offset_that_were_hidden() -> None:
    rng = np.random.default_rng(3)
    logits = rng.uniform(-3, 3, (1000, 1000))
    truth = (rng.random(logits.shape) < 1 / (1 + np.exp(-1.3 * logits - 0.8))).astype(np.uint8)
    truth[:50] = IGNORED  # says nothing
    frame = dusty_frame(truth, 1 / (1 + np.exp(-logits)), [])

    found = fit_calibration([frame])

    assert found["slope"] == pytest.approx(1.3, abs=0.05)
    assert found["offset"] == pytest.approx(0.8, abs=0.05)
    with pytest.raises(ModelError, match="no dust"):
        fit_calibration([dusty_frame(np.zeros((50, 50), np.uint8), np.full((50, 50), 0.5), [])])


def test_evidence_is_fitted_with_the_film_clean_too() -> None:
    frames = [candidates_frame(seed) for seed in (1, 2)]
    with_false = [
        replace(frame, clean_probability=frame.probability, clean_grey=frame.grey) for frame in frames
    ]  # everything that is found on them is found on the clean film as well

    plain = calibrate_evidence(frames)["normal"].weights
    doubting = calibrate_evidence(with_false)["normal"].weights

    assert plain is not None
    assert doubting is not None
    assert plain["dustiness"] == doubting["dustiness"] == DUSTINESS_WEIGHT
    assert doubting["probability"] < plain["probability"]
