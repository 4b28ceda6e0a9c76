"""The supervisor with real child processes and fake loaders."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path

import psutil
import pytest
from fake_workers import HOG_MB, load_dead, load_fake, load_named, load_never, write_fake_scan

from spotless_core.options import RestoreOptions
from spotlessd import supervisor as supervisor_module
from spotlessd.errors import WorkerDiedError, WorkerLateError, WorkerStalledError, WorkerTooLargeError
from spotlessd.messages import Failed, Finished, Ready, WorkerSetup, WorkOrder
from spotlessd.supervisor import Event, Limits, StartTrouble, Supervisor, WorkerLost, WorkerState
from spotlessd.worker import Loader

DEADLINE_SECONDS = 30.0

Make = Callable[..., Supervisor]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Supervisor] = []

    def one(loader: Loader = load_fake, **limits: float) -> Supervisor:
        made.append(Supervisor(WorkerSetup(), loader, Limits(**limits)))  # type: ignore[arg-type]
        return made[-1]

    yield one
    for supervisor in made:
        supervisor.drop()


def wait_for(supervisor: Supervisor, kind: type[Event]) -> Event:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        for event in supervisor.poll(time.monotonic()):
            assert isinstance(event, kind), event
            return event
        time.sleep(0.01)
    raise AssertionError(f"no {kind.__name__} in time")


def start(supervisor: Supervisor) -> Supervisor:
    supervisor.start(time.monotonic())
    wait_for(supervisor, Ready)
    return supervisor


def order(folder: Path, name: str = "frame.tif", job_id: int = 1) -> WorkOrder:
    source = write_fake_scan(folder / name)
    return WorkOrder(
        job_id, 1, source, name, folder / "image.part", folder / "mask.part", folder / "preview.part", RestoreOptions()
    )


def test_the_child_says_what_really_runs(make: Make) -> None:
    supervisor = start(make())

    assert supervisor.ready is not None
    assert (supervisor.ready.device, supervisor.ready.precision) == ("fake", "float32")


def test_the_child_has_its_own_environment_when_it_loads() -> None:
    """CUDA looks at it once, when torch is loaded."""
    setup = WorkerSetup(name="GPU 7", environment=(("CUDA_VISIBLE_DEVICES", "7"),))
    supervisor = Supervisor(setup, load_named, Limits())

    start(supervisor)
    ready = supervisor.ready
    supervisor.drop()

    assert ready is not None
    assert ready.device == "fake GPU 7"
    assert os.environ.get("CUDA_VISIBLE_DEVICES") != "7"


def test_an_idle_child_that_is_asked_to_end_ends_before_it_is_waited_for(make: Make) -> None:
    supervisor = start(make())
    _, end = supervisor.wait_handles()

    supervisor.ask_to_end()
    ended = wait([end], DEADLINE_SECONDS)
    supervisor.stop()

    assert ended == [end]
    assert supervisor.state is WorkerState.DOWN


def test_an_order_comes_back_as_a_receipt_and_part_files(make: Make, tmp_path: Path) -> None:
    supervisor = start(make())

    supervisor.submit(order(tmp_path), time.monotonic())
    finished = wait_for(supervisor, Finished)

    assert isinstance(finished, Finished)
    assert finished.receipt["outcome"] == "done"
    assert (tmp_path / "image.part").read_bytes().startswith(b"RESTORED")
    assert supervisor.state is WorkerState.IDLE


def test_an_error_comes_back_with_its_sentence_and_the_child_lives_on(make: Make, tmp_path: Path) -> None:
    supervisor = start(make())
    pid = supervisor.pid

    supervisor.submit(order(tmp_path, "bad.tif"), time.monotonic())
    failed = wait_for(supervisor, Failed)

    assert isinstance(failed, Failed)
    assert (failed.message, failed.exit_code, failed.is_retryable) == ("the scan is damaged.", 65, False)
    assert supervisor.pid == pid


def test_a_child_killed_in_a_job_is_blamed_on_that_job(make: Make, tmp_path: Path) -> None:
    supervisor = start(make())
    given = order(tmp_path, "crash.tif")

    supervisor.submit(given, time.monotonic())
    lost = wait_for(supervisor, WorkerLost)

    assert isinstance(lost, WorkerLost)
    assert lost.order == given
    assert isinstance(lost.error, WorkerDiedError)
    assert "SIGKILL" in str(lost.error)


def test_the_first_death_is_followed_by_a_new_child_at_once_and_the_next_ones_later(make: Make, tmp_path: Path) -> None:
    supervisor = start(make())
    supervisor.submit(order(tmp_path, "crash.tif"), time.monotonic())
    wait_for(supervisor, WorkerLost)

    first = supervisor.seconds_to_start(time.monotonic())
    start(supervisor)
    supervisor.submit(order(tmp_path, "crash.tif"), time.monotonic())
    wait_for(supervisor, WorkerLost)

    assert first == 0
    assert supervisor.seconds_to_start(time.monotonic()) > 0.5
    assert not supervisor.start(time.monotonic())


def test_a_child_without_progress_is_killed(make: Make, tmp_path: Path) -> None:
    supervisor = start(make(stall_seconds=1.0))
    pid = supervisor.pid
    assert pid is not None

    supervisor.submit(order(tmp_path, "hang.tif"), time.monotonic())
    lost = wait_for(supervisor, WorkerLost)

    assert isinstance(lost, WorkerLost)
    assert isinstance(lost.error, WorkerStalledError)
    assert not psutil.pid_exists(pid)


def test_a_child_that_moves_for_longer_than_its_frame_may_is_killed(make: Make, tmp_path: Path) -> None:
    supervisor = start(make(stall_seconds=60.0))

    supervisor.submit(replace(order(tmp_path, "endless.tif"), deadline_seconds=1.0), time.monotonic())
    lost = wait_for(supervisor, WorkerLost)

    assert isinstance(lost, WorkerLost)
    assert isinstance(lost.error, WorkerLateError)
    assert "queue.seconds_per_megapixel" in str(lost.error)


def test_a_frozen_child_is_killed_too(make: Make, tmp_path: Path) -> None:
    supervisor = start(make(stall_seconds=1.0))
    assert supervisor.pid is not None
    os.kill(supervisor.pid, signal.SIGSTOP)

    supervisor.submit(order(tmp_path), time.monotonic())
    lost = wait_for(supervisor, WorkerLost)

    assert isinstance(lost, WorkerLost)


def test_a_child_that_cannot_load_says_why_and_is_tried_again_later(make: Make) -> None:
    supervisor = make(load_never)
    supervisor.start(time.monotonic())

    trouble = wait_for(supervisor, StartTrouble)

    assert trouble == StartTrouble("no such device here.", 69)
    assert supervisor.seconds_to_start(time.monotonic()) > 0


def test_a_child_that_dies_while_loading_is_start_trouble_and_no_jobs_fault(make: Make) -> None:
    supervisor = make(load_dead)
    supervisor.start(time.monotonic())

    trouble = wait_for(supervisor, StartTrouble)

    assert isinstance(trouble, StartTrouble)
    assert "exit status 3" in trouble.reason
    assert (trouble.is_told, supervisor.bad_starts) == (False, 1)


def test_a_child_is_replaced_after_its_share_of_jobs(make: Make, tmp_path: Path) -> None:
    supervisor = start(make(recycle_jobs=1))
    before = supervisor.pid
    supervisor.submit(order(tmp_path), time.monotonic())
    wait_for(supervisor, Finished)

    assert supervisor.recycle_if_worn(time.monotonic())
    wait_for(supervisor, Ready)

    assert supervisor.pid != before


def test_an_idle_child_above_its_memory_limit_is_replaced(make: Make) -> None:
    supervisor = start(make(max_memory_mb=10_000.0))

    assert not supervisor.recycle_if_worn(time.monotonic())
    supervisor.memory_mb = 10_001.0
    assert supervisor.recycle_if_worn(time.monotonic())


def test_a_limit_below_what_the_models_take_is_start_trouble_and_no_scans_fault(make: Make) -> None:
    supervisor = make(max_memory_mb=1.0)
    supervisor.start(time.monotonic())

    trouble = wait_for(supervisor, StartTrouble)

    assert isinstance(trouble, StartTrouble)
    assert "at most 1 MB allowed. Raise queue.max_worker_mb." in trouble.reason
    assert supervisor.seconds_to_start(time.monotonic()) > 0


def test_a_child_that_takes_too_much_memory_within_a_job_is_killed_and_the_job_blamed(
    make: Make, tmp_path: Path
) -> None:
    supervisor = start(make(max_memory_mb=HOG_MB - 100.0))
    pid = supervisor.pid
    assert pid is not None
    given = order(tmp_path, "hog.tif")

    supervisor.submit(given, time.monotonic())
    lost = wait_for(supervisor, WorkerLost)

    assert isinstance(lost, WorkerLost)
    assert lost.order == given
    assert isinstance(lost.error, WorkerTooLargeError)
    assert f"more than the {HOG_MB - 100} MB" in str(lost.error)
    assert not psutil.pid_exists(pid)


def test_a_child_below_its_memory_limit_finishes_its_job(make: Make, tmp_path: Path) -> None:
    supervisor = start(make(max_memory_mb=HOG_MB - 100.0))

    supervisor.submit(order(tmp_path), time.monotonic())

    assert isinstance(wait_for(supervisor, Finished), Finished)


def test_without_a_limit_a_job_may_take_nine_tenths_of_the_memory(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "MEMORY_FRACTION", 1e6 * (HOG_MB - 100) / psutil.virtual_memory().total)
    supervisor = start(make())

    supervisor.submit(order(tmp_path, "hog.tif"), time.monotonic())
    lost = wait_for(supervisor, WorkerLost)

    assert isinstance(lost, WorkerLost)
    assert isinstance(lost.error, WorkerTooLargeError)


def test_a_child_that_reads_where_nothing_is_is_blamed_on_its_job(make: Make, tmp_path: Path) -> None:
    supervisor = start(make())

    supervisor.submit(order(tmp_path, "segfault.tif"), time.monotonic())
    lost = wait_for(supervisor, WorkerLost)

    assert isinstance(lost, WorkerLost)
    assert "SIGSEGV" in str(lost.error)


def test_an_idle_child_ends_when_asked(make: Make) -> None:
    supervisor = start(make())
    pid = supervisor.pid
    assert pid is not None

    supervisor.stop()

    assert not psutil.pid_exists(pid)
    assert supervisor.state is WorkerState.DOWN
