"""Equal short runs of several U-Nets: what width, depth, stem and separable convolutions cost, and what they bring.

Every variant sees the same batches, steps and learning rates in the ordinary loop (loop.py) and is scored on the same
held-out crops. Then all are timed as the shipped detector runs them (batch norm folded, channels-last, bfloat16 where
it agrees), one tile each in turn, so that a machine's slow minutes fall on all alike. Goes out: `variants.json`,
`variants.csv`, `variants.md`, and a folder for each run. A killed comparison goes on where it was.
"""

import csv
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from spotless_core.detection.detector import Detector
from spotless_core.errors import ModelError, OptionsError
from spotless_core.networks.device import choose_device
from spotless_core.networks.unet import UNet
from spotless_core.options import DeviceOptions
from spotless_core.training.checkpoint import load_checkpoint
from spotless_core.training.loop import train_detector, unet_shape, validate, validation_batches
from spotless_core.training.run_config import VARIANT_KEYS, DetectorRun

TILE_PX = 1024
ROUNDS = 9
"""Every variant is timed this often; medians are reported."""
SETTLED_STEPS = 1500
"""From this many steps on the averaged weights are scored; in a shorter run they lag behind, and its last are."""
RUN = "run.json"
COLUMNS = (
    *("variant", "width", "depth", "stem", "convolutions", "seed", "parameters, M", "F1", "precision", "recall"),
    *("arithmetic", "s per tile", "×", "s in float32", "× in float32"),
)
FOLDERS = ("photos", "validation_photos", "real_shapes", "output")
"""Settings that name folders: they stay out of the report."""


@dataclass(frozen=True, slots=True)
class VariantScore:
    """One row of the table.

    `parameters_m`: millions. `f1` to `threshold`: pixels of the held-out crops at the best threshold. `seconds`: per
    tile of `TILE_PX`², median, in `precision`; `ratio`: to the first variant, median over the rounds;
    `seconds_float32`, `ratio_float32`: the same in float32.
    """

    name: str
    width: int
    depth: int
    fold: int
    separable: bool
    seed: int
    parameters_m: float
    f1: float
    precision: float
    recall: float
    threshold: float
    arithmetic: str
    seconds: float
    ratio: float
    seconds_float32: float
    ratio_float32: float


def compare_variants(runs: Mapping[str, DetectorRun], report: Path, options: DeviceOptions) -> Path:
    """Train what is not trained yet, score and time all of `runs`, write the report; returns `variants.md`.

    `runs`: by name, equal but for `VARIANT_KEYS` and output; times are compared with the first.

    Raises:
        OptionsError: a crop's side does not suit a network, or a folder holds a run of other settings.
        DeviceError: the device cannot start.
    """
    device = choose_device(options)
    for name, run in runs.items():
        if run.side % unet_shape(run).multiple:
            raise OptionsError(f"{name}: side = {run.side}; a multiple of {unet_shape(run).multiple} expected.")
        _claim_folder(run)
    for name, run in runs.items():
        tqdm.write(name)
        state = load_checkpoint(run.output / "checkpoint.pt")
        if state is None or state["step"] < run.steps:
            train_detector(run, device.kind)
    validation = validation_batches(next(iter(runs.values())))
    networks = [load_scored(run).to(device.kind) for run in runs.values()]
    parameters = [sum(value.numel() for value in network.parameters()) / 1e6 for network in networks]
    pixels = [validate(network, validation, device.kind) for network in networks]
    detectors = [Detector(network, device) for network in networks]
    chosen, exact = time_tiles(detectors, TILE_PX, ROUNDS)
    scores = [
        VariantScore(
            name,
            run.width,
            run.depth,
            run.fold,
            run.separable,
            run.seed,
            parameters_m=parameters[i],
            f1=pixels[i]["f1"],
            precision=pixels[i]["precision"],
            recall=pixels[i]["recall"],
            threshold=pixels[i]["threshold"],
            arithmetic=detectors[i].precision,
            seconds=float(np.median(chosen[:, i])),
            ratio=float(np.median(chosen[:, i] / chosen[:, 0])),
            seconds_float32=float(np.median(exact[:, i])),
            ratio_float32=float(np.median(exact[:, i] / exact[:, 0])),
        )
        for i, (name, run) in enumerate(runs.items())
    ]
    return _write_report(report, scores, next(iter(runs.values())), device.name)


def time_tiles(
    detectors: Sequence[Detector], tile_px: int, rounds: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Time one tile of `tile_px`² per detector and round: rounds×detectors seconds in its precision, and in float32."""
    tile = torch.from_numpy(np.random.default_rng(0).random((1, 1, tile_px, tile_px), np.float32))
    calls = [
        partial(_look, detector, tile, dtype) for detector in detectors for dtype in (detector.dtype, torch.float32)
    ]
    seconds = time_in_turn(calls, rounds, time.perf_counter)
    return seconds[:, 0::2], seconds[:, 1::2]


def time_in_turn(calls: Sequence[Callable[[], object]], rounds: int, now: Callable[[], float]) -> NDArray[np.float64]:
    """Make every call once a round; returns rounds×calls seconds. One more round goes ahead and does not count."""
    seconds = np.zeros((rounds + 1, len(calls)))
    for row in seconds:
        for i, call in enumerate(calls):
            start = now()
            call()
            row[i] = now() - start
    return seconds[1:]


def _look(detector: Detector, tile: Tensor, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(), torch.autocast(detector.device, torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits: Tensor = detector.network(tile.to(detector.device, memory_format=torch.channels_last))
    return logits.float().cpu()  # waits for the device


def _claim_folder(run: DetectorRun) -> None:
    """Write the run's settings into its folder; refuse a folder that holds other ones."""
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


def load_scored(run: DetectorRun) -> UNet:
    """Load the finished run's network: its average, or its last weights after fewer than `SETTLED_STEPS`.

    Raises:
        ModelError: the run has no checkpoint, or one of another shape.
    """
    state = load_checkpoint(run.output / "checkpoint.pt")
    if state is None or state["shape"] != unet_shape(run).numbers():
        raise ModelError(f"{run.output}: no checkpoint of the shape {unet_shape(run).numbers()} there; train first.")
    weights = state["average" if run.steps >= SETTLED_STEPS else "network"]
    network = UNet(unet_shape(run))
    network.load_state_dict({key.removeprefix("module."): weights[key] for key in weights if key != "n_averaged"})
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _write_report(report: Path, scores: Sequence[VariantScore], first: DetectorRun, device: str) -> Path:
    shared = {key: value for key, value in asdict(first).items() if key not in {*VARIANT_KEYS, *FOLDERS}}
    machine = {"device": device, "threads": torch.get_num_threads(), "torch": torch.__version__}
    rows = [asdict(score) for score in scores]
    document = {"shared": shared, "machine": machine, "tile_px": TILE_PX, "rounds": ROUNDS, "variants": rows}
    (report / "variants.json").write_text(json.dumps(document, indent=2), encoding="utf-8")
    with (report / "variants.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    path = report / "variants.md"
    path.write_text(_markdown(scores, first, machine), encoding="utf-8")
    return path


def _markdown(scores: Sequence[VariantScore], first: DetectorRun, machine: Mapping[str, object]) -> str:
    weights = "averaged" if first.steps >= SETTLED_STEPS else "last"
    table = [
        [
            score.name,
            str(score.width),
            str(score.depth),
            "plain" if score.fold == 1 else f"unshuffle ×{score.fold}",
            "separable" if score.separable else "plain",
            str(score.seed),
            f"{score.parameters_m:.2f}",
            *(f"{value:.3f}" for value in (score.f1, score.precision, score.recall)),
            score.arithmetic,
            f"{score.seconds:.3f}",
            f"{score.ratio:.2f}",
            f"{score.seconds_float32:.3f}",
            f"{score.ratio_float32:.2f}",
        ]
        for score in scores
    ]
    return f"""\
{first.steps} steps of {first.batch} crops of {first.side}² px, rate {first.learning_rate}, falling to zero over the
last {first.decay_steps}; the {weights} weights are scored. Times are per tile of {TILE_PX}² px, medians of {ROUNDS}
rounds in turn ({machine["device"]}, threads: {machine["threads"]}, torch {machine["torch"]}); × is to the first row.

| {" | ".join(COLUMNS)} |
|{"---|" * len(COLUMNS)}
""" + "".join(f"| {' | '.join(cells)} |\n" for cells in table)
