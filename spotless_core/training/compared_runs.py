"""What the comparisons of both networks share: equal short runs, their weights, times taken in turn, the report.

Comes in: runs by name that differ in a network's shape and in their seed only (`VARIANT_KEYS`). Goes out: a folder for
each run, then `variants.json`, `variants.csv` and `variants.md`. Finished runs are not trained again, a killed one goes
on where it was, and a run of other settings is never written over.
"""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from spotless_core.errors import ModelError, OptionsError
from spotless_core.training.checkpoint import load_checkpoint
from spotless_core.training.run_config import VARIANT_KEYS, TrainingRun

ROUNDS = 9
"""Every variant is timed this often."""
SETTLED_STEPS = 1500
"""From this many steps on the averaged weights are scored; in a shorter run they lag behind, and its last are."""
RUN = "run.json"
FOLDERS = ("photos", "validation_photos", "real_shapes", "output")
"""Settings that name folders: they stay out of the report."""

Run = TypeVar("Run", bound=TrainingRun)


def train_missing(runs: Mapping[str, Run], train: Callable[[Run, str], Path], device: str) -> None:
    """Train what is not trained yet with `train(run, device)`, each in its own folder.

    Raises:
        OptionsError: a folder holds a run of other settings; nothing was trained.
    """
    for run in runs.values():
        claim_folder(run)
    for name, run in runs.items():
        tqdm.write(name)
        state = load_checkpoint(run.output / "checkpoint.pt")
        if state is None or state["step"] < run.steps:
            train(run, device)


def claim_folder(run: TrainingRun) -> None:
    """Write the run's settings into its folder; refuse a folder that holds other ones with `OptionsError`."""
    path = run.output / RUN
    settings = {key: str(value) for key, value in asdict(run).items() if key != "output"}
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        other = sorted(key for key in settings if settings[key] != found.get(key))
        if other:
            message = (
                f"{run.output}: a run with another {', '.join(other)} is there. Give another --report, or delete it."
            )
            raise OptionsError(message)
        return
    run.output.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(settings, indent=2), encoding="utf-8")
    temporary.replace(path)


def scored_weights(run: TrainingRun, shape: list[int] | Mapping[str, float]) -> dict[str, Tensor]:
    """Return the finished run's average, or its last weights after fewer than `SETTLED_STEPS`.

    Raises:
        ModelError: the run has no checkpoint, or one of a network of another shape.
    """
    state = load_checkpoint(run.output / "checkpoint.pt")
    if state is None or state["shape"] != shape:
        raise ModelError(f"{run.output}: no checkpoint of the shape {shape} there; train first.")
    weights = state["average" if run.steps >= SETTLED_STEPS else "network"]
    return {key.removeprefix("module."): weights[key] for key in weights if key != "n_averaged"}


def time_in_turn(calls: Sequence[Callable[[], object]], rounds: int, now: Callable[[], float]) -> NDArray[np.float64]:
    """Make every call once a round; returns rounds×calls seconds. One more round goes ahead and does not count.

    In turn, so that a machine's slow minutes fall on all calls alike.
    """
    seconds = np.zeros((rounds + 1, len(calls)))
    for row in seconds:
        for i, call in enumerate(calls):
            start = now()
            call()
            row[i] = now() - start
    return seconds[1:]


def median_ratios(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each variant's time relative to the first one's, median over the rounds; `seconds`: rounds×variants."""
    return np.median(seconds / seconds[:, :1], axis=0)


def write_report(
    report: Path,
    first: TrainingRun,
    device: str,
    rows: Sequence[Mapping[str, object]],
    facts: Mapping[str, object],
    text: str,
) -> Path:
    """Write `rows` as `variants.json` and `variants.csv` and `text` as `variants.md`, whose path is returned.

    `rows`: of the same keys. `first`: the settings that all runs share are taken from it. `facts`: what else the JSON
    is to say: the sizes that were timed, and how often.
    """
    keys = {*VARIANT_KEYS[type(first)], *FOLDERS}
    shared = {key: value for key, value in asdict(first).items() if key not in keys}
    machine = {"device": device, "threads": torch.get_num_threads(), "torch": torch.__version__}
    document = {"shared": shared, "machine": machine, **facts, "variants": rows}
    report.mkdir(parents=True, exist_ok=True)
    (report / "variants.json").write_text(json.dumps(document, indent=2), encoding="utf-8")
    with (report / "variants.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    path = report / "variants.md"
    path.write_text(text, encoding="utf-8")
    return path


def describe_runs(first: TrainingRun) -> str:
    """Say in one sentence how all runs were trained, and which of their weights are scored."""
    weights = "averaged" if first.steps >= SETTLED_STEPS else "last"
    return (
        f"{first.steps} steps of {first.batch} crops of {first.side}² px, rate {first.learning_rate}, falling to zero "
        f"over the last {first.decay_steps}; the {weights} weights are scored."
    )


def describe_times(device: str, rounds: int) -> str:
    """Say how and on what the times were taken."""
    machine = f"{device}, threads: {torch.get_num_threads()}, torch {torch.__version__}"
    return f"Medians of {rounds} rounds in turn ({machine}); × is to the first row."


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table of `rows`, each with as many cells as there are `columns`."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}", *(f"| {' | '.join(cells)} |" for cells in rows)]
    return "\n".join(lines) + "\n"
