"""Score the exported detector through the real pipeline code, on photographs and real shapes it was never trained on.

Frames: every held-out photograph × colour negative, slide, black and white × 2400 and 4000 dpi, enlarged and softened
as film is, with dust of held-out real shapes (and drawn scratches, which the real frames hardly have) from a fixed
seed, scanned to 16 bit. Scores: pixel precision, recall and F1 with one pixel of tolerance before growth; object
recall by kind; false objects per megapixel; coverage of the same frames without dust; a top-hat with the best
threshold per frame as baseline. Thresholds are chosen on every second photograph and scored on the others.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from spotless_core.arrays.encoding import detector_grey, sense_encoding
from spotless_core.arrays.kinds import GreyImage, Mask, Probability
from spotless_core.arrays.masks import find_pieces, grow_mask, measure_shape, seed_and_grow
from spotless_core.detection.detector import Detector
from spotless_core.detection.evidence import FEATURES, fine_structure, measure
from spotless_core.detection.mask import (
    MIN_AREA_PX,
    Thresholds,
    find_core,
    make_mask,
    thresholds_for,
)
from spotless_core.networks.device import choose_device
from spotless_core.networks.weights import default_models_folder, read_manifest
from spotless_core.options import DetectOptions, DeviceOptions, MaskOptions, Sensitivity
from spotless_core.training import film
from spotless_core.training.batches import real_by_kind
from spotless_core.training.curves import sheet
from spotless_core.training.dataset import IGNORED, Element, drop_elements, load_photos, scatter
from spotless_core.training.export import write_manifest
from spotless_core.training.film import FILM_TYPES, FilmType, GrainBank, Rng
from spotless_core.training.logistic import fit_logistic
from spotless_core.training.run_config import DetectorRun
from spotless_core.training.synthetic_dust import RealShape, draw_sprite

SEED = 20260
SIDE = 1024
ENLARGE = {2400: 1.2, 4000: 2.0}
"""Photograph pixels become this many scan pixels: film is softer than a web photograph."""
ELEMENTS_PER_MM2 = 1.54
"""As many as the held-out real frame carries: 1,334 artefacts on 24×36 mm, uncleaned."""
SCRATCH_SHARE = 0.06
HIT_SHARE = 0.25
"""An element counts as found when this share of its pixels is marked."""
FALSE_PER_MP = {"low": 0.2, "normal": 1.0, "high": 3.5}
"""What the sensitivities mean: the most false objects per megapixel allowed on the calibration frames."""
SEED_PROBABILITY, GROW_PROBABILITY = 0.3, 0.15
"""Low on purpose: what is a defect is decided by the evidence of the whole candidate."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One evaluation frame: `grey` as the detector sees it, `truth` 0/1/255, `elements`, and its `probability`."""

    name: str
    photo: int
    film: str
    dpi: int
    grey: GreyImage
    truth: NDArray[np.uint8]
    elements: list[Element]
    probability: NDArray[np.float16]
    clean_grey: GreyImage
    clean_probability: NDArray[np.float16]


@dataclass(slots=True)
class Counts:
    """Sums over frames, from which all scores follow."""

    marked: int = 0
    marked_right: int = 0
    dust: int = 0
    dust_found: int = 0
    false_objects: int = 0
    megapixels: float = 0.0
    found: dict[str, int] = field(default_factory=dict)
    visible: dict[str, int] = field(default_factory=dict)

    def scores(self) -> dict[str, float]:
        """Precision, recall, F1, false objects per megapixel, object recall by kind and over all kinds."""
        precision = self.marked_right / max(self.marked, 1)
        recall = self.dust_found / max(self.dust, 1)
        by_kind = {f"recall_{kind}": self.found.get(kind, 0) / count for kind, count in sorted(self.visible.items())}
        return {
            "f1": 2 * precision * recall / max(precision + recall, 1e-9),
            "precision": precision,
            "recall": recall,
            "false_per_mp": self.false_objects / max(self.megapixels, 1e-9),
            "object_recall": sum(self.found.values()) / max(sum(self.visible.values()), 1),
            **by_kind,
        }


def evaluate_detector(run: DetectorRun, report: Path, models: Path | None, *, calibrate: bool) -> Path:
    """Write `report.json`, `misses.png` and `false_alarms.png` into `report`; with `calibrate`, new thresholds as
    well.
    """
    folder = models or default_models_folder()
    entry = read_manifest(folder)["detector"]
    detector = Detector.from_entry(entry, choose_device(DeviceOptions()))
    frames = list(make_frames(run, detector))
    chosen_on = [frame for frame in frames if frame.photo % 2 == 0]
    scored_on = [frame for frame in frames if frame.photo % 2 == 1]
    thresholds = {name: thresholds_for(MaskOptions(sensitivity=Sensitivity(name)), entry) for name in entry.thresholds}
    if calibrate:
        weights, levels = calibrate_evidence(chosen_on)
        thresholds = {
            name: Thresholds(SEED_PROBABILITY, GROW_PROBABILITY, level, weights) for name, level in levels.items()
        }
        shape = (entry.shape["width"], entry.shape["depth"], entry.shape["fold"])
        values = {name: (SEED_PROBABILITY, GROW_PROBABILITY, level) for name, level in levels.items()}
        write_manifest(folder, entry.sha256, shape, values, run.steps, weights)
    result = {
        "weights": entry.sha256,
        "thresholds": {name: asdict(pair) for name, pair in thresholds.items()},
        "sensitivities": {name: _scores(scored_on, pair) for name, pair in thresholds.items()},
        "by_film": {
            f.name: _scores([x for x in scored_on if x.film == f.name], thresholds["normal"]) for f in FILM_TYPES
        },
        "by_dpi": {str(dpi): _scores([x for x in scored_on if x.dpi == dpi], thresholds["normal"]) for dpi in ENLARGE},
        "clean": _clean_scores(scored_on, thresholds["normal"]),
        "expected_calibration_error": _calibration_error(scored_on),
        "top_hat_oracle": _top_hat(scored_on),
        "frames": len(scored_on),
    }
    report.mkdir(parents=True, exist_ok=True)
    path = report / "report.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draw_worst(frames, thresholds["normal"], report)
    return path


def make_frames(run: DetectorRun, detector: Detector) -> list[Frame]:
    """Make all frames and run the detector over each, with and without its dust."""
    photos = load_photos(run.validation_photos)
    real = real_by_kind(run, run.validation_scans)
    grains = GrainBank(np.random.default_rng(SEED))
    frames = []
    jobs = [(i, f, dpi) for i in range(len(photos)) for f in FILM_TYPES for dpi in ENLARGE]
    for index, film_type, dpi in tqdm(jobs, unit="frame", dynamic_ncols=True):
        rng = np.random.default_rng((SEED, index, FILM_TYPES.index(film_type), dpi))
        clean = _clean_frame(rng, photos[index], film_type, dpi, grains)
        dusty, truth, elements = _dusty_frame(rng, clean, film_type, dpi, real)
        scan_seed = int(rng.integers(1 << 30))
        greys, probabilities = [], []
        for grey in (dusty, clean):
            scanned = film.digitise(np.random.default_rng(scan_seed), grey)
            samples = np.rint(scanned * 65535).astype(np.uint16)[..., None]
            greys.append(detector_grey(samples, sense_encoding(samples, 16, is_min_white=False)))
            probabilities.append(detector.detect(greys[-1], DetectOptions()).astype(np.float16))
        name = f"photo {index}, {film_type.name}, {dpi} dpi"
        frames.append(
            Frame(
                name,
                index,
                film_type.name,
                dpi,
                greys[0],
                truth,
                elements,
                probabilities[0],
                greys[1],
                probabilities[1],
            )
        )
    return frames


def _clean_frame(rng: Rng, photo: NDArray[np.uint8], film_type: FilmType, dpi: int, grains: GrainBank) -> GreyImage:
    scale = ENLARGE[dpi]
    source = min(int(SIDE / scale), *photo.shape)
    top, left = ((length - source) // 2 for length in photo.shape)
    window = photo[top : top + source, left : left + source].astype(np.float32) / np.float32(255)
    side = min(SIDE, round(source * scale))
    grey = film.random_tone(rng, film.enlarge(window, (side, side), scale, 0.5 * scale))
    grain = np.zeros((side, side), np.float32)
    for y in range(0, side, film.GRAIN_FIELD_PX):  # a frame is larger than a field of grain
        for x in range(0, side, film.GRAIN_FIELD_PX):
            part = grain[y : y + film.GRAIN_FIELD_PX, x : x + film.GRAIN_FIELD_PX]
            part[:] = grains.draw(rng, part.shape, float(np.mean(film_type.grain_px)))
    return film.add_grain(grey, grain, float(np.sqrt(film_type.grain[0] * film_type.grain[1])))


def _dusty_frame(
    rng: Rng, clean: GreyImage, film_type: FilmType, dpi: int, real: dict[str, list[RealShape]]
) -> tuple[GreyImage, NDArray[np.uint8], list[Element]]:
    um_per_px = 25400 / dpi
    count = int(rng.poisson(ELEMENTS_PER_MM2 * clean.size * (um_per_px / 1000) ** 2))
    weights = {kind: len(shapes) for kind, shapes in real.items() if kind != "scratch"} or {"dust": 1}
    total = sum(weights.values())
    sprites = []
    for _ in range(count):
        kind = "scratch"
        if rng.random() >= SCRATCH_SHARE:
            kind = str(rng.choice(list(weights), p=[weight / total for weight in weights.values()]))
        sprites.append(draw_sprite(rng, um_per_px, real, kind, real_share=1.0))
    return drop_elements(rng, clean, film_type, sprites, scatter(rng, count, *clean.shape))


def count_frame(frame: Frame, core: Mask, counts: Counts) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Add one frame's marks (`core`, before growth) to `counts`; returns centres of missed elements and false
    objects.
    """
    dust, counted = frame.truth == 1, frame.truth != IGNORED
    near_dust, near_core = grow_mask(dust, 1.5), grow_mask(core, 1.5)
    marked = core & counted
    counts.marked += int(marked.sum())
    counts.marked_right += int((marked & near_dust).sum())
    counts.dust += int(dust.sum())
    counts.dust_found += int((dust & near_core).sum())
    counts.megapixels += core.size / 1e6
    pieces = find_pieces(core)
    touched = np.unique(pieces.labels[near_dust | ~counted])
    false_labels = np.setdiff1d(np.arange(1, len(pieces.boxes) + 1), touched)
    counts.false_objects += len(false_labels)
    false_alarms = [_centre(pieces.boxes[label - 1]) for label in false_labels]
    misses = []
    for element in frame.elements:
        if not element.visible:
            continue
        top, left, bottom, right = element.box
        body = dust[top:bottom, left:right]
        counts.visible[element.kind] = counts.visible.get(element.kind, 0) + 1
        if near_core[top:bottom, left:right][body].mean() >= HIT_SHARE:
            counts.found[element.kind] = counts.found.get(element.kind, 0) + 1
        else:
            misses.append(_centre(element.box))
    return misses, false_alarms


def _core(frame: Frame, thresholds: Thresholds) -> Mask:
    probability = frame.probability.astype(np.float32)
    return find_core(probability, thresholds, MaskOptions(), 25400 / frame.dpi, frame.grey)[0]


def _counts(frames: Sequence[Frame], thresholds: Thresholds) -> Counts:
    counts = Counts()
    for frame in frames:
        count_frame(frame, _core(frame, thresholds), counts)
    return counts


def _scores(frames: Sequence[Frame], thresholds: Thresholds) -> dict[str, float]:
    return {name: round(value, 4) for name, value in _counts(frames, thresholds).scores().items()}


def calibrate_evidence(frames: Sequence[Frame]) -> tuple[dict[str, float], dict[str, float]]:
    """Fit the weights of the evidence on the frames' candidates; per sensitivity the least score within its limit.

    A candidate is right if it touches visible dust, wrong if it touches nothing that fell; others do not count.
    """
    measured, right = [], []
    for frame in frames:
        probability = frame.probability.astype(np.float32)
        pieces = find_pieces(seed_and_grow(probability, SEED_PROBABILITY, GROW_PROBABILITY))
        fine = fine_structure(frame.grey)
        near_dust, counted = grow_mask(frame.truth == 1, 1.5), frame.truth != IGNORED
        for index, box in enumerate(pieces.boxes):
            place = np.s_[box[0] : box[2], box[1] : box[3]]
            piece: Mask = pieces.labels[place] == index + 1
            is_right = bool(near_dust[place][piece].any())
            if piece.sum() < MIN_AREA_PX or not (is_right or counted[place][piece].all()):
                continue
            shape = measure_shape(piece)
            features = measure(pieces.labels, index + 1, box, shape, probability, frame.grey, fine)
            measured.append(features)
            right.append(is_right)
    features, targets = np.array(measured), np.array(right)
    weights = np.round(fit_logistic(features, targets), 4)  # as they will stand in the manifest
    scores = np.sort((features @ weights)[~targets])[::-1]  # of the wrong ones, highest first
    megapixels = sum(frame.grey.size for frame in frames) / 1e6
    levels = {}
    for name, limit in FALSE_PER_MP.items():
        allowed = int(limit * megapixels)
        level = scores[allowed] if allowed < len(scores) else scores[-1] if len(scores) else 0.0
        levels[name] = round(float(level) + 2e-4, 4)
    return {name: float(value) for name, value in zip(FEATURES, weights, strict=True)}, levels


def _clean_scores(frames: Sequence[Frame], thresholds: Thresholds) -> dict[str, float]:
    coverages, largest = [], []
    for frame in frames:
        probability = frame.clean_probability.astype(np.float32)
        found = make_mask(probability, thresholds, MaskOptions(), 25400 / frame.dpi, frame.clean_grey)
        coverages.append(found.coverage)
        largest.append(max((defect.area_px for defect in found.defects), default=0))
    good = np.mean([c <= 0.0003 and area <= 40 for c, area in zip(coverages, largest, strict=True)])
    return {
        "mean_coverage": round(float(np.mean(coverages)), 7),
        "worst_coverage": round(float(np.max(coverages)), 7),
        "share_within_limits": round(float(good), 4),
    }


def _calibration_error(frames: Sequence[Frame], bins: int = 15) -> float:
    """Expected calibration error over pixels (Guo et al., ICML 2017), of pixels the network does not call surely
    clean.
    """
    probability = np.concatenate([f.probability[(f.truth != IGNORED) & (f.probability > 0.02)] for f in frames])
    truth = np.concatenate([f.truth[(f.truth != IGNORED) & (f.probability > 0.02)] == 1 for f in frames])
    index = np.minimum((probability.astype(np.float32) * bins).astype(int), bins - 1)
    error = 0.0
    for i in range(bins):
        members = index == i
        if members.any():
            gap = abs(float(truth[members].mean()) - float(probability[members].astype(np.float32).mean()))
            error += gap * float(members.mean())
    return round(error, 4)


def _top_hat(frames: Sequence[Frame]) -> dict[str, float]:
    """Baseline: white or black top-hat (whichever scores better) with the best threshold per frame, an oracle."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (21, 21))
    total = Counts()
    for frame in frames:
        best: tuple[float, Mask] | None = None
        for operation in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
            response = np.asarray(cv2.morphologyEx(frame.grey, operation, kernel))
            for threshold in np.linspace(0.05, 0.5, 10):
                core: Mask = response >= threshold
                counts = Counts()
                count_frame(frame, core, counts)
                score = counts.scores()["f1"]
                if best is None or score > best[0]:
                    best = score, core
        if best is not None:
            count_frame(frame, best[1], total)
    return {name: round(value, 4) for name, value in total.scores().items()}


def draw_worst(frames: Sequence[Frame], thresholds: Thresholds, report: Path, count: int = 48, side: int = 128) -> None:
    """Write sheets of crops round missed elements and false objects: grey, truth, probability."""
    lists: dict[str, list[tuple[float, Frame, tuple[int, int]]]] = {"misses": [], "false_alarms": []}
    for frame in frames:
        misses, false_alarms = count_frame(frame, _core(frame, thresholds), Counts())
        for name, centres in (("misses", misses), ("false_alarms", false_alarms)):
            lists[name] += [(float(frame.probability[centre]), frame, centre) for centre in centres]
    for name, found in lists.items():
        worst = sorted(found, key=lambda item: item[0], reverse=name == "false_alarms")[:count]
        if worst:
            crops = [_around(frame, centre, side) for _, frame, centre in worst]
            grey, truth, probability = (np.stack(values) for values in zip(*crops, strict=True))
            sheet(grey, truth, probability, report / f"{name}.png")


def _around(frame: Frame, centre: tuple[int, int], side: int) -> tuple[GreyImage, NDArray[np.uint8], Probability]:
    top, left = (int(np.clip(c - side // 2, 0, n - side)) for c, n in zip(centre, frame.grey.shape, strict=True))
    place = np.s_[top : top + side, left : left + side]
    return frame.grey[place], frame.truth[place], frame.probability[place].astype(np.float32)


def _centre(box: tuple[int, int, int, int]) -> tuple[int, int]:
    return (box[0] + box[2] - 1) // 2, (box[1] + box[3] - 1) // 2
