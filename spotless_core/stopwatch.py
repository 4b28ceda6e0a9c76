"""Seconds by step and the process's peak memory, for the receipt."""

import sys
import time
from pathlib import Path

import psutil


class Stopwatch:
    """Laps of the steps of one job on a monotonic clock."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, step: str) -> None:
        """Book the time since the last lap on `step`."""
        now = time.perf_counter()
        self._laps[step] = self._laps.get(step, 0.0) + now - self._last
        self._last = now

    def seconds(self) -> dict[str, float]:
        """Return seconds by step, and `total`, rounded to a millisecond."""
        laps = {step: round(value, 3) for step, value in self._laps.items()}
        return laps | {"total": round(time.perf_counter() - self._start, 3)}


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB; the present one where the system keeps no peak.

    On Linux from /proc: getrusage's peak is handed on by the process that started this one.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) * 1024 / 1e6, 1)
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return round(psutil.Process().memory_info().rss / 1e6, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6, 1)
