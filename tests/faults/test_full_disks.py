"""Row 8: no room left, for results, for the ledger and for working copies; then room again.

A small tmpfs is mounted where that is allowed; a limit of the process on the size of files (EFBIG) stands in elsewhere.
"""

import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fake_workers import write_fake_scan
from faults.fault_station import BALLAST_NAME, FaultStation, check_invariants, check_while_down

from spotlessd.folders.roots import MARKER_NAME
from spotlessd.job import JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME, read_status
from spotlessd.sqlite.database import Database

BLOCK = 4096


@pytest.fixture
def small_disk(station: FaultStation, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Mount 2 MB at the station's folder that the test names."""
    folder: Path = station.folder / request.param
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a tmpfs")
    if folder == station.restored:
        (folder / MARKER_NAME).write_text("dark\n")
    try:
        yield folder
    finally:
        station.close()
        subprocess.run(["umount", "-l", folder], check=True)


def fill_up(folder: Path) -> Path:
    """Write until nothing goes in any more."""
    ballast = folder / BALLAST_NAME
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(BLOCK))
    return ballast


def attempts(station: FaultStation) -> list[int]:
    with Database.open(station.state / LEDGER_NAME) as database:
        return [job.attempt for job in Ledger(database).jobs()]


@pytest.mark.parametrize("small_disk", ["restored"], indirect=True)
def test_a_full_output_pauses_the_queue_costs_no_attempt_and_goes_on_when_freed(
    station: FaultStation, small_disk: Path
) -> None:
    for number in range(3):
        write_fake_scan(station.scans / f"frame{number}.tif", number)
    station.remember_scans()
    ballast = fill_up(small_disk)
    station.start("load_fake", "--recheck-soon")

    station.wait_for(lambda: "disk: 0 MB free" in read_status(station.state, time.time()).paused)
    paused_attempts = attempts(station)
    check_while_down(station, "full output disk")
    ballast.unlink()
    station.wait_for_states({f"frame{number}.tif": JobState.DONE for number in range(3)})

    assert paused_attempts == [0, 0, 0]
    check_invariants(station, "full output disk")


@pytest.mark.parametrize("small_disk", ["restored"], indirect=True)
def test_an_output_that_fills_up_in_the_middle_of_a_job_blames_nobody(station: FaultStation, small_disk: Path) -> None:
    """The gate is passed, the part files do not fit."""
    station.config.write_text(station.config.read_text().replace("reserve_mb = 1", "reserve_mb = 0"))
    write_fake_scan(station.scans / "frame.tif", size=600_000)
    station.remember_scans()
    station.start("load_slow", "--recheck-soon")
    station.worker_pid()
    ballast = fill_up(small_disk)

    station.wait_for(lambda: "space" in read_status(station.state, time.time()).paused)
    check_while_down(station, "output full in a job")
    ballast.unlink()
    station.wait_for_states({"frame.tif": JobState.DONE})

    with Database.open(station.state / LEDGER_NAME) as database:
        job = Ledger(database).jobs()[0]
    assert job.strikes == 0
    assert job.setbacks >= 1
    check_invariants(station, "output full in a job")


@pytest.mark.parametrize("small_disk", ["state"], indirect=True)
def test_a_full_state_disk_holds_everything_up_and_loses_nothing(station: FaultStation, small_disk: Path) -> None:
    station.start("load_fake", "--recheck-soon")
    station.wait_for(lambda: read_status(station.state, time.time()).snapshot is not None)
    ballast = fill_up(small_disk)

    for number in range(40):
        write_fake_scan(station.scans / f"frame{number:02d}.tif", number)
    station.remember_scans()
    time.sleep(2)
    check_while_down(station, "full state disk")
    ballast.unlink()

    station.wait_for_states({f"frame{number:02d}.tif": JobState.DONE for number in range(40)})
    check_invariants(station, "full state disk")


@pytest.mark.parametrize("small_disk", ["state"], indirect=True)
def test_a_state_disk_that_fills_up_while_a_job_is_worked_on_loses_nothing(
    station: FaultStation, small_disk: Path
) -> None:
    """The worker's word comes when nothing can be written down: it is kept until it can."""
    for name in ("bad.tif", "frame.tif"):
        write_fake_scan(station.scans / name)
    station.remember_scans()
    station.start("load_slow", "--recheck-soon")
    station.worker_pid()
    ballast = fill_up(small_disk)
    time.sleep(2)

    ballast.unlink()
    station.wait_for_states({"bad.tif": JobState.QUARANTINED, "frame.tif": JobState.DONE})

    check_invariants(station, "state full in a job", quarantined=frozenset({"bad.tif"}))


@pytest.mark.parametrize("small_disk", ["spool"], indirect=True)
def test_a_full_disk_of_working_copies_pauses_the_queue_and_costs_no_attempt(
    station: FaultStation, small_disk: Path
) -> None:
    words = f'[watch]\nspool = "always"\nspool_dir = "{small_disk}"'
    station.config.write_text(station.config.read_text().replace("[watch]", words))
    write_fake_scan(station.scans / "frame.tif", size=300_000)
    station.remember_scans()
    ballast = fill_up(small_disk)
    station.start("load_fake", "--recheck-soon")

    station.wait_for(lambda: "for the copy of a scan" in read_status(station.state, time.time()).paused)
    paused_attempts = attempts(station)
    ballast.unlink()
    station.wait_for_states({"frame.tif": JobState.DONE})

    assert paused_attempts == [0]
    assert list(small_disk.iterdir()) == []
    check_invariants(station, "full spool disk")


@pytest.mark.parametrize("limit", [100, 3000, 5000])
def test_files_that_cannot_be_written_out_are_never_published_by_half(station: FaultStation, limit: int) -> None:
    """Anybody may limit the size of files: of a result first, then of the ledger too."""
    write_fake_scan(station.scans / "frame.tif", size=6000)
    station.remember_scans()
    assert station.run_inline(crash_at="enqueue.after_commit")[0] == 137  # the ledger is there

    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    code, text = station.run_inline(prepare=limit_files)
    check_while_down(station, "files limited in size")
    assert code not in {0, 65}, text
    station.recover()

    check_invariants(station, "files limited in size")
