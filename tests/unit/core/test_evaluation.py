"""The evaluation as a whole, and its frames."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawing import draw_picture, make_bright_spot_models
from drawing_frames import candidates_frame
from PIL import Image

from spotless_core.arrays.kinds import GreyImage, Probability
from spotless_core.detection.detector import Detector
from spotless_core.detection.mask import Thresholds
from spotless_core.errors import MissingInputError, OptionsError
from spotless_core.networks.device import choose_device
from spotless_core.networks.weights import read_manifest
from spotless_core.options import DetectOptions, DeviceChoice, DeviceOptions
from spotless_core.training import evaluate, film
from spotless_core.training.calibrate import FALSE_PER_MP
from spotless_core.training.cli import main
from spotless_core.training.dataset import IGNORED
from spotless_core.training.evaluate import cross_check, evaluate_detector, write_thresholds
from spotless_core.training.evaluation_frames import Frame, Inspection, load_materials, make_frames
from spotless_core.training.run_config import DetectorRun


@pytest.fixture(autouse=True)
def _few_small_fields_of_grain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, "GRAIN_FIELD_PX", 256)
    monkeypatch.setattr(film, "GRAIN_FIELDS", 3)


@pytest.fixture
def run(tmp_path: Path) -> DetectorRun:
    (tmp_path / "val").mkdir()
    for seed in (1, 2, 3):
        pixels = np.rint(draw_picture(140, 150, seed) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "val" / f"{seed}.png")
    return DetectorRun(tmp_path / "train", tmp_path / "val", tmp_path / "run")


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    entry = read_manifest(make_bright_spot_models(tmp_path / "models"))["detector"]
    return Detector.from_entry(entry, choose_device(DeviceOptions(device=DeviceChoice.CPU)))


class LookingDetector(Detector):
    """Says that every pixel above a half is dust, and remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, ...]] = []

    def detect(self, grey: GreyImage, options: DetectOptions, on_progress: object = None) -> Probability:
        self.shown.append((*grey.shape, options.tile_px))
        return (grey > 0.5).astype(np.float32)


def test_a_frame_is_shown_to_the_detector_scaled_and_its_probability_comes_back_at_full_size() -> None:
    grey = np.zeros((60, 80), np.float32)
    grey[:, 40:] = 1
    detector = LookingDetector()

    halved = Inspection(DetectOptions(128, 64), 0.5).detect(detector, grey)
    doubled = Inspection(DetectOptions(), 2.0).detect(detector, grey)
    plain = Inspection().detect(detector, grey)

    assert detector.shown == [(30, 40, 128), (120, 160, 1024), (60, 80, 1024)]
    assert np.array_equal(plain, grey)
    for scaled in (halved, doubled):
        assert scaled.shape == grey.shape
        assert scaled.dtype == np.float32
        assert np.array_equal(scaled[:, :38], grey[:, :38])
        assert np.array_equal(scaled[:, 42:], grey[:, 42:])


def test_a_thin_line_survives_halving_as_half_its_contrast() -> None:
    seen: list[GreyImage] = []

    class Keeping(LookingDetector):
        def detect(self, grey: GreyImage, options: DetectOptions, on_progress: object = None) -> Probability:
            seen.append(grey)
            return grey

    line = np.zeros((40, 40), np.float32)
    line[:, 20] = 0.8

    Inspection(resolution=0.5).detect(Keeping(), line)

    assert seen[0].max() == pytest.approx(0.4)


@pytest.mark.parametrize("resolution", [0.0, 0.1, 5.0])
def test_an_absurd_resolution_of_detection_is_refused(resolution: float) -> None:
    with pytest.raises(OptionsError, match="resolution"):
        Inspection(resolution=resolution)


def test_every_photograph_becomes_three_films_at_two_resolutions(run: DetectorRun) -> None:
    materials = load_materials(run)

    frames = list(make_frames(materials, LookingDetector(), Inspection(), [2]))

    films = ("color_negative", "slide", "black_and_white")
    assert [(frame.film, frame.dpi) for frame in frames] == [(film, dpi) for film in films for dpi in (2400, 4000)]
    assert {frame.photo for frame in frames} == {2}
    assert [frame.grey.shape[0] for frame in frames[:2]] == [168, 280]
    for frame in frames:
        assert np.array_equal(frame.probability > 0, frame.grey > 0.5)
        assert np.array_equal(frame.clean_probability > 0, frame.clean_grey > 0.5)
        assert frame.um_per_px == pytest.approx(25400 / frame.dpi)
        dust, counted = frame.truth == 1, frame.truth != IGNORED
        slope, offset = np.polyfit(frame.clean_grey[counted & ~dust], frame.grey[counted & ~dust], 1)
        residual = np.abs(frame.grey - slope * frame.clean_grey - offset)
        assert residual[dust].mean() > 3 * residual[counted & ~dust].mean()  # one picture, differing in its dust


def test_a_frame_does_not_depend_on_what_was_made_before_it(run: DetectorRun) -> None:
    materials = load_materials(run)

    alone = list(make_frames(materials, LookingDetector(), Inspection(), [1]))
    later = list(make_frames(materials, LookingDetector(), Inspection(), [0, 1]))[6:]

    for first, second in zip(alone, later, strict=True):
        assert first.name == second.name
        assert np.array_equal(first.grey, second.grey)
        assert np.array_equal(first.truth, second.truth)
        assert first.elements == second.elements


def test_no_photograph_is_refused_and_one_is_not_enough_to_choose_thresholds(
    run: DetectorRun, detector: Detector, tmp_path: Path
) -> None:
    with pytest.raises(OptionsError, match="at least 1"):
        load_materials(run, 0)
    for name in ("2.png", "3.png"):
        (run.validation_photos / name).unlink()
    with pytest.raises(MissingInputError, match="two or more"):
        evaluate_detector(run, tmp_path / "report", tmp_path / "models", calibrate=True)


def test_cross_checking_scores_no_photograph_with_thresholds_chosen_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [replace(candidates_frame(photo), photo=photo) for photo in range(4)]
    asked: list[set[int]] = []

    def remember(given: list[Frame]) -> dict[str, Thresholds]:
        asked.append({frame.photo for frame in given})
        level = 0.7 if 0 in asked[-1] else 2.0  # the second half's thresholds find nothing
        return {"normal": Thresholds(level, 0.3)}

    monkeypatch.setattr(evaluate, "calibrate_evidence", remember)

    scores = cross_check(frames)["normal"]

    assert asked == [{1, 3}, {0, 2}]
    assert scores.objects.elements == sum(len(frame.elements) for frame in frames)
    assert 0.3 < scores.objects.recall < 0.6


def test_calibrating_writes_thresholds_and_the_report_they_were_measured_with(
    run: DetectorRun, detector: Detector, tmp_path: Path
) -> None:
    path = evaluate_detector(run, tmp_path / "report", tmp_path / "models", calibrate=True)

    report = json.loads(path.read_text())
    entry = read_manifest(tmp_path / "models")["detector"]
    assert report["weights"] == entry.sha256
    assert {name: each["evidence"] for name, each in report["thresholds"].items()} == {
        name: pytest.approx(values["evidence"], rel=1e-4) for name, values in entry.thresholds.items()
    }
    assert set(report["scores"]) == set(report["clean"]) == set(FALSE_PER_MP)
    assert (report["photos"], report["frames"]) == (3, 18)
    for name, limit in FALSE_PER_MP.items():
        assert report["scores"][name]["all"]["false_per_mp"] <= limit
        assert (
            report["cross_checked"][name]["objects"]["elements"] == report["scores"][name]["all"]["objects"]["elements"]
        )
    split = report["scores"]["normal"]
    assert set(split["by_film"]) == {"color_negative", "slide", "black_and_white"}
    assert set(split["by_dpi"]) == {"2400", "4000"}
    of_all = split["all"]["objects"]["elements"]
    for part in (split["by_film"].values(), split["by_dpi"].values()):
        assert sum(each["objects"]["elements"] for each in part) == of_all
    assert report["top_hat_oracle"]["all"]["objects"]["elements"] == of_all
    assert sum(each["frames"] for each in report["clean"]["normal"]["by_film"].values()) == 18
    assert report["calibration"]["candidates"]["count"] > 0
    for name in ("report.html", "reliability.png", "misses_by_contrast.png"):
        assert (path.parent / name).is_file()


def test_calibrated_thresholds_leave_the_networks_shape_as_it_is(detector: Detector, tmp_path: Path) -> None:
    entry = read_manifest(tmp_path / "models")["detector"]
    separable = replace(entry, shape={"width": 8, "depth": 2, "fold": 2, "separable": True})
    thresholds = {name: Thresholds(0.3, 0.15, 1.5, {"bias": 2.0}) for name in FALSE_PER_MP}

    write_thresholds(tmp_path / "models", separable, 100, thresholds)

    written = read_manifest(tmp_path / "models")["detector"]
    assert (written.shape, written.sha256) == (separable.shape, entry.sha256)
    assert written.thresholds == {key: {"seed": 0.3, "grow": 0.15, "evidence": 1.5} for key in FALSE_PER_MP}
    assert written.evidence == {"bias": 2.0}


def write_config(run: DetectorRun, path: Path) -> str:
    folders = {"photos": run.photos, "validation_photos": run.validation_photos, "output": run.output}
    path.write_text("".join(f'{name} = "{folder}"\n' for name, folder in folders.items()))
    return str(path)


def test_the_evaluate_command_looks_at_a_few_photographs_at_another_scale(
    run: DetectorRun, detector: Detector, tmp_path: Path
) -> None:
    config = write_config(run, tmp_path / "run.toml")
    folders = ["--report", str(tmp_path / "report"), "--models", str(tmp_path / "models")]
    manifest = (tmp_path / "models" / "manifest.toml").read_bytes()

    chosen = ["--photos", "2", "--tile-px", "128", "--resolution", "0.5"]
    assert main(["evaluate", "--config", config, *folders, *chosen]) == 0

    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["inspection"] == {"tiles": {"tile_px": 128, "stride_px": 64}, "resolution": 0.5}
    assert report["photos"] == 2
    assert report["calibration"]["candidates"] is None
    assert (tmp_path / "models" / "manifest.toml").read_bytes() == manifest


@pytest.mark.parametrize("chosen", [["--photos", "2"], ["--resolution", "0.5"]])
def test_thresholds_are_not_chosen_on_a_part_of_the_frames_or_at_another_scale(
    run: DetectorRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], chosen: list[str]
) -> None:
    config = write_config(run, tmp_path / "run.toml")

    assert main(["evaluate", "--config", config, "--report", str(tmp_path / "report"), "--calibrate", *chosen]) == 78

    assert "thresholds are chosen on all photographs at resolution 1" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
