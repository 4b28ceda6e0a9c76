"""The promise of bounded memory: 100 megapixels of 16 bit within 1.5 GB, 400 within 3 GB, networks and all.

Run with `make bench`; 400 megapixels with SPOTLESS_SLOW=1, for they take 10 GB of disk and many minutes. Each scan is
restored in a process of its own, whose peak is read.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from drawing_large import SPECKS, write_large_scan
from pytest_benchmark.fixture import BenchmarkFixture

SIZES = {24: (4000, 6000), 100: (8192, 12288), 400: (20000, 20000)}
LIMITS_MB = {24: 1200.0, 100: 1500.0, 400: 3000.0}
STRIDES_PX = {24: 512, 100: 512, 400: 1024}
"""Memory does not depend on the stride, seconds do."""
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
