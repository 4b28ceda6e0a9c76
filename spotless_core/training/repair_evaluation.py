"""Measure repairs through the real pipeline code, on held-out photographs whose film under the dust is known.

The flow: frames (repair_frames.py) → each repaired by every method (repair_baselines.py) → scores per defect
(repair_scores.py), pooled by groups (repair_groups.py) → `report.json`, `report.html` and sheets of the worst repairs
and of some drawn by lot. The masks are the true ones, so that what is measured is the filling alone. Frames are held
one at a time.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Mask
from spotless_core.errors import OptionsError
from spotless_core.inpainting.choice import LAMA
from spotless_core.networks.device import choose_device
from spotless_core.networks.weights import default_models_folder, read_manifest
from spotless_core.options import DeviceOptions
from spotless_core.training.blind_patches import BlindPair
from spotless_core.training.blind_test import LEAST_PHOTOGRAPHS, BlindResult, blind_accuracy
from spotless_core.training.evaluation_report import write_json
from spotless_core.training.repair_baselines import Method, known_methods
from spotless_core.training.repair_cases import RepairCases
from spotless_core.training.repair_frames import RepairFrame, load_color_materials, make_repair_frames
from spotless_core.training.repair_groups import group_by
from spotless_core.training.repair_page import write_repair_page
from spotless_core.training.repair_report import MethodReport, RepairReport, grain_costs, targets_of
from spotless_core.training.repair_scores import DefectFacts, DefectScore, FrameJudge, Touched, quality_of
from spotless_core.training.repair_sheet import draw_repairs
from spotless_core.training.run_config import InpainterRun

CHEAP = "telea"
"""What gains are counted from; it always runs."""
SHOWN = ("tiered-grain", "lama-grain", "tiered", "lama", "cv2fill-grain", "cv2fill")
"""The first of these that ran is "ours" on the sheets; Telea where none did."""


@dataclass(frozen=True, slots=True)
class _Repaired:
    """One repaired frame as it is kept: H×W×C uint16 and its mask."""

    frame: str
    film: str
    samples: NDArray[np.uint16]
    mask: Mask

    def pair(self) -> BlindPair:
        return BlindPair(self.frame, self.film, self.samples.astype(np.float32) / np.float32(65535), self.mask)


class Tally:
    """What `methods` did on the frames added so far; `blind`: names of those whose repairs a machine looks for."""

    def __init__(self, methods: Sequence[Method], blind: Sequence[str] = ()) -> None:
        self._methods = methods
        self._repaired: dict[str, list[_Repaired]] = {name: [] for name in blind}
        names = [method.name for method in methods]
        self.shown = next((name for name in SHOWN if name in names), CHEAP)
        self.cases = RepairCases()
        self.frames = 0
        self.facts: list[DefectFacts] = []
        self._scores: dict[str, list[DefectScore]] = defaultdict(list)
        self._touched: dict[str, Touched] = defaultdict(Touched)
        self._seconds: dict[str, float] = defaultdict(float)

    def add(self, frame: RepairFrame) -> None:
        """Repair `frame` by every method, score it and keep its cases."""
        judge = FrameJudge(frame)
        kept = {}
        for method in self._methods:
            start = perf_counter()
            repaired = method.repair(frame)
            self._seconds[method.name] += perf_counter() - start
            self._scores[method.name] += judge.score(repaired, self._touched[method.name])
            if method.name in {CHEAP, self.shown}:
                kept[method.name] = repaired
            if method.name in self._repaired:
                self._repaired[method.name].append(_Repaired(frame.name, frame.film, repaired, frame.mask))
        self.frames += 1
        self.facts += judge.facts
        shown = self._scores[self.shown][len(self.facts) - len(judge.facts) :]
        self.cases.add(frame, judge.facts, shown, {"telea": kept[CHEAP], "ours": kept[self.shown]})

    def reports(self) -> dict[str, MethodReport]:
        """Return the report of each method; at least one defect was added."""
        groups = group_by(fact.groups for fact in self.facts)
        return {method.name: self._report(method, groups) for method in self._methods}

    def blind_results(self) -> dict[str, BlindResult]:
        """Return how well a machine finds the repairs of each method that was to be kept for it."""
        return {name: blind_accuracy(map(_Repaired.pair, frames)) for name, frames in self._repaired.items()}

    def _report(self, method: Method, groups: dict[str, dict[str, list[int]]]) -> MethodReport:
        scores, cheap, touched = self._scores[method.name], self._scores[CHEAP], self._touched[method.name]
        return MethodReport(
            title=method.title,
            is_ours=method.is_ours,
            knows_truth=method.knows_truth,
            seconds_per_1000_defects=1000 * self._seconds[method.name] / len(self.facts),
            over_repair=touched.over_repair,
            changed_outside_mask_px=touched.outside_mask,
            all=quality_of(self.facts, scores, cheap),
            by={
                axis: {
                    name: quality_of(
                        [self.facts[i] for i in indexes], [scores[i] for i in indexes], [cheap[i] for i in indexes]
                    )
                    for name, indexes in members.items()
                }
                for axis, members in groups.items()
            },
        )


def evaluate_inpainter(
    run: InpainterRun,
    report: Path,
    models: Path | None,
    *,
    photos: int | None = None,
    methods: Sequence[str] | None = None,
    blind: Sequence[str] = (),
) -> Path:
    """Write `report.json`, `report.html` and picture sheets into the folder `report`; returns the path of the JSON.

    `models`: folder of the weights (None = the shipped ones); without LaMa in its manifest only the others run.
    `photos`: use only the first so many held-out photographs (None = all). `methods`: names out of
    `repair_baselines.TITLES` (None = all that can run here); Telea always runs. `blind`: those of them whose repairs a
    machine is to find; of three photographs or more.

    Raises:
        OptionsError: a method is unknown, or to be looked for but not run; there are too few `photos`; or no visible
            defect fell on the frames.
        MissingInputError: there are no photographs.
        ModelError: the manifest or LaMa's weights are missing or damaged.
    """
    entries = read_manifest(models or default_models_folder())
    device = choose_device(DeviceOptions()).kind
    known, missing = known_methods(entries, device, None if methods is None else [CHEAP, *methods])
    unknown = [name for name in blind if name not in {method.name for method in known}]
    if unknown:
        raise OptionsError(f"blind: {', '.join(unknown)} does not run; some of --methods expected.")
    materials = load_color_materials(run, photos)
    if blind and len(materials.photos) < LEAST_PHOTOGRAPHS:
        raise OptionsError(f"blind: {len(materials.photos)} photographs; at least {LEAST_PHOTOGRAPHS} expected.")
    tally = Tally(known, blind)
    for frame in make_repair_frames(materials):
        tally.add(frame)
    if not tally.facts:
        raise OptionsError(f"{run.validation_photos}: no visible dust fell on so few pictures; larger ones expected.")
    reports, found = tally.reports(), tally.blind_results()
    result = RepairReport(
        weights=entries[LAMA].sha256 if LAMA in entries else None,
        photos=len(materials.photos),
        frames=tally.frames,
        defects=len(tally.facts),
        methods=reports,
        missing=missing,
        grain_costs=grain_costs(reports),
        blind=found,
        targets={name: targets_of(name, reports, found) for name, each in reports.items() if each.is_ours},
    )
    return _write(result, tally, report)


def _write(result: RepairReport, tally: Tally, report: Path) -> Path:
    report.mkdir(parents=True, exist_ok=True)
    for earlier in report.glob("worst_*.png"):
        earlier.unlink()
    write_json(result, report / "report.json")
    galleries = sorted(tally.cases.galleries, reverse=True)
    for name in galleries:
        draw_repairs(tally.cases.galleries[name], result.methods[tally.shown].title, report / f"{name}.png")
    write_repair_page(result, galleries, report / "report.html")
    return report / "report.json"
