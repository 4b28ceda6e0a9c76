"""Row 7 with the core's own pipeline: what the worker writes is on the disk before it gets a name."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import cv2
import pytest
import torch
from drawing import write_scan
from faults.fault_station import FaultStation, check_invariants, check_while_down, run_service
from faults.recorded_disk import MODES, DiskRecord, Event
from faults.test_power_cut import cut, load_events, state_of

from spotlessd.folders.headers import check_header
from spotlessd.messages import WorkerSetup
from spotlessd.worker import Restorer, load_pipeline

FAULT = "power cut, real pipeline"
REL = "roll/frame.tif"


class RealStation(FaultStation):
    """A station whose scans are restored by the core's pipeline, with a tiny detector and no network to fill.

    `models`: the detector's folder. `quiet`: what an undisturbed run published, by path.
    """

    def __init__(self, folder: Path, models: Path) -> None:
        super().__init__(folder)
        self._models = models
        self.quiet: dict[str, bytes] = {}
        own = '[inpaint]\nmethod = "telea"\n[device]\ndevice = "cpu"\nthreads = 1\n[mask]\nmax_coverage = 0.2\n'
        self.config.write_text(self.config.read_text() + own)

    def run_inline(self, crash_at: str = "", prepare: Callable[[], None] = lambda: None) -> tuple[int, str]:
        # A forked process has none of its parent's threads, and would wait for them without end: there must be none.
        torch_threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        try:
            return super().run_inline(crash_at, prepare)
        finally:
            torch.set_num_threads(torch_threads)
            cv2.setNumThreads(cv2_threads)

    def serve(self) -> int:
        return run_service(self.config, self._load, check_header)

    def expected(self, rels: Iterable[str]) -> dict[str, bytes]:
        stems = {str(PurePosixPath(rel).with_suffix("")) for rel in rels}
        names = {name: str(PurePosixPath(name).with_suffix("")) for name in self.quiet}
        return {
            name: self.quiet[name]
            for name, stem in names.items()
            if stem.removeprefix("masks/").removeprefix("previews/") in stems
        }

    def beside(self, folder: Path) -> "RealStation":
        made = RealStation(folder, self._models)
        made.quiet = self.quiet
        return made

    def _load(self, setup: WorkerSetup) -> Restorer:
        return load_pipeline(replace(setup, models_folder=self._models))


@pytest.fixture
def real(tmp_path: Path, bright_spot_models: Path) -> RealStation:
    """A station with one scan that was never restored."""
    station = RealStation(tmp_path / "station", bright_spot_models)
    (station.scans / REL).parent.mkdir()
    write_scan(station.scans / REL, 130, 170, specks=3)
    os.utime(station.scans / REL, (0, 0))
    station.remember_scans()
    return station


def record(station: RealStation, and_then: Callable[[], None] = lambda: None) -> list[Event]:
    """Run the daemon once and return what it did to the disk. `and_then`: what else to patch in its process."""
    disk = DiskRecord(station.restored, station.folder / "events")

    def prepare() -> None:
        disk.start()
        and_then()

    code, text = station.run_inline(prepare=prepare)
    assert code == 0, text
    station.quiet = station.results()
    return load_events(disk)


def do_not_sync(role: str) -> None:
    """Let every fsync of one role's part be lost, as if the worker had forgotten it."""
    real = os.fsync

    def forgetful(descriptor: int) -> None:
        if not Path(f"/proc/self/fd/{descriptor}").readlink().name.endswith(f"-{role}.part"):
            real(descriptor)

    os.fsync = forgetful


def cuts(station: RealStation, events: list[Event], folder: Path) -> Iterator[RealStation]:
    """Lay out, one after the other, every state that a cut may leave; equal ones once."""
    seen: set[str] = set()
    for number in range(len(events) + 1):
        for mode in MODES:
            after = cut(events, number, mode, station, folder)
            state = state_of(after)
            if state not in seen:
                seen.add(state)
                yield after
            shutil.rmtree(folder)


def test_the_real_workers_bytes_are_all_synced(real: RealStation, tmp_path: Path) -> None:
    events = record(real)

    after = cut(events, len(events), "nothing", real, tmp_path / "after")

    assert set(after.results()) == {REL, "masks/roll/frame.png", "previews/roll/frame.jpg"}
    assert after.results() == real.quiet


def test_a_power_cut_never_leaves_a_name_without_the_real_workers_bytes(real: RealStation, tmp_path: Path) -> None:
    number = 0
    for after in cuts(real, record(real), tmp_path / "after"):
        check_while_down(after, FAULT)
        number += 1

    assert number > 20


@pytest.mark.parametrize(
    ("role", "name"),
    [
        ("image", r"roll/frame\.tif"),
        pytest.param("mask", r"masks/roll/frame\.png", marks=pytest.mark.slow),
        pytest.param("preview", r"previews/roll/frame\.jpg", marks=pytest.mark.slow),
    ],
)
def test_a_part_that_the_worker_did_not_sync_would_be_found_out(
    real: RealStation, tmp_path: Path, role: str, name: str
) -> None:
    events = record(real, lambda: do_not_sync(role))

    with pytest.raises(AssertionError, match=f"I3: {name}"):
        for after in cuts(real, events, tmp_path / "after"):
            after.check_no_partial()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_power_cut_behind_any_write_of_the_real_pipeline_loses_nothing(real: RealStation, tmp_path: Path) -> None:
    for after in cuts(real, record(real), tmp_path / "after"):
        check_while_down(after, FAULT)
        after.recover()
        check_invariants(after, FAULT)
