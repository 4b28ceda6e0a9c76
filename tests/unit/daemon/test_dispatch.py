"""One job's way through the parent, with a supervisor that is played by the test."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fake_workers import FakeRestorer, check_fake_header, write_fake_scan

from spotless_core.options import RestoreOptions
from spotlessd.companion_copy import Copier
from spotlessd.company import Company
from spotlessd.database import Database
from spotlessd.dispatch import RECHECK_SECONDS, Dispatcher, DispatchSettings
from spotlessd.engine import LocalEngine
from spotlessd.errors import WorkerDiedError
from spotlessd.job import Identity, Job, JobState, Overrides, RetryPolicy
from spotlessd.ledger import Ledger
from spotlessd.messages import Failed, Finished, WorkOrder
from spotlessd.reconcile import found_scans
from spotlessd.roots import MARKER_NAME, NameRules, Root
from spotlessd.settle import Settler
from spotlessd.supervisor import Event, StartTrouble, WorkerLost, WorkerState


class PlayedSupervisor:
    """Takes orders; what has become of them is put into `events` by the test."""

    def __init__(self) -> None:
        self.state = WorkerState.IDLE
        self.events: list[Event] = []
        self.orders: list[WorkOrder] = []
        self.is_dropped = False

    def start(self, now: float) -> bool:
        return True

    def submit(self, order: WorkOrder, now: float) -> None:
        self.orders.append(order)
        self.state = WorkerState.BUSY

    def poll(self, now: float) -> list[Event]:
        events, self.events = self.events, []
        if events:
            self.state = WorkerState.IDLE
        return events

    def recycle_if_worn(self, now: float) -> bool:
        return False

    def seconds_to_start(self, now: float) -> float:
        return 0.0

    def drop(self) -> None:
        self.is_dropped = True
        self.state = WorkerState.DOWN

    def distrust(self, reason: str, exit_code: int, now: float) -> StartTrouble:
        return StartTrouble(reason, exit_code)


@dataclass
class Bench:
    """A dispatcher on a real ledger and folder."""

    root: Root
    ledger: Ledger
    engine: LocalEngine
    supervisor: PlayedSupervisor
    dispatcher: Dispatcher
    company: Company
    free: list[int] = field(default_factory=lambda: [10**12])
    wall: list[float] = field(default_factory=lambda: [1000.0])

    def queue(self, name: str = "frame.tif", overrides: Overrides | None = None, recipe: str = "recipe") -> int:
        path = self.root.input / name
        if not path.exists():
            write_fake_scan(path)
        self.look()
        status = path.stat()
        identity = Identity("scans", name, status.st_size, status.st_mtime_ns)
        job_id = self.engine.submit(identity, status.st_ino, recipe, overrides=overrides)
        assert job_id is not None
        return job_id

    def look(self) -> None:
        """Let the dispatcher's company see the folder."""
        list(self.company.choose(self.root, self.root.scan()))

    def tick(self, now: float = 0.0, *, may_start: bool = True) -> None:
        self.dispatcher.tick(now, may_start=may_start)

    def work(self) -> None:
        """Do what the last order says, as the worker would."""
        order = self.supervisor.orders[-1]
        receipt = FakeRestorer().restore(order, lambda step, fraction: None)
        self.supervisor.events.append(Finished(order.job_id, order.attempt, receipt, 1.0))

    def fail(self, exit_code: int, *, is_retryable: bool, message: str = "why.") -> None:
        order = self.supervisor.orders[-1]
        self.supervisor.events.append(
            Failed(order.job_id, order.attempt, "Error", message, exit_code, is_retryable, 1.0)
        )

    def job(self, job_id: int) -> Job:
        found = self.ledger.job(job_id)
        assert found is not None
        return found

    def published(self) -> set[str]:
        return {
            path.relative_to(self.root.output).as_posix()
            for path in self.root.output.rglob("*")
            if path.is_file() and path.name != MARKER_NAME
        }


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    root = Root("scans", tmp_path / "in", tmp_path / "out", "dark", NameRules((".tif",)), False, False)
    for folder in (root.input, root.output):
        folder.mkdir()
        (folder / MARKER_NAME).write_text("dark\n")
    with Database.open(tmp_path / "ledger.sqlite3") as database:
        ledger, supervisor = Ledger(database), PlayedSupervisor()
        wall, free = [1000.0], [10**12]
        engine = LocalEngine(ledger, "me", RetryPolicy(), clock=lambda: wall[0], draw=lambda: 0.0)
        company = Company(
            ledger,
            engine,
            Settler(30.0),
            check=check_fake_header,
            settle_seconds=lambda _: 5.0,
            patience_seconds=30.0,
            clock=time.time,
        )
        dispatcher = Dispatcher(
            engine,
            supervisor,  # type: ignore[arg-type]  # played by the test
            {"scans": root},
            DispatchSettings("dark", RestoreOptions(), reserve_bytes=1000),
            company,
            Copier(lambda _: (1, 1), lambda: None),
            free_bytes=lambda _: free[0],
        )
        yield Bench(root, ledger, engine, supervisor, dispatcher, company, free, wall)


def test_a_queued_scan_is_ordered_restored_and_published(bench: Bench) -> None:
    job_id = bench.queue()

    bench.tick()
    bench.work()
    bench.tick()

    assert bench.job(job_id).state is JobState.DONE
    assert bench.published() == {"frame.tif", "masks/frame.png", "previews/frame.jpg", "receipts/frame.json"}
    assert bench.dispatcher.job is None


def test_one_job_at_a_time(bench: Bench) -> None:
    bench.queue("a.tif")
    bench.queue("b.tif")

    bench.tick()
    bench.tick()

    assert len(bench.supervisor.orders) == 1


def test_a_scan_that_changed_while_it_was_read_is_void_and_publishes_nothing(bench: Bench) -> None:
    job_id = bench.queue()
    bench.tick()
    bench.work()
    with (bench.root.input / "frame.tif").open("ab") as file:
        file.write(b"more")

    bench.tick(may_start=False)

    assert bench.job(job_id).state is JobState.SUPERSEDED
    assert bench.published() == set()


def test_a_scan_rewritten_at_the_same_size_while_it_was_read_is_void_too(bench: Bench) -> None:
    job_id = bench.queue()
    bench.tick()
    bench.work()
    path = bench.root.input / "frame.tif"
    path.write_bytes(path.read_bytes()[::-1])

    bench.tick(may_start=False)

    assert bench.job(job_id).state is JobState.SUPERSEDED


def test_a_failure_on_a_file_that_changed_is_not_blamed_on_it(bench: Bench) -> None:
    job_id = bench.queue()
    bench.tick()
    (bench.root.input / "frame.tif").write_bytes(b"")
    bench.fail(65, is_retryable=False)

    bench.tick(may_start=False)

    assert bench.job(job_id).state is JobState.SUPERSEDED


def test_a_file_that_is_gone_before_its_turn_costs_nothing(bench: Bench) -> None:
    job_id = bench.queue()
    (bench.root.input / "frame.tif").unlink()

    bench.tick()

    assert (bench.job(job_id).state, bench.job(job_id).attempt) == (JobState.GONE, 0)


def test_nothing_is_concluded_while_the_folder_is_away(bench: Bench) -> None:
    job_id = bench.queue()
    (bench.root.input / "frame.tif").unlink()
    (bench.root.input / MARKER_NAME).unlink()

    bench.tick()

    assert bench.job(job_id).state is JobState.QUEUED
    assert "scans" in bench.dispatcher.away


def test_a_full_disk_pauses_the_queue_before_an_attempt_is_spent(bench: Bench) -> None:
    job_id = bench.queue()
    bench.free[0] = 3 * bench.job(job_id).identity.size + 999

    bench.tick(now=0.0)
    paused = bench.dispatcher.pause_reason
    bench.free[0] += 1
    bench.tick(now=RECHECK_SECONDS - 1)
    before = len(bench.supervisor.orders)
    bench.tick(now=RECHECK_SECONDS + 1)

    assert paused.startswith("disk:")
    assert (before, len(bench.supervisor.orders)) == (0, 1)
    assert bench.job(job_id).attempt == 1


def test_a_result_that_cannot_be_written_pauses_the_queue_and_costs_no_strike(bench: Bench) -> None:
    job_id = bench.queue()
    bench.tick()
    bench.fail(73, is_retryable=True, message="no space left.")

    bench.tick()

    job = bench.job(job_id)
    assert (job.state, job.strikes, job.interrupts) == (JobState.QUEUED, 0, 0)
    assert bench.dispatcher.pause_reason == "no space left."


def test_a_device_that_fails_is_not_the_scans_fault(bench: Bench) -> None:
    job_id = bench.queue()
    bench.tick()
    bench.fail(69, is_retryable=False, message="fell off the bus.")

    bench.tick(may_start=False)

    assert bench.job(job_id).strikes == 0
    assert bench.dispatcher.start_trouble == StartTrouble("fell off the bus.", 69)


def test_a_bad_scan_is_quarantined_with_its_sentence(bench: Bench) -> None:
    job_id = bench.queue()
    bench.tick()
    bench.fail(65, is_retryable=True, message="it ends too early.")

    bench.tick()

    assert (bench.job(job_id).state, bench.job(job_id).reason) == (JobState.QUARANTINED, "it ends too early.")


def test_a_worker_that_died_is_one_crash(bench: Bench) -> None:
    job_id = bench.queue()
    bench.tick()
    bench.supervisor.events.append(WorkerLost(bench.supervisor.orders[0], WorkerDiedError("killed.")))

    bench.tick(may_start=False)

    assert (bench.job(job_id).crashes, bench.job(job_id).state) == (1, JobState.QUEUED)


def test_a_held_frame_is_held_with_mask_preview_and_receipt(bench: Bench) -> None:
    job_id = bench.queue("held.tif")

    bench.tick()
    bench.work()
    bench.tick()

    assert bench.job(job_id).state is JobState.HELD
    assert bench.published() == {"masks/held.png", "previews/held.jpg", "receipts/held.json"}


def test_overrides_reach_the_worker_and_the_result_gets_a_new_name(bench: Bench, tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    mask.write_bytes(b"mask")
    bench.queue()
    bench.queue(overrides=Overrides(mask, "high"), recipe="recipe+1")

    for _ in range(2):
        bench.tick()
        bench.work()
        bench.tick(may_start=False)

    order = bench.supervisor.orders[1]
    assert (order.given_mask, str(order.options.mask.sensitivity)) == (mask, "high")
    assert "frame~2.tif" in bench.published()


def test_a_result_that_cannot_be_published_now_is_kept_and_published_later(bench: Bench) -> None:
    job_id = bench.queue()
    bench.tick(now=0.0)
    bench.work()
    masks = bench.root.output / "masks"
    aside = masks.rename(bench.root.output / "away")

    bench.tick(now=1.0)
    state_while_paused = bench.job(job_id).state
    aside.rename(masks)
    bench.tick(now=2.0 + RECHECK_SECONDS)

    assert state_while_paused is JobState.RUNNING
    assert (bench.job(job_id).state, bench.job(job_id).attempt) == (JobState.DONE, 1)
    assert len(bench.published()) == 4


def test_dropping_counts_an_interrupt_and_removes_the_parts(bench: Bench) -> None:
    job_id = bench.queue()
    bench.tick()
    bench.work()

    bench.dispatcher.drop("stopped")

    job = bench.job(job_id)
    assert (job.state, job.interrupts, job.strikes) == (JobState.QUEUED, 1, 0)
    assert bench.supervisor.is_dropped
    assert bench.published() == set()


def test_no_job_starts_while_it_may_not(bench: Bench) -> None:
    bench.queue()

    bench.tick(may_start=False)

    assert bench.supervisor.orders == []


def test_the_receipt_carries_what_a_lost_ledger_needs(bench: Bench) -> None:
    job_id = bench.queue()
    bench.tick()
    bench.work()
    bench.tick()

    found = list(found_scans(bench.root))
    assert [scan.identity for scan in found] == [bench.job(job_id).identity]
    assert found[0].outputs == bench.job(job_id).outputs


def test_no_job_starts_before_the_folder_was_looked_at(bench: Bench) -> None:
    path = write_fake_scan(bench.root.input / "frame.tif")
    status = path.stat()
    bench.engine.submit(Identity("scans", "frame.tif", status.st_size, status.st_mtime_ns), 1, "recipe")

    bench.tick()

    assert bench.supervisor.orders == []
