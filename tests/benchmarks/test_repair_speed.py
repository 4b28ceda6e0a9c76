"""The promise of the repair's speed and memory: 1000 defects of 24 megapixels in 8 s, at most 1.2 GB over the frame.

Run with `make bench`. Specks and hairs of the sizes of real ones; by every method that ships. Everything `repair_frame`
does counts: regions, fills, grain. The peak is what the process's own memory rises by while it runs. What the film
round a defect is like must be known in a millisecond.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import psutil
import pytest
from drawing import draw_picture
from pytest_benchmark.fixture import BenchmarkFixture

from spotless_core.arrays.kinds import Mask, Samples
from spotless_core.arrays.surroundings import surroundings_of
from spotless_core.inpainting.choice import LAMA, choose_inpainter
from spotless_core.inpainting.regions import cut_mask, cut_samples, find_regions
from spotless_core.inpainting.repair import RepairResult, repair_frame
from spotless_core.networks.weights import default_models_folder, read_manifest
from spotless_core.options import InpaintMethod, InpaintOptions

HEIGHT, WIDTH = 4000, 6000
DEFECTS = 1000
HAIRS = 0.15
LIMIT_SECONDS = 8.0
LIMIT_MB = 1200.0


class MemoryRise:
    """By how many megabytes the process's resident memory rises at most."""

    def __init__(self) -> None:
        self.megabytes = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        process, is_over = psutil.Process(), threading.Event()
        before = process.memory_info().rss

        def watch() -> None:
            while not is_over.wait(0.02):
                self.megabytes = max(self.megabytes, (process.memory_info().rss - before) / 1e6)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


def draw_dusty_frame() -> tuple[Samples, Mask]:
    """A grainy frame of 24 megapixels in 16-bit RGB with specks of 8 to 22 px, and hairs of 20 to 120 px."""
    rng = np.random.default_rng(3)
    stencil = np.zeros((HEIGHT, WIDTH), np.uint8)
    for _ in range(DEFECTS):
        row, column = int(rng.integers(40, HEIGHT - 40)), int(rng.integers(40, WIDTH - 40))
        if rng.random() >= HAIRS:
            cv2.circle(stencil, (column, row), int(rng.integers(4, 12)), 1, -1)
        else:
            angle, length = rng.uniform(0, np.pi), float(np.exp(rng.uniform(np.log(20), np.log(120))))
            end = (round(column + length * np.cos(angle)), round(row + length * np.sin(angle)))
            cv2.line(stencil, (column, row), end, 1, int(rng.integers(5, 9)))
    mask = stencil > 0
    grey = draw_picture(HEIGHT, WIDTH)
    grey[mask] = 0.97
    frame = np.empty((HEIGHT, WIDTH, 3), np.uint16)
    for channel, tint in enumerate((1.0, 0.95, 0.9)):
        frame[..., channel] = np.rint(np.clip(grey * np.float32(tint), 0, 1) * 65535)
    return frame, mask


@pytest.mark.timeout(300)
def test_the_surroundings_of_1000_defects_are_known_in_a_second_of_one_core(benchmark: BenchmarkFixture) -> None:
    frame, mask = draw_dusty_frame()
    crops = [
        (cut_samples(frame, region.window).astype(np.float32) / np.float32(65535), cut_mask(mask, region.window))
        for region in find_regions(mask, InpaintOptions().context_px)
    ]
    boxes = [region.box_in_window for region in find_regions(mask, InpaintOptions().context_px)]
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    seconds: list[float] = []

    def run() -> None:
        start = time.process_time()
        for (image, hole), box in zip(crops, boxes, strict=True):
            surroundings_of(image, hole, box)
        seconds.append(time.process_time() - start)

    benchmark.pedantic(run, rounds=2)
    cv2.setNumThreads(threads)

    milliseconds = 1000 * min(seconds) / len(crops)
    benchmark.extra_info["milliseconds_each"] = round(milliseconds, 2)
    print(f"\n{len(crops)} surroundings, {milliseconds:.2f} ms of one core each")
    assert milliseconds <= 1.0


@pytest.mark.timeout(600)
@pytest.mark.parametrize("method", [InpaintMethod.NS, InpaintMethod.LAMA, InpaintMethod.AUTO])
def test_1000_defects_of_24_megapixels_are_repaired_in_time(method: InpaintMethod, benchmark: BenchmarkFixture) -> None:
    entries = read_manifest(default_models_folder())
    if method is not InpaintMethod.NS and LAMA not in entries:
        pytest.skip("no LaMa in the manifest yet")
    inpainter, _ = choose_inpainter(InpaintOptions(method=method), "cpu", entries)
    frame, mask = draw_dusty_frame()
    repair_frame(frame[:512, :512], 65535, mask[:512, :512], inpainter, InpaintOptions(), seed=1)  # warm up
    peak = MemoryRise()
    result = RepairResult([], [])

    def run() -> None:
        nonlocal result
        with peak.watching():
            result = repair_frame(frame, 65535, mask, inpainter, InpaintOptions(), seed=1)

    start, cpu_start = time.perf_counter(), time.process_time()
    benchmark.pedantic(run, rounds=1)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start

    counts = dict(Counter(result.methods))
    benchmark.extra_info |= {"cpu_seconds": round(cpu_seconds, 1), "rise_mb": round(peak.megabytes), "regions": counts}
    print(f"\n{method.value}: {seconds:.1f} s, {cpu_seconds:.1f} s of CPU, {peak.megabytes:.0f} MB, {counts}")
    assert sum(edit.mask.sum() for edit in result.edits) == mask.sum()
    assert seconds <= LIMIT_SECONDS
    assert peak.megabytes <= LIMIT_MB
