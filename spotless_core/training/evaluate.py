"""Score the exported detector through the real pipeline code, on photographs and real shapes it was never trained on.

The flow: frames (evaluation_frames.py) → thresholds, given or chosen on them (calibrate.py) → scores (scores.py,
reliability.py) → `report.json`, `report.html` and sheets of the worst cases (worst_cases.py). What a sensitivity means
is defined on these frames, so all of them choose it; what new pictures may expect is cross-checked: each half of the
photographs scored with thresholds chosen on the other. Frames are held in memory, 13 MB each, only to calibrate.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from spotless_core.detection.detector import Detector
from spotless_core.detection.evidence import score
from spotless_core.detection.mask import Thresholds, thresholds_for
from spotless_core.errors import MissingInputError, OptionsError
from spotless_core.networks.device import choose_device
from spotless_core.networks.unet import UNetShape
from spotless_core.networks.weights import ModelEntry, default_models_folder, read_manifest
from spotless_core.options import DeviceOptions, MaskOptions, Sensitivity
from spotless_core.training.calibrate import calibrate_evidence, find_candidates, fit_calibration
from spotless_core.training.case_sheet import draw_cases
from spotless_core.training.curves import draw_reliability
from spotless_core.training.dataset import IGNORED
from spotless_core.training.evaluation_frames import Frame, Inspection, load_materials, make_frames
from spotless_core.training.evaluation_report import (
    Calibration,
    EvaluationReport,
    SplitClean,
    SplitScores,
    write_json,
)
from spotless_core.training.export import write_manifest
from spotless_core.training.reliability import NOT_SURELY_CLEAN, ReliabilityCounts
from spotless_core.training.report_page import write_page
from spotless_core.training.run_config import DetectorRun
from spotless_core.training.scores import (
    CleanFrame,
    Counts,
    Scores,
    clean_result,
    core_of,
    count_frame,
    count_top_hat,
    describe_clean,
    score_clean,
    sum_counts,
)
from spotless_core.training.worst_cases import WorstCases

FEWEST_PHOTOS = 2
"""Thresholds are cross-checked between two halves of the photographs, so there must be one of each."""
NORMAL = Sensitivity.NORMAL.value


@dataclass(frozen=True, slots=True)
class Measured:
    """What one frame gave: `counts` and `clean` by sensitivity, and how long the detector looked at how much."""

    film: str
    dpi: int
    counts: dict[str, Counts]
    clean: dict[str, CleanFrame]
    seconds: float
    megapixels: float


def evaluate_detector(
    run: DetectorRun,
    report: Path,
    models: Path | None,
    *,
    calibrate: bool,
    inspection: Inspection = Inspection(),  # noqa: B008 - frozen
    photos: int | None = None,
) -> Path:
    """Write `report.json`, `report.html` and its pictures into the folder `report`; returns the path of the JSON.

    `models`: folder of the weights (None = the shipped ones). `calibrate`: choose thresholds and write them to its
    manifest, instead of using those there. `inspection`: tiles and resolution of detection. `photos`: use only the
    first so many photographs (None = all).

    Raises:
        OptionsError: thresholds would be chosen at another resolution than the pipeline's or on a part of the frames.
        ModelError: no weights, or with `calibrate` weights that find nothing.
    """
    if calibrate and (inspection.resolution != 1 or photos is not None):
        raise OptionsError("thresholds are chosen on all photographs at resolution 1. Leave one or the other out.")
    folder = models or default_models_folder()
    entry = read_manifest(folder)["detector"]
    detector = Detector.from_entry(entry, choose_device(DeviceOptions()))
    materials = load_materials(run, photos)
    if calibrate and len(materials.photos) < FEWEST_PHOTOS:
        raise MissingInputError(
            f"{run.validation_photos}: one photograph; two or more are needed to choose thresholds."
        )
    if calibrate:
        raw = Detector.from_entry(replace(entry, calibration={}), choose_device(DeviceOptions()))
        entry = replace(entry, calibration=fit_calibration(make_frames(materials, raw, inspection)))
        detector = Detector.from_entry(entry, choose_device(DeviceOptions()))
    frames: Iterable[Frame] = make_frames(materials, detector, inspection)
    thresholds = {name: thresholds_for(MaskOptions(sensitivity=Sensitivity(name)), entry) for name in entry.thresholds}
    cross_checked: dict[str, Scores] = {}
    if calibrate:
        frames = list(frames)
        thresholds = calibrate_evidence(frames)
        write_thresholds(folder, entry, run.steps, thresholds)
        cross_checked = cross_check(frames)
    worst = WorstCases()
    measured, top_hats, reliability = [], [], CalibrationCounts(thresholds[NORMAL])
    for frame in frames:
        measured.append(measure_frame(frame, thresholds, worst))
        top_hats.append(count_top_hat(frame))
        reliability.add(frame)
    result = EvaluationReport(
        weights=entry.sha256,
        inspection=inspection,
        photos=len(materials.photos),
        frames=len(measured),
        detect_seconds_per_megapixel=sum(x.seconds for x in measured) / sum(x.megapixels for x in measured),
        thresholds=thresholds,
        scores={name: _split(measured, [frame.counts[name] for frame in measured]) for name in thresholds},
        cross_checked=cross_checked,
        top_hat_oracle=_split(measured, top_hats),
        clean={name: _split_clean(measured, name) for name in thresholds},
        calibration=reliability.result(),
    )
    return _write(result, worst, report)


def cross_check(frames: Sequence[Frame]) -> dict[str, Scores]:
    """Score each half of the photographs with thresholds chosen on the other half; returns both halves together."""
    totals: dict[str, Counts] = {}
    for half in (0, 1):
        thresholds = calibrate_evidence([frame for frame in frames if frame.photo % 2 != half])
        for frame in (frame for frame in frames if frame.photo % 2 == half):
            for name, each in thresholds.items():
                count_frame(frame, core_of(frame, each, Sensitivity(name)), totals.setdefault(name, Counts()))
    return {name: counts.scores() for name, counts in totals.items()}


def measure_frame(frame: Frame, thresholds: Mapping[str, Thresholds], worst: WorstCases) -> Measured:
    """Count one frame at every sensitivity, with and without dust; its cases at normal sensitivity go to `worst`."""
    counts, clean = {}, {}
    for name, each in thresholds.items():
        core = core_of(frame, each, Sensitivity(name))
        without_dust = clean_result(frame, each, Sensitivity(name))
        counts[name] = Counts()
        misses, false_boxes = count_frame(frame, core, counts[name])
        clean[name] = describe_clean(frame.name, without_dust)
        if name == NORMAL:
            worst.add(frame, core, misses, false_boxes, without_dust)
    return Measured(frame.film, frame.dpi, counts, clean, frame.seconds, 2 * frame.grey.size / 1e6)


class CalibrationCounts:
    """Reliability of pixels and candidates over the frames added so far."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._pixels, self._all_pixels, self._candidates = (ReliabilityCounts() for _ in range(3))

    def add(self, frame: Frame) -> None:
        """Add a dusty frame's pixels and candidates; what counts neither way is left out."""
        counted = frame.truth != IGNORED
        unsure = counted & (frame.probability > NOT_SURELY_CLEAN)
        for counts, mask in ((self._pixels, unsure), (self._all_pixels, counted)):
            counts.add(frame.probability[mask], frame.truth[mask] == 1)
        weights = self._thresholds.weights
        if weights is not None:
            found = find_candidates(frame, self._thresholds.seed, self._thresholds.grow)
            self._candidates.add(1 / (1 + np.exp(-score(found.features, weights))), found.is_right)

    def result(self) -> Calibration:
        """Return the three curves; none of candidates where the model has no weights for them."""
        candidates = None if self._thresholds.weights is None else self._candidates.curve()
        return Calibration(self._pixels.curve(), self._all_pixels.curve(), candidates)


def write_thresholds(folder: Path, entry: ModelEntry, steps: int, thresholds: Mapping[str, Thresholds]) -> None:
    """Write `thresholds` into the manifest in `folder`; weights, shape and calibration stay those of `entry`."""
    values = {name: (each.seed, each.grow, each.evidence or 0.0) for name, each in thresholds.items()}
    shape = UNetShape(**entry.shape)
    weights = thresholds[NORMAL].weights or {}
    write_manifest(folder, entry.sha256, shape.numbers(), values, steps, weights, entry.calibration)


def _split(frames: Sequence[Measured], counts: Sequence[Counts]) -> SplitScores:
    def by(group: Callable[[Measured], str]) -> dict[str, Counts]:
        sums: dict[str, Counts] = {}
        for frame, each in zip(frames, counts, strict=True):
            sums.setdefault(group(frame), Counts()).add(each)
        return sums

    return SplitScores(
        sum_counts(counts).scores(),
        {name: each.scores() for name, each in by(lambda frame: frame.film).items()},
        {name: each.scores() for name, each in by(lambda frame: str(frame.dpi)).items()},
    )


def _split_clean(frames: Sequence[Measured], sensitivity: str) -> SplitClean:
    films = dict.fromkeys(frame.film for frame in frames)
    return SplitClean(
        score_clean([frame.clean[sensitivity] for frame in frames]),
        {film: score_clean([frame.clean[sensitivity] for frame in frames if frame.film == film]) for film in films},
    )


def _write(result: EvaluationReport, worst: WorstCases, report: Path) -> Path:
    report.mkdir(parents=True, exist_ok=True)
    write_json(result, report / "report.json")
    curves = {"pixels": result.calibration.pixels, "candidates": result.calibration.candidates}
    draw_reliability({name: curve for name, curve in curves.items() if curve}, report / "reliability.png")
    for name, cases in worst.galleries.items():
        picture = report / f"{name}.png"
        picture.unlink(missing_ok=True)  # of an earlier report into the same folder
        if cases:
            draw_cases(cases, picture)
    write_page(result, [name for name, cases in worst.galleries.items() if cases], report / "report.html")
    return report / "report.json"
