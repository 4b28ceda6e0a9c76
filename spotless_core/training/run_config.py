"""A training run's settings, read from one TOML file; every wrong key is reported with its nearest neighbour."""

import difflib
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from spotless_core.errors import MissingInputError, OptionsError


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What every run has.

    `photos`, `validation_photos`: folders of clean photographs. `real_shapes`: folder with scanNN.jsonl, "" for none;
    `real_scans`, `validation_scans`: which of them. `output`: the run's folder. `batch`, `side`: crops per step and
    their side in pixels. `decay_steps`: last steps, over which the learning rate falls to zero along a half cosine; it
    rises over `warmup_steps` and is constant between. `ema_decay`: of the averaged weights, the ones that are exported.
    """

    photos: Path
    validation_photos: Path
    output: Path
    real_shapes: str = ""
    real_scans: tuple[int, ...] = ()
    validation_scans: tuple[int, ...] = ()
    seed: int = 1
    steps: int = 12000
    batch: int = 16
    side: int = 256
    learning_rate: float = 1.5e-3
    weight_decay: float = 1e-4
    warmup_steps: int = 300
    decay_steps: int = 4000
    ema_decay: float = 0.998
    gradient_clip: float = 1.0
    validate_every: int = 500
    checkpoint_every: int = 250


@dataclass(frozen=True, slots=True)
class DetectorRun(TrainingRun):
    """Settings of one detector run.

    `width`, `depth`, `fold`: the U-Net's shape. `hard_weight`, `entropy_weight`: of the loss (losses.py).
    """

    width: int = 24
    depth: int = 4
    fold: int = 2
    hard_weight: float = 0.1
    entropy_weight: float = 10.0


@dataclass(frozen=True, slots=True)
class InpainterRun(TrainingRun):
    """Settings of one inpainter run.

    `width` to `cheap_fill`: the LaMa network's shape (networks/lama.py). `rim_weight`: weight in the loss of the clean
    pixels next to a hole; a pixel in it has 1.
    """

    steps: int = 8000
    side: int = 96
    learning_rate: float = 1e-3
    decay_steps: int = 3000
    width: int = 32
    downsamplings: int = 2
    blocks: int = 6
    global_ratio: float = 0.75
    cheap_fill: bool = True
    rim_weight: float = 0.2


RunKind = TypeVar("RunKind", bound=TrainingRun)


def read_run(path: Path) -> DetectorRun:
    """Read a detector run's TOML; relative folders are taken from the current directory.

    Raises:
        MissingInputError: no such file.
        OptionsError: bad TOML, unknown or missing keys, wrong types; all of them in one message.
    """
    return _read(path, DetectorRun)


def read_inpainter_run(path: Path) -> InpainterRun:
    """Read an inpainter run's TOML; as `read_run`."""
    return _read(path, InpainterRun)


def _read(path: Path, kind_of_run: type[RunKind]) -> RunKind:
    if not path.is_file():
        raise MissingInputError(f"{path}: no such training config.")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise OptionsError(f"{path}: {error}.") from error
    known = {field.name: field for field in fields(kind_of_run)}
    problems = []
    values: dict[str, Any] = {}
    for key, value in document.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            problems.append(f"{key}: unknown key" + (f" (did you mean {near[0]}?)" if near else ""))
            continue
        kind = known[key].type
        if kind is Path:
            values[key] = Path(value)
        elif kind == tuple[int, ...]:
            values[key] = tuple(int(item) for item in value)
        elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            values[key] = float(value)
        elif isinstance(value, kind if isinstance(kind, type) else str) and isinstance(value, bool) == (kind is bool):
            values[key] = value
        else:
            problems.append(f"{key} = {value!r}: {getattr(kind, '__name__', kind)} expected")
    problems += [f"{key}: missing" for key in ("photos", "validation_photos", "output") if key not in document]
    if problems:
        raise OptionsError(f"{path}: " + "; ".join(problems) + ".")
    return kind_of_run(**values)
