"""Workers without models for tests of the daemon: they write their part files in milliseconds, or crash, hang, raise.

The loaders are module-level functions, so that a spawned child finds them by name. What a fake does with a scan is told
by the scan's file name: `crash…` kills the worker, `hang…` never returns, `kill_first…` dies on its first attempt only,
`freeze…` holds the interpreter too, `endless…` moves and never ends, `hog…` takes `HOG_MB` of memory, `segfault…` reads
where nothing is, `long…` takes two seconds, `brief…` a fifth of one, `meet3…` ends only while three workers have such a
scan at the same time, `gated…` adds a line to `begun-NAME` beside its folder and ends once `gate` lies there, `fail2…`
fails in its first two attempts and may be tried again, `killworker…` kills a cluster's worker too.
Run as a program it is a station's daemon with a fake worker: `fake_workers.py CONFIG [LOADER] [--once]
[--no-links] [--recheck-soon] [--short-deadline]`.
"""

import ctypes
import errno
import hashlib
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from spotless_core.errors import (
    DeviceError,
    DeviceMemoryError,
    OutputError,
    ScanError,
    TruncatedScanError,
    UnsupportedScanError,
)
from spotless_core.receipt import FileFacts, InputFacts, Receipt
from spotlessd.errors import SpoolError
from spotlessd.messages import WorkerSetup, WorkOrder
from spotlessd.worker import Loader, OnStep

MAGIC = b"FAKE SCAN "
HOG_MB = 600
LONG_SECONDS = 2.0
BRIEF_SECONDS = 0.2
MEETING_SECONDS = 20.0
SMALL_TILE_PX = 512


def write_fake_scan(path: Path, seed: int = 1, size: int = 4000) -> Path:
    """Write a file that the fake workers and `check_fake_header` take for a scan; old enough to be settled."""
    body = bytes((seed * 31 + position * 7) % 251 + 1 for position in range(size))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(MAGIC + str(size).encode() + b"\n" + body)
    old = time.time() - 3600
    os.utime(path, (old, old))
    return path


def check_fake_header(path: Path) -> None:
    """Check that a fake scan is as long as its header says."""
    head, _, body = path.read_bytes().partition(b"\n")
    if not head:
        raise TruncatedScanError("the file is empty.")
    if not head.startswith(MAGIC):
        raise UnsupportedScanError("not a TIFF, PNG or JPEG file.")
    if len(body) < int(head[len(MAGIC) :]):
        raise TruncatedScanError("the file ends too early.")


def restored_bytes(source: Path) -> bytes:
    """Return what the fake worker makes of a scan."""
    return b"RESTORED " + source.read_bytes()


class FakeRestorer:
    """Restores by putting a word before the file."""

    device = "fake"
    precision = "float32"
    models = (FileFacts("fake.safetensors", "0" * 64),)

    def __init__(self, step_seconds: float = 0.0) -> None:
        self._step_seconds = step_seconds

    def result_of(self, source: Path) -> bytes:
        """Return what is published for a scan; raises what is wrong with it."""
        check_fake_header(source)
        return restored_bytes(source)

    def restore(self, order: WorkOrder, on_step: OnStep) -> Receipt:
        begun = time.perf_counter()
        on_step("decode", 0.0)
        if order.given_mask is not None and not order.given_mask.is_file():
            raise ScanError("the given mask is not there.")
        result = self.result_of(order.source)
        source = order.source.read_bytes()
        time.sleep(self._step_seconds)
        _take_time(order, on_step)
        _misbehave(order, on_step)
        on_step("inpaint", 0.5)
        contents = {
            "mask": b"MASK " + source[:100],
            "preview": b"PREVIEW " + str(order.options.mask.sensitivity).encode(),
            "image": result,
        }
        is_held = order.source_name.startswith("held")
        if is_held:
            del contents["image"]
        outputs = {}
        for role, data in contents.items():
            path: Path = getattr(order, role)
            try:
                with path.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise OutputError(f"the result cannot be written ({error.strerror}).") from error
            outputs[role] = FileFacts(path.name, hashlib.sha256(data).hexdigest())
        time.sleep(self._step_seconds)
        on_step("verify", 1.0)
        return Receipt(
            software="fake",
            outcome="held" if is_held else "done",
            input=InputFacts(
                name=order.source_name,
                sha256=hashlib.sha256(source).hexdigest(),
                size_bytes=len(source),
                width=1,
                height=1,
                channels=1,
                bits=8,
                container="tiff",
                compression="none",
                dpi=None,
                um_per_px=6.35,
                encoding="gamma",
                polarity="positive",
            ),
            outputs=outputs,
            models=self.models,
            device=self.device,
            precision=self.precision,
            options={},
            defects=(),
            coverage=0.0,
            preservation="exact",
            outside_mask_identical=True,
            seconds={"total": round(time.perf_counter() - begun, 4)},
            peak_memory_mb=1.0,
            based_on=FileFacts(order.base.name, order.base.sha256) if order.base is not None else None,
            decisions=() if order.decision is None else (order.decision,),
        )


def _take_time(order: WorkOrder, on_step: OnStep) -> None:
    """`long…` takes its time; `meet3…` waits until three workers are here, each with such a scan of its own."""
    if order.source_name.startswith("long"):
        time.sleep(LONG_SECONDS)
    if order.source_name.startswith("brief"):
        time.sleep(BRIEF_SECONDS)
    if order.source_name.startswith("gated"):
        beside = order.source.parents[1]
        with (beside / f"begun-{order.source_name}").open("a") as begun:
            begun.write(f"{os.getpid()}\n")
        while not (beside / "gate").exists():
            time.sleep(0.02)
            on_step("inpaint", 0.5)
    if not order.source_name.startswith("meet"):
        return
    here = order.source.parents[1] / "meeting"
    here.mkdir(exist_ok=True)
    (here / str(os.getpid())).touch()
    deadline = time.monotonic() + MEETING_SECONDS
    while len(list(here.iterdir())) < int(order.source_name[len("meet")]):
        if time.monotonic() > deadline:
            raise ScanError("nobody else came.")
        time.sleep(0.01)


def _misbehave(order: WorkOrder, on_step: OnStep) -> None:
    name = order.source_name
    _die(name, order.attempt)
    if name.startswith("fail") and order.attempt <= int(name[len("fail")]):
        raise SpoolError("the copy broke off.")
    if name.startswith("hang"):
        time.sleep(3600)
    if name.startswith("endless"):
        while True:
            time.sleep(0.1)
            on_step("inpaint", 0.5)
    if name.startswith("freeze"):
        ctypes.PyDLL(None).sleep(3600)
    if name.startswith("hog"):
        held = bytearray(HOG_MB * 1_000_000)
        held[::4096] = b"x" * len(held[::4096])
        time.sleep(3600)
    if name.startswith("bug"):
        raise ZeroDivisionError("our own mistake")
    if name.startswith("bad"):
        raise ScanError("the scan is damaged.")
    if name.startswith("full"):
        raise OutputError("no space left on the device.")
    _run_short_of_memory(order)
    if name.startswith("device") and order.attempt == 1:
        raise DeviceError("the device fell off the bus.")
    if name.startswith("edited"):
        with order.source.open("ab") as file:
            file.write(b"more")


def _die(name: str, attempt: int) -> None:
    """End the child, as `crash…`, `segfault…` and `kill_first…` ask; `killworker…` ends its parent too."""
    if name.startswith("segfault"):
        ctypes.string_at(0)
    if name.startswith("killworker"):
        os.kill(os.getppid(), 9)
    if name.startswith(("crash", "killworker")) or (name.startswith("kill_first") and attempt == 1):
        os.kill(os.getpid(), 9)


def _run_short_of_memory(order: WorkOrder) -> None:
    """`short_of_memory_1…` needs small tiles, `short_of_memory_2…` the CPU, `allocate_first…` a second attempt."""
    name = order.source_name
    is_small = order.options.detect.tile_px <= SMALL_TILE_PX
    if (name.startswith("short_of_memory_1") and not is_small) or (
        name.startswith("short_of_memory_2") and not order.is_on_cpu
    ):
        raise DeviceMemoryError("the device ran out of memory.")
    if name.startswith("allocate_first") and order.attempt == 1:
        limit = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 50_000_000, limit[1]))
        bytearray(HOG_MB * 1_000_000)


def load_fake(_: WorkerSetup) -> FakeRestorer:
    return FakeRestorer()


def load_slow(_: WorkerSetup) -> FakeRestorer:
    return FakeRestorer(step_seconds=0.3)


def load_timed_50(_: WorkerSetup) -> FakeRestorer:
    return FakeRestorer(step_seconds=0.025)


def load_timed_100(_: WorkerSetup) -> FakeRestorer:
    return FakeRestorer(step_seconds=0.05)


def load_timed_200(_: WorkerSetup) -> FakeRestorer:
    return FakeRestorer(step_seconds=0.1)


def load_but_on_one_gpu(setup: WorkerSetup) -> FakeRestorer:
    """The worker on GPU 1 cannot start."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "1":
        raise DeviceError(f"{setup.name} fell off the bus.")
    return FakeRestorer()


def load_named(_: WorkerSetup) -> FakeRestorer:
    """Says as its device which GPU it was shown, and holds every scan for a while."""
    restorer = FakeRestorer(step_seconds=0.1)
    restorer.device = f"fake GPU {os.environ['CUDA_VISIBLE_DEVICES']}"
    return restorer


def load_never(_: WorkerSetup) -> FakeRestorer:
    raise DeviceError("no such device here.")


def load_dead(_: WorkerSetup) -> FakeRestorer:
    os._exit(3)


def _refuse_links(*_: object, **__: object) -> None:
    raise PermissionError(errno.EPERM, "no hard links on this file system")


def main(check: Callable[[Path], None] = check_fake_header, loaders: Mapping[str, Loader] | None = None) -> int:
    from spotlessd import commons, start_checks
    from spotlessd.configuration.settings import load_settings
    from spotlessd.log import set_up_log
    from spotlessd.service import Service

    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    settings = load_settings(Path(words[0]))
    loader = (loaders or globals())[words[1]] if len(words) > 1 else load_fake
    set_up_log(settings.log)
    if seconds := os.environ.get("LAB_ANSWER_SECONDS"):  # as in fake_cluster_worker.py
        from spotlessd.cluster import wire

        wire.ANSWER_SECONDS = float(seconds)
    if "--short-deadline" in sys.argv:
        start_checks.DEADLINE_BASE_SECONDS = 2.0
    if "--recheck-soon" in sys.argv:
        commons.RECHECK_SECONDS = 0.5
    if "--no-links" in sys.argv:
        os.link = _refuse_links  # as on exFAT and many shares
    return Service(settings, is_once="--once" in sys.argv, loader=loader, check=check).run()


if __name__ == "__main__":
    # The child must find the loaders under their module's name, not under __main__.
    import fake_workers

    sys.exit(fake_workers.main())
