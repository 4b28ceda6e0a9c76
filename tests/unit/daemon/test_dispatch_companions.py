"""Companions on their way through the dispatcher, the time stamp and the mask's suffix; the worker is played."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_workers import FakeRestorer, check_fake_header, write_fake_scan

from spotless_core.options import MaskFormat, RestoreOptions
from spotlessd import publish
from spotlessd.commons import Commons, DispatchSettings, Seat
from spotlessd.companions.companion_copy import Copier
from spotlessd.companions.company import Company
from spotlessd.dispatch import Dispatcher
from spotlessd.engine import LocalEngine
from spotlessd.folders.roots import MARKER_NAME, NameRules, Root
from spotlessd.job import COMPANION_RECIPE, Identity, Job, JobState, RetryPolicy
from spotlessd.ledger import Ledger
from spotlessd.messages import Finished, WorkOrder
from spotlessd.publish import PublishPlan, read_receipt
from spotlessd.publishing.found_receipts import found_scans
from spotlessd.settle import Settler
from spotlessd.sqlite.database import Database
from spotlessd.supervisor import Event, WorkerState


class WorkingSupervisor:
    """Does every order at once, in this process."""

    memory_mb = 0.0
    max_memory_mb = 10_000.0

    def __init__(self) -> None:
        self.state = WorkerState.IDLE
        self.orders: list[WorkOrder] = []
        self.events: list[Event] = []

    def start(self, now: float) -> bool:
        return True

    def submit(self, order: WorkOrder, now: float) -> None:
        self.orders.append(order)
        receipt = FakeRestorer().restore(order, lambda step, fraction: None)
        self.events.append(Finished(order.job_id, order.attempt, receipt.to_dict(), 1.0))

    def settle(self) -> None:
        pass

    def poll(self, now: float) -> list[Event]:
        events, self.events = self.events, []
        return events

    def recycle_if_worn(self, now: float) -> bool:
        return False

    def seconds_to_start(self, now: float) -> float:
        return 0.0

    def drop(self) -> None:
        self.state = WorkerState.DOWN


@dataclass
class Bench:
    """A dispatcher on a real ledger and folder."""

    root: Root
    ledger: Ledger
    engine: LocalEngine
    supervisor: WorkingSupervisor
    company: Company

    def write(self, name: str, seed: int = 1) -> Path:
        return write_fake_scan(self.root.input / name, seed)

    def submit(self, name: str, recipe: str = "recipe") -> int:
        status = (self.root.input / name).stat()
        job_id = self.engine.submit(Identity("scans", name, status.st_size, status.st_mtime_ns), status.st_ino, recipe)
        assert job_id is not None
        return job_id

    def run(self, settings: DispatchSettings | None = None) -> Dispatcher:
        """Look at the folder and let a new dispatcher do what is queued."""
        list(self.company.choose(self.root, self.root.scan()))
        settings = settings or DispatchSettings("dark", RestoreOptions(), reserve_bytes=1000)
        seat = Seat("worker", False, self.supervisor)  # type: ignore[arg-type]  # played by the test
        dispatcher = Dispatcher(
            self.engine,
            seat,
            Commons([seat], {"scans": self.root}, settings, self.company),
            Copier(lambda _: (1, 1), lambda: None, keeps_timestamp=settings.keeps_timestamp),
        )
        for _ in range(4):
            dispatcher.tick(0.0, may_start=True)
        return dispatcher

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
        ledger = Ledger(database)
        engine = LocalEngine(ledger, "me", RetryPolicy(), draw=lambda: 0.0)
        company = Company(
            ledger,
            engine,
            Settler(30.0),
            check=check_fake_header,
            settle_seconds=lambda _: 5.0,
            patience_seconds=30.0,
            clock=time.time,
        )
        yield Bench(root, ledger, engine, WorkingSupervisor(), company)


FRAME = {"frame.tif", "masks/frame.png", "previews/frame.jpg", "receipts/frame.json"}


def test_a_sidecar_is_published_with_its_scan_and_known_as_done(bench: Bench) -> None:
    bench.write("frame.tif")
    sidecar = bench.write("frame_IR.tif", 2)
    bench.submit("frame.tif")

    bench.run()

    assert bench.published() == FRAME | {"frame_IR.tif"}
    assert (bench.root.output / "frame_IR.tif").read_bytes() == sidecar.read_bytes()
    (job,) = bench.ledger.jobs_of("scans", "frame_IR.tif")
    assert (job.state, job.outputs) == (JobState.DONE, {"infrared_sidecar": "frame_IR.tif"})


def test_the_counts_are_of_scans_and_not_of_their_sidecars(bench: Bench) -> None:
    bench.write("frame.tif")
    bench.write("frame_IR.tif", 2)
    bench.submit("frame.tif")

    bench.run()

    assert bench.ledger.counts()[JobState.DONE] == 1


def test_a_late_sidecar_goes_beside_its_scans_result_whatever_that_is_called(bench: Bench) -> None:
    bench.root.output.joinpath("frame.tif").write_bytes(b"somebody's")
    bench.write("frame.tif")
    bench.submit("frame.tif")
    bench.run()
    sidecar = bench.write("frame_IR.tif", 2)
    job_id = bench.submit("frame_IR.tif", COMPANION_RECIPE)

    bench.run()

    assert bench.job(job_id).state is JobState.DONE
    assert (bench.root.output / "frame~2_IR.tif").read_bytes() == sidecar.read_bytes()
    assert read_receipt(bench.root.output / "receipts/frame~2_IR.json")["companion_of"] == "frame~2.tif"
    assert len(bench.supervisor.orders) == 1


def test_a_late_sidecar_never_overwrites_a_file(bench: Bench) -> None:
    bench.write("frame.tif")
    bench.submit("frame.tif")
    bench.run()
    bench.root.output.joinpath("frame_IR.tif").write_bytes(b"somebody's")
    bench.write("frame_IR.tif", 2)
    bench.submit("frame_IR.tif", COMPANION_RECIPE)

    bench.run()

    assert (bench.root.output / "frame_IR.tif").read_bytes() == b"somebody's"
    assert {"frame_IR~2.tif", "receipts/frame_IR~2.json"} < bench.published()


def test_a_lone_sidecar_that_is_retried_is_set_aside_again_and_never_restored(bench: Bench) -> None:
    bench.write("frame_IR.tif")
    job_id = bench.submit("frame_IR.tif", COMPANION_RECIPE)

    bench.run()

    assert bench.job(job_id).state is JobState.QUARANTINED
    assert "has no result" in bench.job(job_id).reason
    assert bench.supervisor.orders == []
    assert bench.published() == set()


def test_a_person_can_have_a_file_named_like_a_sidecar_restored(bench: Bench) -> None:
    bench.write("beach_IR.tif")
    bench.submit("beach_IR.tif", "recipe+1")

    bench.run()

    assert "beach_IR.tif" in bench.published()
    assert len(bench.supervisor.orders) == 1


def test_a_name_taken_while_the_daemon_was_down_moves_scan_and_sidecar_to_the_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write("frame.tif")
    bench.write("frame_IR.tif", 2)
    bench.submit("frame.tif")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(publish, "carry_out", die)
        bench.run()
    bench.root.output.joinpath("frame_IR.tif").write_bytes(b"somebody's")
    bench.engine.recover()
    bench.run()

    assert bench.root.output.joinpath("frame_IR.tif").read_bytes() == b"somebody's"
    assert {"frame~2.tif", "frame~2_IR.tif", "masks/frame~2.png"} < bench.published()
    assert read_receipt(bench.root.output / "receipts/frame~2.json")["outputs"]["infrared_sidecar"] == {
        "name": "frame~2_IR.tif",
        "sha256": bench.ledger.jobs_of("scans", "frame_IR.tif")[0].sha256,
    }
    assert not [name for name in bench.published() if name.endswith(".part")]


def test_a_late_sidecar_cut_off_before_it_was_named_finds_its_next_name(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write("frame.tif")
    bench.submit("frame.tif")
    bench.run()
    sidecar = bench.write("frame_IR.tif", 2)
    bench.submit("frame_IR.tif", COMPANION_RECIPE)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(publish, "carry_out", die)
        bench.run()
    bench.root.output.joinpath("frame_IR.tif").write_bytes(b"somebody's")
    bench.engine.recover()
    bench.run()

    assert (bench.root.output / "frame_IR~2.tif").read_bytes() == sidecar.read_bytes()


def test_a_result_given_up_leaves_no_copy_behind(bench: Bench) -> None:
    bench.write("frame.tif")
    bench.write("frame_IR.tif", 2)
    job_id = bench.submit("frame.tif")
    masks = bench.root.output / "masks"

    class Removing(WorkingSupervisor):
        def submit(self, order: WorkOrder, now: float) -> None:
            super().submit(order, now)
            order.mask.unlink()
            masks.rmdir()

    bench.supervisor = Removing()
    dispatcher = bench.run()
    dispatcher.drop("stopped")

    assert bench.job(job_id).state is JobState.QUEUED
    assert bench.published() == set()


def test_the_published_endings_are_known_from_a_plan(bench: Bench) -> None:
    steps = (
        publish.Step("image", "a", "roll/frame~2.tif", ""),
        publish.Step("infrared_sidecar", "b", "roll/frame~2_IR.tif", ""),
        publish.Step("receipt", "c", "receipts/roll/frame~2.json", ""),
    )

    assert publish.planned_endings(PublishPlan(steps)) == {"infrared_sidecar": "_IR.tif"}


def test_every_file_of_a_result_gets_the_scans_time_only_when_asked(bench: Bench) -> None:
    scan = bench.write("frame.tif")
    os.utime(scan, ns=(10**18, 10**18 + 123456789))
    bench.submit("frame.tif")

    bench.run(DispatchSettings("dark", RestoreOptions(), reserve_bytes=0, keeps_timestamp=True))
    bench.submit("frame.tif", "recipe+1")
    bench.run()

    for name in bench.published():
        kept = (bench.root.output / name).stat().st_mtime_ns == 10**18 + 123456789
        assert kept == ("~2" not in name), name
    assert len(bench.published()) == 8


def test_a_mask_written_as_tiff_is_called_so(bench: Bench) -> None:
    bench.write("frame.tif")
    bench.submit("frame.tif")

    bench.run(DispatchSettings("dark", RestoreOptions(mask_format=MaskFormat.TIFF), reserve_bytes=0))

    assert "masks/frame.tif" in bench.published()
    (found,) = found_scans(bench.root)
    assert found.outputs["mask"] == "masks/frame.tif"
