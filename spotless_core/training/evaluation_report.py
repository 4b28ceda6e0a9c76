"""Everything an evaluation found, as one record, and its JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from spotless_core.detection.mask import Thresholds
from spotless_core.training.evaluation_frames import Inspection
from spotless_core.training.reliability import Reliability
from spotless_core.training.scores import CleanScores, Scores

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SIGNIFICANT_DIGITS = 5

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | None"


@dataclass(frozen=True, slots=True)
class SplitScores:
    """Scores over all frames, by film type and by resolution of the scan."""

    all: Scores
    by_film: dict[str, Scores]
    by_dpi: dict[str, Scores]


@dataclass(frozen=True, slots=True)
class SplitClean:
    """Scores over all frames without their dust, and by film type."""

    all: CleanScores
    by_film: dict[str, CleanScores]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Reliability of the network's pixels (those not surely clean, and all that count), and of candidates.

    `candidates`: the logistic score of evidence taken as a probability; None where the model has no weights for it.
    """

    pixels: Reliability
    all_pixels: Reliability
    candidates: Reliability | None


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """The whole of it. `weights`: their sha256. `photos`: how many photographs were used.

    `scores`, `clean`: by sensitivity, on all frames. `cross_checked`: by sensitivity, each half of the photographs with
    thresholds chosen on the other; empty where none were chosen. `detect_seconds_per_megapixel`: of this machine, as
    busy as it was.
    """

    weights: str
    inspection: Inspection
    photos: int
    frames: int
    detect_seconds_per_megapixel: float
    thresholds: dict[str, Thresholds]
    scores: dict[str, SplitScores]
    cross_checked: dict[str, Scores]
    top_hat_oracle: SplitScores
    clean: dict[str, SplitClean]
    calibration: Calibration


def write_json(report: "DataclassInstance", path: Path) -> None:
    """Write `report`, a record of records, to `path` as JSON, numbers rounded to five significant digits."""
    path.write_text(json.dumps(_rounded(asdict(report)), indent=1) + "\n", encoding="utf-8")


def _rounded(value: object) -> Json:
    if isinstance(value, Mapping):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(f"{type(value).__name__}: a report holds numbers, strings, lists and records.")
