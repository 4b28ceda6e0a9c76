"""Equal short runs of several LaMa networks: what width, depth, blocks and skips cost a crop, and what they bring.

Every variant sees the same batches, steps and learning rates in the ordinary loop (inpainter_loop.py) and fills the
same held-out crops. Then all are timed as a repair runs them: crops of one size together, in float32, and under
bfloat16 autocast beside it. The published dimensions (big-lama) are timed with them and not trained. What goes out, and
how a killed comparison goes on: compared_runs.py.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spotless_core.errors import OptionsError
from spotless_core.networks.device import choose_device
from spotless_core.networks.lama import PUBLISHED, LamaGenerator, LamaShape
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
from spotless_core.training.inpainter_loop import lama_shape, train_inpainter, validate, validation_batches
from spotless_core.training.run_config import InpainterRun

CROPS = {64: 16, 128: 4, 256: 1}
"""Side of a crop in pixels → crops that run together, so that every call has the same number of pixels."""
PUBLISHED_NAME = "published dimensions"
CHEAP, BLIND = "cheap_", "blind_"
"""Scores of these prefixes are the cheap fill's, and those of the network that does not see what lies under the mask.
"""


@dataclass(frozen=True, slots=True)
class CropTimes:
    """Milliseconds per crop by the crop's side, medians over the rounds, and ratios to the first variant."""

    float32: Mapping[int, float]
    bfloat16: Mapping[int, float]
    ratio: Mapping[int, float]
    ratio_bfloat16: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class InpainterScore:
    """One row of the tables. `seed`, `scores`: None and empty for a network that was timed only.

    `parameters_m`: millions. `scores`: of `validate`, and the gains over the cheap fill.
    """

    name: str
    shape: LamaShape
    seed: int | None
    steps: int
    parameters_m: float
    scores: Mapping[str, float]
    times: CropTimes

    def row(self, score_names: Sequence[str]) -> dict[str, object]:
        """Return the row of the JSON and the CSV; a score that was not taken is None."""
        times = {
            name: value
            for side in CROPS
            for name, value in (
                (f"ms_{side}", self.times.float32[side]),
                (f"ratio_{side}", self.times.ratio[side]),
                (f"ms_{side}_bfloat16", self.times.bfloat16[side]),
                (f"ratio_{side}_bfloat16", self.times.ratio_bfloat16[side]),
            )
        }
        facts = {"name": self.name, **asdict(self.shape), "seed": self.seed, "steps": self.steps}
        scores = {name: self.scores.get(name) for name in score_names}
        return {**facts, "parameters_m": self.parameters_m, **scores, **times}


def compare_inpainters(runs: Mapping[str, InpainterRun], report: Path, options: DeviceOptions) -> Path:
    """Train what is not trained yet, score and time all of `runs`, write the report; returns `variants.md`.

    `runs`: by name, equal but for `VARIANT_KEYS` and output; times are compared with the first.

    Raises:
        OptionsError: a crop's side does not suit a network, or a folder holds a run of other settings.
        DeviceError: the device cannot start.
    """
    device = choose_device(options)
    for name, run in runs.items():
        with torch.device("meta"):
            network = LamaGenerator(lama_shape(run))
        if run.side % network.multiple or run.side < network.smallest_px:
            message = f"a multiple of {network.multiple} from {network.smallest_px} on expected"
            raise OptionsError(f"{name}: side = {run.side}; {message}.")
    train_missing(runs, train_inpainter, device.kind)
    first = next(iter(runs.values()))
    networks = [load_scored_inpainter(run).to(device.kind) for run in runs.values()]
    scores = [
        with_gains(validate(network, validation_batches(run), device.kind))
        for network, run in zip(networks, runs.values(), strict=True)
    ]
    published = LamaGenerator(PUBLISHED).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    networks.append(published.to(device.kind))
    times = time_crops(networks, device.kind, ROUNDS)
    table = [
        InpainterScore(name, network.shape, run.seed, run.steps, _millions(network), values, crop_times)
        for (name, run), network, values, crop_times in zip(runs.items(), networks, scores, times, strict=False)
    ]
    table.append(InpainterScore(PUBLISHED_NAME, PUBLISHED, None, 0, _millions(published), {}, times[-1]))
    rows = [score.row(list(scores[0])) for score in table]
    text = _markdown(table, first, device.name)
    return write_report(report, first, device.name, rows, {"crops": CROPS, "rounds": ROUNDS}, text)


def load_scored_inpainter(run: InpainterRun) -> LamaGenerator:
    """Load the finished run's network with the weights that are scored; raises as `scored_weights`."""
    network = LamaGenerator(lama_shape(run))
    network.load_state_dict(scored_weights(run, asdict(network.shape)))
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def with_gains(scores: Mapping[str, float]) -> dict[str, float]:
    """Return `scores` and the network's gains over the cheap fill.

    A score is compared with the cheap fill's of the same name; so is what the network reaches blind, since the cheap
    fill is always blind.
    """
    rivals = {name: CHEAP + name.removeprefix(BLIND) for name in scores}
    gains = {f"{name}_gain": scores[name] - scores[rival] for name, rival in rivals.items() if rival in scores}
    return {**scores, **gains}


def time_crops(networks: Sequence[LamaGenerator], device: str, rounds: int) -> list[CropTimes]:
    """Time each of `networks` on each size of `CROPS`, in turn, in float32 and under bfloat16 autocast."""
    values = np.random.default_rng(0)
    dtypes = (torch.float32, torch.bfloat16)
    calls: list[Callable[[], object]] = []
    keys: list[tuple[int, torch.dtype]] = []
    for side, count in CROPS.items():
        for dtype in dtypes:
            for network in networks:
                size = (count, network.shape.inputs, side, side)
                inputs = torch.from_numpy(values.random(size, np.float32)).to(device, memory_format=torch.channels_last)
                calls.append(partial(_fill, network.eval(), inputs, dtype))
            keys.append((side, dtype))
    seconds = time_in_turn(calls, rounds, time.perf_counter).reshape(rounds, len(keys), len(networks))
    by_key = {key: seconds[:, index] for index, key in enumerate(keys)}

    def milliseconds(index: int, dtype: torch.dtype) -> dict[int, float]:
        return {side: float(np.median(by_key[side, dtype][:, index])) * 1e3 / count for side, count in CROPS.items()}

    def ratios(index: int, dtype: torch.dtype) -> dict[int, float]:
        return {side: float(median_ratios(by_key[side, dtype])[index]) for side in CROPS}

    return [
        CropTimes(*(milliseconds(i, dtype) for dtype in dtypes), *(ratios(i, dtype) for dtype in dtypes))
        for i in range(len(networks))
    ]


def _millions(network: LamaGenerator) -> float:
    return sum(value.numel() for value in network.parameters()) / 1e6


def _fill(network: LamaGenerator, inputs: Tensor, dtype: torch.dtype) -> Tensor:
    enabled = dtype == torch.bfloat16
    with torch.inference_mode(), torch.autocast(inputs.device.type, torch.bfloat16, enabled=enabled):
        filled: Tensor = network(inputs)
    return filled.float().cpu()  # waits for the device


def _markdown(table: Sequence[InpainterScore], first: InpainterRun, device: str) -> str:
    taken = table[0].scores
    ours = [name for name in taken if not name.startswith(CHEAP)]
    cheap = ", ".join(
        f"{_words(name.removeprefix(CHEAP))} {taken[name]:.2f}" for name in taken if name.startswith(CHEAP)
    )
    sizes = [f"{side}² px" for side in CROPS]
    shape = [name for name in asdict(table[0].shape) if name != "channels"]
    quality = markdown_table(
        [
            "variant",
            *(_words(name) for name in shape),
            "seed",
            "steps",
            "parameters, M",
            *(_words(name) for name in ours),
        ],
        [
            [
                score.name,
                *(_cell(asdict(score.shape)[name]) for name in shape),
                "–" if score.seed is None else str(score.seed),
                str(score.steps),
                f"{score.parameters_m:.2f}",
                *(f"{score.scores[name]:.2f}" if name in score.scores else "–" for name in ours),
            ]
            for score in table
        ],
    )
    times = markdown_table(
        [
            "variant",
            *(cell for size in sizes for cell in (size, "×")),
            *(c for s in sizes for c in (f"{s}, bfloat16", "×")),
        ],
        [
            [
                score.name,
                *(
                    cell
                    for taken, ratio in (
                        (score.times.float32, score.times.ratio),
                        (score.times.bfloat16, score.times.ratio_bfloat16),
                    )
                    for side in CROPS
                    for cell in (f"{taken[side]:.2f}", f"{ratio[side]:.2f}")
                ),
            ]
            for score in table
        ],
    )
    batches = ", ".join(f"{count} of {side}²" for side, count in CROPS.items())
    return (
        f"{describe_runs(first)} Gains are over the cheap fill ({cheap}).\n\n{quality}\n"
        f"Milliseconds per crop, of batches of {batches} px. {describe_times(device, ROUNDS)}\n\n{times}"
    )


def _words(name: str) -> str:
    return name.removeprefix("has_").removeprefix("sees_").replace("_", " ")


def _cell(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
