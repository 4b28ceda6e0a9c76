import csv
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawing import draw_picture, make_bright_spot_models
from PIL import Image

from spotless_core.errors import ModelError, OptionsError
from spotless_core.inpainting.lama_input import input_planes, prepare_input
from spotless_core.networks.lama import LamaGenerator, LamaShape
from spotless_core.networks.weights import load_weights, read_manifest
from spotless_core.training import learner
from spotless_core.training.batches import SpriteBanks
from spotless_core.training.checkpoint import save_checkpoint
from spotless_core.training.cli import main
from spotless_core.training.dataset import load_photos, make_sprite_bank
from spotless_core.training.export import FIRST_THRESHOLDS, export_inpainter, write_manifest
from spotless_core.training.film import BLACK_AND_WHITE, COLOR_NEGATIVE, SLIDE, GrainBank
from spotless_core.training.inpainter_dataset import HoleBatches, HoleCrop, draw_defects, draw_hole_crop
from spotless_core.training.inpainter_loop import blinded, lama_shape, train_inpainter, validate, validation_batches
from spotless_core.training.inpainter_losses import FillWeights, PatchCritic, critic_loss, critic_opinion, fill_loss
from spotless_core.training.run_config import InpainterRun, read_inpainter_run

CONFIG = Path(__file__).parents[3] / "config" / "training" / "inpainter.toml"


@pytest.fixture
def run(tmp_path: Path) -> InpainterRun:
    for folder in ("photos", "val"):
        (tmp_path / folder).mkdir()
        for seed in (1, 2):
            grey = draw_picture(200, 220, seed)
            pixels = np.rint(np.stack([grey, grey**1.2, 1 - grey], axis=2) * 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{seed}.png")
    (tmp_path / "run").mkdir()
    return InpainterRun(
        photos=tmp_path / "photos",
        validation_photos=tmp_path / "val",
        output=tmp_path / "run",
        width=4,
        downsamplings=1,
        blocks=1,
        steps=6,
        batch=2,
        side=32,
        warmup_steps=2,
        decay_steps=2,
        adversarial_from=2,
        discriminator_width=4,
        validate_every=6,
        checkpoint_every=3,
    )


@pytest.fixture
def few_sprites(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small banks and few validation crops: these tests ask how, not how well."""
    monkeypatch.setattr(
        "spotless_core.training.batches.make_sprite_bank", lambda rng, real: make_sprite_bank(rng, real, 60)
    )
    monkeypatch.setattr("spotless_core.training.inpainter_loop.VALIDATION_CROPS", 16)
    monkeypatch.setattr("spotless_core.training.export.SETTLING_BATCHES", 3)


def weights(path: Path) -> dict[str, torch.Tensor]:
    state = torch.load(path, weights_only=True)
    moments = {
        f"{index} {name}": value
        for index, values in state["optimiser"]["state"].items()
        for name, value in values.items()
    }
    critic = {f"critic {name}": value for name, value in state["critic"]["network"].items()}
    return {**state["network"], **state["average"], **moments, **critic}


@pytest.mark.usefixtures("few_sprites")
def test_a_killed_inpainter_run_ends_as_an_undisturbed_one(
    run: InpainterRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = replace(run, output=tmp_path / "whole"), replace(run, output=tmp_path / "killed")
    for each in (whole, killed):
        each.output.mkdir()

    def save_and_die(path: Path, state: dict[str, object]) -> None:
        save_checkpoint(path, state)
        raise KeyboardInterrupt

    undisturbed = weights(train_inpainter(whole, "cpu"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(learner, "save_checkpoint", save_and_die)
        train_inpainter(killed, "cpu")
    assert torch.load(killed.output / "checkpoint.pt", weights_only=True)["step"] == 3
    resumed = weights(train_inpainter(killed, "cpu"))

    assert undisturbed.keys() == resumed.keys()
    assert all(torch.equal(undisturbed[name], resumed[name]) for name in undisturbed)


@pytest.mark.usefixtures("few_sprites")
def test_the_inpainter_command_writes_checkpoint_curves_and_preview(run: InpainterRun, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(
        f'photos = "{run.photos}"\nvalidation_photos = "{run.validation_photos}"\noutput = "{tmp_path / "new"}"\n'
        "width = 4\ndownsamplings = 1\nblocks = 1\nsteps = 2\nbatch = 8\nside = 64\nvalidate_every = 2\n"
    )

    assert main(["inpainter", "--config", str(config), "--threads", "1"]) == 0

    with (tmp_path / "new" / "curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [2]
    assert {"loss", "psnr", "structure_psnr", "cheap_psnr", "cheap_structure_psnr"} <= set(rows[0])
    with Image.open(tmp_path / "new" / "curves.png") as curves:
        assert curves.size[0] > 500
    with Image.open(tmp_path / "new" / "preview.png") as preview:
        assert preview.size == (8 * 64, 4 * 64)
    assert (tmp_path / "new" / "checkpoint.pt").exists()


WEIGHTS = FillWeights(rim=0.2, scale=1.0, frequency=0.1)


@pytest.mark.usefixtures("few_sprites")
def test_a_few_steps_on_one_batch_beat_the_cheap_fill(run: InpainterRun) -> None:
    torch.manual_seed(1)
    batch = HoleBatches(load_photos(run.photos, color=True), {}, run, 1)[0]
    network = LamaGenerator(LamaShape(width=8, downsamplings=1, blocks=1))
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []

    for _ in range(40):
        loss = fill_loss(network(batch.inputs), batch.target, batch.holes, WEIGHTS)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))

    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize(
    "weights", [FillWeights(0.2, 0.0, 0.0), FillWeights(0.2, 1.0, 0.0), FillWeights(0.2, 1.0, 0.5)]
)
def test_only_the_holes_and_their_rim_count(weights: FillWeights) -> None:
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 10:14, 10:14] = 1
    target = torch.zeros(1, 3, 32, 32)
    far, rim, hole = target.clone(), target.clone(), target.clone()
    far[..., 25:, 25:] = 1
    rim[..., 8, 11] = 1
    hole[..., 11, 11] = 1

    losses = [float(fill_loss(filled, target, mask, weights)) for filled in (target, far, rim, hole)]

    assert losses[0] == losses[1] == 0
    assert 0 < losses[2] < losses[3]


def test_a_pixel_of_the_rim_weighs_as_the_run_says() -> None:
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 10:14, 10:14] = 1
    target = torch.zeros(1, 3, 32, 32)
    rim, hole = target.clone(), target.clone()
    rim[..., 8, 11] = hole[..., 11, 11] = 1
    weights = FillWeights(0.2, 0.0, 0.0)

    assert float(fill_loss(hole, target, mask, weights)) == pytest.approx(
        float(fill_loss(rim, target, mask, weights)) / 0.2
    )


def test_the_critic_calls_only_patches_with_a_hole_fake() -> None:
    torch.manual_seed(1)
    target = torch.randn(8, 3, 64, 64)
    holes = torch.zeros(8, 1, 64, 64)
    holes[..., :32] = 1
    filled = torch.zeros_like(target)  # as flat as a bad repair
    critic = PatchCritic(3, 8)
    optimiser = torch.optim.Adam(critic.parameters(), lr=1e-2)

    for _ in range(60):
        optimiser.zero_grad()
        critic_loss(critic, filled, target, holes).backward()
        optimiser.step()
    with torch.no_grad():
        opinion, _ = critic(torch.where(holes > 0, filled, target))
        flat, _ = critic_opinion(critic, filled, target, holes)
        true, apart = critic_opinion(critic, target, target, holes)

    assert opinion[..., :3].max() < 0 < opinion[..., 5:].min()
    assert flat > 2 * true
    assert apart == 0


def test_only_the_hole_learns_from_the_critic() -> None:
    torch.manual_seed(1)
    target, holes = torch.randn(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)
    holes[..., 8:20, 8:20] = 1
    filled = torch.randn(2, 3, 32, 32, requires_grad=True)

    looks_fake, apart = critic_opinion(PatchCritic(3, 4), filled, target, holes)
    (looks_fake + apart).backward()

    assert filled.grad is not None
    assert filled.grad[:, :, 8:20, 8:20].abs().max() > 0
    assert filled.grad[:, :, 24:].abs().max() == 0


@pytest.mark.usefixtures("few_sprites")
def test_an_untrained_network_scores_as_the_cheap_fill(run: InpainterRun) -> None:
    network = LamaGenerator(lama_shape(run))

    scores = validate(network, validation_batches(run), "cpu")

    assert scores["structure_psnr"] == pytest.approx(scores["cheap_structure_psnr"], abs=1)
    assert scores["blind_structure_psnr"] == pytest.approx(scores["cheap_structure_psnr"], abs=0.01)


def test_holes_cover_a_good_part_of_a_crop_and_most_have_dust_under_them() -> None:
    sprites = [sprite for _, group in make_sprite_bank(np.random.default_rng(0), {}, 60) for sprite in group]

    drawn = [draw_defects(np.random.default_rng(seed), sprites, 96, COLOR_NEGATIVE) for seed in range(40)]
    covered = [holes.mean() for _, holes in drawn]
    under = [np.abs(change[holes]).max(axis=1) > 0.02 for change, holes in drawn if holes.any()]

    assert 0.1 < np.mean(covered) < 0.25
    assert max(covered) <= 0.4
    assert 0.4 < np.concatenate(under).mean() < 0.95


@pytest.mark.parametrize(("film_type", "sign"), [(COLOR_NEGATIVE, 1), (SLIDE, -1), (BLACK_AND_WHITE, 1)])
def test_particles_change_all_layers_alike_in_the_films_direction(film_type: object, sign: int) -> None:
    bank = make_sprite_bank(np.random.default_rng(0), {}, 60)
    particles = [sprite for _, group in bank for sprite in group if sprite.kind in {"dust", "dirt", "short_hair"}]

    change, _ = draw_defects(np.random.default_rng(3), particles, 96, film_type)  # type: ignore[arg-type]

    assert np.abs(change).max() > 0.03
    assert (sign * change).min() >= 0
    np.testing.assert_array_equal(change[..., 0], change[..., 2])


def test_what_belongs_into_a_hole_is_the_film_without_dust_and_grain(run: InpainterRun) -> None:
    bank = make_sprite_bank(np.random.default_rng(0), {}, 60)
    grains, photos = GrainBank(np.random.default_rng(0)), load_photos(run.photos, color=True)

    crops = [draw_hole_crop(np.random.default_rng(seed), photos, bank, grains, 96) for seed in range(12)]

    rough = {True: 0.0, False: 0.0}
    dust = []
    for crop in crops:
        assert crop.film.shape == crop.picture.shape == (96, 96, 3)
        assert crop.film.dtype == crop.picture.dtype == np.float32
        clean = ~crop.holes
        assert np.abs(crop.film[clean].mean() - crop.picture[clean].mean()) < 0.03
        rough[True] += np.diff(crop.film, axis=0)[clean[1:]].std()
        rough[False] += np.diff(crop.picture, axis=0)[clean[1:]].std()
        dust.append(
            np.abs(crop.film - crop.picture)[crop.holes].mean() / np.abs(crop.film - crop.picture)[clean].mean()
        )
    assert rough[True] > 1.1 * rough[False]
    assert np.median(dust) > 1.5


def test_grain_is_asked_for_only_where_it_shines_through() -> None:
    shape = (2, 2, 3)
    clean, picture = np.full(shape, 0.6, np.float32), np.full(shape, 0.5, np.float32)
    thinness = np.array([[[1], [0.5]], [[0], [0.25]]], np.float32)
    crop = HoleCrop(clean, clean, picture, thinness, np.ones((2, 2), bool))

    np.testing.assert_allclose(crop.wanted(is_shown=False), 0.5)
    np.testing.assert_allclose(crop.wanted(is_shown=True)[..., 0], [[0.6, 0.55], [0.5, 0.525]])


@pytest.mark.usefixtures("few_sprites")
def test_a_batch_depends_on_nothing_but_seed_and_step(run: InpainterRun) -> None:
    photos = load_photos(run.photos, color=True)
    one, other = HoleBatches(photos, {}, run, 5), HoleBatches(photos, {}, run, 5)
    one[2]

    first, second = one[160], other[160]

    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(one[161].inputs, first.inputs)


def test_a_bank_of_sprites_serves_150_steps() -> None:
    banks = SpriteBanks({}, 1)

    assert banks.at(0) is banks.at(149)
    assert banks.at(149) is not banks.at(150)


@pytest.mark.parametrize("veil", [{"sees_veil": False}, {"sees_veil": True, "show_veil": False}])
def test_nothing_under_the_mask_reaches_a_network_that_is_not_shown_it(veil: dict[str, bool]) -> None:
    image = draw_picture(48, 48)[..., None]
    mask = np.zeros((48, 48), bool)
    mask[20:27, 18:30] = mask[:3, :5] = True
    other = np.where(mask[..., None], np.float32(1), image)

    first, second = (prepare_input(each, mask, has_cheap_fill=True, **veil) for each in (image, other))

    np.testing.assert_array_equal(first.inputs, second.inputs)
    np.testing.assert_array_equal(first.centre, second.centre)


def test_what_shines_through_is_shown_in_the_holes_only() -> None:
    image = np.repeat(draw_picture(48, 48)[..., None], 3, axis=2)
    mask = np.zeros((48, 48), bool)
    mask[20:27, 18:30] = True

    prepared = prepare_input(image, mask, has_cheap_fill=True, sees_veil=True)

    assert len(prepared.inputs) == len(input_planes(has_cheap_fill=True, sees_veil=True)) == LamaShape().inputs
    veil, shown, level = prepared.inputs[-7:-4], prepared.inputs[-4], prepared.inputs[-3:]
    np.testing.assert_array_equal(shown, mask)
    np.testing.assert_allclose(np.exp(level[:, 0, 0]), prepared.centre / prepared.contrast, rtol=1e-4)
    assert np.ptp(level, axis=(1, 2)).max() == 0
    assert np.abs(veil[:, ~mask]).max() == 0
    seen = np.sinh(veil) * prepared.contrast[:, None, None] + prepared.cheap.transpose(2, 0, 1)
    np.testing.assert_allclose(seen[:, mask], image.transpose(2, 0, 1)[:, mask], atol=1e-4)


def test_where_the_scan_is_clipped_nothing_is_shown() -> None:
    image = np.repeat(draw_picture(48, 48)[..., None], 3, axis=2)
    mask = np.zeros((48, 48), bool)
    mask[20:27, 18:30] = True
    image[20:23, 18:30, 1] = 1.0
    image[25:27, 18:30] = 0.0

    prepared = prepare_input(image, mask, has_cheap_fill=True, sees_veil=True)

    assert prepared.inputs[-4, 23:25, 18:30].all()
    assert np.abs(prepared.inputs[-7:-3, 20:23]).max() == np.abs(prepared.inputs[-7:-3, 25:27]).max() == 0


def test_contrast_is_that_of_the_film_near_the_holes_in_every_channel() -> None:
    rng = np.random.default_rng(1)
    plane = 0.5 + np.array([0.01, 0.02, 0.04]) * rng.standard_normal((128, 128, 3))
    plane[:, 80:] = rng.uniform(0, 1, (128, 48, 3))
    mask = np.zeros((128, 128), bool)
    mask[60:64, 20:24] = True

    prepared = prepare_input(plane.astype(np.float32), mask, has_cheap_fill=False, sees_veil=False)

    np.testing.assert_allclose(prepared.contrast, [0.01, 0.02, 0.04], rtol=0.1)
    np.testing.assert_allclose(prepared.centre, 0.5, atol=0.01)


def test_a_crop_in_the_networks_units_comes_back_as_it_was() -> None:
    image = np.repeat(draw_picture(32, 40)[..., None], 3, axis=2) * np.array([1, 0.5, 0.2], np.float32)
    mask = np.zeros((32, 40), bool)
    mask[10:14, 10:20] = True

    prepared = prepare_input(image, mask, has_cheap_fill=True, sees_veil=True)

    np.testing.assert_allclose(prepared.to_film(prepared.from_film(image)), image, atol=1e-5)


@pytest.mark.usefixtures("few_sprites")
def test_validation_crops_show_the_veil_and_can_be_blinded(run: InpainterRun) -> None:
    batch = validation_batches(run)[0]

    shown = batch.inputs[:, -4:-3]
    assert 0.5 < float(shown.sum() / batch.holes.sum()) <= 1
    assert float((shown * (1 - batch.holes)).sum()) == 0
    assert blinded(batch).inputs[:, -7:].abs().max() == 0
    assert torch.equal(blinded(batch).inputs[:, :-7], batch.inputs[:, :-7])


@pytest.mark.usefixtures("few_sprites")
def test_an_exported_inpainter_stands_beside_the_detector_in_the_manifest(run: InpainterRun, tmp_path: Path) -> None:
    models = make_bright_spot_models(tmp_path / "models")
    detector = tomllib.loads((models / "manifest.toml").read_text())["model"]["detector"]
    checkpoint = train_inpainter(run, "cpu")

    path = export_inpainter(run, models)

    after = tomllib.loads((models / "manifest.toml").read_text())["model"]
    entry = read_manifest(models)["lama"]
    assert after["detector"] == detector
    assert entry.path == path
    assert LamaShape.from_manifest(entry.shape) == lama_shape(run)
    assert entry.input == {"channels": 3, "multiple": 4, "smallest_px": 8}
    average = torch.load(checkpoint, weights_only=True)["average"]
    statistics = 0
    for name, value in load_weights(entry).items():
        if "running_" in name:  # settled on crops of the run
            statistics += not torch.allclose(value.float(), average[f"module.{name}"], rtol=1e-3, atol=1e-5)
        else:
            torch.testing.assert_close(value, average[f"module.{name}"], rtol=1e-3, atol=1e-5)
    assert statistics > 5


@pytest.mark.usefixtures("few_sprites")
def test_exporting_the_detector_again_keeps_the_inpainter(run: InpainterRun, tmp_path: Path) -> None:
    models = make_bright_spot_models(tmp_path / "models")
    train_inpainter(run, "cpu")
    export_inpainter(run, models)
    before = read_manifest(models)

    write_manifest(models, "0" * 64, (8, 2, 2), FIRST_THRESHOLDS, 10)

    after = read_manifest(models)
    assert after["lama"] == before["lama"]
    assert after["detector"].sha256 == "0" * 64
    assert after["detector"].thresholds["low"] == {"seed": 0.9, "grow": 0.5}


def test_a_damaged_manifest_is_not_written_over(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.toml"
    manifest.write_text("[model.lama\n")

    with pytest.raises(ModelError, match="not a model manifest"):
        write_manifest(tmp_path, "0" * 64, (8, 2, 2), FIRST_THRESHOLDS, 10)

    assert manifest.read_text() == "[model.lama\n"


@pytest.mark.usefixtures("few_sprites")
def test_a_run_of_another_shape_is_not_resumed(run: InpainterRun) -> None:
    train_inpainter(replace(run, steps=1), "cpu")

    with pytest.raises(ModelError, match="another output"):
        train_inpainter(replace(run, width=8), "cpu")


def test_the_shipped_config_is_a_run() -> None:
    run = read_inpainter_run(CONFIG)

    assert run.output == Path("runs/inpainter")
    assert lama_shape(run) == LamaShape()


def test_a_number_is_not_taken_for_yes_or_no(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text('photos = "a"\nvalidation_photos = "b"\noutput = "c"\ncheap_fill = 1\nblocks = true\n')

    with pytest.raises(OptionsError, match="cheap_fill = 1: bool expected; blocks = True: int expected"):
        read_inpainter_run(config)


@pytest.mark.usefixtures("few_sprites")
def test_the_preview_command_shows_holes(run: InpainterRun, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(
        f'photos = "{run.photos}"\nvalidation_photos = "{run.validation_photos}"\noutput = "{run.output}"\nside = 64\n'
    )

    assert main(["preview", str(tmp_path / "s.png"), "--config", str(config), "--network", "inpainter"]) == 0

    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.size == (8 * 64, 4 * 3 * 64)
