"""The promise of speed and memory of the search along lines: 0.05 s per megapixel on one core, one plane of memory.

Run with `make bench`.
"""

import time
import tracemalloc

import cv2
import numpy as np
import pytest
from drawing import draw_picture
from pytest_benchmark.fixture import BenchmarkFixture

from spotless_core.detection.lines import find_lines
from spotless_core.options import Sensitivity

HEIGHT, WIDTH = 4000, 6000
LIMIT_CPU_SECONDS_PER_MEGAPIXEL = 0.05
UM = 6.35


@pytest.mark.timeout(300)
def test_24_megapixels_are_searched_in_time_and_in_one_more_plane(benchmark: BenchmarkFixture) -> None:
    grey = draw_picture(HEIGHT, WIDTH)
    grey[:, 2500:2502] -= 0.03
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)

    start = time.process_time()
    lines = benchmark.pedantic(find_lines, (grey, UM, Sensitivity.NORMAL), rounds=2)
    seconds = (time.process_time() - start) / 2
    tracemalloc.start()
    find_lines(grey, UM, Sensitivity.NORMAL)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    cv2.setNumThreads(threads)

    assert len(lines) == 1
    assert np.abs(np.array(lines[0].points)[:, 1] - 2500.5).max() < 2.5
    assert seconds < LIMIT_CPU_SECONDS_PER_MEGAPIXEL * HEIGHT * WIDTH / 1e6
    assert peak < 1.25 * grey.nbytes
