"""The worker's own pieces, in this process: messages, heartbeats, and that torch stays out until models are loaded."""

import errno
import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_workers import FakeRestorer, write_fake_scan

from spotless_core.errors import DeviceMemoryError, OutputError, TruncatedScanError
from spotless_core.options import RestoreOptions
from spotless_core.receipt import Receipt
from spotlessd import worker
from spotlessd.messages import Failed, Finished, Heartbeat, WorkOrder
from spotlessd.worker import OnStep, describe_failure


def order(folder: Path) -> WorkOrder:
    source = write_fake_scan(folder / "frame.tif")
    return WorkOrder(
        4, 2, source, "frame.tif", folder / "i.part", folder / "m.part", folder / "p.part", RestoreOptions()
    )


@pytest.mark.parametrize(
    ("error", "exit_code", "is_retryable"),
    [
        (TruncatedScanError("short."), 65, True),
        (DeviceMemoryError("full."), 69, True),
        (OutputError("full disk."), 73, True),
        (ZeroDivisionError("ours"), 70, True),
        (OSError(errno.ENOSPC, "full"), 73, True),
        (OSError(errno.EIO, "the disk fails"), 70, True),
    ],
)
def test_an_error_says_of_itself_what_the_parent_needs(
    tmp_path: Path, error: Exception, exit_code: int, is_retryable: bool
) -> None:
    failed = describe_failure(order(tmp_path), error)

    assert (failed.job_id, failed.attempt) == (4, 2)
    assert (failed.exit_code, failed.is_retryable) == (exit_code, is_retryable)


@pytest.mark.parametrize("error", [DeviceMemoryError("full."), MemoryError()])
def test_too_little_memory_is_told_as_such(tmp_path: Path, error: Exception) -> None:
    assert describe_failure(order(tmp_path), error).is_out_of_memory


def test_an_unforeseen_error_is_named_by_its_class(tmp_path: Path) -> None:
    assert describe_failure(order(tmp_path), ValueError("odd")).message == "ValueError: odd"


class Stepper(FakeRestorer):
    """Calls a function in the middle of its work."""

    def __init__(self, during: Callable[[], None]) -> None:
        super().__init__()
        self._during = during

    def restore(self, order: WorkOrder, on_step: OnStep) -> Receipt:
        on_step("detect", 0.25)
        self._during()
        return super().restore(order, on_step)


def test_the_child_beats_by_itself_during_a_long_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "BEAT_SECONDS", 0.01)
    ours, theirs = multiprocessing.Pipe()
    beats: list[Heartbeat] = []

    def wait_for_beats() -> None:
        while len(beats) < 3:
            assert ours.poll(10)
            beats.append(ours.recv())

    answer = worker._do(order(tmp_path), Stepper(wait_for_beats), worker._Line(theirs), stall_seconds=60)

    assert isinstance(answer, Finished)
    assert {beat.step for beat in beats[1:]} == {"detect"}
    assert beats[2].idle_seconds > 0


def test_the_beats_end_when_a_step_stands_still_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "BEAT_SECONDS", 0.01)
    ours, theirs = multiprocessing.Pipe()
    idle: list[float] = []

    def listen_until_silence() -> None:
        while ours.poll(0.5):
            idle.append(ours.recv().idle_seconds)

    worker._do(order(tmp_path), Stepper(listen_until_silence), worker._Line(theirs), stall_seconds=0.1)

    assert idle
    assert max(idle) < 0.5


def test_an_error_in_a_job_becomes_a_message(tmp_path: Path) -> None:
    ours, theirs = multiprocessing.Pipe()

    def fail() -> None:
        raise OutputError("no space.")

    answer = worker._do(order(tmp_path), Stepper(fail), worker._Line(theirs), stall_seconds=60)

    assert isinstance(answer, Failed)
    assert answer.message == "no space."
    assert ours.poll(1)


@pytest.mark.parametrize("module", ["cli", "service", "worker", "commands.station_commands"])
def test_a_fresh_interpreter_imports_the_daemon_without_torch(module: str) -> None:
    code = f"import sys, spotlessd.{module}; sys.exit(any(name.split('.')[0] == 'torch' for name in sys.modules))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
