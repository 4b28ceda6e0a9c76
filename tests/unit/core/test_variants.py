import csv
import json
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawing import draw_picture
from PIL import Image

from spotless_core.detection.detector import Detector
from spotless_core.errors import ModelError, OptionsError
from spotless_core.networks.device import Device
from spotless_core.networks.unet import UNet
from spotless_core.networks.weights import read_manifest
from spotless_core.options import DeviceChoice, DeviceOptions
from spotless_core.training.checkpoint import load_checkpoint
from spotless_core.training.cli import main
from spotless_core.training.compared_runs import SETTLED_STEPS, time_in_turn
from spotless_core.training.export import export_detector
from spotless_core.training.loop import train_detector, unet_shape
from spotless_core.training.run_config import DetectorRun, read_variants
from spotless_core.training.variants import compare_variants, load_scored

CPU = DeviceOptions(DeviceChoice.CPU)
TWO = """
[[variant]]
name = "plain"
width = 4
depth = 1
[[variant]]
name = "separable"
width = 8
depth = 1
separable = true
"""


@pytest.fixture(scope="module", autouse=True)
def _threads_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
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
batch = 64
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
    assert main(["variants", "--config", str(config), "--report", str(folder / "report"), "--threads", "1"]) == 0
    return folder / "report"


def read(text: str, tmp_path: Path) -> dict[str, DetectorRun]:
    config = tmp_path / "variants.toml"
    config.write_text(text)
    return read_variants(config, tmp_path / "report")


def copied(compared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(compared, tmp_path / "report"))


def test_the_report_has_a_row_for_each_variant_with_its_size_score_and_time(
    shared: str, compared: Path, tmp_path: Path
) -> None:
    runs = read(shared + TWO, tmp_path)

    document = json.loads((compared / "variants.json").read_text())

    assert [row["name"] for row in document["variants"]] == ["plain", "separable"]
    for row in document["variants"]:
        network = UNet(unet_shape(runs[row["name"]]))
        assert row["parameters_m"] * 1e6 == pytest.approx(sum(value.numel() for value in network.parameters()))
        assert 0 < row["f1"] <= 1
        assert row["seconds"] > 0
        assert row["seconds_float32"] > 0
    assert document["variants"][0]["ratio"] == document["variants"][0]["ratio_float32"] == 1
    assert document["machine"]["threads"] == 1


def test_the_report_tells_the_same_as_csv_and_as_a_table(compared: Path) -> None:
    rows = json.loads((compared / "variants.json").read_text())["variants"]

    with (compared / "variants.csv").open(newline="") as file:
        assert [row["f1"] for row in csv.DictReader(file)] == [str(row["f1"]) for row in rows]
    table = [line.split(" | ") for line in (compared / "variants.md").read_text().splitlines() if line.startswith("| ")]
    assert [cells[0] for cells in table] == ["| variant", "| plain", "| separable"]
    assert [cells[table[0].index("F1")] for cells in table[1:]] == [f"{row['f1']:.3f}" for row in rows]


def test_the_report_names_no_folder(shared: str, compared: Path) -> None:
    data = tomllib.loads(shared)["shared"]["photos"]

    assert data not in (compared / "variants.json").read_text() + (compared / "variants.md").read_text()


def test_a_killed_comparison_trains_only_what_is_missing(shared: str, compared: Path, tmp_path: Path) -> None:
    report = copied(compared, tmp_path)
    (report / "separable" / "checkpoint.pt").unlink()
    trained_at = (report / "plain" / "checkpoint.pt").stat().st_mtime_ns

    compare_variants(read(shared + TWO, tmp_path), report, DeviceOptions(DeviceChoice.CPU, threads=1))

    before, after = (json.loads((folder / "variants.json").read_text())["variants"] for folder in (compared, report))
    assert (report / "plain" / "checkpoint.pt").stat().st_mtime_ns == trained_at
    assert [row["f1"] for row in after] == [row["f1"] for row in before]


def test_a_folder_with_a_run_of_other_settings_is_refused(shared: str, compared: Path, tmp_path: Path) -> None:
    report = copied(compared, tmp_path)
    longer = read(shared.replace("steps = 2\n", "steps = 3\n") + TWO, tmp_path)

    with pytest.raises(OptionsError, match="another steps is there"):
        compare_variants(longer, report, CPU)


def test_a_side_that_does_not_suit_one_network_is_refused_before_any_training(shared: str, tmp_path: Path) -> None:
    runs = read(shared + TWO + '[[variant]]\nname = "deep"\ndepth = 5\n', tmp_path)

    with pytest.raises(OptionsError, match="deep: side = 32; a multiple of 64"):
        compare_variants(runs, tmp_path / "report", CPU)

    assert not list((tmp_path / "report").rglob("checkpoint.pt"))


def test_short_runs_are_scored_by_their_last_weights_and_long_ones_by_the_average(
    shared: str, compared: Path, tmp_path: Path
) -> None:
    copied(compared, tmp_path)
    short = read(shared + TWO, tmp_path)["plain"]
    state = load_checkpoint(short.output / "checkpoint.pt")
    assert state is not None

    last = load_scored(short).head.weight
    average = load_scored(replace(short, steps=SETTLED_STEPS)).head.weight

    assert torch.equal(last, state["network"]["head.weight"])
    assert torch.equal(average, state["average"]["module.head.weight"])
    assert not torch.equal(last, average)


def test_variants_may_differ_in_shape_and_seed_only(shared: str, tmp_path: Path) -> None:
    wrong = '[[variant]]\nname = "fast"\nlearning_rate = 1.0\nwidht = 8\n[[variant]]\nname = "../up"\n'

    with pytest.raises(OptionsError, match=r"fast: .* is the same for all") as told:
        read(shared + TWO + wrong, tmp_path)

    for part in ("fast: learning_rate is the same for all", "did you mean width", "name = '../up'"):
        assert part in str(told.value)


def test_two_variants_of_one_name_are_refused(shared: str, tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match="name = 'plain'"):
        read(shared + TWO + '[[variant]]\nname = "plain"\n', tmp_path)


def test_variants_are_equal_but_for_what_they_name(shared: str, tmp_path: Path) -> None:
    plain, separable = read(shared + TWO, tmp_path).values()

    assert plain.output != separable.output
    assert replace(separable, width=4, separable=False, output=plain.output) == plain


def test_the_shipped_comparison_can_start(tmp_path: Path) -> None:
    config = Path(__file__).parents[3] / "config" / "training" / "variants.toml"

    runs = read_variants(config, tmp_path)

    shapes = {unet_shape(run) for run in runs.values()}
    assert len(shapes) >= 5
    assert all(run.side % unet_shape(run).multiple == 0 for run in runs.values())


def test_calls_are_timed_in_turn_and_the_first_round_does_not_count() -> None:
    clock = [0.0]
    order = []

    def call(name: str, seconds: float) -> None:
        order.append(name)
        clock[0] += seconds * (100 if len(order) <= 2 else 1)

    calls = [lambda: call("short", 1), lambda: call("long", 3)]

    seconds = time_in_turn(calls, 2, lambda: clock[0])

    assert order == ["short", "long"] * 3
    assert seconds.tolist() == [[1, 3], [1, 3]]


def test_an_exported_separable_network_is_loaded_as_one(shared: str, compared: Path, tmp_path: Path) -> None:
    copied(compared, tmp_path)
    run = read(shared + TWO, tmp_path)["separable"]

    export_detector(run, tmp_path / "models")

    entry = read_manifest(tmp_path / "models")["detector"]
    assert entry.shape == {"width": 8, "depth": 1, "fold": 2, "separable": True}
    detector = Detector.from_entry(entry, Device("cpu", torch.float32, "CPU"))
    trained = load_scored(replace(run, steps=SETTLED_STEPS)).eval()
    picture = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(detector.network(picture), trained(picture), atol=1e-2)


def test_a_checkpoint_of_another_shape_is_not_resumed(shared: str, compared: Path, tmp_path: Path) -> None:
    report = copied(compared, tmp_path)
    run = replace(read(shared + TWO, tmp_path)["separable"], separable=False)

    with pytest.raises(ModelError, match=r"no checkpoint of the shape \[8, 1, 2\]"):
        load_scored(run)
    with pytest.raises(ModelError, match=r"of shape \[8, 1, 2, 1\], the run's is \[8, 1, 2\]"):
        train_detector(run, "cpu")

    assert (report / "separable" / "checkpoint.pt").exists()
