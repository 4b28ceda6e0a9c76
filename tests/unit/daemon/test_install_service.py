"""The service file fits the station, and systemd accepts it."""

import plistlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spotlessd.commands.install_service import ServiceFile, ServicePlan, install, plan_service, quoted, render_unit
from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.errors import InstallError

PYTHON = Path("/opt/spotless/bin/python")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path)


def make_settings(folder: Path, extra: str = "") -> Settings:
    path = folder / "spotlessd.toml"
    path.write_text(
        'station_id = "darkroom-1"\nstate_dir = "/srv/film/state"\n' + extra + "[[roots]]\n"
        'input = "/srv/film/my scans"\noutput = "/srv/film/100%"\n',
        encoding="utf-8",
    )
    return load_settings(path)


def values(unit: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{key}=")]


def test_the_units_commands_are_absolute_and_name_the_config(settings: Settings) -> None:
    unit = render_unit(settings, "system", PYTHON)

    config = f'"{settings.config_path}"'
    assert values(unit, "ExecStart") == [f'"{PYTHON}" -m spotlessd run --config {config}']
    assert values(unit, "ExecStartPre") == [f'"{PYTHON}" -m spotlessd check-config --config {config}']


def test_the_unit_may_write_results_and_state_and_only_read_scans(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, 'log.file = "/var/log/spotless/log"\n')

    unit = render_unit(settings, "system", PYTHON)

    assert values(unit, "ReadWritePaths") == ['"-/srv/film/state" "-/srv/film/100%%" "-/var/log/spotless"']
    assert values(unit, "ReadOnlyPaths") == ['"-/srv/film/my scans"']


def test_a_spool_outside_the_state_folder_may_be_written(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, 'watch.spool_dir = "/srv/fast"\n')

    unit = render_unit(settings, "system", PYTHON)

    assert values(unit, "ReadWritePaths") == ['"-/srv/film/state" "-/srv/fast" "-/srv/film/100%%"']


@pytest.mark.parametrize(("grace", "seconds"), [(30, 180), (600, 660)])
def test_the_service_is_given_the_time_that_the_job_in_hand_may_take(tmp_path: Path, grace: int, seconds: int) -> None:
    settings = make_settings(tmp_path, f"queue.stop_grace_seconds = {grace}\n")

    (agent,) = plan_service(settings, "user", platform="darwin", home=tmp_path, python=PYTHON).files

    assert values(render_unit(settings, "system", PYTHON), "TimeoutStopSec") == [str(seconds)]
    assert plistlib.loads(agent.text.encode())["ExitTimeOut"] == seconds


def test_no_placeholder_is_left(settings: Settings) -> None:
    for scope in ("system", "user"):
        assert "%i" not in render_unit(settings, scope, PYTHON)


def test_a_users_unit_asks_for_nothing_only_root_can_do(settings: Settings) -> None:
    unit = render_unit(settings, "user", PYTHON)

    assert values(unit, "User") == values(unit, "CapabilityBoundingSet") == values(unit, "ProtectSystem") == []
    assert values(unit, "WantedBy") == ["default.target"]
    assert values(unit, "Type") == ["notify"]


def test_percent_and_dollar_in_a_path_mean_themselves() -> None:
    assert quoted('/a "b"/50%/$x\\') == '"/a \\"b\\"/50%%/$$x\\\\"'


def test_a_users_service_goes_to_the_users_folder(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)

    plan = plan_service(settings, "user", platform="linux", home=tmp_path, python=PYTHON)
    install(plan)

    unit = tmp_path / ".config" / "systemd" / "user" / "spotlessd-darkroom-1.service"
    assert unit.read_text(encoding="utf-8") == render_unit(settings, "user", PYTHON)
    assert plan.next_commands[-1] == "systemctl --user enable --now spotlessd-darkroom-1.service"


def test_a_system_service_brings_its_user_and_says_how_to_go_on(settings: Settings, tmp_path: Path) -> None:
    settings = settings.model_copy()
    settings._config_path = Path("/etc/spotlessd/darkroom.toml")

    plan = plan_service(settings, "system", platform="linux", home=tmp_path, python=PYTHON)

    assert [str(file.path) for file in plan.files] == [
        "/etc/systemd/system/spotlessd-darkroom-1.service",
        "/etc/sysusers.d/spotlessd.conf",
    ]
    assert plan.next_commands[0] == "sudo systemd-sysusers"
    assert "'/srv/film/100%'" in plan.next_commands[1]


def test_a_station_in_the_temporary_folder_is_no_system_service(settings: Settings) -> None:
    settings = settings.model_copy()
    settings._config_path = Path("/tmp/station/spotlessd.toml")

    with pytest.raises(InstallError, match="cannot see /tmp"):
        plan_service(settings, "system", platform="linux", python=PYTHON)


def test_on_macos_a_launch_agent_is_written(settings: Settings, tmp_path: Path) -> None:
    plan = plan_service(settings, "user", platform="darwin", home=tmp_path, python=PYTHON)

    (file,) = plan.files
    agent = plistlib.loads(file.text.encode())
    assert file.path == tmp_path / "Library" / "LaunchAgents" / "org.spotless.spotlessd.darkroom-1.plist"
    assert agent["ProgramArguments"] == [
        *(str(PYTHON), "-m", "spotlessd", "run", "--config", str(settings.config_path)),
        "--wait-for-config",
    ]
    assert "@" not in agent["StandardErrorPath"]
    assert agent["KeepAlive"] == {"SuccessfulExit": False}


def test_on_macos_there_is_no_system_service(settings: Settings) -> None:
    with pytest.raises(InstallError, match="Use --user"):
        plan_service(settings, "system", platform="darwin", python=PYTHON)


def test_a_folder_that_cannot_be_written_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(InstallError, match="--print"):
        install(ServicePlan((ServiceFile(tmp_path / "file" / "unit", ""),), ()))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
@pytest.mark.parametrize("scope", ["system", "user"])
def test_systemd_accepts_the_rendered_unit(settings: Settings, tmp_path: Path, scope: str) -> None:
    unit = tmp_path / "spotlessd-darkroom-1.service"
    unit.write_text(render_unit(settings, scope, Path(sys.executable)), encoding="utf-8")  # type: ignore[arg-type]

    done = subprocess.run(
        ["systemd-analyze", f"--{scope}", "--man=no", "verify", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
    )

    complaints = [line for line in done.stderr.splitlines() if unit.name in line]
    assert complaints == []
    assert "Failed to initialize" not in done.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_systemd_finds_little_exposed_in_the_machines_unit(settings: Settings, tmp_path: Path) -> None:
    unit = tmp_path / "spotlessd-darkroom-1.service"
    unit.write_text(render_unit(settings, "system", Path(sys.executable)), encoding="utf-8")

    # --threshold: exit status 1 above this exposure, in tenths; 0 is nothing, 100 everything.
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=25", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )

    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze cannot judge a unit that is not installed")
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    assert "Overall exposure level" in done.stdout
