"""The worst cases of an evaluation and their pictures."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawing import draw_picture
from drawing_frames import dusty_frame
from PIL import Image

from spotless_core.arrays.kinds import Mask
from spotless_core.detection.mask import MaskResult, describe_defects
from spotless_core.training.case_sheet import MARKED, PANEL_PX, TRUTH, draw_case, draw_cases
from spotless_core.training.dataset import Element
from spotless_core.training.evaluation_frames import Frame
from spotless_core.training.worst_cases import (
    CASES,
    CASES_PER_FRAME,
    CROP_PX,
    Case,
    WorstCases,
    piece_contrast,
)

SIDE = 400


def element_at(row: int, column: int, contrast: float, side: int = 8) -> Element:
    return Element("short_hair", (row, column, row + side, column + side), visible=True, change=contrast, sigma=1.0)


def frame_of(
    elements: Sequence[Element], probabilities: Sequence[float], name: str = "photo 0, slide, 4000 dpi"
) -> Frame:
    truth = np.zeros((SIDE, SIDE), np.uint8)
    probability = np.zeros(truth.shape, np.float32)
    for element, value in zip(elements, probabilities, strict=True):
        top, left, bottom, right = element.box
        truth[top:bottom, left:right] = 1
        probability[top:bottom, left:right] = value
    frame = dusty_frame(truth, probability, list(elements), draw_picture(SIDE, SIDE))
    return replace(frame, name=name)


def marked(*boxes: tuple[int, int, int, int]) -> Mask:
    core = np.zeros((SIDE, SIDE), bool)
    for top, left, bottom, right in boxes:
        core[top:bottom, left:right] = True
    return core


def result_of(core: Mask) -> MaskResult:
    return MaskResult(core, core, describe_defects(core, None, 6.35), float(core.mean()), ())


NOTHING = result_of(marked())


def test_misses_are_ranked_by_how_sure_the_network_was_and_by_contrast() -> None:
    elements = [element_at(20, 20, 5), element_at(100, 20, 30), element_at(200, 20, 9)]
    worst = WorstCases()

    worst.add(frame_of(elements, (0.001, 0.4, 0.004)), marked(), elements, [], NOTHING)

    assert [case.caption[1] for case in worst.galleries["misses_by_confidence"]] == [
        "contrast 9.0 σ, probability 0.00",
        "contrast 5.0 σ, probability 0.00",
        "contrast 30.0 σ, probability 0.40",
    ]
    by_contrast = worst.galleries["misses_by_contrast"]
    assert [case.caption[1].split()[1] for case in by_contrast] == ["30.0", "9.0", "5.0"]
    assert by_contrast[0].caption[0] == "short hair, photo 0, slide, 4000 dpi"
    assert not worst.galleries["false_alarms"]
    assert not worst.galleries["clean_frames"]


def test_a_crop_shows_its_case_in_the_middle_or_whole_at_the_frames_edge() -> None:
    elements = [element_at(200, 300, 9), element_at(0, 392, 8), element_at(50, 50, 7, side=160)]
    frame = frame_of(elements, (0.5, 0.5, 0.5))
    core = marked((202, 302, 204, 304))
    worst = WorstCases()

    worst.add(frame, core, elements, [], NOTHING)
    middle, edge, large = worst.galleries["misses_by_contrast"]

    assert middle.truth.shape == middle.grey.shape == (CROP_PX, CROP_PX)
    assert np.array_equal(np.argwhere(middle.truth).mean(axis=0), (CROP_PX / 2 - 0.5, CROP_PX / 2 - 0.5))
    assert middle.marked.sum() == 4
    assert middle.probability[middle.truth].tolist() == [128] * 64
    assert np.abs(middle.grey / 255 - frame.grey[164:244, 264:344]).max() < 0.003
    assert edge.truth[0:8, -8:].all()
    assert large.truth.shape[0] == 240
    assert large.truth.sum() == 160 * 160


def test_no_frame_fills_a_gallery_and_the_worst_of_all_frames_come_first() -> None:
    elements = [element_at(20 + 60 * i, 20, 10 + i) for i in range(6)]
    worst = WorstCases()

    for number in range(CASES):
        frame = frame_of(elements, [0.5] * 6, f"photo {number}, slide, 4000 dpi")
        worst.add(frame, marked(), elements, [], NOTHING)
    cases = worst.galleries["misses_by_contrast"]

    assert len(cases) == CASES
    assert [case.rank for case in cases] == sorted(case.rank for case in cases)
    assert {case.caption[1].split()[1] for case in cases} == {"15.0"}
    single = WorstCases()
    single.add(frame_of(elements, [0.5] * 6), marked(), elements, [], NOTHING)
    assert len(single.galleries["misses_by_contrast"]) == CASES_PER_FRAME


def test_false_alarms_are_ranked_by_probability_and_described() -> None:
    boxes = [(100, 100, 104, 106), (200, 50, 202, 90)]
    core = marked(*boxes)
    frame = frame_of([], [])
    probability = frame.probability.copy()
    probability[102, 103], probability[200, 60] = 0.8, 0.9
    worst = WorstCases()

    worst.add(replace(frame, probability=probability), core, [], boxes, NOTHING)
    first, second = worst.galleries["false_alarms"]

    assert first.caption[0].startswith("scratch, photo 0")
    assert first.caption[1].endswith("probability 0.90, 80 px")
    assert second.caption[0].startswith("speck, photo 0")
    assert second.caption[1].endswith("probability 0.80, 24 px")


def test_what_is_marked_on_a_clean_frame_is_ranked_by_area_and_has_no_truth() -> None:
    dusty = [element_at(100, 100, 9)]
    small = [(300, 20 + 20 * i, 302, 22 + 20 * i) for i in range(CASES_PER_FRAME)]
    clean = result_of(marked(*small, (300, 300, 303, 303), (100, 100, 106, 106)))
    worst = WorstCases()

    worst.add(frame_of(dusty, [0.9]), marked(dusty[0].box), [], [], clean)
    first, second, *_ = worst.galleries["clean_frames"]

    assert first.caption[1].startswith("36 px")
    assert first.caption[1].endswith(f"frame {100 * (45 + 4 * CASES_PER_FRAME) / SIDE**2:.3f} %")
    assert second.caption[1].startswith("9 px")
    assert not first.truth.any()
    assert first.marked.sum() == 36


def test_the_contrast_of_a_piece_is_its_step_in_deviations_of_the_detail_around() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.02, (90, 90)).astype(np.float32)
    noise -= cv2.GaussianBlur(noise, (0, 0), 3.0)
    piece = np.zeros((90, 90), bool)
    piece[40:48, 40:48] = True

    measured = piece_contrast(np.float32(0.5) + noise - np.float32(0.2) * piece, piece)

    assert measured == pytest.approx(10, rel=0.1)
    halo = np.float32(0.3) * np.float32(cv2.dilate(np.float32(piece), np.ones((11, 11))) - piece)
    assert piece_contrast(np.float32(0.5) + halo, piece) < 1  # a rim of sharpening is not its surroundings
    assert piece_contrast(noise, np.ones((90, 90), bool)) == 0.0


def case_of(side: int, caption: str = "dust") -> Case:
    truth, core = np.zeros((side, side), bool), np.zeros((side, side), bool)
    truth[side // 4 : side // 2, side // 4 : side // 2] = True
    core[side // 2 + 10 :, side // 2 + 10 :] = True
    grey = np.full((side, side), 100, np.uint8)
    return Case((0.0,), (caption, "contrast"), grey, truth, core, (truth * 200).astype(np.uint8))


@pytest.mark.parametrize("side", [60, CROP_PX, 300])
def test_a_case_is_drawn_as_film_outlines_and_probability(side: int) -> None:
    panels = draw_case(case_of(side))

    assert panels.shape == (PANEL_PX, 3 * PANEL_PX, 3)
    grey, outlined, probability = (panels[:, i * PANEL_PX : (i + 1) * PANEL_PX].astype(int) for i in range(3))
    assert (grey == 100).all()
    inside, quarter = 3 * PANEL_PX // 8, PANEL_PX // 4
    assert probability[inside, inside].tolist() == [200] * 3
    blue, orange = (np.argwhere((outlined == colour).all(axis=2)) for colour in (TRUTH, MARKED))
    assert blue.min(axis=0).tolist() == pytest.approx([quarter - 1] * 2, abs=1)
    assert blue.max(axis=0).tolist() == pytest.approx([2 * quarter] * 2, abs=1)
    assert orange.min() > PANEL_PX / 2


def test_an_outline_as_thin_as_a_hair_is_still_seen_in_a_large_crop() -> None:
    case = case_of(320)
    hair = np.zeros((320, 320), bool)
    hair[:, 161] = True

    panels = draw_case(replace(case, truth=hair))

    assert (panels[:, PANEL_PX : 2 * PANEL_PX] == TRUTH).all(axis=2).any(axis=1).all()


def test_a_sheet_has_three_cases_a_row_with_their_captions(tmp_path: Path) -> None:
    draw_cases([case_of(CROP_PX, "first")] * 3, tmp_path / "row.png")
    draw_cases([case_of(CROP_PX, "first")] * 4, tmp_path / "rows.png")
    draw_cases([case_of(CROP_PX, "other")] * 3, tmp_path / "other.png")

    row, rows, other = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("row", "rows", "other"))
    assert row.shape[1] == rows.shape[1] > 9 * PANEL_PX
    assert rows.shape[0] - row.shape[0] > PANEL_PX
    differs = np.argwhere((row != other).any(axis=2))
    assert differs[:, 0].min() > PANEL_PX  # only the captions differ, below the panels
