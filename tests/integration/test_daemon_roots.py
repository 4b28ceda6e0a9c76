"""A daemon with several folders: profiles, copies of shares, folders that go away, a config that changes under it."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_station import Station
from fake_workers import restored_bytes, write_fake_scan

from spotlessd.folders.roots import MARKER_NAME
from spotlessd.job import JobState
from spotlessd.monitoring.state_report import STATE_NAME
from spotlessd.monitoring.status import StationStatus, read_status

LARGE = """
[[roots]]
name = "large"
input = "large"
output = "large-out"
priority = 10
[roots.mask]
sensitivity = "high"
"""


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    station = Station(tmp_path)
    yield station
    station.close()


def add_root(station: Station) -> tuple[Path, Path]:
    """Give the station a second folder with a profile of its own; return its input and output."""
    folders = station.folder / "large", station.folder / "large-out"
    for folder in folders:
        folder.mkdir()
        (folder / MARKER_NAME).write_text("dark\n")
    station.config.write_text(station.config.read_text() + LARGE)
    return folders


def set_key(station: Station, old: str, new: str) -> None:
    """Change the config as an editor does: a new file takes the place of the old one."""
    text = station.config.read_text()
    assert old in text
    fresh = station.config.with_suffix(".new")
    fresh.write_text(text.replace(old, new))
    fresh.replace(station.config)


def status(station: Station) -> StationStatus:
    return read_status(station.state, time.time())


def is_up(station: Station) -> bool:
    return status(station).snapshot is not None


def test_two_folders_are_restored_with_their_own_profiles_the_more_urgent_first(station: Station) -> None:
    large, large_out = add_root(station)
    write_fake_scan(station.scans / "a.tif")
    write_fake_scan(large / "z.tif")

    code, text = station.run_once()

    assert code == 0, text
    assert (station.restored / "previews/a.jpg").read_bytes() == b"PREVIEW normal"
    assert (large_out / "previews/z.jpg").read_bytes() == b"PREVIEW high"
    assert text.index("z.tif: running") < text.index("a.tif: running")
    recipes = {
        json.loads(path.read_text())["station"]["recipe"]
        for path in (station.restored / "receipts/a.json", large_out / "receipts/z.json")
    }
    assert len(recipes) == 2


def test_a_copied_scan_is_restored_under_its_own_name_and_nothing_of_the_copy_stays(station: Station) -> None:
    set_key(station, "[watch]\n", '[watch]\nspool = "always"\n')
    scan = write_fake_scan(station.scans / "roll" / "frame.tif")
    (station.state / "spool").mkdir(parents=True)
    (station.state / "spool" / "spotlessd-99-1.tif").write_bytes(b"left by a run that was killed")

    code, text = station.run_once()

    receipt = json.loads((station.restored / "receipts/roll/frame.json").read_text())
    assert code == 0, text
    assert (station.restored / "roll/frame.tif").read_bytes() == restored_bytes(scan)
    assert (receipt["input"]["name"], receipt["station"]["rel"]) == ("frame.tif", "roll/frame.tif")
    assert "spool" not in json.dumps(receipt)
    assert list((station.state / "spool").iterdir()) == []


def test_a_worker_that_dies_on_a_copied_scan_leaves_no_copy(station: Station) -> None:
    set_key(station, "[watch]\n", '[watch]\nspool = "always"\n')
    write_fake_scan(station.scans / "crash.tif")

    code, text = station.run_once()

    assert code == 65, text
    assert list((station.state / "spool").iterdir()) == []


def test_a_changed_config_is_taken_without_being_asked_and_a_bad_one_is_told_until_it_is_right(
    station: Station,
) -> None:
    station.start()
    station.wait_for(lambda: is_up(station))
    set_key(station, "[queue]\n", '[mask]\nsensitivty = "high"\ngrow_um = -1\n[queue]\n')
    station.wait_for(lambda: any("sensitivty" in line for line in status(station).degraded))
    trouble = "\n".join(status(station).degraded)
    line = station.config.read_text().splitlines().index('sensitivty = "high"') + 1
    write_fake_scan(station.scans / "before.tif")
    station.wait_for_states({"before.tif": JobState.DONE})

    set_key(station, 'sensitivty = "high"\ngrow_um = -1\n', 'sensitivity = "high"\n')
    station.wait_for(lambda: status(station).degraded == ())
    write_fake_scan(station.scans / "later.tif")
    station.wait_for_states({"before.tif": JobState.DONE, "later.tif": JobState.DONE})

    assert f"{station.config}:{line}: mask.sensitivty: unknown key; did you mean mask.sensitivity?" in trouble
    assert f"{station.config}:{line + 1}: mask.grow_um: -1.0; zero, or 1 to 500 micrometres expected." in trouble
    results = station.results()
    assert results["previews/before.jpg"] == b"PREVIEW normal"
    assert results["previews/later.jpg"] == b"PREVIEW high"


def test_a_folder_added_on_reload_is_watched(station: Station) -> None:
    daemon = station.start()
    station.wait_for(lambda: is_up(station))
    large, large_out = add_root(station)

    daemon.send_signal(signal.SIGHUP)
    write_fake_scan(large / "z.tif")

    station.wait_for_states({"z.tif": JobState.DONE})
    assert (large_out / "previews/z.jpg").read_bytes() == b"PREVIEW high"


def test_a_folder_that_was_moved_away_is_told_and_its_scans_are_neither_lost_nor_blamed(station: Station) -> None:
    large, _ = add_root(station)
    write_fake_scan(large / "one.tif")
    station.start("load_slow")
    station.wait_for(lambda: (snapshot := status(station).snapshot) is not None and snapshot.job is not None)
    away = station.folder / "unplugged"
    large.rename(away)
    large.mkdir()  # an empty mount point
    station.wait_for(lambda: any("large" in line and "share is away" in line for line in status(station).degraded))
    write_fake_scan(station.scans / "other.tif")
    station.wait_for(lambda: station.states().get("other.tif") is JobState.DONE)
    while_away = station.states()["one.tif"]

    large.rmdir()
    shutil.move(away, large)
    station.wait_for_states({"one.tif": JobState.DONE, "other.tif": JobState.DONE})
    station.wait_for(lambda: status(station).degraded == ())

    assert while_away in {JobState.QUEUED, JobState.DONE}


def test_a_copy_whose_length_was_set_first_makes_one_result_when_its_bytes_have_come(station: Station) -> None:
    set_key(station, "incomplete_seconds = 2\n", "incomplete_seconds = 60\n")
    station.start()
    station.wait_for(lambda: is_up(station))
    whole = write_fake_scan(station.folder / "whole.tif", size=1_000_000).read_bytes()
    path = station.scans / "copy.tif"
    with path.open("wb") as file:
        file.truncate(len(whole))
        file.write(whole[: len(whole) // 2])
    station.wait_for(lambda: any("zero bytes" in file.reason for file in status(station).waiting))
    time.sleep(2)  # far longer than it takes to settle

    path.write_bytes(whole)
    station.wait_for_states({"copy.tif": JobState.DONE})

    assert (station.restored / "copy.tif").read_bytes() == restored_bytes(path)
    assert not (station.restored / "copy~2.tif").exists()


def test_commands_work_while_the_config_is_wrong(station: Station) -> None:
    write_fake_scan(station.scans / "frame.tif")
    station.start()
    station.wait_for_states({"frame.tif": JobState.DONE})
    station.config.write_text("roots = [ typo\n" + station.config.read_text())
    station.wait_for(lambda: any("not TOML" in line for line in status(station).degraded))

    done = {
        command: subprocess.run(
            [sys.executable, "-m", "spotlessd", *command.split(), "--config", str(station.config)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        for command in ("status", "check-config")
    }
    station.close()
    stopped = subprocess.run(
        [sys.executable, "-m", "spotlessd", "status", "--config", str(station.config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done["status"].returncode == 3
    assert f"{station.config}:1: not TOML" in done["status"].stdout
    assert "spotlessd check-config" in done["status"].stderr
    assert "1 done" in done["status"].stdout
    assert (done["check-config"].returncode, stopped.returncode) == (78, 78)


def test_a_signal_makes_the_daemon_look_at_once(station: Station) -> None:
    set_key(station, "rescan_seconds = 1\n", 'mode = "polling"\npoll_seconds = 600\n')
    daemon = station.start()
    station.wait_for(lambda: is_up(station))
    time.sleep(1)
    write_fake_scan(station.scans / "frame.tif")
    time.sleep(1)
    before = station.states()

    daemon.send_signal(signal.SIGUSR1)

    station.wait_for_states({"frame.tif": JobState.DONE})
    assert before == {}


def test_a_signal_makes_the_daemon_write_its_state_down(station: Station) -> None:
    (station.scans / "link.tif").symlink_to(station.config)
    daemon = station.start()
    station.wait_for(lambda: is_up(station))

    daemon.send_signal(signal.SIGUSR2)
    path = station.state / STATE_NAME
    station.wait_for(lambda: path.exists() and path.read_text().endswith("}\n"))

    state = json.loads(path.read_text())
    (root,) = state["roots"]
    assert (root["input"], root["is_network"], root["away"]) == (str(station.scans), False, "")
    assert "links are not followed" in root["left_out"]["link.tif"]
    assert root["options"]["mask"]["sensitivity"] == "normal"
    assert state["config"] == {
        "file": str(station.config),
        "is_ok": True,
        "trouble": "",
        "waits_to_be_applied": False,
    }
    assert daemon.poll() is None


def mount_tmpfs(folder: Path) -> None:
    """Mount an empty file system over a folder, or skip the test where this user may not."""
    mount = shutil.which("mount")
    if sys.platform != "linux" or mount is None:
        pytest.skip("mounts are tried on Linux only")
    done = subprocess.run([mount, "-t", "tmpfs", "none", folder], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this user may not mount: {done.stderr.strip()}")


def test_a_file_system_mounted_over_a_folder_and_unmounted_again_loses_nothing(station: Station) -> None:
    write_fake_scan(station.scans / "before.tif")
    station.start()
    station.wait_for_states({"before.tif": JobState.DONE})
    mount_tmpfs(station.scans)
    try:
        station.wait_for(lambda: any("share is away" in line for line in status(station).degraded))
        write_fake_scan(station.scans / "elsewhere.tif")
        time.sleep(2)  # several full looks
        while_away = station.states()
    finally:
        subprocess.run(["umount", station.scans], check=True)
    station.wait_for(lambda: status(station).degraded == ())
    write_fake_scan(station.scans / "after.tif")

    station.wait_for_states({"before.tif": JobState.DONE, "after.tif": JobState.DONE})
    assert while_away == {"before.tif": JobState.DONE}
