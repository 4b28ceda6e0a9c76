"""The promise of bounded memory: 100 megapixels of 16 bit within 1.5 GB, 400 within 3 GB, networks and all.

Run with `make bench`; 400 megapixels with SPOTLESS_SLOW=1, for they take 10 GB of disk and many minutes. Each scan is
restored in a process of its own, whose peak is read. Beside it the writing of the repairs alone is held against
decoding and encoding the whole file with tifffile, in the same run.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from drawing_large import SPECKS, draw_bands, write_large_scan
from pytest_benchmark.fixture import BenchmarkFixture

from spotless_core.image_io.opening import open_scan
from spotless_core.photo import Edit

SIZES = {24: (4000, 6000), 100: (8192, 12288), 400: (20000, 20000)}
LIMITS_MB = {24: 1200.0, 100: 1500.0, 400: 3000.0}
STRIDES_PX = {24: 512, 100: 512, 400: 1024}
"""Memory does not depend on the stride, seconds do."""
LAYOUTS = {"tiles": {"tile": (256, 256)}, "strips": {"rowsperstrip": 16}}
LEAST_SPEED_UP = {("tiles", 24): 2.0, ("strips", 24): 1.0, ("tiles", 100): 2.0, ("strips", 100): 2.0}
"""200 specks lie in three quarters of the strips of 24 megapixels, else in less than half of the strips or tiles."""
slow = pytest.mark.slow


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("megapixels", [24, 100, pytest.param(400, marks=slow)])
def test_a_frame_is_restored_within_its_memory(
    tmp_path: Path, megapixels: int, compression: str | None, benchmark: BenchmarkFixture
) -> None:
    write_large_scan(tmp_path / "scan.tif", *SIZES[megapixels], compression)
    child = Path(__file__).with_name("restore_in_child.py")
    command = [sys.executable, str(child), str(tmp_path / "scan.tif"), str(tmp_path), str(STRIDES_PX[megapixels])]
    reports: list[bytes] = []

    benchmark.pedantic(lambda: reports.append(subprocess.check_output(command)), rounds=1)

    report = json.loads(reports[0])
    benchmark.extra_info |= report
    print(f"\n{megapixels} MP {compression or 'uncompressed'}: {report}")
    assert report["outcome"] == "done"
    assert 0.8 * SPECKS <= report["defects"] <= SPECKS
    assert report["loaded_mb"] < report["peak_mb"] <= LIMITS_MB[megapixels]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("compression", ["zlib", "lzw"])
@pytest.mark.parametrize("layout", ["tiles", "strips"])
@pytest.mark.parametrize("megapixels", [24, pytest.param(100, marks=slow)])
def test_writing_the_repairs_is_faster_than_encoding_the_whole_file_anew(
    tmp_path: Path, megapixels: int, layout: str, compression: str, benchmark: BenchmarkFixture
) -> None:
    height, width = SIZES[megapixels]
    stored = {"photometric": "rgb", "compression": compression, "predictor": True, **LAYOUTS[layout]}
    tifffile.imwrite(tmp_path / "scan.tif", np.concatenate(list(draw_bands(height, width))), **stored)
    edits = _edits(height, width)

    with open_scan(tmp_path / "scan.tif") as scan:
        benchmark.pedantic(scan.write_restored, (tmp_path / "ours.tif", edits), rounds=1)
    start = time.perf_counter()
    samples = tifffile.imread(tmp_path / "scan.tif")
    tifffile.imwrite(tmp_path / "whole.tif", samples, **stored)
    whole_seconds = time.perf_counter() - start

    speed_up = whole_seconds / benchmark.stats.stats.mean
    benchmark.extra_info |= {"tifffile_seconds": whole_seconds, "speed_up": speed_up}
    print(f"\n{megapixels} MP {layout} {compression}: tifffile {whole_seconds:.2f} s, {speed_up:.2f} times faster")
    written = tifffile.imread(tmp_path / "ours.tif")
    assert np.count_nonzero((written != samples).any(axis=2)) <= sum(edit.mask.sum() for edit in edits)
    assert all((written[edit.top, edit.left] == edit.samples[0, 0]).all() for edit in edits)
    assert speed_up >= LEAST_SPEED_UP[layout, megapixels]


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
