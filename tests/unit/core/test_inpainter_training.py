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
from spotless_core.training.inpainter_losses import FillWeights, fill_loss
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


@pytest.mark.usefixtures("few_sprites")
def test_what_belongs_into_the_holes_and_the_grain_are_the_film_without_dust(run: InpainterRun) -> None:
    batch = HoleBatches(load_photos(run.photos, color=True), {}, run, 5)[3]
    scan, outside = batch.inputs[:, :3], batch.holes.expand_as(batch.target) == 0

    with_grain, without = ((picture - scan)[outside].abs() for picture in (batch.target + batch.grain, batch.target))

    assert float(with_grain.median()) < 0.25 * float(without.median())  # but for what JPEG makes of dust near by
    assert float(batch.grain[~outside].abs().mean()) > 0.5 * float(batch.grain[outside].abs().mean())


def test_a_bank_of_sprites_serves_150_steps() -> None:
    banks = SpriteBanks({}, 1)

    assert banks.at(0) is banks.at(149)
    assert banks.at(149) is not banks.at(150)


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
