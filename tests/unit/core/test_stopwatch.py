import subprocess
import sys

import numpy as np
import pytest

from spotless_core.stopwatch import peak_memory_mb


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep another peak")
def test_a_child_does_not_report_the_peak_of_the_process_that_started_it() -> None:
    np.ones(60_000_000).sum()  # 480 MB, gone again

    program = "from spotless_core.stopwatch import peak_memory_mb; print(peak_memory_mb())"
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert peak_memory_mb() > 480
    assert 5 < float(child.stdout) < 300


def test_the_peak_stays_when_the_memory_is_given_back() -> None:
    before = peak_memory_mb()
    np.ones(int(before * 1e6 / 8) + 20_000_000).sum()

    assert peak_memory_mb() >= before + 100
