import csv
import json
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawing import draw_picture
from PIL import Image

from spotless_core.errors import ModelError, OptionsError
from spotless_core.inpainting.lama_input import prepare_input
from spotless_core.networks.lama import LamaGenerator, LamaShape
from spotless_core.options import DeviceChoice, DeviceOptions
from spotless_core.training import batches, inpainter_loop, inpainter_variants
from spotless_core.training.checkpoint import load_checkpoint
from spotless_core.training.cli import main
from spotless_core.training.compared_runs import SETTLED_STEPS
from spotless_core.training.dataset import make_sprite_bank
from spotless_core.training.inpainter_loop import SCORES, lama_shape
from spotless_core.training.inpainter_variants import (
    CROPS,
    PUBLISHED,
    PUBLISHED_NAME,
    compare_inpainters,
    load_scored_inpainter,
    time_crops,
    with_gains,
)
from spotless_core.training.run_config import InpainterRun, read_inpainter_variants

CPU = DeviceOptions(DeviceChoice.CPU, threads=1)
TWO = """
[[variant]]
name = "first"
width = 4
fold = 2
downsamplings = 1
blocks = 1
[[variant]]
name = "blind"
width = 8
fold = 1
downsamplings = 2
blocks = 1
veil = false
skips = false
seed = 2
"""


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """Small banks, few crops, one round, a small stand-in for big-lama: these tests ask how, not how well."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "make_sprite_bank", lambda rng, real: make_sprite_bank(rng, real, 60))
        patch.setattr(inpainter_loop, "VALIDATION_CROPS", 16)
        patch.setattr(inpainter_variants, "ROUNDS", 1)
        patch.setattr(inpainter_variants, "PUBLISHED", replace(PUBLISHED, width=4, blocks=1))
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> str:
    data = tmp_path_factory.mktemp("data")
    for folder in ("photos", "val"):
        (data / folder).mkdir()
        for seed in (1, 2):
            pixels = np.rint(draw_picture(200, 220, seed) * 255).astype(np.uint8)
            Image.fromarray(pixels).save(data / folder / f"{seed}.png")
    return f"""
[shared]
photos = "{data / "photos"}"
validation_photos = "{data / "val"}"
steps = 2
batch = 8
side = 32
warmup_steps = 1
decay_steps = 1
"""


@pytest.fixture(scope="module")
def compared(shared: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished comparison: read only."""
    folder = tmp_path_factory.mktemp("compared")
    config = folder / "variants.toml"
    config.write_text(shared + TWO)
    options = ["--network", "inpainter", "--config", str(config), "--report", str(folder / "report"), "--threads", "1"]
    assert main(["variants", *options]) == 0
    return folder / "report"


def read(text: str, tmp_path: Path) -> dict[str, InpainterRun]:
    config = tmp_path / "variants.toml"
    config.write_text(text)
    return read_inpainter_variants(config, tmp_path / "report")


def rows(report: Path) -> list[dict[str, float]]:
    found: list[dict[str, float]] = json.loads((report / "variants.json").read_text())["variants"]
    return found


def test_the_report_has_a_row_for_each_variant_with_its_size_scores_and_times(
    shared: str, compared: Path, tmp_path: Path
) -> None:
    runs = read(shared + TWO, tmp_path)

    found = rows(compared)

    assert [row["name"] for row in found] == ["first", "blind", PUBLISHED_NAME]
    for row, run in zip(found, runs.values(), strict=False):
        network = LamaGenerator(lama_shape(run))
        assert row["parameters_m"] * 1e6 == pytest.approx(sum(value.numel() for value in network.parameters()))
        assert asdict(network.shape).items() <= row.items()
        assert (row["seed"], row["steps"]) == (run.seed, 2)
        assert all(np.isfinite(row[name]) for name in SCORES)
    for row in found:
        for side in CROPS:
            assert row[f"ms_{side}"] > 0
            assert row[f"ms_{side}_bfloat16"] > 0
    assert all(found[0][f"ratio_{side}"] == found[0][f"ratio_{side}_bfloat16"] == 1 for side in CROPS)


def test_the_gain_is_counted_from_the_cheap_fill_of_the_same_crops(compared: Path) -> None:
    first, blind, _ = rows(compared)
    gains = [name for name in first if name.endswith("_gain")]

    assert gains
    for name in gains:
        score = name.removesuffix("_gain")
        rival = f"cheap_{score.removeprefix('blind_')}"
        assert first[name] == first[score] - first[rival]
        assert blind[rival] == first[rival]


def test_gains_are_counted_from_the_score_that_the_cheap_fill_has() -> None:
    scores = {"psnr": 30.0, "blind_psnr": 29.0, "cheap_psnr": 28.0, "sharpness": 0.5}

    assert with_gains(scores) == {**scores, "psnr_gain": 2.0, "blind_psnr_gain": 1.0}


def test_the_published_dimensions_are_timed_and_neither_trained_nor_scored(compared: Path) -> None:
    published = rows(compared)[-1]

    assert (published["steps"], published["seed"]) == (0, None)
    assert all(published[name] is None for name in SCORES)
    assert not (compared / PUBLISHED_NAME).exists()


def test_the_report_tells_the_same_as_csv_and_as_tables(compared: Path) -> None:
    found = rows(compared)

    with (compared / "variants.csv").open(newline="") as file:
        assert [row[SCORES[0]] for row in csv.DictReader(file)] == [str(row[SCORES[0]]) for row in found[:2]] + [""]
    lines = [line for line in (compared / "variants.md").read_text().splitlines() if line.startswith("| ")]
    quality, times = ([line.strip("| ").split(" | ") for line in part] for part in (lines[:4], lines[4:]))
    score = quality[0].index(SCORES[0].replace("_", " "))
    assert [cells[score] for cells in quality[1:]] == [f"{row[SCORES[0]]:.2f}" for row in found[:2]] + ["–"]
    time = times[0].index("64² px, bfloat16")
    assert [cells[time] for cells in times[1:]] == [f"{row['ms_64_bfloat16']:.2f}" for row in found]
    assert {len(cells) for cells in quality} == {len(quality[0])}
    assert {len(cells) for cells in times} == {len(times[0])}


def test_the_report_names_no_folder(shared: str, compared: Path) -> None:
    data = tomllib.loads(shared)["shared"]["photos"]

    assert data not in (compared / "variants.json").read_text() + (compared / "variants.md").read_text()


def test_a_killed_comparison_trains_only_what_is_missing(shared: str, compared: Path, tmp_path: Path) -> None:
    report = Path(shutil.copytree(compared, tmp_path / "report"))
    (report / "blind" / "checkpoint.pt").unlink()
    trained_at = (report / "first" / "checkpoint.pt").stat().st_mtime_ns

    compare_inpainters(read(shared + TWO, tmp_path), report, CPU)

    assert (report / "first" / "checkpoint.pt").stat().st_mtime_ns == trained_at
    assert [[row[name] for name in SCORES] for row in rows(report)] == [
        [row[name] for name in SCORES] for row in rows(compared)
    ]


def test_a_folder_with_a_run_of_other_settings_is_refused(shared: str, compared: Path, tmp_path: Path) -> None:
    report = Path(shutil.copytree(compared, tmp_path / "report"))
    longer = read(shared.replace("steps = 2\n", "steps = 3\n") + TWO, tmp_path)

    with pytest.raises(OptionsError, match="another steps is there"):
        compare_inpainters(longer, report, CPU)


def test_a_side_that_does_not_suit_one_network_is_refused_before_any_training(shared: str, tmp_path: Path) -> None:
    runs = read(shared + TWO + '[[variant]]\nname = "deep"\ndownsamplings = 4\nfold = 4\n', tmp_path)

    with pytest.raises(OptionsError, match="deep: side = 32; a multiple of 64"):
        compare_inpainters(runs, tmp_path / "report", CPU)

    assert not list((tmp_path / "report").rglob("checkpoint.pt"))


def test_short_runs_are_scored_by_their_last_weights_and_long_ones_by_the_average(
    shared: str, compared: Path, tmp_path: Path
) -> None:
    shutil.copytree(compared, tmp_path / "report")
    short = read(shared + TWO, tmp_path)["first"]
    state = load_checkpoint(short.output / "checkpoint.pt")
    assert state is not None

    last = load_scored_inpainter(short).head.weight
    average = load_scored_inpainter(replace(short, steps=SETTLED_STEPS)).head.weight

    assert torch.equal(last, state["network"]["head.weight"])
    assert torch.equal(average, state["average"]["module.head.weight"])
    assert not torch.equal(last, average)


def test_a_checkpoint_of_another_shape_is_not_scored(shared: str, compared: Path, tmp_path: Path) -> None:
    shutil.copytree(compared, tmp_path / "report")

    with pytest.raises(ModelError, match=r"no checkpoint of the shape .*'has_skips': False"):
        load_scored_inpainter(replace(read(shared + TWO, tmp_path)["first"], skips=False))


def test_variants_may_differ_in_shape_and_seed_only(shared: str, tmp_path: Path) -> None:
    wrong = '[[variant]]\nname = "fast"\nveil_share = 1.0\nskip = false\n'

    with pytest.raises(OptionsError, match=r"fast: veil_share is the same for all.*did you mean skips"):
        read(shared + TWO + wrong, tmp_path)


def test_the_shipped_comparison_can_start(tmp_path: Path) -> None:
    config = Path(__file__).parents[3] / "config" / "training" / "inpainter-variants.toml"

    runs = read_inpainter_variants(config, tmp_path)

    first, second = runs["default"], runs["default-seed-2"]
    assert first == replace(second, seed=first.seed, output=first.output)
    shapes = {lama_shape(run) for run in runs.values()}
    assert len(shapes) >= 5
    for shape in shapes:
        with torch.device("meta"):
            network = LamaGenerator(shape)
        assert first.side % network.multiple == 0
        assert 2 * sum(value.numel() for value in network.parameters()) < 16 << 20


def test_a_crop_s_time_is_its_share_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def fill(network: LamaGenerator, inputs: torch.Tensor, dtype: torch.dtype) -> None:
        seconds = network.shape.width * inputs.shape[0] * inputs.shape[2] / (2 if dtype == torch.bfloat16 else 1)
        clock[0] += seconds * 1e-3

    monkeypatch.setattr(inpainter_variants, "_fill", fill)
    monkeypatch.setattr(inpainter_variants.time, "perf_counter", lambda: clock[0])
    networks = [LamaGenerator(LamaShape(width=width, downsamplings=1, blocks=1)) for width in (4, 12)]

    small, large = time_crops(networks, "cpu", 3)

    assert small.float32 == pytest.approx({64: 256, 128: 512, 256: 1024})
    assert large.bfloat16 == pytest.approx({64: 384, 128: 768, 256: 1536})
    assert small.ratio == pytest.approx(dict.fromkeys(CROPS, 1))
    for ratio in (large.ratio, large.ratio_bfloat16):
        assert ratio == pytest.approx(dict.fromkeys(CROPS, 3))


def test_the_published_dimensions_have_the_published_size_and_fill_a_crop() -> None:
    torch.manual_seed(1)
    network = LamaGenerator(PUBLISHED).eval()
    grey = draw_picture(64, 64)
    image = np.stack([grey, grey * np.float32(0.8), grey * np.float32(0.6)], axis=2)
    mask = np.zeros((64, 64), bool)
    mask[20:30, 10:40] = True
    planes = prepare_input(image, mask, has_cheap_fill=False, sees_veil=False)

    with torch.inference_mode():
        filled = planes.to_film(network(torch.from_numpy(planes.inputs)[None])[0].numpy())

    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(51e6, rel=0.02)
    assert filled.shape == (64, 64, 3)
    assert np.isfinite(filled).all()
    assert filled[mask].std() > 0
