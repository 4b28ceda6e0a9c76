"""A ledger that another machine keeps is refused before anything is written."""

from pathlib import Path

import pytest

from spotlessd import cli
from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.errors import ConfigError
from spotlessd.folders import file_systems
from spotlessd.folders.file_systems import Mount
from spotlessd.folders.own_folders import ledger_problem, refuse_remote_ledger
from spotlessd.station import init_station

EXIT_CONFIG = 78


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return init_station(tmp_path / "station")


def mount_state(config: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Let the kernel tell that the state folder is a mount of this kind."""
    settings = load_settings(config)
    mounts = config.parent / "mountinfo"
    mounts.write_text(
        f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:50 / {settings.state_dir} rw - {kind} server:/state rw\n"
    )
    monkeypatch.setattr(file_systems, "MOUNTINFO", mounts)
    return settings


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "ceph"])
@pytest.mark.parametrize("command", ["run", "check-config"])
def test_a_ledger_across_a_network_is_refused_with_exit_78_and_a_sentence(
    config: Path, kind: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = mount_state(config, kind, monkeypatch)
    before = sorted(config.parent.rglob("*"))

    code = cli.main([command, "--config", str(config)])

    text = capsys.readouterr().err
    assert code == EXIT_CONFIG
    assert f"state_dir: {settings.state_dir} belongs to another machine ({kind} at" in text
    assert "Set state_dir to a folder on a disk of this machine." in text
    assert sorted(config.parent.rglob("*")) == before


def test_the_sentence_names_the_line_of_the_config(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = config.read_text().splitlines()
    number = next(index for index, line in enumerate(lines, 1) if line.startswith("state_dir"))
    settings = mount_state(config, "nfs4", monkeypatch)

    with pytest.raises(ConfigError, match=f":{number}: state_dir: "):
        refuse_remote_ledger(settings)


def test_the_sentence_names_the_variable_that_gave_the_folder(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOTLESSD_STATE_DIR", "elsewhere")
    settings = mount_state(config, "nfs4", monkeypatch)

    with pytest.raises(ConfigError, match=r"^environment SPOTLESSD_STATE_DIR: state_dir: "):
        refuse_remote_ledger(settings)


@pytest.mark.parametrize("kind", ["ext4", "apfs", "tmpfs", "overlay", "virtiofs", "9p"])
def test_a_disk_of_this_machine_or_of_its_host_is_not_refused(
    config: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_remote_ledger(mount_state(config, kind, monkeypatch))


def test_the_disk_of_a_virtual_machines_host_is_told_by_the_doctor_alone() -> None:
    assert "the host of this virtual machine" in ledger_problem(Path("/state"), Mount(Path("/"), "virtiofs"))
    assert ledger_problem(Path("/state"), Mount(Path("/"), "ext4")) == ""


def test_a_station_made_on_a_share_says_at_once_that_it_will_not_run_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:50 / {tmp_path}/nas rw - cifs //server/x rw\n")
    monkeypatch.setattr(file_systems, "MOUNTINFO", mounts)

    codes = [cli.main(["init", str(tmp_path / name)]) for name in ("nas/station", "local")]

    text = capsys.readouterr().err
    config = tmp_path / "nas" / "station" / "spotlessd.toml"
    assert codes == [0, 0]
    assert text.count("`spotlessd run` will refuse it") == 1
    assert f'state_dir = "/a/local/folder" in {config}' in text
