"""Row 11: very many files come while the daemon stands still; none is lost, and it listens while it takes them in."""

import shutil
import signal
import time
from pathlib import Path

import pytest
from fake_workers import write_fake_scan
from faults.fault_station import TRIED, FaultStation

from spotlessd.job import JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME, read_status
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database

INOTIFY_QUEUE = 16_384
"""Linux' usual limit: events beyond it are lost."""
SLOW_MACHINE = 4.0
"""Times are asserted so many times longer than they are meant, for machines that do much else."""


def counts(station: FaultStation) -> dict[JobState, int]:
    with Database.open(station.state / LEDGER_NAME) as database:
        return Ledger(database).counts()


def known(station: FaultStation) -> int:
    return sum(counts(station).values())


def ask(station: FaultStation, name: str, seconds: float) -> float:
    """Write a command down, wait until it is answered, and return how long that took."""
    begun = time.monotonic()
    with Database.open(station.state / LEDGER_NAME) as database:
        board = Board(database)
        number = board.ask(name, {}, time.time())
        while (command := board.command(number)) is None or not command.is_done:
            assert time.monotonic() - begun < seconds, f"{name} was not answered"
            time.sleep(0.01)
    return time.monotonic() - begun


def write_many(folder: Path, number: int) -> None:
    first = write_fake_scan(folder / "scan00000.tif", size=300)
    for position in range(1, number):
        shutil.copyfile(first, folder / f"scan{position:05d}.tif")


@pytest.mark.parametrize(
    "number",
    [
        1_500,
        pytest.param(30_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_files_that_came_while_the_daemon_stood_still_are_all_taken_in(tmp_path: Path, number: int) -> None:
    station = FaultStation(tmp_path)
    try:
        daemon = station.start("load_fake", is_logged=True)
        station.wait_for(lambda: read_status(station.state, time.time()).snapshot is not None)
        daemon.send_signal(signal.SIGSTOP)
        write_many(station.scans, number)
        daemon.send_signal(signal.SIGCONT)
        begun = time.monotonic()

        station.wait_for(lambda: known(station) > 0, 120)
        first_known = time.monotonic() - begun
        station.wait_for(lambda: counts(station)[JobState.DONE] > 0, 120)
        first_done = time.monotonic() - begun
        paused = ask(station, "pause", SLOW_MACHINE)
        at_pause = known(station)
        station.wait_for(lambda: known(station) == number, 600)
        all_known = time.monotonic() - begun
        resumed = ask(station, "resume", SLOW_MACHINE)

        print(
            f"{number} files: first known {first_known:.1f} s, first done {first_done:.1f} s, pause answered in "
            f"{paused:.2f} s (at {at_pause} files), all known {all_known:.1f} s, resume answered in {resumed:.2f} s"
        )
        assert first_done - first_known < 2.0 * SLOW_MACHINE
        assert all_known < 60.0 * SLOW_MACHINE
        if number > INOTIFY_QUEUE:
            assert "overflow" in (tmp_path / "daemon.log").read_text()
            assert at_pause < number, "the first job was done only after all files were taken in"
        daemon.kill()
        daemon.wait()
        with Database.open(station.state / LEDGER_NAME) as database:
            names = sorted(job.identity.rel for job in Ledger(database).jobs())
            assert database.integrity_problems() == []
        assert names == [f"scan{position:05d}.tif" for position in range(number)]
    finally:
        station.close()
    TRIED[f"{number} files while it stood still"] += 1
