"""A training run's settings, read from one TOML file; every wrong key is reported with its nearest neighbour."""

import difflib
import json
import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from spotless_core.errors import MissingInputError, OptionsError


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What every run has.

    `photos`, `validation_photos`: folders of clean photographs; where both are one folder, every tenth photograph is
    held out. `real_shapes`: folder with scanNN.jsonl, "" for none;
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

    `width` to `separable`: the U-Net's shape (networks/unet.py). `hard_weight`, `entropy_weight`: of the loss
    (losses.py). `feedback`: folder of an export of `spotlessd feedback`, "" for none; `feedback_share`: of the crops.
    """

    width: int = 24
    depth: int = 4
    fold: int = 2
    separable: bool = False
    hard_weight: float = 0.1
    entropy_weight: float = 10.0
    feedback: str = ""
    feedback_share: float = 0.1


@dataclass(frozen=True, slots=True)
class InpainterRun(TrainingRun):
    """Settings of one inpainter run.

    `width` to `skips`: the LaMa network's shape (networks/lama.py). `veil_share`: share of the crops in which the
    network sees what lies under the mask. The loss (inpainter_losses.py): a pixel of a hole weighs 1, one of the clean
    film next to it `rim_weight`; `scale_weight`, `frequency_weight`: of its terms at lower resolutions and in the
    spectrum. From step `adversarial_from` on (0 = never) a patch discriminator learns beside the network:
    `adversarial_weight`, `matching_weight`: of what it says and of its features; `discriminator_width`: channels of its
    first level.
    """

    steps: int = 8000
    side: int = 96
    learning_rate: float = 1e-3
    decay_steps: int = 3000
    width: int = 48
    fold: int = 2
    downsamplings: int = 2
    level_blocks: int = 1
    blocks: int = 4
    global_ratio: float = 0.75
    cheap_fill: bool = True
    veil: bool = True
    skips: bool = True
    veil_share: float = 0.5
    rim_weight: float = 0.2
    scale_weight: float = 1.0
    frequency_weight: float = 0.1
    adversarial_from: int = 0
    adversarial_weight: float = 0.02
    matching_weight: float = 0.2
    discriminator_width: int = 32


VARIANT_KEYS: dict[type[TrainingRun], tuple[str, ...]] = {
    DetectorRun: ("width", "depth", "fold", "separable", "seed"),
    InpainterRun: (
        *("width", "fold", "downsamplings", "level_blocks", "blocks", "global_ratio", "cheap_fill", "veil", "skips"),
        "seed",
    ),
}
"""What may differ between runs that are to be compared: the network's shape, and the seed to see the noise."""


def write_run_on(photos: Path, output: Path) -> Path:
    """Write `run.toml` into `output`: a detector run on the folder `photos` alone, all else as by default.

    Raises:
        OptionsError: `output` holds a run on another folder.
    """
    path = output / "run.toml"
    text = f"photos = {json.dumps(str(photos.resolve()))}   # every tenth is held out\n"
    text += f"validation_photos = {json.dumps(str(photos.resolve()))}\noutput = {json.dumps(str(output.resolve()))}\n"
    if path.exists() and not path.read_text(encoding="utf-8").startswith(text):
        raise OptionsError(f"{path}: a run on other photographs. Give --output another folder, or use --config {path}.")
    if not path.exists():
        output.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return path


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


def read_variants(path: Path, report: Path) -> dict[str, DetectorRun]:
    """Read detector runs that differ in `VARIANT_KEYS` only: by name, in the file's order, each with a folder in
    `report`.

    The TOML has one table [shared] of a run's keys and one [[variant]] for each run, with its `name`. Raises as
    `read_run`.
    """
    return _read_variants(path, report, DetectorRun)


def read_inpainter_variants(path: Path, report: Path) -> dict[str, InpainterRun]:
    """Read inpainter runs that are to be compared; as `read_variants`."""
    return _read_variants(path, report, InpainterRun)


def _read_variants(path: Path, report: Path, kind_of_run: type[RunKind]) -> dict[str, RunKind]:
    document = _load(path)
    shared, variants = document.get("shared"), document.get("variant")
    if not (isinstance(shared, dict) and isinstance(variants, list) and len(document) == 2):
        raise OptionsError(f"{path}: one table [shared] and at least one [[variant]] expected, nothing else.")
    runs: dict[str, RunKind] = {}
    problems: list[str] = []
    may_differ = {*VARIANT_KEYS[kind_of_run]}
    for variant in variants:
        name = str(variant.pop("name", ""))
        if name in runs or not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
            problems.append(f"name = {name!r}: one of its own in a-z, 0-9 and hyphens expected, it names a folder")
            continue
        problems += [f"{name}: {key} is the same for all: put it into [shared]" for key in {*variant} - may_differ]
        values, wrong = _values({**shared, **variant, "output": str(report / name)}, kind_of_run)
        problems += wrong
        if not wrong:
            runs[name] = kind_of_run(**values)
    if problems:
        raise OptionsError(f"{path}: " + "; ".join(dict.fromkeys(problems)) + ".")
    return runs


def _read(path: Path, kind_of_run: type[RunKind]) -> RunKind:
    values, problems = _values(_load(path), kind_of_run)
    if problems:
        raise OptionsError(f"{path}: " + "; ".join(problems) + ".")
    return kind_of_run(**values)


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MissingInputError(f"{path}: no such training config.")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise OptionsError(f"{path}: {error}.") from error


def _values(document: dict[str, Any], kind_of_run: type[TrainingRun]) -> tuple[dict[str, Any], list[str]]:
    """Return the constructor's arguments in `document`, and what is wrong with it."""
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
    return values, problems
