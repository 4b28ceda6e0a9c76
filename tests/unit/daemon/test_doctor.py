"""The doctor sees what is wrong with a station and says what to do."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from spotless_core.image_io.opening import open_scan
from spotlessd import doctor
from spotlessd.doctor import Check, Finished, Runner, draw_scan, inotify_check, job_check, run_checks, run_command
from spotlessd.file_systems import Mount
from spotlessd.roots import MARKER_NAME
from spotlessd.settings import Settings, load_settings
from spotlessd.station import init_station


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(init_station(tmp_path / "station"))


def works(arguments: list[str], timeout_seconds: float) -> Finished:
    """Every child ends well; `restore` copies its input."""
    if "restore" in arguments:
        source, target = arguments[4:6]
        Path(target).write_bytes(Path(source).read_bytes())
    return Finished(0, "fine\n")


def fails(arguments: list[str], timeout_seconds: float) -> Finished:
    return Finished(69, "Traceback\nlast words\n")


def found(settings: Settings | None, run: Runner = works) -> dict[str, Check]:
    return {check.name: check for check in run_checks(settings, run)}


def test_a_fresh_station_is_healthy(settings: Settings) -> None:
    checks = found(settings)

    stations = [check for name, check in checks.items() if name.startswith(("scans", "state", "ledger", "folders"))]
    assert [check for check in stations if not check.ok or check.fix] == []
    assert len(stations) == 9


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
    monkeypatch.setattr(doctor, "mount_of", lambda folder: Mount(Path("/srv"), "nfs4"))

    checks = found(settings)

    assert checks["ledger's disk"].ok is False
    assert checks["scans: file system"].ok
    assert "polled" in checks["scans: file system"].detail


def test_events_on_a_network_share_are_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "mount_of", lambda folder: Mount(Path("/srv"), "cifs"))
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
    monkeypatch.setattr(doctor, "packaged_file", lambda folder, name: tmp_path / name)

    checks = found(None)

    assert {name: checks[f"model {name}"].ok for name in ("good", "bad", "gone")} == {
        "good": True,
        "bad": False,
        "gone": False,
    }


def test_a_missing_libturbojpeg_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_library", lambda name: None)

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
        for path in arguments[4:6]:
            Path(path).write_bytes(b"harmed")
        return Finished(0, "done")

    assert job_check(None, harms).ok is False


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
        [sys.executable, "-c", "import spotlessd.doctor, sys; sys.exit('torch' in sys.modules)"],
        timeout=60,
        check=False,
    )

    assert done.returncode == 0
