"""Row 7: the power goes behind any write; what was not synced may be gone, or there in any part and order."""

import hashlib
import pickle
import shutil
from pathlib import Path

import pytest
from fake_workers import write_fake_scan
from faults.fault_station import FaultStation, check_invariants, check_while_down
from faults.recorded_disk import MODES, DiskRecord, Event, rebuild

from spotlessd.folders.roots import MARKER_NAME
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.sqlite.database import Database

FAULT = "power cut"


def record(station: FaultStation) -> list[Event]:
    """Run the daemon once and return what it did to the output folder and the ledger."""
    disk = DiskRecord(station.restored, station.folder / "events")
    code, text = station.run_inline(prepare=disk.start)
    assert code == 0, text
    return load_events(disk)


def load_events(disk: DiskRecord) -> list[Event]:
    events: list[Event] = pickle.loads(disk.saved_as.read_bytes())  # noqa: S301 - written by this test
    return events


def fill(station: FaultStation) -> None:
    write_fake_scan(station.scans / "frame.tif")
    write_fake_scan(station.scans / "roll" / "second.tif", 2)
    station.remember_scans()


def cut(events: list[Event], number: int, mode: str, before: FaultStation, folder: Path) -> FaultStation:
    """Lay out the station as it stands after a cut behind `number` events."""
    station = before.beside(folder)
    before.copy_scans_to(station)
    ledger = rebuild(events[:number], mode, number, before.restored, station.restored)
    (station.restored / MARKER_NAME).write_text("dark\n")
    if ledger is not None:
        station.state.mkdir()
        for suffix, content in zip(("", "-wal"), ledger, strict=True):
            (station.state / f"{LEDGER_NAME}{suffix}").write_bytes(content)
    return station


def state_of(station: FaultStation) -> str:
    digest = hashlib.sha256()
    for folder in (station.restored, station.state):
        for path in sorted(folder.rglob("*")):
            digest.update(str(path.relative_to(station.folder)).encode())
            digest.update(path.read_bytes() if path.is_file() else b"folder")
    return digest.hexdigest()


def try_cuts(station: FaultStation, tmp_path: Path, stride: int) -> int:
    fill(station)
    events = record(station)
    seen: set[str] = set()
    for number in range(len(events) + 1):
        modes = MODES if stride == 1 else (MODES[number % len(MODES)],)
        for mode in modes:
            folder = tmp_path / f"cut-{number}-{MODES.index(mode)}"
            after = cut(events, number, mode, station, folder)
            state = state_of(after)
            if state not in seen and number % stride == 0:
                seen.add(state)
                check_while_down(after, FAULT)
                after.recover()
                check_invariants(after, FAULT)
            shutil.rmtree(folder)
    return len(seen)


def test_the_record_holds_every_published_byte(station: FaultStation, tmp_path: Path) -> None:
    fill(station)

    events = record(station)
    after = cut(events, len(events), "nothing", station, tmp_path / "after")

    assert after.results() == station.results()
    assert {event.kind for event in events} >= {"make", "add", "remove", "sync file", "sync folder", "commit"}


def test_a_power_cut_behind_any_write_loses_nothing(station: FaultStation, tmp_path: Path) -> None:
    assert try_cuts(station, tmp_path, stride=3) > 10


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_power_cut_behind_every_write_in_every_legal_order_loses_nothing(
    station: FaultStation, tmp_path: Path
) -> None:
    assert try_cuts(station, tmp_path, stride=1) > 60


def test_every_commit_of_the_ledger_is_synced(tmp_path: Path) -> None:
    with Database.open(tmp_path / LEDGER_NAME) as database:
        assert [row[0] for row in database.read("PRAGMA synchronous")] == [2]  # FULL
        assert [row[0] for row in database.read("PRAGMA journal_mode")] == ["wal"]
