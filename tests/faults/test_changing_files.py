"""Rows 9, 10, 11: files that grow, are pre-allocated, renamed, replaced, scanned again, or come by the thousand."""

import os
import signal
import time

import pytest
from fake_workers import restored_bytes, write_fake_scan
from faults.fault_station import TRIED, FaultStation, check_invariants, check_while_down

from spotlessd.job import JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME, PAUSE_KEY, Pause, read_status
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database


def whole_scan(station: FaultStation, seed: int = 1) -> bytes:
    return write_fake_scan(station.folder / "elsewhere" / "scan.tif", seed).read_bytes()


def start(station: FaultStation, loader: str = "load_fake") -> int:
    daemon = station.start(loader, is_logged=True)
    station.wait_for(lambda: read_status(station.state, time.time()).is_running)
    return daemon.pid


def done(station: FaultStation, *names: str) -> None:
    station.wait_for((station.state / LEDGER_NAME).exists)
    station.wait_for(lambda: {rel for rel, state in station.states().items() if state is JobState.DONE} >= set(names))


def test_a_file_that_grows_in_bursts_longer_than_the_settle_time_gives_one_whole_result(station: FaultStation) -> None:
    whole = whole_scan(station)
    start(station)

    with (station.scans / "burst.tif").open("wb") as file:
        for begin in range(0, len(whole), 1000):
            file.write(whole[begin : begin + 1000])
            file.flush()
            time.sleep(0.8)
    station.remember_scans()
    done(station, "burst.tif")

    check_invariants(station, "file grows in bursts")


def test_a_file_whose_length_is_set_first_gives_one_whole_result(station: FaultStation) -> None:
    """As copy tools do on shares: its header is right, its tail is still zeros."""
    whole = whole_scan(station)
    start(station)

    with (station.scans / "allocated.tif").open("wb") as file:
        file.write(whole[:500])
        file.truncate(len(whole))
        file.flush()
        time.sleep(1.5)
        file.write(whole[500:])
    station.remember_scans()
    done(station, "allocated.tif")

    check_invariants(station, "file allocated first")


def test_a_file_renamed_into_place_is_taken_once(station: FaultStation) -> None:
    start(station)
    part = station.scans / "frame.tif.part"
    part.write_bytes(whole_scan(station))
    time.sleep(1)

    part.rename(station.scans / "frame.tif")
    station.remember_scans()
    done(station, "frame.tif")

    check_invariants(station, "file renamed into place")


def test_a_file_renamed_after_it_was_done_is_done_again_under_its_new_name(station: FaultStation) -> None:
    first = write_fake_scan(station.scans / "first.tif")
    content = restored_bytes(first)
    start(station)
    done(station, "first.tif")

    first.rename(station.scans / "second.tif")
    done(station, "second.tif")

    assert {name: data for name, data in station.results().items() if name.endswith(".tif")} == {
        "first.tif": content,
        "second.tif": content,
    }


def test_a_file_renamed_while_it_waits_is_done_under_its_new_name_only(station: FaultStation) -> None:
    station.run_once()
    with Database.open(station.state / LEDGER_NAME) as database:
        Board(database).note(PAUSE_KEY, Pause(time.time()).to_json())
    frame = write_fake_scan(station.scans / "first.tif")
    start(station)
    station.wait_for_states({"first.tif": JobState.QUEUED})

    frame.rename(station.scans / "second.tif")
    with Database.open(station.state / LEDGER_NAME) as database:
        Board(database).forget(PAUSE_KEY)
    station.remember_scans()
    station.wait_for_states({"first.tif": JobState.GONE, "second.tif": JobState.DONE})

    check_invariants(station, "file renamed in the queue")


@pytest.mark.parametrize("length", [4000, 3000])
def test_a_file_replaced_while_it_is_worked_on_voids_that_result(station: FaultStation, length: int) -> None:
    """At the same length too: then only its time says so."""
    write_fake_scan(station.scans / "frame.tif", 1)
    start(station, "load_slow")
    station.worker_pid()

    new = write_fake_scan(station.folder / "elsewhere" / "frame.tif", 2, size=length)
    os.utime(new)
    new.replace(station.scans / "frame.tif")
    station.remember_scans()
    done(station, "frame.tif")

    check_invariants(station, "file replaced while worked on")


def test_five_scans_under_one_name_give_five_results(station: FaultStation) -> None:
    start(station)
    wanted = {}
    for number in range(1, 6):
        scan = station.scans / "frame.tif"
        scan.write_bytes(write_fake_scan(station.folder / "elsewhere" / "frame.tif", number).read_bytes())
        wanted[f"frame~{number}.tif" if number > 1 else "frame.tif"] = restored_bytes(scan)
        results = len(wanted)
        station.wait_for(lambda: sum(name.endswith(".tif") for name in station.results()) >= results)  # noqa: B023

    assert {name: data for name, data in station.results().items() if name.endswith(".tif")} == wanted
    assert len(list((station.restored / "receipts").iterdir())) == 5


def write_rolls(station: FaultStation, number: int) -> None:
    template = whole_scan(station)
    for index in range(number):
        path = station.scans / f"roll{index // 1000:02d}" / f"frame{index:05d}.tif"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(template)
        os.utime(path, (1e9, 1e9 + index))
    station.remember_scans()


def come_while_stopped(station: FaultStation, number: int, seconds: float) -> None:
    pid = start(station)
    os.kill(pid, signal.SIGSTOP)
    write_rolls(station, number)

    os.kill(pid, signal.SIGCONT)
    station.wait_for(lambda: count(station, JobState.DONE) == number, seconds)


def count(station: FaultStation, state: JobState) -> int:
    with Database.open(station.state / LEDGER_NAME) as database:
        return Ledger(database).counts()[state]


def test_files_that_come_while_the_daemon_is_stopped_are_all_done(station: FaultStation) -> None:
    come_while_stopped(station, 40, 60)

    check_invariants(station, "files while stopped")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_30000_files_that_come_while_the_daemon_is_stopped_are_all_queued(station: FaultStation) -> None:
    """More than the kernel's event queue holds. They are queued while the station is paused."""
    assert station.run_once()[0] == 0
    with Database.open(station.state / LEDGER_NAME) as database:
        Board(database).note(PAUSE_KEY, Pause(time.time()).to_json())
    pid = start(station)
    os.kill(pid, signal.SIGSTOP)
    write_rolls(station, 30_000)

    os.kill(pid, signal.SIGCONT)
    begun = time.monotonic()
    station.wait_for(lambda: count(station, JobState.QUEUED) == 30_000, 3000)

    print(f"\n30,000 files queued in {time.monotonic() - begun:.0f} s")
    check_while_down(station, "30,000 files while stopped")
    TRIED["30,000 files while stopped"] += 1
