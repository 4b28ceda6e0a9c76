"""The doctor sees what is wrong with a station and says what to do."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from spotless_core.image_io.opening import open_scan
from spotless_core.options import DeviceChoice
from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.doctor import machine_checks, station_checks
from spotlessd.doctor.checking import Check, Finished, Runner, run_command
from spotlessd.doctor.doctor import run_checks
from spotlessd.doctor.machine_checks import draw_scan, gpu_node_checks, job_check
from spotlessd.doctor.station_checks import inotify_check, scratch_check
from spotlessd.folders.file_systems import Mount
from spotlessd.folders.roots import MARKER_NAME
from spotlessd.station import init_station


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(init_station(tmp_path / "station"))


def works(arguments: list[str], timeout_seconds: float) -> Finished:
    """Every child ends well; a daemon publishes a copy of the scan with a receipt."""
    if "--once" in arguments:
        folder = Path(arguments[-1]).parent
        (folder / "restored" / "scan.tif").write_bytes((folder / "scans" / "scan.tif").read_bytes())
        (folder / "restored" / "receipts").mkdir()
        receipt = {"seconds": {"total": 1.5}, "device": "CPU"}
        (folder / "restored" / "receipts" / "scan.json").write_text(json.dumps(receipt))
    return Finished(0, "fine\n")


def fails(arguments: list[str], timeout_seconds: float) -> Finished:
    return Finished(69, "Traceback\nlast words\n")


def found(settings: Settings | None, run: Runner = works) -> dict[str, Check]:
    return {check.name: check for check in run_checks(settings, run)}


def test_a_fresh_station_is_healthy(settings: Settings) -> None:
    checks = found(settings)

    stations = [check for name, check in checks.items() if name.startswith(("scans", "state", "ledger", "folders"))]
    assert [check for check in stations if not check.ok or check.fix] == []
    assert len(stations) == 11


def test_without_a_station_the_machine_alone_is_looked_at() -> None:
    assert {"libturbojpeg", "opencv", "device auto", "small job"} <= set(found(None))
    assert "state" not in found(None)


def test_nothing_is_left_behind(settings: Settings) -> None:
    before = sorted(settings.config_path.parent.rglob("*"))

    found(settings)

    assert sorted(settings.config_path.parent.rglob("*")) == before


def test_a_missing_marker_is_found_with_the_command_that_helps(settings: Settings) -> None:
    (settings.roots[0].input / MARKER_NAME).unlink()

    check = found(settings)["scans: marker in scans"]

    assert not check.ok
    assert f"echo {settings.station_id}" in check.detail


def test_a_folder_that_is_away_is_found(settings: Settings) -> None:
    (settings.roots[0].input / MARKER_NAME).unlink()
    settings.roots[0].input.rmdir()

    checks = found(settings)

    assert checks["scans: input"].ok is False
    assert str(settings.roots[0].input) in checks["scans: input"].fix


def test_an_output_that_cannot_be_written_is_found(settings: Settings) -> None:
    (settings.roots[0].output / MARKER_NAME).unlink()
    settings.roots[0].output.rmdir()
    settings.roots[0].output.touch()

    assert found(settings)["scans: output"].ok is False


def test_too_little_space_is_found(settings: Settings) -> None:
    greedy = settings.model_copy(update={"disk": settings.disk.model_copy(update={"reserve_mb": 10**9})})

    assert found(greedy)["scans: disk"].ok is False


def test_a_ledger_on_a_network_share_is_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(station_checks, "mount_of", lambda folder: Mount(Path("/srv"), "nfs4"))

    checks = found(settings)

    assert checks["ledger's disk"].ok is False
    assert checks["scans: file system"].ok
    assert "polled" in checks["scans: file system"].detail


def test_working_copies_on_a_network_share_are_told_and_are_no_failure(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = settings.config_path.parent / "share"
    share.mkdir()
    watch = settings.watch.model_copy(update={"spool_dir": share / "spool", "spool": "always"})
    monkeypatch.setattr(
        station_checks, "mount_of", lambda folder: Mount(share, "cifs" if folder.is_relative_to(share) else "ext4")
    )

    check = found(settings.model_copy(update={"watch": watch}))["spool's disk"]

    assert check.ok is None
    assert "spool_dir" in check.fix


def test_without_working_copies_their_folder_is_not_looked_at(settings: Settings) -> None:
    assert not [name for name in found(settings) if name.startswith("spool")]


def test_room_for_working_copies_is_looked_at(settings: Settings) -> None:
    watch = settings.watch.model_copy(update={"spool": "always"})
    greedy = settings.disk.model_copy(update={"reserve_mb": 10**9})

    checks = found(settings.model_copy(update={"watch": watch, "disk": greedy}))

    assert checks["spool"].ok
    assert checks["spool: disk"].ok is checks["state: disk"].ok is False


def test_scans_that_this_user_may_not_read_are_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("open.tif", "closed.tif"):
        (settings.roots[0].input / name).touch()
    real = os.access  # root may read everything, whatever its mode
    monkeypatch.setattr(os, "access", lambda path, mode: "closed" not in str(path) and real(path, mode))

    check = found(settings)["scans: scans"]

    assert check.ok is False
    assert "1 files cannot be read, closed.tif" in check.detail


def test_results_on_a_network_share_are_told_to_be_as_safe_as_its_server(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station_checks, "mount_of", lambda folder: Mount(Path("/srv"), "nfs4"))

    assert found(settings)["scans: output's disk"].ok is None


def test_events_on_a_network_share_are_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(station_checks, "mount_of", lambda folder: Mount(Path("/srv"), "cifs"))
    events = settings.model_copy(update={"watch": settings.watch.model_copy(update={"mode": "events"})})

    assert found(events)["scans: file system"].ok is False


def test_more_folders_than_the_kernel_watches_are_found(tmp_path: Path) -> None:
    for name, value in (("max_user_watches", 8), ("max_user_instances", 128)):
        (tmp_path / name).write_text(f"{value}\n", encoding="ascii")
    for index in range(5):
        (tmp_path / "scans" / str(index)).mkdir(parents=True)

    check = inotify_check([tmp_path / "scans"], limits=tmp_path)

    assert check.ok is False
    assert "sysctl" in check.fix


def test_without_the_kernels_limits_it_cannot_be_told(tmp_path: Path) -> None:
    assert inotify_check([], limits=tmp_path / "none").ok is None


def test_weights_with_another_checksum_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good.safetensors").write_bytes(b"good")
    (tmp_path / "bad.safetensors").write_bytes(b"bad")
    right = hashlib.sha256(b"good").hexdigest()
    (tmp_path / "manifest.toml").write_text(
        "".join(f'[{name}]\nfile = "{name}.safetensors"\nsha256 = "{right}"\n' for name in ("good", "bad", "gone")),
        encoding="utf-8",
    )
    monkeypatch.setattr(machine_checks, "packaged_file", lambda folder, name: tmp_path / name)

    checks = found(None)

    assert {name: checks[f"model {name}"].ok for name in ("good", "bad", "gone")} == {
        "good": True,
        "bad": False,
        "gone": False,
    }


def test_a_missing_libturbojpeg_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "find_library", lambda name: None)

    check = found(None)["libturbojpeg"]

    assert check.ok is False
    assert "libturbojpeg0" in check.fix


def test_a_device_that_does_not_start_shows_its_last_words() -> None:
    check = found(None, fails)["device auto"]

    assert check.ok is False
    assert check.detail == "exit 69: Traceback / last words"


def test_a_job_without_a_result_is_found() -> None:
    def forgets(arguments: list[str], timeout_seconds: float) -> Finished:
        return Finished(0, "done")

    assert job_check(None, forgets).ok is False


def test_a_job_that_changes_its_input_is_found() -> None:
    def harms(arguments: list[str], timeout_seconds: float) -> Finished:
        done = works(arguments, timeout_seconds)
        (Path(arguments[-1]).parent / "scans" / "scan.tif").write_bytes(b"harmed")
        return done

    check = job_check(None, harms)

    assert (check.ok, "changed" in check.detail) == (False, True)


def test_a_job_that_came_out_well_tells_device_and_seconds() -> None:
    assert job_check(None, works).detail == "a drawn scan was restored on CPU in 1.5 s"


def test_the_small_job_runs_with_the_stations_device_and_inpainter(settings: Settings) -> None:
    seen = []

    def looks(arguments: list[str], timeout_seconds: float) -> Finished:
        seen.append(load_settings(Path(arguments[-1])))
        return works(arguments, timeout_seconds)

    device = settings.device.model_copy(update={"device": DeviceChoice.CPU, "threads": 1})
    assert job_check(settings.model_copy(update={"device": device}), looks).ok

    assert (seen[0].device.device, seen[0].device.threads) == ("cpu", 1)
    assert seen[0].inpaint.method == settings.inpaint.method


def test_a_share_that_hangs_is_told_and_not_touched_again(settings: Settings) -> None:
    root = settings.roots[0]

    def hangs(arguments: list[str], timeout_seconds: float) -> Finished:
        return Finished(124, "") if arguments[-1] == str(root.input) else works(arguments, timeout_seconds)

    checks = found(settings, hangs)

    assert (checks["scans: input"].ok, "no answer within" in checks["scans: input"].detail) == (False, True)
    assert "scans: marker in scans" not in checks
    assert checks["scans: output"].ok


def test_room_for_large_scans_is_counted_at_14_bytes_a_pixel(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = settings.disk.reserve_mb * 1_000_000 + 14 * 300_000_000
    monkeypatch.setattr(station_checks.shutil, "disk_usage", lambda place: SimpleNamespace(free=free))

    too_little = scratch_check("scratch", settings.roots[0].output, settings)
    enough = scratch_check("scratch", settings.roots[0].output, settings.model_copy(update={"max_megapixels": 290.0}))

    assert (too_little.ok, "room for 300 megapixels" in too_little.detail) == (False, True)
    assert "TMPDIR" in too_little.fix
    assert enough.ok


def test_memory_is_no_room_for_large_scans(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(station_checks, "mount_of", lambda folder: Mount(Path("/tmp"), "tmpfs"))

    check = scratch_check("scratch", settings.roots[0].output, settings)

    assert (check.ok, "room for 0 megapixels" in check.detail) == (False, True)


def test_a_graphics_card_without_its_cuda_node_is_found(tmp_path: Path) -> None:
    without_card = list(gpu_node_checks(tmp_path))
    (tmp_path / "nvidia0").touch()
    (missing,) = gpu_node_checks(tmp_path)
    (tmp_path / "nvidia-uvm").touch()
    (there,) = gpu_node_checks(tmp_path)

    assert without_card == []
    assert (missing.ok, there.ok) == (False, True)
    assert "nvidia-modprobe" in missing.fix


@pytest.mark.parametrize(("command", "ok"), [(("sh", "-c", "true"), True), (("/no/such/hook",), False)])
def test_the_program_to_be_told_is_looked_for(settings: Settings, command: tuple[str, ...], ok: bool) -> None:
    notify = settings.notify.model_copy(update={"command": command})

    assert found(settings.model_copy(update={"notify": notify}))["notify.command"].ok is ok


def test_a_childs_work_is_not_steered_by_our_own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOTLESSD_DEVICE__DEVICE", "cuda")

    done = run_command([sys.executable, "-c", "import os; print('SPOTLESSD_DEVICE__DEVICE' in os.environ)"], 30)

    assert done.output.strip() == "False"


def test_the_drawn_scan_is_one_the_program_takes(tmp_path: Path) -> None:
    draw_scan(tmp_path / "scan.tif")

    info = open_scan(tmp_path / "scan.tif").info

    assert (info.width, info.height, info.bits, info.dpi) == (320, 256, 16, 4000)


@pytest.mark.parametrize(
    ("code", "seconds", "exit_code", "output"),
    [
        ("import sys; print('out'); sys.exit(3)", 30, 3, "out"),
        ("import time; time.sleep(60)", 0.2, 124, "no answer"),
    ],
)
def test_a_childs_end_is_told(code: str, seconds: float, exit_code: int, output: str) -> None:
    finished = run_command([sys.executable, "-c", code], seconds)

    assert finished.exit_code == exit_code
    assert output in finished.output


def test_a_program_that_is_not_there_is_told() -> None:
    assert run_command(["/no/such/program"], 1).exit_code == 127


def test_the_doctor_itself_loads_no_networks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import spotlessd.doctor.doctor, sys; sys.exit('torch' in sys.modules)"],
        timeout=60,
        check=False,
    )

    assert done.returncode == 0
