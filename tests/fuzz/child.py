"""The process in which mutants are read: bounded in memory and time, so that whatever a reader does is seen and named.

By hand, from the repository's root: `PYTHONPATH=tests python -m fuzz.child tiff 4711` repeats mutant 4711 and prints
what came of it. A runner adds a count, a folder and the reader to try (`module:function`); then findings are JSON lines
on the standard output, the number of the mutant in hand lies in the folder's file `number`, and a last line sums up.
"""

import faulthandler
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fuzz.mutators import make_mutant
from fuzz.seeds import draw_seeds

from spotless_core.errors import OutputError, ScanError
from spotless_core.image_io.opening import open_scan
from spotless_core.image_io.verify import verify_restored
from spotless_core.photo import Edit

HANG_SECONDS = 5.0
MEMORY_LIMIT_MB = 256.0
"""Most address space one mutant of a few kilobytes may add; a whole scan of its size needs a thousandth of it."""
ADDRESS_SPACE_BYTES = 2 << 30
"""Beyond what the process has when it starts; the kernel refuses more."""
MAX_CLAIM_PX = 64_000_000
"""The best codec makes 1500 bytes of one, so no file of a few kilobytes may pass for a larger frame."""
BAND_ROWS = 16

Reader = Callable[[Path, Path], str]


def handle(path: Path, target: Path) -> str:
    """Restore one file; returns what came of it. What a reader may answer with comes back as its class's name."""
    try:
        return restore(path, target)
    except (ScanError, OutputError) as error:
        if not str(error).endswith((".", ")")):
            raise AssertionError(f"no sentence: {error}") from error
        return type(error).__name__


def restore(path: Path, target: Path) -> str:
    """Open, read, write and verify one file, as the pipeline does; errors come through."""
    with open_scan(path, allow_transcode=True) as scan:
        info = scan.info
        assert info.width * info.height <= MAX_CLAIM_PX, f"{path.stat().st_size} bytes pass for {info}"
        for top in {0, info.height // 2, info.height - 1}:
            rows = scan.read_rows(top, min(info.height, top + BAND_ROWS))
            scan.read_infrared_rows(top, min(info.height, top + BAND_ROWS))
        top, left = info.height // 2, info.width // 3
        rows = scan.read_rows(top, min(info.height, top + 4))[:, left : left + 5]
        samples = np.ascontiguousarray(rows[:, ::-1])
        edit = Edit(top, left, samples, np.ones(samples.shape[:2], np.bool_))
        mask = np.zeros((info.height, info.width), np.bool_)
        mask[top : top + samples.shape[0], left : left + samples.shape[1]] = True
        scan.write_restored(target, [edit])
        verify_restored(scan, target, mask, [edit])
    return "restored"


def run(kind: str, first: int, count: int, folder: Path, reader: Reader) -> None:
    """Read `count` mutants from `first` on, and print findings and the sum."""
    seeds = draw_seeds(kind)
    path, target = folder / "mutant", folder / "restored"
    source = os.open(path, os.O_RDWR | os.O_CREAT)
    for seed in seeds:  # what is loaded at the first use is no mutant's
        _replace(source, seed)
        _try(reader, path, target)
    _bound()
    outcomes: Counter[str] = Counter()
    start_mb = limit_mb = _peak_mb()
    limit_mb += MEMORY_LIMIT_MB
    slowest, started = (0.0, -1), time.process_time()
    progress = os.open(folder / "number", os.O_WRONLY | os.O_CREAT)
    for number in range(first, first + count):
        os.pwrite(progress, b"%020d" % number, 0)
        data = make_mutant(seeds, number)
        _replace(source, data)
        begun = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, HANG_SECONDS)
        outcome = _try(reader, path, target)
        signal.setitimer(signal.ITIMER_REAL, 0)
        slowest = max(slowest, (time.monotonic() - begun, number))
        if outcome.startswith("finding"):
            _tell(number, outcome)
        peak_mb = _peak_mb()
        if peak_mb > limit_mb:
            _tell(number, f"finding: {peak_mb - start_mb:.0f} MB for {len(data)} bytes ({outcome})")
            limit_mb = peak_mb
        if os.pread(source, len(data) + 1, 0) != data:
            _tell(number, "finding: the scan itself was written to")
        outcomes[outcome.partition(":")[0]] += 1
    seconds = time.process_time() - started
    added_mb = _peak_mb() - start_mb
    summary = {"outcomes": outcomes, "seconds": seconds, "added_mb": added_mb, "slowest": slowest}
    print(json.dumps(summary), flush=True)


def _replace(descriptor: int, data: bytes) -> None:
    """Give the open file another content. Opening it anew would have ext4 write the old one to the disk first."""
    os.pwrite(descriptor, data, 0)
    os.ftruncate(descriptor, len(data))


def _try(reader: Reader, path: Path, target: Path) -> str:
    target.unlink(missing_ok=True)
    try:
        return reader(path, target)
    except Exception as error:  # noqa: BLE001 - whatever else comes out of a reader is what we look for
        places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        return f"finding: {type(error).__name__}: {error} [{' > '.join(places[-4:])}]"


def _tell(number: int, text: str) -> None:
    print(json.dumps({"number": number, "finding": text}), flush=True)


def _bound() -> None:
    """Set the limits of this process; nothing written here must survive a power cut, and syncing takes most time."""
    os.fsync = lambda _: None
    faulthandler.enable()
    faulthandler.register(signal.SIGALRM, all_threads=False, chain=True)
    limit = int(_peak_mb() * 1e6) + ADDRESS_SPACE_BYTES
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _peak_mb() -> float:
    """The most address space this process ever had; where the system does not tell it, the most memory in use."""
    if sys.platform == "linux":
        with open("/proc/self/status", "rb", buffering=0) as file:  # noqa: PTH123 - once for each mutant
            return int(file.read(4096).split(b"VmPeak:")[1].split()[0]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main(words: list[str]) -> None:
    kind, first = words[0], int(words[1])
    if len(words) > 2:
        module, name = words[4].split(":")
        run(kind, first, int(words[2]), Path(words[3]), getattr(importlib.import_module(module), name))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutant"
        path.write_bytes(make_mutant(draw_seeds(kind), first))
        _bound()
        signal.setitimer(signal.ITIMER_REAL, HANG_SECONDS)
        print(handle(path, path.with_name("restored")))


if __name__ == "__main__":
    main(sys.argv[1:])
