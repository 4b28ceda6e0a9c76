"""The promise that training never starves: at least 40 crops of 256² a second on two cores, drawn either way.

Run with `make bench`. One process draws ahead, as in training, which leaves the other core to the network; the torch
way draws its plans there and develops them on CUDA if there is one, else on the CPU.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from drawing import draw_picture
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from spotless_core.training.batches import load_batches
from spotless_core.training.film_torch import DeviceFilmBatches
from spotless_core.training.loop import FilmBatches
from spotless_core.training.run_config import DetectorRun

RUN = DetectorRun(Path(), Path(), Path(), batch=16, side=256)
STEPS = 24
LIMIT_CROPS_PER_SECOND = 40.0


def numpy_way(photos: list[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
    return load_batches(FilmBatches(photos, {}, RUN, 1, RUN.batch), 0, STEPS)


def torch_way(photos: list[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return DeviceFilmBatches(photos, {}, RUN, 1, RUN.batch, device).ahead(0, STEPS, loaders=1)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", [numpy_way, torch_way])
def test_at_least_40_crops_are_drawn_a_second(
    way: Callable[[list[np.ndarray]], Iterator[tuple[Tensor, Tensor]]], benchmark: BenchmarkFixture
) -> None:
    photos = [np.rint(np.clip(draw_picture(900, 1200, seed), 0, 1) * 255).astype(np.uint8) for seed in range(4)]
    seconds = 0.0

    def run() -> None:
        nonlocal seconds
        start = time.perf_counter()
        drawn = [float(grey.mean()) for grey, _ in way(photos)]  # a value on the CPU: the device has finished
        seconds = time.perf_counter() - start
        assert len(drawn) == STEPS

    benchmark.pedantic(run, rounds=1)

    crops_per_second = STEPS * RUN.batch / seconds
    benchmark.extra_info["crops_per_second"] = round(crops_per_second)
    print(f"\n{way.__name__}: {crops_per_second:.0f} crops of {RUN.side}² a second")
    assert crops_per_second >= LIMIT_CROPS_PER_SECOND
