"""Evaluation frames for repairs: film in colour, masks of what a person sees, one scanner for all pictures."""

from pathlib import Path

import numpy as np
import pytest
from drawing import draw_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from spotless_core.arrays.masks import grow_mask
from spotless_core.arrays.metrics import grain_of
from spotless_core.errors import OptionsError
from spotless_core.training import film, repair_frames
from spotless_core.training.evaluation_frames import Materials
from spotless_core.training.film import BLACK_AND_WHITE, COLOR_NEGATIVE, SLIDE
from spotless_core.training.repair_frames import (
    BITS_8,
    BITS_16,
    drop_visible,
    load_color_materials,
    make_repair_frame,
    make_repair_frames,
)
from spotless_core.training.run_config import InpainterRun
from spotless_core.training.synthetic_dust import Sprite, draw_sprite


@pytest.fixture(autouse=True)
def _few_small_fields_of_grain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, "GRAIN_FIELD_PX", 256)
    monkeypatch.setattr(film, "GRAIN_FIELDS", 3)


@pytest.fixture
def materials(tmp_path: Path) -> Materials:
    (tmp_path / "val").mkdir()
    for seed in range(4):
        grey = draw_picture(140, 150, seed, grain=0)
        pixels = np.rint(np.clip(grey[..., None] * (1.0, 0.9, 0.8), 0, 1) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "val" / f"{seed}.png")
    return load_color_materials(InpainterRun(tmp_path / "train", tmp_path / "val", tmp_path / "run"))


def test_every_photograph_becomes_two_films_in_colour_and_one_in_grey_at_two_resolutions(materials: Materials) -> None:
    frames = list(make_repair_frames(materials, [1]))

    films = ("color_negative", "slide", "black_and_white")
    assert [(frame.film, frame.dpi) for frame in frames] == [(name, dpi) for name in films for dpi in (2400, 4000)]
    assert [frame.clean.shape for frame in frames] == [
        (side, side, channels) for channels in (3, 3, 1) for side in (168, 280)
    ]
    for frame in frames:
        assert frame.clean.dtype == frame.dusty.dtype == frame.regrained.dtype == np.uint16
        assert frame.picture.shape == frame.dusty.shape == frame.regrained.shape == frame.clean.shape
        assert frame.um_per_px == pytest.approx(25400 / frame.dpi)


def test_the_pictures_of_a_frame_differ_in_the_dust_and_the_grain_alone(materials: Materials) -> None:
    frames = [frame for number in (0, 2) for frame in make_repair_frames(materials, [number]) if frame.defects]

    assert len(frames) > 4
    for frame in frames:
        difference = np.abs(frame.dusty.astype(np.float32) - frame.clean).mean(axis=2)
        assert difference[frame.penumbra].mean() > 20 * difference[~frame.mask].mean()
        strength, other, without = (
            float(grain_of(np.asarray(picture, np.float32)).std())
            for picture in (frame.clean / 65535, frame.regrained / 65535, frame.picture)
        )
        assert other == pytest.approx(strength, rel=0.15)
        assert without < 0.6 * strength
        assert not np.array_equal(frame.regrained, frame.clean)


def test_the_grain_of_two_dye_layers_is_partly_the_same(materials: Materials) -> None:
    for dpi in (2400, 4000):
        frame = make_repair_frame(materials, 0, SLIDE, dpi)
        grain = (frame.clean / np.float32(65535) - frame.picture).reshape(-1, 3)
        between = np.corrcoef(grain.T)[np.triu_indices(3, 1)]

        assert between == pytest.approx([film.SHARED_GRAIN] * 3, abs=0.2)


def test_every_second_photograph_is_scanned_without_loss(materials: Materials) -> None:
    stored = {number: {frame.stored for frame in make_repair_frames(materials, [number])} for number in range(4)}

    assert stored[0] == stored[2] == {BITS_16}
    assert BITS_8 in stored[1] | stored[3]


def test_a_frame_does_not_depend_on_what_was_made_before_it(materials: Materials) -> None:
    alone = list(make_repair_frames(materials, [1]))
    later = list(make_repair_frames(materials))[6:12]

    for first, second in zip(alone, later, strict=True):
        assert first.name == second.name
        assert np.array_equal(first.dusty, second.dusty)
        assert np.array_equal(first.mask, second.mask)


def test_no_photograph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match="at least 1"):
        load_color_materials(InpainterRun(tmp_path, tmp_path, tmp_path), 0)


def _disc(kind: str, radius_px: int) -> Sprite:
    rows, columns = np.mgrid[-radius_px - 2 : radius_px + 3, -radius_px - 2 : radius_px + 3]
    return Sprite(kind, np.clip(radius_px + 0.5 - np.hypot(rows, columns), 0, 1).astype(np.float32))


@settings(max_examples=40, deadline=None)
@given(
    places=st.lists(st.tuples(st.integers(-3, 62), st.integers(-3, 82)), min_size=1, max_size=6),
    radius_px=st.integers(2, 9),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
def test_masks_are_the_penumbra_grown_by_two_pixels_also_at_the_border(
    places: list[tuple[int, int]], radius_px: int, channels: int, seed: int
) -> None:
    clean = np.full((60, 80, channels), 0.5, np.float32)
    sprites = [_disc("dust", radius_px)] * len(places)

    dusty, penumbra, defects = drop_visible(np.random.default_rng(seed), clean, SLIDE, sprites, np.array(places))

    union = np.zeros((60, 80), bool)
    for defect in defects:
        assert defect.mask[0].any() and defect.mask[-1].any() and defect.mask[:, 0].any() and defect.mask[:, -1].any()
        union[defect.place] |= defect.mask
    changed = np.abs(dusty - clean).max(axis=2) > 1e-3
    assert np.array_equal(union | grow_mask(penumbra, 2), union)
    assert not (changed & ~union).any()
    if all(radius_px + 3 < row < 57 - radius_px and radius_px + 3 < column < 77 - radius_px for row, column in places):
        assert np.array_equal(union, grow_mask(penumbra, 2))


def test_what_grain_hides_does_not_fall() -> None:
    rng = np.random.default_rng(3)
    clean = np.clip(rng.normal(0.5, 0.3, (120, 120, 3)), 0, 1).astype(np.float32)
    sprites = [_disc("dust", 2)] * 40

    dusty, penumbra, defects = drop_visible(rng, clean, SLIDE, sprites, rng.integers(10, 110, (40, 2)))

    assert not defects
    assert not penumbra.any()
    assert np.allclose(dusty, clean, atol=1e-3)


def _unequal(kind: str) -> int:
    """Of 60 elements on even grey film, how many change its colour."""
    rng = np.random.default_rng(4)
    clean = np.full((90, 90, 3), 0.45, np.float32)
    unequal = seen = 0
    while seen < 60:
        sprite = draw_sprite(rng, 10.58, {}, kind)
        dusty, _, defects = drop_visible(rng, clean, COLOR_NEGATIVE, [sprite], np.array([[45, 45]]))
        seen += len(defects)
        unequal += bool(defects) and float(np.ptp(dusty, axis=2).max()) > 1e-3
    return unequal


def test_particles_are_neutral_and_a_third_of_the_scratches_is_not() -> None:
    assert _unequal("dust") == 0
    assert 10 <= _unequal("scratch") <= 30


def test_black_and_white_film_has_one_channel_and_no_coloured_scratches() -> None:
    rng = np.random.default_rng(5)
    clean = np.full((90, 90, 1), 0.45, np.float32)
    sprites = [draw_sprite(rng, 10.58, {}, "scratch") for _ in range(20)]

    dusty, _, defects = drop_visible(rng, clean, BLACK_AND_WHITE, sprites, np.full((20, 2), 45))

    assert defects
    assert dusty.shape == clean.shape


def test_frames_without_any_element_have_an_empty_mask(materials: Materials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair_frames, "ELEMENTS_PER_MM2", 0.0)

    frame = make_repair_frame(materials, 0, SLIDE, 2400)

    assert not frame.defects
    assert not frame.mask.any()
    assert np.array_equal(frame.dusty, frame.clean)
