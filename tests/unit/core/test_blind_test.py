"""The blind test finds bad repairs again, and none where there are none."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from drawing import draw_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spotless_core.arrays.kinds import FloatImage, Mask
from spotless_core.errors import ArrayContractError, OptionsError
from spotless_core.training.blind_judges import FeatureJudge, Judge, Judgement, NetworkJudge
from spotless_core.training.blind_patches import PATCH_PX, BlindPair, draw_matched
from spotless_core.training.blind_test import BlindResult, blind_accuracy

SIDE = 288
JUDGES = (FeatureJudge(), NetworkJudge(steps=5))


def _holes(seed: int, count: int = 22, side: int = SIDE) -> Mask:
    rng = np.random.default_rng(seed)
    mask = np.zeros((side, side), np.uint8)
    for _ in range(count):
        centre = [int(place) for place in rng.integers(0, side, 2)]
        cv2.ellipse(mask, (centre, [int(axis) for axis in rng.integers(5, 16, 2)], float(rng.uniform(0, 180))), 1, -1)
    return mask.astype(bool)


def _film(seed: int, channels: int = 1) -> FloatImage:
    planes = [draw_picture(SIDE, SIDE, seed + 100 * channel) for channel in range(channels)]
    return np.stack(planes, axis=2)


def _smooth(film: FloatImage) -> FloatImage:
    return cv2.GaussianBlur(film, (0, 0), 3).reshape(film.shape)


def _frames(fill: str, count: int = 6) -> list[BlindPair]:
    """Frames of `count` photographs, every second one in colour, their holes left alone, smooth or filled with noise.

    The noise is as strong as the grain, but white.
    """
    frames = []
    for seed in range(count):
        film, mask = _film(seed, channels=1 + 2 * (seed % 2)), _holes(seed + 50)
        noise = np.random.default_rng(seed).normal(0, 0.02, film.shape).astype(np.float32)
        filled = {"untouched": film, "smooth": _smooth(film), "noise": _smooth(film) + noise}[fill]
        name = ("black_and_white", "slide")[seed % 2]
        restored = np.where(mask[..., None], filled, film)
        frames.append(BlindPair(f"photo {seed}, {name}", name, restored, mask))
    return frames


def _asked(fill: str) -> BlindResult:
    return blind_accuracy(_frames(fill), judges=JUDGES)


@pytest.mark.parametrize("fill", ["smooth", "noise"])
def test_fills_without_the_films_grain_are_recognised(fill: str) -> None:
    result = _asked(fill)

    assert result.told.accuracy > 0.8
    assert result.told.low > 0.6
    assert result.area_under_curve > 0.85


def test_film_that_was_not_touched_is_not_told_from_itself() -> None:
    result = _asked("untouched")

    assert result.told.low <= 0.5 <= result.told.high
    assert 0.4 < result.area_under_curve < 0.6


@pytest.mark.parametrize("judge", [FeatureJudge(), NetworkJudge(steps=60)])
def test_each_judge_recognises_white_noise_in_a_frame_it_has_not_seen(judge: Judge) -> None:
    frames = _frames("noise", count=4)
    drawn = [draw_matched(frame, np.random.default_rng(1), most=50) for frame in frames]
    repaired, untouched = ([judge.prepare(getattr(each, side)) for each in drawn] for side in ("repaired", "untouched"))

    judgement = judge.fit(np.concatenate(repaired[:3]), np.concatenate(untouched[:3]), seed=1)

    assert np.mean(judgement(repaired[3]) > 0) > 0.75
    assert np.mean(judgement(untouched[3]) < 0) > 0.75


def test_the_same_seed_gives_the_same_answer_and_leaves_other_randomness_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    frames = _frames("smooth", count=3)

    first = blind_accuracy(frames, judges=[NetworkJudge(steps=3)])
    second = blind_accuracy(frames, judges=[NetworkJudge(steps=3)])

    assert first == second
    assert torch.rand(1) == expected


def test_a_result_counts_two_patches_a_repair_and_names_films_areas_and_places() -> None:
    frames = _frames("smooth", count=4)

    result = blind_accuracy(frames, judges=[FeatureJudge()], most_per_frame=9)

    pieces = sum(cv2.connectedComponents(frame.mask.astype(np.uint8))[0] - 1 for frame in frames)
    assert 0 < result.told.count <= 2 * 4 * 9
    assert result.told.count // 2 + result.left_out < pieces
    assert set(result.by_film) == {"black_and_white", "slide"}
    for shares in (result.by_film, result.by_area):
        assert sum(share.count for share in shares.values()) == result.told.count
        assert all(0 <= share.low <= share.accuracy <= share.high <= 1 for share in shares.values())
    odds = [each.log_odds for each in result.easiest]
    assert odds == sorted(odds, reverse=True)
    masks = {frame.frame: frame.mask for frame in frames}
    assert all(masks[each.place.frame][each.place.row, each.place.column] for each in result.easiest)


class _WatchfulJudge:
    """Remembers by their grey which photographs it learned from and was asked on."""

    name = "watchful"

    def __init__(self) -> None:
        self.rounds: list[tuple[set[float], set[float]]] = []

    def prepare(self, patches: FloatImage) -> NDArray[np.float32]:
        return np.round(patches.mean(axis=(1, 2, 3)), 1)

    def fit(self, repaired: NDArray[np.float32], untouched: NDArray[np.float32], seed: int) -> Judgement:
        learned, asked = set(np.concatenate([repaired, untouched]).tolist()), set[float]()
        self.rounds.append((learned, asked))

        def judge(prepared: NDArray[np.float32]) -> NDArray[np.float64]:
            asked.update(prepared.tolist())
            return np.zeros(len(prepared))

        return judge


def test_no_photograph_is_learned_from_and_asked_on() -> None:
    judge = _WatchfulJudge()
    frames = [
        replace(pair, frame=f"photo {photo}, {dpi} dpi", restored=pair.restored * 0 + np.float32(photo / 10))
        for dpi in (2400, 4000)
        for photo, pair in enumerate(_frames("untouched", count=5), start=1)
    ]

    result = blind_accuracy(frames, judges=[judge], most_per_frame=4)

    assert all(learned and asked and not learned & asked for learned, asked in judge.rounds)
    assert result.told.accuracy == 0.5
    spoken = [asked for learned, asked in judge.rounds if len(learned) + len(asked) == 5]
    assert sorted(level for levels in spoken for level in levels) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


def test_two_photographs_are_too_few() -> None:
    frames = [replace(pair, frame=f"photo {i % 2}, {i}") for i, pair in enumerate(_frames("smooth", count=4))]

    with pytest.raises(OptionsError, match="2 photographs; at least 3"):
        blind_accuracy(frames, judges=[FeatureJudge()])


def test_no_pairs_of_a_frame_are_refused() -> None:
    with pytest.raises(OptionsError, match="most_per_frame = 0"):
        blind_accuracy(_frames("smooth", count=3), most_per_frame=0)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), holes=st.integers(0, 60))
def test_an_untouched_patch_holds_no_repaired_pixel_and_a_repaired_one_has_it_in_the_middle(
    seed: int, holes: int
) -> None:
    mask = _holes(seed, holes)
    restored = np.where(mask, np.float32(1), draw_picture(SIDE, SIDE, seed))[..., None]

    patches = draw_matched(BlindPair("frame", "slide", restored, mask), np.random.default_rng(seed), most=50)

    assert len(patches.repaired) == len(patches.untouched) == len(patches.places)
    assert patches.repaired.shape[1:] == (PATCH_PX, PATCH_PX, 3)
    assert (patches.untouched < 1).all()
    assert (patches.repaired[:, PATCH_PX // 2, PATCH_PX // 2] == 1).all()


def test_what_lies_in_the_holes_has_no_part_in_the_choice_of_untouched_patches() -> None:
    film, mask = _film(4), _holes(9)
    other = np.where(mask[..., None], np.float32(0.9), film)

    first, second = (
        draw_matched(BlindPair("frame", "slide", image, mask), np.random.default_rng(1), most=50)
        for image in (film, other)
    )

    assert len(first.places) > 5
    assert np.array_equal(first.untouched, second.untouched)
    assert first.places == second.places


def test_untouched_patches_come_from_film_of_like_brightness_and_texture() -> None:
    rng = np.random.default_rng(3)
    film = np.full((SIDE, SIDE, 1), 0.3, np.float32)
    film[: SIDE // 2] = 0.6
    grain = rng.normal(0, 1, film.shape)
    grain[:, : SIDE // 2] *= 3
    film += (0.01 * grain).astype(np.float32)
    mask = _holes(9, count=40)
    clear_of_the_edges = SIDE // 2 + 40
    mask[:clear_of_the_edges] = False
    mask[:, :clear_of_the_edges] = False

    patches = draw_matched(BlindPair("frame", "slide", film, mask), rng, most=50)

    assert len(patches.untouched) > 3
    assert patches.untouched.mean() == pytest.approx(0.3, abs=0.02)
    assert patches.untouched.std(axis=(1, 2)).max() < 0.02


def test_a_repair_without_film_like_its_own_is_left_out() -> None:
    film = draw_picture(SIDE, SIDE)[..., None]
    film[112:168, 112:168] *= np.float32(0.1)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[136:144, 136:144] = True

    patches = draw_matched(BlindPair("frame", "slide", film, mask), np.random.default_rng(1), most=50)

    assert patches.places == []
    assert patches.left_out == 1


def test_a_grey_frame_gives_three_equal_planes_and_a_colour_frame_its_own() -> None:
    grey, colour = (
        draw_matched(BlindPair("frame", "slide", _film(1, channels), _holes(2)), np.random.default_rng(1), most=5)
        for channels in (1, 3)
    )

    assert (grey.repaired == grey.repaired[..., :1]).all()
    assert not (colour.repaired == colour.repaired[..., :1]).all()


def test_frames_of_another_shape_are_refused() -> None:
    with pytest.raises(ArrayContractError, match="h×w×1 or h×w×3"):
        BlindPair("frame", "slide", np.zeros((64, 64), np.float32), np.zeros((64, 64), bool))
    with pytest.raises(ArrayContractError, match="mask"):
        BlindPair("frame", "slide", np.zeros((64, 64, 1), np.float32), np.zeros((64, 60), bool))
