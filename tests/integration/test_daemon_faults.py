"""The daemon as real processes: what people do to it, and kills at a few steps (the fault matrix: tests/faults)."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_station import DEADLINE_SECONDS, Station
from fake_workers import restored_bytes, write_fake_scan

from spotlessd.job import JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME, STOPPING, read_status
from spotlessd.sqlite.database import Database

CRASH_POINTS = (
    "claim.after_commit",
    "dispatch.mid_job",
    "publish.planned",
    "publish.image_named",
    "finish.after_commit",
)
"""A few, with a worker process beside the daemon; tests/faults tries every one."""


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    made = Station(tmp_path)
    yield made
    made.close()


def expected_results(scans: list[Path]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for scan in scans:
        found[scan.name] = restored_bytes(scan)
        found[f"masks/{scan.stem}.png"] = b"MASK " + scan.read_bytes()[:100]
        found[f"previews/{scan.stem}.jpg"] = b"PREVIEW normal"
    return found


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_daemon_killed_at_any_step_publishes_each_scan_once_after_restart(station: Station, point: str) -> None:
    scans = [write_fake_scan(station.scans / f"frame{number}.tif", number) for number in range(2)]
    inputs = station.input_hashes()

    code, text = station.run_once(crash_at=point)
    assert code == 137, text
    code, text = station.run_once()

    assert code == 0, text
    assert station.results() == expected_results(scans)
    assert set(station.states().values()) == {JobState.DONE}
    station.check_promises(inputs)


def test_a_daemon_killed_between_reserving_a_name_and_filling_it_publishes_once_after_restart(station: Station) -> None:
    scans = [write_fake_scan(station.scans / f"frame{number}.tif", number) for number in range(2)]
    inputs = station.input_hashes()

    code, text = station.run_once("--no-links", crash_at="publish.placeholder")
    assert code == 137, text
    assert any(len(content) == 0 for content in station.results().values())  # the reserved name
    code, text = station.run_once("--no-links")

    assert code == 0, text
    assert station.results() == expected_results(scans)
    station.check_promises(inputs)


def test_sigterm_lets_the_job_in_hand_finish(station: Station) -> None:
    scan = write_fake_scan(station.scans / "frame.tif")
    daemon = station.start("load_slow")
    station.worker_pid()

    daemon.send_signal(signal.SIGTERM)
    text, _ = daemon.communicate(timeout=DEADLINE_SECONDS)

    assert daemon.returncode == 0, text
    assert station.results() == expected_results([scan])


def test_a_second_sigterm_drops_the_job_and_counts_nothing(station: Station) -> None:
    write_fake_scan(station.scans / "hang.tif")
    daemon = station.start("load_slow")
    station.worker_pid()

    daemon.send_signal(signal.SIGTERM)
    station.wait_for(lambda: read_status(station.state, time.time()).paused == STOPPING)
    daemon.send_signal(signal.SIGTERM)
    text, _ = daemon.communicate(timeout=DEADLINE_SECONDS)

    assert daemon.returncode == 0, text
    with Database.open(station.state / LEDGER_NAME) as database:
        job = Ledger(database).jobs()[0]
    assert (job.state, job.interrupts, job.crashes) == (JobState.QUEUED, 0, 0)


def test_a_running_daemon_takes_what_is_dropped_into_its_folder(station: Station) -> None:
    daemon = station.start()
    station.wait_for(lambda: read_status(station.state, time.time()).is_running)

    scan = write_fake_scan(station.scans / "late.tif")
    station.wait_for_states({"late.tif": JobState.DONE})

    assert station.results() == expected_results([scan])
    assert daemon.poll() is None


def test_a_file_that_grows_waits_with_its_reason_and_is_restored_when_complete(station: Station) -> None:
    station.start()
    station.wait_for(lambda: read_status(station.state, time.time()).is_running)
    whole = write_fake_scan(station.folder / "whole.tif").read_bytes()
    growing = station.scans / "growing.tif"

    growing.write_bytes(whole[:1000])
    station.wait_for(lambda: [file.rel for file in read_status(station.state, time.time()).waiting] == ["growing.tif"])
    with growing.open("ab") as file:
        file.write(whole[1000:])
    station.wait_for_states({"growing.tif": JobState.DONE})

    assert (station.restored / "growing.tif").read_bytes() == b"RESTORED " + whole


def test_a_file_that_stays_cut_short_ends_quarantined_with_its_sentence(station: Station) -> None:
    whole = write_fake_scan(station.folder / "whole.tif").read_bytes()
    station.start()
    station.wait_for(lambda: read_status(station.state, time.time()).is_running)

    (station.scans / "short.tif").write_bytes(whole[:1000])
    station.wait_for_states({"short.tif": JobState.QUARANTINED})

    with Database.open(station.state / LEDGER_NAME) as database:
        assert Ledger(database).jobs()[0].reason == "the file ends too early."


def test_a_good_config_on_reload_holds_for_the_next_scan(station: Station) -> None:
    daemon = station.start()
    write_fake_scan(station.scans / "before.tif")
    station.wait_for_states({"before.tif": JobState.DONE})
    station.config.write_text(station.config.read_text() + '[mask]\nsensitivity = "high"\n')

    daemon.send_signal(signal.SIGHUP)
    time.sleep(1)
    write_fake_scan(station.scans / "after.tif")
    station.wait_for_states({"before.tif": JobState.DONE, "after.tif": JobState.DONE})

    results = station.results()
    assert results["previews/before.jpg"] == b"PREVIEW normal"
    assert results["previews/after.jpg"] == b"PREVIEW high"
    assert read_status(station.state, time.time()).degraded == ()


def test_a_worker_that_cannot_start_ends_a_single_run_with_its_exit_code(station: Station) -> None:
    write_fake_scan(station.scans / "frame.tif")
    process = station.start("load_never", "--once")

    text, _ = process.communicate(timeout=DEADLINE_SECONDS)

    assert process.returncode == 69, text
    assert "no such device here" in text


def test_a_daemon_whose_worker_cannot_start_stays_up_and_says_why(station: Station) -> None:
    daemon = station.start("load_never")

    station.wait_for(
        lambda: any("no such device" in reason for reason in read_status(station.state, time.time()).degraded)
    )

    assert daemon.poll() is None
    assert read_status(station.state, time.time()).exit_code == 3
