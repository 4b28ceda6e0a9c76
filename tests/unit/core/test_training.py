import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from drawing import draw_picture
from PIL import Image

from spotless_core.errors import MissingInputError, ModelError, OptionsError
from spotless_core.networks.weights import read_manifest
from spotless_core.training.checkpoint import load_checkpoint, save_checkpoint
from spotless_core.training.cli import main
from spotless_core.training.logistic import fit_logistic
from spotless_core.training.loop import learning_rate, train_detector
from spotless_core.training.losses import dice_bce_loss
from spotless_core.training.run_config import DetectorRun, read_run


@pytest.fixture
def run(tmp_path: Path) -> DetectorRun:
    for folder in ("photos", "val"):
        (tmp_path / folder).mkdir()
        for seed in (1, 2):
            pixels = np.rint(draw_picture(200, 220, seed) * 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{seed}.png")
    return DetectorRun(
        photos=tmp_path / "photos",
        validation_photos=tmp_path / "val",
        output=tmp_path / "run",
        width=4,
        depth=1,
        fold=2,
        steps=6,
        batch=2,
        side=64,
        warmup_steps=2,
        decay_steps=2,
        validate_every=3,
        checkpoint_every=3,
    )


def test_perfect_logits_cost_nearly_nothing_and_wrong_ones_much() -> None:
    truth = torch.zeros(2, 1, 16, 16)
    truth[:, :, 4:9, 4:9] = 1
    counts = torch.ones_like(truth)

    right = dice_bce_loss(20 * (2 * truth - 1), truth, counts)
    wrong = dice_bce_loss(-20 * (2 * truth - 1), truth, counts)

    assert right < 0.01
    assert wrong > 5


def test_pixels_that_do_not_count_do_not_change_the_loss() -> None:
    truth, counts = torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)
    counts[..., :8] = 0
    logits = torch.randn(1, 1, 16, 16)
    changed = logits.clone()
    changed[..., :8] += 5

    assert torch.allclose(dice_bce_loss(logits, truth, counts), dice_bce_loss(changed, truth, counts))


def test_a_resumed_run_ends_with_the_same_weights_as_an_undisturbed_one(run: DetectorRun, tmp_path: Path) -> None:
    from dataclasses import replace

    whole = replace(run, output=tmp_path / "whole")
    halted = replace(run, output=tmp_path / "halted")
    for each in (whole, halted):
        each.output.mkdir()

    train_detector(whole, "cpu")
    train_detector(replace(halted, steps=3, decay_steps=2), "cpu")
    state = torch.load(halted.output / "checkpoint.pt", weights_only=True)
    assert state["step"] == 3
    # The first half of the schedule differs (it had begun to fall), so the comparison starts from its checkpoint twice.
    other = replace(run, output=tmp_path / "other")
    other.output.mkdir()
    save_checkpoint(other.output / "checkpoint.pt", state)
    first, second = (torch.load(train_detector(each, "cpu"), weights_only=True)["network"] for each in (halted, other))

    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_writes_its_curves_and_preview(run: DetectorRun) -> None:
    run.output.mkdir()

    train_detector(run, "cpu")

    with (run.output / "curves.csv").open(newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == [3, 6]
    with Image.open(run.output / "curves.png") as curves:
        assert curves.size[0] > 500
    assert (run.output / "preview.png").exists()


def test_the_learning_rate_rises_holds_and_falls_to_nothing() -> None:
    run = DetectorRun(Path(), Path(), Path(), steps=100, warmup_steps=10, decay_steps=40, learning_rate=1.0)

    rates = [learning_rate(run, step) for step in range(100)]

    assert rates[0] == pytest.approx(0.1)
    assert rates[10:60] == [1.0] * 50
    assert rates[60:] == sorted(rates[60:], reverse=True)
    assert rates[-1] < 0.01


def test_a_kill_while_saving_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 1})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, {"step": 2})

    state = load_checkpoint(path)
    assert state is not None
    assert state["step"] == 1


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"not a checkpoint")

    with pytest.raises(ModelError, match="checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_export_writes_half_precision_weights_that_the_manifest_vouches_for(run: DetectorRun, tmp_path: Path) -> None:
    from spotless_core.training.export import export_detector

    run.output.mkdir()
    train_detector(run, "cpu")

    path = export_detector(run, tmp_path / "models")

    entry = read_manifest(tmp_path / "models")["detector"]
    assert entry.path == path
    assert entry.shape == {"width": 4, "depth": 1, "fold": 2}
    assert set(entry.thresholds) == {"low", "normal", "high"}


def test_a_wrong_key_in_a_run_is_named_with_its_neighbour(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text('photos = "a"\nvalidation_photos = "b"\noutput = "c"\nstepz = 4\nbatch = "many"\n')

    told = r"stepz: unknown key \(did you mean steps\?\).*batch = 'many': int expected"
    with pytest.raises(OptionsError, match=told):
        read_run(config)


def test_an_empty_folder_of_photographs_is_reported(run: DetectorRun, tmp_path: Path) -> None:
    from dataclasses import replace

    (tmp_path / "empty").mkdir()

    with pytest.raises(MissingInputError, match="no photographs"):
        train_detector(replace(run, photos=tmp_path / "empty"), "cpu")


def test_the_preview_command_writes_a_sheet(run: DetectorRun, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(
        f'photos = "{run.photos}"\nvalidation_photos = "{run.validation_photos}"\noutput = "{run.output}"\nside = 64\n'
    )

    assert main(["preview", str(tmp_path / "sheet.png"), "--config", str(config)]) == 0

    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (8 * 64, 8 * 64)


def test_logistic_weights_separate_what_can_be_separated() -> None:
    rng = np.random.default_rng(0)
    features = np.stack([rng.normal(0, 1, 500), np.ones(500)], axis=1)
    targets = features[:, 0] + rng.normal(0, 0.3, 500) > 0.5

    weights = fit_logistic(features, targets)

    assert ((features @ weights > 0) == targets).mean() > 0.9
    assert -weights[1] / weights[0] == pytest.approx(0.5, abs=0.1)


def test_a_missing_training_package_is_named_with_the_extra(
    run: DetectorRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run.toml"
    config.write_text(
        f'photos = "{run.photos}"\nvalidation_photos = "{run.validation_photos}"\noutput = "{run.output}"\n'
    )
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.delitem(sys.modules, "spotless_core.training.loop", raising=False)
    monkeypatch.delitem(sys.modules, "spotless_core.training.learner", raising=False)

    assert main(["detector", "--config", str(config)]) == 69

    assert "pip install 'spotlessd[train]'" in capsys.readouterr().err


def write_config(run: DetectorRun, tmp_path: Path) -> str:
    config = tmp_path / "run.toml"
    config.write_text(
        f'photos = "{run.photos}"\nvalidation_photos = "{run.validation_photos}"\noutput = "{run.output}"\n'
    )
    return str(config)


def test_help_needs_neither_torch_nor_a_training_package() -> None:
    program = """
import sys
from spotless_core.training.cli import main
try:
    main(["--help"])
except SystemExit as end:
    assert end.code == 0
assert not {"torch", "tqdm", "matplotlib", "cv2"} & set(sys.modules)
"""

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    for command in ("detector", "inpainter", "preview", "evaluate", "variants", "export", "film-scan"):
        assert f"\n    {command} " in done.stdout


def test_the_inpainter_is_evaluated_on_what_the_options_say(
    run: DetectorRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from spotless_core.training import repair_evaluation
    from spotless_core.training.run_config import InpainterRun

    asked = []

    def evaluate(
        evaluated: InpainterRun,
        report: Path,
        models: Path | None,
        *,
        photos: int | None,
        methods: tuple[str, ...] | None,
        blind: tuple[str, ...],
    ) -> Path:
        asked.append((evaluated.photos, report, models, photos, methods, blind))
        return report / "report.json"

    monkeypatch.setattr(repair_evaluation, "evaluate_inpainter", evaluate)
    options = ["evaluate", "--network", "inpainter", "--config", write_config(run, tmp_path), "--report", "new"]

    assert main(options) == 0
    wanted = ["--models", "m", "--photos", "3", "--methods", "telea,lama", "--blind", "lama"]
    assert main([*options, *wanted]) == 0

    assert asked == [
        (run.photos, Path("new"), None, None, None, ()),
        (run.photos, Path("new"), Path("m"), 3, ("telea", "lama"), ("lama",)),
    ]
    assert capsys.readouterr().out.split() == ["new/report.json"] * 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["--network", "inpainter", "--calibrate", "--tile-px", "512"],
            "evaluate --tile-px, --calibrate: the detector's",
        ),
        (["--network", "inpainter", "--stride-px", "512"], "evaluate --stride-px: the detector's"),
        (["--network", "inpainter", "--resolution", "0.5"], "evaluate --resolution: the detector's"),
        (["--methods", "telea"], "evaluate --methods: the inpainter's"),
    ],
)
def test_an_option_of_the_other_network_is_refused_and_not_ignored(
    run: DetectorRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    report = str(tmp_path / "report")

    assert main(["evaluate", "--config", write_config(run, tmp_path), "--report", report, *options]) == 78

    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "--config of the run to export expected"),
        (["--models", "m"], "--config of the run to export expected"),
        (["--config", "run.toml"], "--models, the folder to write into, expected"),
        (["--torchscript", "lama.pt"], "export --torchscript: the inpainter's"),
    ],
)
def test_an_export_that_lacks_something_says_what(
    capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    assert main(["export", *options]) == 78

    assert told in capsys.readouterr().err


def test_an_inpainter_is_exported_for_us_and_for_other_tools_in_one_go(
    run: DetectorRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import asdict

    from spotless_core.networks.lama import LamaGenerator
    from spotless_core.training.inpainter_loop import lama_shape
    from spotless_core.training.learner import Learner
    from spotless_core.training.run_config import read_inpainter_run

    config = write_config(run, tmp_path)
    with Path(config).open("a") as file:
        file.write("width = 4\nblocks = 1\n")
    inpainter = read_inpainter_run(Path(config))
    network = LamaGenerator(lama_shape(inpainter))
    Learner(network, inpainter, asdict(network.shape)).save(inpainter.output / "checkpoint.pt")
    models, script = tmp_path / "models", tmp_path / "lama.pt"
    options = ["--network", "inpainter", "--config", config, "--models", str(models), "--torchscript", str(script)]

    assert main(["export", *options]) == 0

    assert capsys.readouterr().out.split() == [str(models / "lama.safetensors"), str(script)]
    assert read_manifest(models)["lama"].path.is_file()
    assert script.stat().st_size > 1000
