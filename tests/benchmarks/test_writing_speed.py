"""The promise of copy and patch: writing 200 repairs takes less than half of what decoding and encoding all takes.

Run with `make bench`; 100 megapixels with SPOTLESS_SLOW=1. Both sides take turns in one run on the same file, and the
medians count: ours with its flush to the disk, tifffile's without one. Threads are those each side starts by itself:
200 specks lie in seven of ten strips of 24 megapixels, so that there a second core makes the difference.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import tifffile
from drawing_large import SPECKS, draw_bands
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from spotless_core.image_io.opening import open_scan
from spotless_core.image_io.ordered_threads import usable_threads
from spotless_core.photo import Edit

SIZES = {24: (4000, 6000), 100: (8192, 12288)}
LAYOUTS = {"tiles": {"tile": (256, 256)}, "strips": {"rowsperstrip": 16}}
LEAST_SPEED_UP = 2.0
LEAST_WITH_ONE_CORE = 1.2
ROUNDS = 5


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("compression", ["zlib", "lzw", "zstd"])
@pytest.mark.parametrize("layout", ["tiles", "strips"])
@pytest.mark.parametrize("megapixels", [24, pytest.param(100, marks=pytest.mark.slow)])
def test_writing_the_repairs_is_twice_as_fast_as_encoding_the_whole_file_anew(
    tmp_path: Path, megapixels: int, layout: str, compression: str, benchmark: BenchmarkFixture
) -> None:
    height, width = SIZES[megapixels]
    stored = {"photometric": "rgb", "compression": compression, "predictor": True, **LAYOUTS[layout]}
    source, ours, whole = (tmp_path / name for name in ("scan.tif", "ours.tif", "whole.tif"))
    tifffile.imwrite(source, np.concatenate(list(draw_bands(height, width))), **stored)
    edits = _edits(height, width)
    touched: list[int] = []

    def patch() -> None:
        with open_scan(source) as scan:
            touched.append(scan.write_restored(ours, edits).segments_touched)

    def encode_all() -> None:
        tifffile.imwrite(whole, tifffile.imread(source), **stored)

    seconds = [(_seconds_of(patch), _seconds_of(encode_all)) for _ in range(ROUNDS)]
    benchmark.pedantic(patch, rounds=1)

    (patch_wall, patch_cpu), (whole_wall, whole_cpu) = (
        [median(times) for times in zip(*side, strict=True)] for side in zip(*seconds, strict=True)
    )
    speed_up = whole_wall / patch_wall
    with tifffile.TiffFile(source) as tiff:
        share = touched[0] / len(tiff.pages[0].dataoffsets)
    benchmark.extra_info |= {"tifffile_seconds": whole_wall, "speed_up": speed_up, "touched": share}
    print(f"\n{megapixels} MP {layout} {compression}, {share:.0%} touched, load {os.getloadavg()[0]:.1f}: ")
    print(f"ours {patch_wall:.2f} s (CPU {patch_cpu:.2f}), tifffile {whole_wall:.2f} s (CPU {whole_cpu:.2f}): ")
    print(f"{speed_up:.2f} times faster, with one core {whole_cpu / patch_cpu:.2f} times")
    _require_only_the_edits(tifffile.imread(source), tifffile.imread(ours), edits)
    assert speed_up >= (LEAST_SPEED_UP if usable_threads(0) > 1 else LEAST_WITH_ONE_CORE)


def _seconds_of(work: Callable[[], None]) -> tuple[float, float]:
    """Wall and processor seconds of `work`."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _require_only_the_edits(before: NDArray[np.uint16], after: NDArray[np.uint16], edits: list[Edit]) -> None:
    assert np.count_nonzero((after != before).any(axis=2)) <= sum(edit.mask.sum() for edit in edits)
    assert all((after[edit.top, edit.left] == edit.samples[0, 0]).all() for edit in edits)


def _edits(height: int, width: int) -> list[Edit]:
    rng = np.random.default_rng(1)
    return [
        Edit(
            int(rng.integers(0, height - 10)),
            int(rng.integers(0, width - 10)),
            np.full((10, 10, 3), 30000, np.uint16),
            np.ones((10, 10), np.bool_),
        )
        for _ in range(SPECKS)
    ]
