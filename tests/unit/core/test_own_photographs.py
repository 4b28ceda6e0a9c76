"""Training on a folder of one's own scans: one command, every tenth photograph held out."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from drawing import draw_picture

from spotless_core.errors import MissingInputError, OptionsError
from spotless_core.training import loop
from spotless_core.training.batches import held_out_photos, training_photos
from spotless_core.training.cli import main
from spotless_core.training.run_config import DetectorRun, read_run, write_run_on


def folder_of(path: Path, count: int) -> Path:
    path.mkdir()
    for index in range(count):
        grey = np.rint(draw_picture(140, 150 + index, index) * 255).astype(np.uint8)
        cv2.imwrite(str(path / f"scan{index:02d}.png"), grey)
    return path


def test_every_tenth_photograph_of_the_only_folder_is_held_out(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "scans", 12)
    run = DetectorRun(photos, photos, tmp_path / "run")

    widths = {photo.shape[1] for photo in training_photos(run)}

    assert {photo.shape[1] for photo in held_out_photos(run)} == {150, 160}
    assert widths == set(range(150, 162)) - {150, 160}


def test_a_folder_of_its_own_is_held_out_whole(tmp_path: Path) -> None:
    run = DetectorRun(folder_of(tmp_path / "train", 3), folder_of(tmp_path / "val", 2), tmp_path / "run")

    assert len(training_photos(run)) == 3
    assert len(held_out_photos(run)) == 2


def test_a_single_photograph_is_refused_with_a_sentence(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "scans", 1)

    with pytest.raises(MissingInputError, match="at least two"):
        training_photos(DetectorRun(photos, photos, tmp_path / "run"))


def test_one_command_trains_on_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, seen = folder_of(tmp_path / "my scans", 4), []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "train_detector", lambda run, device: seen.append((run, device)))

    assert main(["detector", "--photos", str(photos)]) == 0

    run, device = seen[0]
    assert (run.photos, run.validation_photos, device) == (photos, photos, "cpu")
    assert run.output == tmp_path / "runs" / "my scans"
    config = run.output / "run.toml"
    assert f"the run's settings: {Path('runs') / 'my scans' / 'run.toml'}" in capsys.readouterr().out
    assert read_run(config) == run  # export and evaluate go on with it
    config.write_text(config.read_text() + "steps = 77\n")
    assert main(["detector", "--photos", str(photos)]) == 0
    assert seen[1][0].steps == 77  # what a user changed in it stays


def test_a_runs_folder_is_not_reused_for_other_photographs(tmp_path: Path) -> None:
    write_run_on(folder_of(tmp_path / "a", 2), tmp_path / "run")

    with pytest.raises(OptionsError, match="other photographs"):
        write_run_on(folder_of(tmp_path / "b", 2), tmp_path / "run")


@pytest.mark.parametrize(("device", "developed"), [("cpu", False), ("cuda", True)])
def test_only_on_cuda_the_crops_are_developed_on_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, developed: bool
) -> None:
    asked = []

    class Developed:
        def __init__(self, *arguments: object) -> None:
            asked.append(arguments[-1])

        def ahead(self, start: int, stop: int) -> object:
            return iter([(start, stop)])

    photos = folder_of(tmp_path / "scans", 3)
    run = DetectorRun(photos, photos, tmp_path / "run", batch=1, side=64, steps=9)
    monkeypatch.setattr(loop, "DeviceFilmBatches", Developed)

    first = next(loop._draw(run, 8, device))

    assert asked == (["cuda"] if developed else [])
    assert first == (8, 9) if developed else isinstance(first[0], torch.Tensor)
