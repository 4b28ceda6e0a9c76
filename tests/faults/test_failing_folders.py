"""Row 12: a folder that answers with an error (EACCES, ESTALE, EIO), and a disk with one bad place."""

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_workers import write_fake_scan
from faults.failing_daemon import TROUBLE_NAME
from faults.fault_station import FaultStation, check_invariants, check_while_down

from spotlessd.job import Job, JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME, read_status
from spotlessd.sqlite.database import Database

TROUBLE_SECONDS = 1.6
"""So long a trouble lasts at least: three looks by the clock, any of which could add a line to the log."""
slow = pytest.mark.slow
"""The same with another error takes another four seconds; one of each is tried everywhere."""
FIRST, SECOND = "first.tif", "second.tif"
WITHOUT_RIGHTS = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: for root, no folder is closed
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; holds from the next exec on
os.execv(sys.argv[1], sys.argv[1:])
"""


class FailingStation(FaultStation):
    """A station whose folders can be made to fail while the daemon runs."""

    program = "faults/failing_daemon.py"

    def fail(self, error: str, below: str) -> None:
        text = self.folder / "trouble.new"
        text.write_text(f"{error} {below}")
        text.rename(self.folder / TROUBLE_NAME)

    def mend(self) -> None:
        (self.folder / TROUBLE_NAME).unlink()

    def log(self) -> str:
        return (self.folder / "daemon.log").read_text()


class PlainStation(FailingStation):
    """A station whose daemon has no more rights than the folders give its user, even if that user is root."""

    launcher = (sys.executable, "-c", WITHOUT_RIGHTS)


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[FailingStation]:
    station = FailingStation(tmp_path / "station")
    yield station
    station.close()


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[PlainStation]:
    station = PlainStation(tmp_path / "station")
    yield station
    for folder in (station.scans, station.restored):
        folder.chmod(0o755)
    station.close()


def start(station: FailingStation, loader: str = "load_fake") -> None:
    station.config.write_text(station.config.read_text().replace("rescan_seconds = 1\n", "rescan_seconds = 0.5\n"))
    station.start(loader, "--recheck-soon", is_logged=True)


def told(station: FailingStation) -> str:
    """What `status` shows a person: troubles, the pause, and why files wait."""
    status = read_status(station.state, time.time())
    return " ".join([*status.degraded, status.paused, *(file.reason for file in status.waiting)])


def complaints(station: FailingStation) -> list[str]:
    return [line for line in station.log().splitlines() if " WARNING " in line or " ERROR " in line]


def job_of(station: FailingStation, rel: str) -> Job:
    with Database.open(station.state / LEDGER_NAME) as database:
        return Ledger(database).jobs_of("scans", rel)[0]


def bring(station: FailingStation, *rels: str) -> None:
    for number, rel in enumerate(rels):
        write_fake_scan(station.scans / rel, number)
    station.remember_scans()


def go_through(
    station: FailingStation, fault: str, words: tuple[str, ...], begin: Callable[[], None], end: Callable[[], None]
) -> None:
    """Let a trouble begin while the daemon idles, last for several looks with a new scan waiting, and end."""
    bring(station, FIRST)
    start(station)
    station.wait_for_states({FIRST: JobState.DONE})
    write_fake_scan(station.folder / SECOND, 2)

    (station.folder / SECOND).rename(station.scans / SECOND)
    begin()
    station.wait_for(lambda: all(word in told(station) for word in words))
    at_first = complaints(station)
    time.sleep(TROUBLE_SECONDS)
    still = complaints(station)
    is_told = all(word in told(station) for word in words)
    end()
    station.remember_scans()
    station.wait_for_states({FIRST: JobState.DONE, SECOND: JobState.DONE})

    assert is_told, "the state is not shown any more, though nothing was mended"
    assert 1 <= len(at_first) == len(still) <= 2, still
    assert job_of(station, SECOND).strikes == 0
    check_invariants(station, fault)


@pytest.mark.parametrize("error", ["ESTALE", pytest.param("EIO", marks=slow), pytest.param("EACCES", marks=slow)])
@pytest.mark.parametrize("folder", ["scans", "restored"])
def test_a_folder_that_answers_with_an_error_is_told_once_and_costs_no_attempt(
    failing: FailingStation, folder: str, error: str
) -> None:
    words = ("root scans", os.strerror(getattr(errno, error)))

    go_through(failing, f"{folder}: {error}", words, lambda: failing.fail(error, folder), failing.mend)

    assert failing.log().count("root scans is back") == 1


@pytest.mark.parametrize("error", [pytest.param("ESTALE", marks=slow), "EIO"])
@pytest.mark.parametrize("folder", ["scans", "restored"])
def test_a_folder_that_fails_in_a_job_costs_no_attempt(failing: FailingStation, folder: str, error: str) -> None:
    bring(failing, FIRST)
    start(failing, "load_slow")
    failing.worker_pid()

    failing.fail(error, folder)
    failing.wait_for(lambda: os.strerror(getattr(errno, error)) in told(failing))
    time.sleep(TROUBLE_SECONDS)
    number = len(complaints(failing))
    check_while_down(failing, f"{folder}: {error} in a job")
    failing.mend()
    failing.wait_for_states({FIRST: JobState.DONE})

    assert number <= 2
    assert job_of(failing, FIRST).strikes == 0
    check_invariants(failing, f"{folder}: {error} in a job")


@pytest.mark.parametrize(
    ("folder", "mode", "word", "end"),
    [
        ("scans", 0o000, "root scans: ", "root scans is back"),
        ("scans", 0o300, "root scans: ", "root scans is back"),
        ("restored", 0o000, "root scans: ", "root scans is back"),
        ("restored", 0o555, "paused: ", "goes on: results can be written again"),
    ],
)
def test_a_folder_whose_rights_were_taken_is_told_once_and_costs_no_attempt(
    plain: PlainStation, folder: str, mode: int, word: str, end: str
) -> None:
    place, words = plain.folder / folder, (word, "Permission denied")

    go_through(plain, f"{folder}: mode {mode:03o}", words, lambda: place.chmod(mode), lambda: place.chmod(0o755))

    plain.wait_for(lambda: end in plain.log())
    assert plain.log().count(end) == 1


def test_a_scan_on_a_bad_place_of_the_disk_waits_and_holds_up_no_other(failing: FailingStation) -> None:
    bring(failing, FIRST, SECOND)
    failing.fail("EIO", f"scans/{FIRST}")
    start(failing)

    failing.wait_for(lambda: (failing.state / LEDGER_NAME).exists() and SECOND in failing.states())
    failing.wait_for(lambda: failing.states()[SECOND] is JobState.DONE)
    failing.wait_for(lambda: os.strerror(errno.EIO) in told(failing))
    time.sleep(TROUBLE_SECONDS)
    number = len(complaints(failing))
    failing.mend()
    failing.wait_for_states({FIRST: JobState.DONE, SECOND: JobState.DONE})

    assert number <= 1
    assert job_of(failing, FIRST).strikes == 0
    check_invariants(failing, "one scan: EIO")
