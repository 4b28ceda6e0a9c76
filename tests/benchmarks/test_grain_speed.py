"""The promise that grain costs little: 1000 defects of a 24-megapixel colour frame in 2 s of one core.

Run with `make bench`. The fill is the scene without grain, so that only the grain is timed.
"""

import time

import cv2
import numpy as np
import pytest
from drawing import draw_picture
from pytest_benchmark.fixture import BenchmarkFixture

from spotless_core.arrays.grain import put_grain_back
from spotless_core.arrays.grain_measure import measure_frame_grain
from spotless_core.arrays.kinds import Mask, Samples
from spotless_core.inpainting.regions import cut_mask, cut_samples, find_regions

HEIGHT, WIDTH = 4000, 6000
DEFECTS = 1000
CONTEXT_PX = 32
LIMIT_CPU_SECONDS = 2.0


def _scan() -> tuple[Samples, Mask]:
    """A scan of independent channels, and a mask like dust on film: mostly specks, every fifth one a hair."""
    planes = [draw_picture(HEIGHT, WIDTH, seed) for seed in (1, 2, 3)]
    scan = np.rint(np.stack(planes, axis=2) * 65535).astype(np.uint16)
    rng = np.random.default_rng(4)
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for number in range(DEFECTS):
        x, y = int(rng.integers(150, WIDTH - 150)), int(rng.integers(150, HEIGHT - 150))
        if number % 5:
            cv2.circle(mask, (x, y), int(rng.integers(4, 11)), 1, -1)
        else:
            reach = [int(length) for length in rng.integers(-60, 61, 2)]
            cv2.line(mask, (x, y), (x + reach[0], y + reach[1]), 1, int(rng.integers(4, 8)))
    return scan, mask > 0


@pytest.mark.timeout(300)
def test_1000_defects_of_24_megapixels_get_their_grain_in_time(benchmark: BenchmarkFixture) -> None:
    scan, mask = _scan()
    crops = [
        (region, cut_samples(scan, region.window).astype(np.float32) / np.float32(65535), cut_mask(mask, region.window))
        for region in find_regions(mask, CONTEXT_PX)
    ]
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    seconds: list[float] = []

    def run() -> None:
        start = time.process_time()
        random = np.random.default_rng(5)
        film = measure_frame_grain(scan, 65535, mask, random)
        for region, image, hole in crops:
            own = np.zeros_like(hole)
            own[region.own_in_window] = region.own
            put_grain_back(image, image, hole, own, random, film=film, own_grain=np.zeros_like(image))
        seconds.append(time.process_time() - start)

    benchmark.pedantic(run, rounds=2)
    cv2.setNumThreads(threads)

    benchmark.extra_info["cpu_seconds"] = round(min(seconds), 2)
    print(f"\n{len(crops)} crops of {DEFECTS} defects: {min(seconds):.2f} s of one core")
    assert min(seconds) < LIMIT_CPU_SECONDS
