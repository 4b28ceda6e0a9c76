"""Rows 12, 14, 16, 18: folders that go away, bad configurations, two daemons, clocks that jump, signals in a job."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_workers import write_fake_scan
from faults.fault_station import FaultStation, check_invariants, check_while_down

from spotlessd.job import JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME, read_status
from spotlessd.sqlite.database import Database

DAY_SECONDS = 86400.0


def start(station: FaultStation, loader: str = "load_fake") -> subprocess.Popen[str]:
    daemon = station.start(loader, "--recheck-soon", is_logged=True)
    station.wait_for(lambda: read_status(station.state, time.time()).snapshot is not None)
    return daemon


def troubles(station: FaultStation) -> str:
    return " ".join(read_status(station.state, time.time()).degraded)


@pytest.mark.parametrize("folder", ["scans", "restored"])
def test_a_folder_that_goes_away_and_comes_back_empty_first_loses_nothing(station: FaultStation, folder: str) -> None:
    """As a share that is unmounted: an empty folder stands in its place until it is mounted again."""
    place = station.folder / folder
    for number in range(3):
        write_fake_scan(station.scans / f"frame{number}.tif", number)
    station.remember_scans()
    start(station, "load_slow")
    station.worker_pid()

    place.rename(station.folder / "unmounted")
    place.mkdir()
    station.wait_for(lambda: "no .spotlessd-root in it" in troubles(station))
    with Database.open(station.state / LEDGER_NAME) as database:
        gone = Ledger(database).counts()[JobState.GONE]
    place.rmdir()
    (station.folder / "unmounted").rename(place)
    station.wait_for_states({f"frame{number}.tif": JobState.DONE for number in range(3)})

    assert gone == 0
    check_invariants(station, f"{folder} unmounted in a job")


def test_an_output_that_becomes_read_only_pauses_and_goes_on(station: FaultStation) -> None:
    mount = ["mount", "-t", "tmpfs", "tmpfs", station.restored]
    marker = next(station.restored.iterdir()).read_text()
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a tmpfs")
    try:
        (station.restored / ".spotlessd-root").write_text(marker)
        start(station)
        subprocess.run(["mount", "-o", "remount,ro", station.restored], check=True)
        write_fake_scan(station.scans / "frame.tif")
        station.remember_scans()
        station.wait_for(lambda: "Read-only" in read_status(station.state, time.time()).paused)
        subprocess.run(["mount", "-o", "remount,rw", station.restored], check=True)
        station.wait_for_states({"frame.tif": JobState.DONE})

        with Database.open(station.state / LEDGER_NAME) as database:
            assert Ledger(database).jobs()[0].strikes == 0
        check_invariants(station, "output read-only")
    finally:
        station.close()
        subprocess.run(["umount", "-l", station.restored], check=True)


def test_bad_configurations_one_after_the_other_change_nothing_and_are_told(station: FaultStation) -> None:
    good = station.config.read_text()
    bad = {
        "typo": good + "typo = 1\n",
        "TOML": good + "[queue\n",
        "lies in": good.replace('output = "restored"', 'output = "scans/restored"'),
        "station_id changed": good.replace('station_id = "dark"', 'station_id = "other"'),
        "seconds": good.replace("retry_seconds = 0.1", "retry_seconds = -1"),
    }
    daemon = start(station)

    for number, (word, text) in enumerate(bad.items()):
        station.config.write_text(text)
        daemon.send_signal(signal.SIGHUP)
        station.wait_for(lambda word=word: word in troubles(station))  # type: ignore[misc]
        write_fake_scan(station.scans / f"frame{number}.tif", number)
        station.remember_scans()
        station.wait_for_states({f"frame{index}.tif": JobState.DONE for index in range(number + 1)})
        check_invariants(station, f"bad config: {word}")
    station.config.write_text(good)
    daemon.send_signal(signal.SIGHUP)
    station.wait_for(lambda: troubles(station) == "")

    assert daemon.poll() is None


def test_a_config_read_again_in_a_job_waits_for_its_end(station: FaultStation) -> None:
    write_fake_scan(station.scans / "frame.tif")
    station.remember_scans()
    daemon = start(station, "load_slow")
    station.worker_pid()

    station.config.write_text(station.config.read_text() + '[mask]\nsensitivity = "high"\n')
    daemon.send_signal(signal.SIGHUP)
    station.wait_for_states({"frame.tif": JobState.DONE})

    with Database.open(station.state / LEDGER_NAME) as database:
        assert Ledger(database).jobs()[0].attempt == 1
    check_invariants(station, "SIGHUP in a job")


def test_of_daemons_started_at_once_one_serves_the_station(station: FaultStation) -> None:
    for number in range(3):
        write_fake_scan(station.scans / f"frame{number}.tif", number)
    station.remember_scans()

    daemons = [station.start("load_fake") for _ in range(3)]
    station.wait_for_states({f"frame{number}.tif": JobState.DONE for number in range(3)})
    station.wait_for(lambda: sum(daemon.poll() is None for daemon in daemons) == 1)

    refused = [daemon for daemon in daemons if daemon.poll() is not None]
    assert all("already serves" in daemon.communicate()[0] for daemon in refused)
    check_invariants(station, "three daemons at once")


def shifted_by(seconds: float) -> Callable[[], None]:
    def shift() -> None:
        real = time.time
        time.time = lambda: real() + seconds

    return shift


@pytest.mark.parametrize(("first", "second"), [(0.0, -DAY_SECONDS), (0.0, DAY_SECONDS), (DAY_SECONDS, -DAY_SECONDS)])
@pytest.mark.parametrize("step", ["claim.after_commit", "publish.mask_named"])
def test_a_clock_that_jumps_between_a_kill_and_the_restart_stalls_nothing(
    station: FaultStation, first: float, second: float, step: str
) -> None:
    write_fake_scan(station.scans / "frame.tif")
    future = write_fake_scan(station.scans / "future.tif", 2)
    os.utime(future, (time.time() + DAY_SECONDS, time.time() + DAY_SECONDS))
    station.remember_scans()

    code, text = station.run_inline(crash_at=step, prepare=shifted_by(first))
    assert code == 137, text
    check_while_down(station, "clock jumps")
    station.recover(lambda: station.run_inline(prepare=shifted_by(second)))

    check_invariants(station, "clock jumps")


def test_a_job_put_off_is_not_held_up_by_a_clock_set_back(station: FaultStation) -> None:
    station.set_queue("retry_max_seconds = 7000")
    station.config.write_text(station.config.read_text().replace("retry_seconds = 0.1\n", "retry_seconds = 7000\n"))
    station.config.write_text(
        station.config.read_text().replace("retry_max_seconds = 0.2\n", "")  # the one put in above holds
    )
    write_fake_scan(station.scans / "device.tif")
    station.remember_scans()
    code, text = station.run_inline()
    assert code == 69, text

    begun = time.monotonic()
    code, text = station.run_inline(prepare=shifted_by(-DAY_SECONDS))

    assert code == 0, text
    assert time.monotonic() - begun < 60
    check_invariants(station, "clock set back in a back-off")


def test_a_folder_of_another_station_is_left_alone(station: FaultStation, tmp_path: Path) -> None:
    write_fake_scan(station.scans / "frame.tif")
    station.remember_scans()
    other = FaultStation(tmp_path / "other")
    other.config.write_text(
        other.config.read_text()
        .replace('"dark"', '"light"')
        .replace('input = "scans"', f'input = "{station.scans}"')
        .replace('output = "restored"', f'output = "{station.restored}"')
    )

    code, text = other.run_inline()

    assert code not in {0, 65}
    assert "it belongs to station 'dark'" in text
    assert station.results() == {}
    station.recover()
    check_invariants(station, "folder of another station")
