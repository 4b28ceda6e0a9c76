"""The child process: loads the models once, warms them up, then restores one scan at a time on the parent's order.

The only module of the daemon that may load torch, and only inside `load_pipeline`. It writes part files and nothing
else; it never renames, and it ends with its parent, so an orphan cannot publish. Every error becomes a `Failed`
message here, at the job boundary; what it says about a photo is decided by the error's class.
"""

import ctypes
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

import psutil
from loguru import logger

from spotless_core.errors import DeviceMemoryError, SpotlessError
from spotless_core.options import DeviceChoice, InpaintMethod, InpaintOptions
from spotless_core.receipt import FileFacts, Receipt
from spotlessd.crash_points import crash_point
from spotlessd.errors import DaemonError
from spotlessd.folders.spool import working_copy
from spotlessd.job import EXIT_CANNOT_WRITE
from spotlessd.messages import (
    Failed,
    Farewell,
    Finished,
    FromChild,
    Heartbeat,
    Ready,
    StartFailed,
    WorkerSetup,
    WorkOrder,
)

BEAT_SECONDS = 1.0
"""How often the child says that it lives; steps are reported at most this often between two beats."""
STEP_REPORT_SECONDS = 0.25
ORPHAN_POLL_SECONDS = 1.0
OUT_OF_MEMORY_SCORE = "500"
"""The kernel kills the child before the parent and before most of the desktop (0 = ordinary, 1000 = first)."""
PR_SET_PDEATHSIG = 1
CPU = str(DeviceChoice.CPU)
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
"""Whoever meets these errors, the scan is not to blame."""
EXIT_ORPHAN = 75
EXIT_SOFTWARE = 70

OnStep = Callable[[str, float], None]


class Restorer(Protocol):
    """What a loader returns: the resident models and the one thing done with them."""

    device: str
    precision: str
    models: tuple[FileFacts, ...]

    def restore(self, order: WorkOrder, on_step: OnStep) -> Receipt:
        """Write the order's part files and return the receipt; raise a `SpotlessError` for what was foreseen."""
        ...


Loader = Callable[[WorkerSetup], Restorer]
"""A module-level function, so that it can be named across the process boundary."""


def load_pipeline(setup: WorkerSetup) -> Restorer:
    """Load the real networks. Imports torch, so it runs in the child only."""
    logger.disable("lama_cleaner")  # it logs every load through the same logger
    from spotless_core.edited import BaseVersion
    from spotless_core.pipeline import OutputPaths, Tools, load_tool_sets, load_tools, restore_photo

    class PipelineRestorer:
        """The core's pipeline with its tools kept loaded, one set for each way of filling that was announced."""

        def __init__(self, sets: Sequence[Tools]) -> None:
            self._sets = dict(zip(map(_filling, inpaints), sets, strict=True))
            self.device = sets[0].device
            self.precision = sets[0].precision
            self.models = tuple(dict.fromkeys(model for tools in sets for model in tools.models))

        def restore(self, order: WorkOrder, on_step: OnStep) -> Receipt:
            """Restore one scan into the order's part files."""
            tools, base = self._sets[_filling(order.options.inpaint)], order.base
            if order.is_on_cpu and tools.device != CPU:
                # For this one scan only: two sets of networks would take the memory that the next one needs.
                cpu = replace(setup.device, device=DeviceChoice.CPU)
                tools = load_tools(cpu, order.options.inpaint, setup.models_folder)
            return restore_photo(
                order.source,
                OutputPaths(order.image, order.mask, order.preview, order.feedback),
                tools,
                order.options,
                source_name=order.source_name,
                given_mask=order.given_mask,
                base=None if base is None else BaseVersion(base.mask, base.image, base.receipt, base.name, base.sha256),
                decision=order.decision,
                on_step=on_step,
            )

    inpaints = (setup.inpaint, *setup.more_inpaints)
    return PipelineRestorer(load_tool_sets(setup.device, inpaints, setup.models_folder))


def _filling(options: InpaintOptions) -> tuple[InpaintMethod, Path | None]:
    """Return what decides which networks fill; the rest of the options is each order's own."""
    return options.method, options.big_lama_path


def run_worker(connection: Connection, setup: WorkerSetup, loader: Loader, parent_pid: int) -> None:
    """Be the child: the target of the parent's `Process`."""
    _end_with_parent(parent_pid)
    _ignore_signals()
    _be_first_to_be_killed()
    logger.remove()
    logger.add(sys.stderr, level=setup.log_level, format=f"{setup.name} {{level}}: {{message}}", diagnose=False)
    os.environ.update(setup.environment)  # CUDA reads it when torch is loaded, and never again
    line = _Line(connection)
    crash_point("worker.started")
    try:
        restorer = loader(setup)
    except (SpotlessError, DaemonError) as error:
        line.send(StartFailed(_sentence(error), error.exit_code))
        return
    except Exception as error:  # noqa: BLE001 - the boundary: whatever a loader raises is the reason it cannot start
        logger.exception("the worker cannot start")
        line.send(StartFailed(_sentence(error), EXIT_SOFTWARE))
        return
    crash_point("worker.loaded")
    line.send(Ready(restorer.device, restorer.precision, tuple(restorer.models), _memory_mb()))
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            return
        if isinstance(message, Farewell):
            return
        crash_point("worker.ordered")
        answer = _do(message, restorer, line, setup.stall_seconds)
        crash_point("worker.before_answer")
        line.send(answer)
        crash_point("worker.answered")


def _do(order: WorkOrder, restorer: Restorer, line: "_Line", stall_seconds: float) -> Finished | Failed:
    """Carry out one order; whatever it raises becomes a message."""
    pulse = _Pulse(order, line, stall_seconds)
    try:
        with working_copy(order, pulse.on_step) as copy:
            receipt = restorer.restore(copy.order, pulse.on_step)
            copy.check(receipt.input.sha256)
    except Exception as error:  # noqa: BLE001 - the job boundary
        failed = describe_failure(order, error)
        if not isinstance(error, SpotlessError | DaemonError | PermissionError):
            logger.exception("job {}, {}", order.job_id, order.source_name)
        return failed
    finally:
        pulse.stop()
    return Finished(order.job_id, order.attempt, receipt.to_dict(), _memory_mb())


def describe_failure(order: WorkOrder, error: Exception) -> Failed:
    """Turn an error into the message: a foreseen one speaks for itself, any other may pass on another try."""
    if isinstance(error, SpotlessError | DaemonError):
        exit_code, is_retryable = error.exit_code, error.is_retryable
    elif isinstance(error, OSError) and error.errno in NO_ROOM:
        exit_code, is_retryable = EXIT_CANNOT_WRITE, True
    else:
        exit_code, is_retryable = EXIT_SOFTWARE, True
    return Failed(
        job_id=order.job_id,
        attempt=order.attempt,
        error=type(error).__name__,
        message=_sentence(error),
        exit_code=exit_code,
        is_retryable=is_retryable,
        memory_mb=_memory_mb(),
        is_out_of_memory=isinstance(error, DeviceMemoryError | MemoryError),
    )


class _Line:
    """The pipe to the parent, usable from the job and from the beating thread. A parent that is gone ends the child."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, message: FromChild) -> None:
        try:
            with self._lock:
                self._connection.send(message)
        except (BrokenPipeError, ConnectionResetError):
            os._exit(EXIT_ORPHAN)


class _Pulse:
    """Heartbeats of one order, sent by a thread of its own while steps move, or stood still for less than the limit."""

    def __init__(self, order: WorkOrder, line: _Line, stall_seconds: float) -> None:
        self._order = order
        self._line = line
        self._stall_seconds = stall_seconds
        self._step = "start"
        self._fraction = 0.0
        self._moved = self._sent = time.monotonic()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def on_step(self, step: str, fraction: float) -> None:
        """Take note of progress; tell the parent, but not oftener than it can use."""
        is_new_step = step != self._step
        self._step, self._fraction = step, fraction
        self._moved = time.monotonic()
        crash_point(f"worker.step_{step}")
        if is_new_step or self._moved - self._sent >= STEP_REPORT_SECONDS:
            self._send()

    def stop(self) -> None:
        """End the thread; nothing of this order is sent afterwards."""
        self._is_over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._is_over.wait(BEAT_SECONDS):
            if time.monotonic() - self._moved < self._stall_seconds:
                self._send()

    def _send(self) -> None:
        self._sent = time.monotonic()
        idle = self._sent - self._moved
        self._line.send(
            Heartbeat(self._order.job_id, self._order.attempt, self._step, self._fraction, idle, _memory_mb())
        )


def _sentence(error: Exception) -> str:
    """Return what a person will read; an error we did not foresee is named by its class."""
    if isinstance(error, SpotlessError | DaemonError):
        return str(error)
    if isinstance(error, PermissionError) and error.filename:
        return f"{error.filename}: {error.strerror}. Give this user the right to it."
    return f"{type(error).__name__}: {error}"


def _memory_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 1e6


def _end_with_parent(parent_pid: int) -> None:
    """See to it that this process does not outlive its parent."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0:
            if os.getppid() != parent_pid:
                os._exit(EXIT_ORPHAN)
            return
    threading.Thread(target=_watch_parent, args=(parent_pid,), name="parent-watch", daemon=True).start()


def _watch_parent(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(ORPHAN_POLL_SECONDS)
    os._exit(EXIT_ORPHAN)


def _ignore_signals() -> None:
    """Leave stopping to the parent: a terminal's Ctrl-C and a service manager's SIGTERM reach the whole group."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def _be_first_to_be_killed() -> None:
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OUT_OF_MEMORY_SCORE, encoding="ascii")
