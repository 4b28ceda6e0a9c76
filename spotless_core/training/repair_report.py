"""Everything an evaluation of repairs found, as one record, and what of it is held against the targets.

Structure is held against its targets before grain is put back: new grain cannot be the old one, and under the low-pass
some of it is left, which would count as an error of the picture. Grain is held against its targets after that.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from spotless_core.training.blind_test import BlindResult
from spotless_core.training.repair_scores import Quality

GAIN_DB, EDGE_GAIN_DB = 3.5, 4.5
"""Structure PSNR over Telea's: over all defects, and over those that an edge of the picture crosses."""
MOST_DISTANCE_DB = 2.0
GRAIN_RATIOS = (0.85, 1.15)
LEAST_CALM = 10
"""Of fewer repairs on calm film nothing is said of the grain: their figures are mostly chance."""
MOST_SECONDS = 8.0
"""For 1000 defects on two cores."""
MOST_TOLD = 0.65
"""Share of patches that a machine may tell right; 0.5 is chance."""
RIVALS = ("biharmonic", "fsr")
"""Methods to be above in structure."""
GRAIN_SUFFIX = "-grain"
"""A method's name with it is the same fill with grain put back."""


@dataclass(frozen=True, slots=True)
class MethodReport:
    """One method. `by`: its figures by axis and group. `over_repair`: area changed where no visible dust lies, over
    that changed where it does. `seconds_per_1000_defects`: of this machine, as busy as it was.
    """

    title: str
    is_ours: bool
    knows_truth: bool
    seconds_per_1000_defects: float
    over_repair: float
    changed_outside_mask_px: int
    all: Quality
    by: dict[str, dict[str, Quality]]


@dataclass(frozen=True, slots=True)
class Target:
    """One target: `what` is measured, what is `wanted`, the `value`, and whether it is met.

    None: it was not measured, or on too little.
    """

    what: str
    wanted: str
    value: float | None
    is_met: bool | None


@dataclass(frozen=True, slots=True)
class RepairReport:
    """The whole of it. `weights`: sha256 of LaMa's, None without. `missing`: why methods did not run, by name.

    `grain_costs`: what putting grain back adds to the structure's error (`grain_cost_db`), by pair of methods and
    group. `blind`: how well a machine finds the repairs, by method. `targets`: by the name of each method that is a
    whole result of the pipeline.
    """

    weights: str | None
    photos: int
    frames: int
    defects: int
    methods: dict[str, MethodReport]
    missing: dict[str, str]
    grain_costs: dict[str, dict[str, float | None]]
    blind: dict[str, BlindResult]
    targets: dict[str, list[Target]]


def grain_costs(methods: Mapping[str, MethodReport]) -> dict[str, dict[str, float | None]]:
    """Return what grain costs the picture for each fill that ran with and without it, by film and surroundings.

    The two that know the truth are such a pair: what new grain of the right kind costs at the least.
    """
    pairs = {name: (name.removesuffix(GRAIN_SUFFIX), name) for name in methods if name.endswith(GRAIN_SUFFIX)}
    pairs["regrained"] = ("picture", "regrained")
    costs = {}
    for title, (fill, repair) in pairs.items():
        if fill in methods and repair in methods:
            without, with_grain = methods[fill], methods[repair]
            costs[title] = {"all": grain_cost_db(without.all, with_grain.all)}
            for axis in ("film", "surroundings"):
                for name, quality in without.by[axis].items():
                    costs[title][name] = grain_cost_db(quality, with_grain.by[axis][name])
    return costs


def grain_cost_db(without: Quality, with_grain: Quality) -> float | None:
    """Return the squared structure error that grain adds, as a PSNR in dB: more is better; None where it adds none."""
    added = 10 ** (-with_grain.structure_psnr / 10) - 10 ** (-without.structure_psnr / 10)
    return -10 * math.log10(added) if added > 0 else None


def targets_of(name: str, methods: Mapping[str, MethodReport], blind: Mapping[str, BlindResult]) -> list[Target]:
    """Hold the method `name` of `methods` against every target, its structure as it is without grain if that ran."""
    ours = methods[name]
    fill = methods.get(name.removesuffix(GRAIN_SUFFIX), ours)
    edge = fill.by["surroundings"].get("edge")
    targets = [
        _at_least(f"{fill.title}: structure over Telea, all defects, dB", fill.all.gain_db, GAIN_DB),
        _at_least(
            f"{fill.title}: structure over Telea, edge-crossing, dB", edge.gain_db if edge else None, EDGE_GAIN_DB
        ),
    ]
    for rival in RIVALS:
        other = methods.get(rival)
        ahead = fill.all.structure_psnr - other.all.structure_psnr if other else None
        targets.append(_above(f"{fill.title}: structure over {other.title if other else rival}, dB", ahead))
    for film, quality in ours.by["film"].items():
        targets.append(_grain_target(film, quality))
        targets.append(_distance_target(film, quality))
    told = blind[name].told.accuracy if name in blind else None
    is_met = None if told is None else told <= MOST_TOLD
    targets.append(Target("repairs told from untouched film by a machine", f"<= {MOST_TOLD:g}", told, is_met))
    seconds = ours.seconds_per_1000_defects
    targets.append(
        Target("seconds per 1000 defects, this machine", f"<= {MOST_SECONDS:g}", seconds, seconds <= MOST_SECONDS)
    )
    return targets


def _at_least(what: str, value: float | None, wanted: float) -> Target:
    return Target(what, f">= {wanted:g}", value, None if value is None else value >= wanted)


def _above(what: str, value: float | None) -> Target:
    return Target(what, "> 0", value, None if value is None else value > 0)


def _grain_target(film: str, quality: Quality) -> Target:
    low, high = GRAIN_RATIOS
    ratio = quality.grain.worst_ratio
    is_met = None if ratio is None or quality.grain.defects < LEAST_CALM else low <= ratio <= high
    return Target(f"grain ratio, worst channel, {film.replace('_', ' ')}", f"{low:g} to {high:g}", ratio, is_met)


def _distance_target(film: str, quality: Quality) -> Target:
    distance = quality.grain.worst_distance_db
    is_met = None if distance is None or quality.grain.windows < LEAST_CALM else distance < MOST_DISTANCE_DB
    what = f"log-spectral distance, worst channel, {film.replace('_', ' ')}, dB"
    return Target(what, f"< {MOST_DISTANCE_DB:g}", distance, is_met)
