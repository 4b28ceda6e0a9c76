"""Reads each file of a folder in a process of its own kind and tells what it cost, one JSON line a file.

`python -m fuzz.measure FOLDER NAME…`: outcome, sentence, seconds of the processor, and the memory the process took at
most while it was at the file. Linux tells the memory exactly; elsewhere only what is more than ever before counts.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from fuzz.child import restore

TESTS = Path(__file__).parent.parent
ADDRESS_SPACE_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of one file. `seconds`: of the processor. `added_mb`: most memory while it was read, above the rest."""

    outcome: str
    sentence: str = ""
    seconds: float = 0.0
    added_mb: float = 0.0


def measure_files(folder: Path) -> dict[str, Measured]:
    """Read every file of `folder` in a child process; a file that ends the child has the outcome "ended it"."""
    waiting = sorted(path.name for path in folder.iterdir())
    found: dict[str, Measured] = {}
    while waiting:
        done = subprocess.run(
            [sys.executable, "-m", "fuzz.measure", str(folder), *waiting],
            env=os.environ | {"PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent))), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        for line in done.stdout.splitlines():
            said = json.loads(line)
            name = said.pop("name")
            found[name] = Measured(**said)
        waiting = [name for name in waiting if name not in found]
        if waiting:
            found[waiting.pop(0)] = Measured(f"ended it (exit status {done.returncode})")
    return found


def _measure(path: Path, target: Path) -> Measured:
    before, begun, sentence = _start_of_peak(), time.process_time(), ""
    try:
        outcome = restore(path, target)
    except Exception as error:  # noqa: BLE001 - told, and judged by the test
        outcome, sentence = type(error).__name__, str(error)
    return Measured(outcome, sentence, time.process_time() - begun, _peak_mb() - before)


def _start_of_peak() -> float:
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")
    return _peak_mb()


def _peak_mb() -> float:
    if sys.platform == "linux":
        return int(Path("/proc/self/status").read_bytes().split(b"VmHWM:")[1].split()[0]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main(words: list[str]) -> None:
    folder, names = Path(words[0]), words[1:]
    os.fsync = lambda _: None  # what is written here need not survive a power cut
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            measured = _measure(folder / name, Path(scratch) / "restored")
            facts = {field: getattr(measured, field) for field in Measured.__slots__}
            print(json.dumps({"name": name, **facts}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
