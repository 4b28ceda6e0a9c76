"""The packaged service files keep what the service depends on."""

import plistlib

import pytest

from spotlessd.errors import DaemonError
from spotlessd.packaged import packaged_file

UNITS = ["spotlessd@.service", "spotlessd-worker@.service"]


def unit_lines(name: str = "spotlessd@.service") -> list[str]:
    return packaged_file("systemd", name).read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    "line",
    [
        "Type=notify",
        "RestartPreventExitStatus=78",
        "KillMode=mixed",
        "OOMPolicy=continue",
        "WatchdogSec=60",
        "ProtectSystem=strict",
        "NoNewPrivileges=yes",
        "ExecReload=/bin/kill -HUP $MAINPID",
    ],
)
def test_the_unit_keeps_its_promises(line: str) -> None:
    assert line in unit_lines()


@pytest.mark.parametrize(
    "key", ["PrivateDevices", "MemoryDenyWriteExecute", "ProtectClock", "ProcSubset", "DynamicUser"]
)
@pytest.mark.parametrize("name", UNITS)
def test_no_unit_has_anything_that_hides_the_graphics_card_or_its_files(key: str, name: str) -> None:
    assert not [line for line in unit_lines(name) if line.startswith(f"{key}=")]


def test_a_workers_unit_keeps_to_a_stations_but_for_what_it_starts_and_that_stations_may_remove_its_parts() -> None:
    own = {line for line in unit_lines("spotlessd-worker@.service") if line and not line.startswith(("#", "["))}
    station = {line for line in unit_lines() if line and not line.startswith(("#", "["))}

    assert {line.partition("=")[0] for line in own ^ station} == {
        "Description",
        "ExecStart",
        "ExecStartPre",
        "ExecReload",
        "UMask",
    }


def test_every_user_and_group_of_the_unit_is_made_by_sysusers() -> None:
    text = packaged_file("systemd", "spotlessd.sysusers.conf").read_text(encoding="utf-8")
    made = {line.split()[1] for line in text.splitlines() if line and not line.startswith("#")}

    wanted = {
        name
        for line in unit_lines()
        if line.startswith(("User=", "Group=", "SupplementaryGroups="))
        for name in line.partition("=")[2].split()
    }

    assert wanted == made


def test_the_launch_agent_is_a_valid_property_list_that_stops_in_time() -> None:
    agent = plistlib.loads(packaged_file("systemd", "org.spotless.spotlessd.plist").read_bytes())

    assert agent["ExitTimeOut"] == 180
    assert agent["Umask"] == 0o027


def test_a_file_that_is_not_packaged_is_an_error_with_the_places() -> None:
    with pytest.raises(DaemonError, match=r"config/none\.toml"):
        packaged_file("config", "none.toml")
