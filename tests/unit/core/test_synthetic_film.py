from pathlib import Path

import numpy as np
import pytest
from drawing import draw_picture
from PIL import Image

from spotless_core.training import film
from spotless_core.training.dataset import (
    IGNORED,
    draw_crop,
    drop_elements,
    load_photos,
    make_sprite_bank,
    photo_window,
    visibility,
)
from spotless_core.training.film import COLOR_NEGATIVE, FILM_TYPES, SLIDE, GrainBank
from spotless_core.training.lookalikes import LOOKALIKES, Lookalike, add_lookalikes
from spotless_core.training.synthetic_dust import KIND_WEIGHTS, RealShape, Sprite, draw_sprite

DISC = np.where(np.hypot(*np.mgrid[-10:11, -10:11]) < 8, 1, 0).astype(np.float32)


def photos() -> list[np.ndarray]:
    return [np.rint(draw_picture(400, 500, seed) * 255).astype(np.uint8) for seed in (1, 2)]


@pytest.mark.parametrize("kind", [kind for kind in KIND_WEIGHTS if kind != "transport_line"])
def test_a_sprite_is_twice_as_large_at_twice_the_resolution(kind: str) -> None:
    def mean_size(um_per_px: float) -> float:
        sprites = [draw_sprite(np.random.default_rng(seed), um_per_px, {}, kind) for seed in range(40)]
        return float(np.mean([np.sqrt((sprite.alpha > 0.5).sum()) for sprite in sprites]))

    assert 1.5 < mean_size(4.0) / mean_size(8.0) < 2.5


@pytest.mark.parametrize("um_per_px", [4.0, 8.0, 20.0])
def test_a_transport_line_is_longer_than_a_crop_and_lies_along_an_axis(um_per_px: float) -> None:
    for seed in range(20):
        alpha = draw_sprite(np.random.default_rng(seed), um_per_px, {}, "transport_line").alpha

        assert max(alpha.shape) > 256
        assert min(alpha.shape) < 60


def test_a_drying_mark_is_a_rim_round_a_clean_middle() -> None:
    for seed in range(20):
        alpha = draw_sprite(np.random.default_rng(seed), 6.35, {}, "drying_mark").alpha

        if min(alpha.shape) < 40:
            continue  # a small drop's rim closes
        middle = alpha[alpha.shape[0] // 2 - 2 : alpha.shape[0] // 2 + 3, alpha.shape[1] // 2 - 2 :][:, :5]
        assert middle.max() < 0.05
        assert alpha.max() == pytest.approx(1)


def test_a_sprites_alpha_peaks_at_one_and_fades_to_nothing_at_its_border() -> None:
    for seed in range(30):
        sprite = draw_sprite(np.random.default_rng(seed), 6.35, {})

        assert sprite.alpha.max() == pytest.approx(1)
        assert sprite.alpha.min() >= 0
        assert sprite.alpha[0].max() < 0.3


def test_real_shapes_are_used_at_their_own_scale() -> None:
    square = RealShape("dust", np.array([[-50, -50], [50, -50], [50, 50], [-50, 50]], np.float32))

    sprite = draw_sprite(np.random.default_rng(1), 5.0, {"dust": [square]}, "dust", real_share=1.0)

    area_um2 = float((sprite.alpha > 0.5).sum()) * 25
    assert 0.5**2 * 10_000 < area_um2 < 1.1**2 * 10_000


@pytest.mark.parametrize(("film_type", "brighter"), [(COLOR_NEGATIVE, True), (SLIDE, False)])
def test_a_particle_turns_bright_on_a_negative_and_dark_on_a_slide(film_type: film.FilmType, brighter: bool) -> None:
    clean = draw_picture(100, 100)

    dusty, truth, elements = drop_elements(
        np.random.default_rng(4), clean, film_type, [Sprite("dust", DISC)], np.array([[50, 50]])
    )

    assert elements[0].visible
    change = float((dusty - clean)[truth == 1].mean())
    assert bool(change > 0.02) == brighter
    assert bool(change < -0.02) != brighter


def test_outside_its_elements_the_film_is_unchanged() -> None:
    clean = draw_picture(100, 100)

    dusty, _, _ = drop_elements(np.random.default_rng(0), clean, SLIDE, [Sprite("dust", DISC)], np.array([[50, 50]]))

    assert np.abs(dusty - clean)[:30].max() < 1e-5


def test_a_speck_on_the_white_sky_of_a_negative_cannot_be_seen_and_does_not_count() -> None:
    white = np.full((100, 100), 0.999, np.float32)

    _, truth, elements = drop_elements(
        np.random.default_rng(0), white, COLOR_NEGATIVE, [Sprite("dust", DISC)], np.array([[50, 50]])
    )

    assert elements == []
    assert (truth == 0).all()


@pytest.mark.parametrize(
    ("change", "sigma", "area_px", "expected"),
    [
        (0.2, 0.02, 50, "visible"),
        (0.05, 0.02, 50, "unsure"),  # 2.5 sigma: a speck drowns in the grain
        (0.05, 0.02, 800, "visible"),  # a hair of the same contrast does not
        (0.02, 0.001, 50, "unsure"),
        (0.01, 0.001, 50, "hidden"),
        (0.05, 0.1, 50, "hidden"),
    ],
)
def test_visibility_is_contrast_over_the_local_grain_and_the_eye_sums_along_a_hair(
    change: float, sigma: float, area_px: float, expected: str
) -> None:
    assert visibility(change, sigma, area_px) == expected


def test_log_exposure_and_back_is_the_identity() -> None:
    grey = np.linspace(0, 1, 101, dtype=np.float32)

    assert np.abs(film.from_log_exposure(film.to_log_exposure(grey)) - grey).max() < 2e-3


@pytest.mark.parametrize("sigma_px", [0.4, 0.8, 1.5])
def test_grain_has_unit_variance_and_grows_with_its_size(sigma_px: float) -> None:
    bank = GrainBank(np.random.default_rng(0))

    grain = bank.draw(np.random.default_rng(1), (600, 600), sigma_px)

    assert grain.std() == pytest.approx(1, abs=0.05)
    neighbours = float(np.corrcoef(grain[:, :-1].ravel(), grain[:, 1:].ravel())[0, 1])
    assert neighbours == pytest.approx(np.exp(-1 / (4 * sigma_px**2)), abs=0.25)


def test_a_crop_is_a_pure_function_of_its_seed() -> None:
    bank = make_sprite_bank(np.random.default_rng(0), {}, 40)
    grains = GrainBank(np.random.default_rng(0))

    first = draw_crop(np.random.default_rng(5), photos(), bank, grains, 128)
    second = draw_crop(np.random.default_rng(5), photos(), bank, grains, 128)

    assert (first.grey == second.grey).all()
    assert (first.truth == second.truth).all()


def test_crops_keep_their_contract_and_some_have_no_dust() -> None:
    bank = make_sprite_bank(np.random.default_rng(0), {}, 100)
    grains = GrainBank(np.random.default_rng(0))
    rng = np.random.default_rng(3)

    crops = [draw_crop(rng, photos(), bank, grains, 128) for _ in range(60)]

    for crop in crops:
        assert crop.grey.dtype == np.float32
        assert 0 <= crop.grey.min() <= crop.grey.max() <= 1
        assert set(np.unique(crop.truth)) <= {0, 1, IGNORED}
    shares = [float((crop.truth == 1).mean()) for crop in crops]
    assert min(shares) == 0
    assert 0.003 < np.mean(shares) < 0.13  # crops of 128 px are four times as dense as those of 256


def test_the_picture_is_as_soft_as_its_resolution_says() -> None:
    photo = photos()[0]
    photo[::7] = 255  # fine detail

    def sharpness(um_per_px: float) -> float:
        windows = [photo_window(np.random.default_rng(seed), photo, 128, um_per_px) for seed in range(30)]
        return float(np.mean([np.abs(np.diff(window, axis=0)).mean() for window in windows]))

    assert sharpness(4.0) < 0.6 * sharpness(10.6) < 0.6 * sharpness(21.0)


def test_dust_is_sharper_than_the_picture_from_2400_dpi_on() -> None:
    step = np.zeros((400, 400), np.uint8)
    step[:, 200:] = 255
    steepest_pictures, steepest_sprites = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        sprite = draw_sprite(rng, 25400 / 3200, {}, "dust").alpha
        picture = photo_window(rng, step, 200, 25400 / 3200)
        steepest = max(np.abs(np.diff(picture, axis=axis)).max() for axis in (0, 1))
        steepest_pictures.append(steepest)
        steepest_sprites.append(max(np.abs(np.diff(sprite, axis=axis)).max() for axis in (0, 1)))

    assert np.median(steepest_pictures) < 0.8 * np.median(steepest_sprites)


def test_recoding_keeps_the_range_and_an_uninverted_negative_is_upside_down() -> None:
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(4, axis=0)
    rising = falling = 0
    for seed in range(200):
        coded = film.recode(np.random.default_rng(seed), ramp)

        assert 0 <= coded.min() <= coded.max() <= 1
        steps = np.diff(coded[0])
        assert (steps >= -1e-6).all() or (steps <= 1e-6).all()
        rising, falling = rising + bool(steps.sum() > 0), falling + bool(steps.sum() < 0)
    assert 2 <= falling <= 30
    assert rising + falling == 200


@pytest.mark.parametrize("kind", ["scratch", "transport_line"])
def test_scratches_go_either_way_and_particles_one_way(kind: str) -> None:
    grey = np.full((100, 100), 0.5, np.float32)

    def signs(of: str) -> set[int]:
        found = set()
        for seed in range(20):
            rng = np.random.default_rng(seed)
            dusty, _, _ = drop_elements(rng, grey, SLIDE, [Sprite(of, DISC)], np.array([[50, 50]]))
            found.add(int(np.sign((dusty - grey)[50, 50])))
        return found

    assert signs(kind) == {-1, 1}
    assert signs("drying_mark") == signs("dust") == {-1}


def test_a_transport_line_takes_or_gives_4_to_30_percent_of_the_light() -> None:
    grey = np.full((100, 100), 0.5, np.float32)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        dusty, _, _ = drop_elements(rng, grey, SLIDE, [Sprite("transport_line", DISC)], np.array([[50, 50]]))

        before, after = (10 ** float(film.to_log_exposure(g)[50, 50]) for g in (grey, dusty))
        depth = 1 - min(before, after) / max(before, after)
        assert 0.039 < depth < 0.31


@pytest.mark.parametrize("draw", LOOKALIKES, ids=lambda draw: draw.__name__.strip("_"))
def test_every_lookalike_draws_something_on_any_size(draw: Lookalike) -> None:
    for side in (80, 256, 427):
        changed = 0
        for seed in range(5):  # a line of text may lie outside a small window
            photo = np.full((side, side), 120, np.uint8)

            draw(np.random.default_rng(seed), photo)

            changed += bool((photo != 120).any())
        assert changed >= 2


def test_lookalikes_change_the_picture_but_not_the_callers_array() -> None:
    for seed in range(40):
        photo = np.full((256, 256), 120, np.uint8)

        drawn = add_lookalikes(np.random.default_rng(seed), photo)

        assert (photo == 120).all()
        assert drawn.shape == photo.shape
        assert drawn.dtype == np.uint8
    assert {f.name for f in FILM_TYPES} == {"color_negative", "slide", "black_and_white"}


def test_the_layers_of_color_film_share_a_part_of_their_grain() -> None:
    bank = GrainBank(np.random.default_rng(1))

    grain = np.concatenate([bank.draw_color(np.random.default_rng(seed), (200, 200), 0.8) for seed in range(6)])

    correlation = np.corrcoef(grain.reshape(-1, 3).T)[np.triu_indices(3, 1)]
    np.testing.assert_allclose(grain.std(axis=(0, 1)), 1, atol=0.12)
    np.testing.assert_allclose(correlation, film.SHARED_GRAIN, atol=0.15)


@pytest.mark.parametrize("channel", range(3))
def test_a_scanner_keeps_the_colors_in_their_places(channel: int) -> None:
    color = np.full((64, 64, 3), 0.2, np.float32)
    color[..., channel] = 0.8

    for seed in range(40):  # every seventh scan is a JPEG
        means = film.digitise(np.random.default_rng(seed), color).mean(axis=(0, 1))

        assert means.argmax() == channel
        np.testing.assert_allclose(np.delete(means, channel), 0.2, atol=0.05)


def test_photographs_load_in_grey_or_in_rgb(tmp_path: Path) -> None:
    red = np.zeros((150, 140, 3), np.uint8)
    red[..., 0] = 200
    Image.fromarray(red).save(tmp_path / "red.png")

    (color,), (grey,) = load_photos(tmp_path, color=True), load_photos(tmp_path)

    np.testing.assert_array_equal(color, red)
    assert grey.shape == (150, 140)
    assert abs(int(grey[0, 0]) - 0.299 * 200) < 1.5
