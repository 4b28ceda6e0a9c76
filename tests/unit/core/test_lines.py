"""Faint lines along the film: what is found, and what must be left alone."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawing import draw_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spotless_core.arrays.kinds import GreyImage
from spotless_core.detection.lines import FaintLine, LineScores, draw_lines, find_lines
from spotless_core.detection.mask import Thresholds, make_mask
from spotless_core.image_io.scratch import ScratchSpace
from spotless_core.options import MaskOptions, Sensitivity

UM = 6.35  # 4000 dpi
GRAIN = 0.02
HEIGHT, WIDTH = 900, 1200


def draw_soft_picture(seed: int = 4) -> GreyImage:
    """The scene without its own edge."""
    return draw_picture(HEIGHT, 2 * WIDTH, seed, GRAIN)[:, :WIDTH].copy()


def draw_line(
    picture: GreyImage, middle: float, contrast: float, degrees: float = 0.0, width: float = 2.0, span: float = 1.0
) -> NDArray[np.float64]:
    """Add a soft line from top to bottom (in place), `contrast` in grey values; returns its column in each row."""
    rows = np.arange(len(picture))
    columns = middle + np.tan(np.radians(degrees)) * (rows - len(picture) / 2)
    distance = np.abs(np.arange(picture.shape[1]) - columns[:, None])
    profile = np.clip(width / 2 + 0.5 - distance, 0, 1)
    profile[int(span * len(picture)) :] = 0
    picture += (contrast * profile).astype(np.float32)
    return columns


def find(picture: GreyImage, sensitivity: Sensitivity = Sensitivity.NORMAL) -> tuple[FaintLine, ...]:
    return find_lines(np.clip(picture, 0, 1), UM, sensitivity)


@pytest.mark.parametrize("is_turned", [False, True])
@pytest.mark.parametrize("polarity", [-1, 1])
@pytest.mark.parametrize("degrees", [0.0, 1.0])
def test_a_line_of_1_3_sigma_is_found_in_its_place(polarity: int, degrees: float, *, is_turned: bool) -> None:
    picture = draw_picture(HEIGHT, WIDTH, grain=GRAIN)
    columns = draw_line(picture, 410.0, polarity * 1.3 * GRAIN, degrees)

    lines = find(picture.T.copy() if is_turned else picture)

    assert len(lines) == 1
    along, across = np.array(lines[0].points).T[:: -1 if is_turned else 1]
    assert along[0] < 20
    assert along[-1] == HEIGHT - 1
    assert np.abs(across - np.interp(along, np.arange(HEIGHT), columns)).max() < 2.5
    assert lines[0].polarity == polarity
    assert lines[0].width_px <= 5
    assert lines[0].z >= 8
    assert lines[0].support > 0.8


@pytest.mark.parametrize(("contrast", "width"), [(1.0, 3.0), (1.7, 3.0), (2.0, 1.0), (3.0, 1.0)])
def test_lines_of_other_widths_are_found(contrast: float, width: float) -> None:
    picture = draw_soft_picture()
    draw_line(picture, 820.3, contrast * GRAIN, -0.6, width)

    assert len(find(picture)) == 1


def test_a_line_over_two_thirds_of_the_frame_is_found_at_high_sensitivity_only() -> None:
    picture = draw_soft_picture()
    draw_line(picture, 820.3, 1.3 * GRAIN, span=0.67)

    assert find(picture) == ()
    assert len(find(picture, Sensitivity.HIGH)) == 1


@pytest.mark.parametrize("seed", range(5))
def test_grain_alone_gives_no_line(seed: int) -> None:
    assert find(draw_picture(HEIGHT, WIDTH, seed, grain=0.04), Sensitivity.HIGH) == ()


def horizon(picture: GreyImage) -> None:
    columns = WIDTH / 3 + 0.012 * np.arange(HEIGHT)
    picture += (0.06 / (1 + np.exp(-(np.arange(WIDTH) - columns[:, None]) / 1.5))).astype(np.float32)


def pole(picture: GreyImage) -> None:
    draw_line(picture, 500.0, -0.3, 0.4, 5.0)


def fence(picture: GreyImage) -> None:
    for middle in range(100, 1150, 90):
        draw_line(picture, middle, 2 * GRAIN, 0.2, 3.0)


def fabric(picture: GreyImage) -> None:
    for middle in range(300, 600, 12):
        draw_line(picture, middle, 1.5 * GRAIN, 0.0, 3.0)


def block_grid(picture: GreyImage) -> None:
    small = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    coded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 20])[1]
    picture[:] = np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.float32) / 255


def mast_with_rungs(picture: GreyImage) -> None:
    draw_line(picture, 640.0, 1.5 * GRAIN, 0.3, 2.0)
    for middle in (610.0, 670.0):
        draw_line(picture, middle, -2 * GRAIN, 0.3, 3.0, span=0.6)
    for middle in (200.0, 300.0, 900.0):
        draw_line(picture, middle, 2 * GRAIN, 0.9, 2.0, span=0.7)


@pytest.mark.parametrize("draw", [horizon, pole, fence, fabric, block_grid, mast_with_rungs])
@pytest.mark.parametrize("is_turned", [False, True])
def test_picture_is_left_alone(draw: Callable[[GreyImage], None], *, is_turned: bool) -> None:
    picture = draw_picture(HEIGHT, WIDTH, seed=3, grain=GRAIN)
    draw(picture)

    assert find(picture.T.copy() if is_turned else picture) == ()


@pytest.mark.parametrize("shape", [(1, 1), (3, 2000), (511, 511), (600, 90), (520, 4)])
def test_a_frame_too_small_to_sum_over_has_no_lines(shape: tuple[int, int]) -> None:
    picture = np.full(shape, 0.5, np.float32)
    picture[:, shape[1] // 2] = 0.6

    assert find(picture, Sensitivity.HIGH) == ()


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_flat_frame_has_no_lines(value: float) -> None:
    assert find(np.full((600, 700), value, np.float32), Sensitivity.HIGH) == ()


def test_a_short_piece_of_film_has_no_lines() -> None:
    picture = draw_soft_picture()
    draw_line(picture, 410.0, 1.5 * GRAIN)

    assert len(find_lines(picture, UM, Sensitivity.NORMAL)) == 1
    assert find_lines(picture, 2.0, Sensitivity.NORMAL) == ()  # 1.8 mm high


def test_a_scan_too_coarse_to_show_a_scratch_has_no_lines() -> None:
    picture = draw_soft_picture()
    draw_line(picture, 410.0, 1.5 * GRAIN)

    assert len(find_lines(picture, 25.0, Sensitivity.NORMAL)) == 1
    assert find_lines(picture, 26.0, Sensitivity.NORMAL) == ()


def test_the_grey_is_not_changed() -> None:
    picture = draw_picture(HEIGHT, WIDTH, grain=GRAIN)
    draw_line(picture, 410.0, 2 * GRAIN)
    before = picture.copy()

    find(picture)

    assert (picture == before).all()


def test_the_mask_covers_the_line_and_little_more_and_no_length_cap_binds_it() -> None:
    picture = draw_picture(HEIGHT, WIDTH, grain=GRAIN)
    columns = draw_line(picture, 410.0, -1.5 * GRAIN, 0.7)
    lines = find(picture)
    options = MaskOptions(max_length_um=1000)

    found = make_mask(
        np.zeros_like(picture), Thresholds(0.8, 0.4), options, UM, picture, draw_lines(lines, picture.shape)
    )

    rows = np.arange(8, HEIGHT - 8)
    assert found.mask[rows, np.rint(columns[rows]).astype(int)].mean() > 0.98
    assert found.coverage < 12 / WIDTH
    assert [defect.kind for defect in found.defects] == ["scratch"]
    assert found.defects[0].length_um > 0.95 * HEIGHT * UM
    assert found.defects[0].score == pytest.approx(lines[0].score, abs=1e-4)
    assert found.left_alone == ()


ends = st.tuples(st.floats(-50, 250), st.floats(-50, 250))


@settings(deadline=None)
@given(start=ends, end=ends, width=st.floats(1, 10), z=st.floats(8, 200), height=st.integers(1, 200))
def test_lines_are_drawn_inside_the_frame_with_their_score(
    start: tuple[float, float], end: tuple[float, float], width: float, z: float, height: int
) -> None:
    line = FaintLine((min(start, end), max(start, end)), width, 1, z, 1.0)

    drawn = draw_lines((line,), (height, 180))

    assert drawn.shape == (height, 180)
    assert 0.5 <= line.score <= 1
    assert set(np.unique(drawn)) <= {np.float32(0), np.float32(line.score)}


@settings(deadline=None)
@given(st.lists(st.tuples(ends, ends), max_size=3), st.tuples(*[st.integers(0, 199)] * 4))
def test_a_window_of_the_scores_is_that_part_of_all(
    drawn: list[tuple[tuple[float, float], tuple[float, float]]], place: tuple[int, int, int, int]
) -> None:
    lines = [FaintLine((min(pair), max(pair)), 3.0, 1, 9.0 + count, 1.0) for count, pair in enumerate(drawn)]
    top, bottom = sorted(place[:2])
    left, right = sorted(place[2:])

    scores = LineScores(lines, (200, 180))

    assert (scores[top:bottom, left:right] == draw_lines(lines, (200, 180))[top:bottom, left:right]).all()


@pytest.mark.parametrize("is_turned", [False, True])
def test_lines_are_found_in_a_frame_read_through_windows(tmp_path: Path, *, is_turned: bool) -> None:
    picture = draw_picture(HEIGHT, WIDTH, grain=GRAIN)
    draw_line(picture, 410.0, 1.3 * GRAIN, 0.5)
    picture = np.ascontiguousarray(picture.T if is_turned else picture)
    heard: list[float] = []
    with ScratchSpace([tmp_path], memory_bytes=0) as space:
        plane = space.plane(picture.shape, np.float32)
        plane.write_rows(0, picture)

        lines = find_lines(plane, UM, Sensitivity.NORMAL, heard.append)

    assert len(lines) == 1
    assert lines == find_lines(picture, UM, Sensitivity.NORMAL)
    assert len(heard) > 20
    assert heard == sorted(heard)
    assert 0 <= heard[0] <= heard[-1] <= 1
