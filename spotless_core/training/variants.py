"""Equal short runs of several U-Nets: what width, depth, stem and separable convolutions cost, and what they bring.

Every variant sees the same batches, steps and learning rates in the ordinary loop (loop.py) and is scored on the same
held-out crops. Then all are timed as the shipped detector runs them (batch norm folded, channels-last, bfloat16 where
it agrees), one tile each in turn. What goes out, and how a killed comparison goes on: compared_runs.py.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spotless_core.detection.detector import Detector
from spotless_core.errors import OptionsError
from spotless_core.networks.device import choose_device
from spotless_core.networks.unet import UNet
from spotless_core.options import DeviceOptions
from spotless_core.training.compared_runs import (
    ROUNDS,
    describe_runs,
    describe_times,
    markdown_table,
    median_ratios,
    scored_weights,
    time_in_turn,
    train_missing,
    write_report,
)
from spotless_core.training.loop import train_detector, unet_shape, validate, validation_batches
from spotless_core.training.run_config import DetectorRun

TILE_PX = 1024
COLUMNS = (
    *("variant", "width", "depth", "stem", "convolutions", "seed", "parameters, M", "F1", "precision", "recall"),
    *("arithmetic", "s per tile", "×", "s in float32", "× in float32"),
)


@dataclass(frozen=True, slots=True)
class VariantScore:
    """One row of the table.

    `parameters_m`: millions. `f1` to `threshold`: pixels of the held-out crops at the best threshold. `seconds`: per
    tile of `TILE_PX`², median, in `arithmetic`; `ratio`: to the first variant, median over the rounds;
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
    train_missing(runs, train_detector, device.kind)
    first = next(iter(runs.values()))
    validation = validation_batches(first)
    networks = [load_scored(run).to(device.kind) for run in runs.values()]
    parameters = [sum(value.numel() for value in network.parameters()) / 1e6 for network in networks]
    pixels = [validate(network, validation, device.kind) for network in networks]
    detectors = [Detector(network, device) for network in networks]
    chosen, exact = time_tiles(detectors, TILE_PX, ROUNDS)
    ratios, exact_ratios = median_ratios(chosen), median_ratios(exact)
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
            ratio=float(ratios[i]),
            seconds_float32=float(np.median(exact[:, i])),
            ratio_float32=float(exact_ratios[i]),
        )
        for i, (name, run) in enumerate(runs.items())
    ]
    rows = [asdict(score) for score in scores]
    text = _markdown(scores, first, device.name)
    return write_report(report, first, device.name, rows, {"tile_px": TILE_PX, "rounds": ROUNDS}, text)


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


def _look(detector: Detector, tile: Tensor, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(), torch.autocast(detector.device, torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits: Tensor = detector.network(tile.to(detector.device, memory_format=torch.channels_last))
    return logits.float().cpu()  # waits for the device


def load_scored(run: DetectorRun) -> UNet:
    """Load the finished run's network with the weights that are scored; raises as `scored_weights`."""
    network = UNet(unet_shape(run))
    network.load_state_dict(scored_weights(run, network.shape.numbers()))
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _markdown(scores: Sequence[VariantScore], first: DetectorRun, device: str) -> str:
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
    text = f"{describe_runs(first)}\nTimes are per tile of {TILE_PX}² px. {describe_times(device, ROUNDS)}\n\n"
    return text + markdown_table(COLUMNS, table)
