"""Commands find what a running daemon works by, and only that."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from spotlessd.configuration.in_force import IN_FORCE_NAME, keep_in_force, settings_in_force
from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.monitoring.status import LOCK_NAME
from spotlessd.station_lock import StationLock

CONFIG = """\
state_dir = "my state"
inpaint.big_lama_path = "weights/big-lama.pt"
[log]
json = true
[[roots]]
input = "scans"
output = "restored"
[roots.mask]
sensitivity = "high"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "spotlessd.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def running(path: Path) -> Iterator[Settings]:
    """The settings of a daemon that runs."""
    settings = load_settings(path)
    lock = StationLock(settings.state_dir / LOCK_NAME)
    keep_in_force(settings)
    yield settings
    lock.close()


@pytest.mark.parametrize("text", ["[[", 'state_dir = "my state"\ntypo', CONFIG + "typo = 1", CONFIG])
def test_what_the_daemon_works_by_is_found_whatever_became_of_the_config(
    running: Settings, path: Path, text: str
) -> None:
    path.write_text(text)

    found = settings_in_force(path)

    # Without its state folder in a readable line there is nothing to go by.
    expected = running.model_dump() if "my state" in text else None
    assert (None if found is None else found.model_dump()) == expected
    assert found is None or found.config_path == path


def test_without_a_daemon_there_is_nothing_in_force(path: Path) -> None:
    settings = load_settings(path)
    StationLock(settings.state_dir / LOCK_NAME).close()
    keep_in_force(settings)

    assert settings_in_force(path) is None


def test_the_station_of_another_config_is_not_taken_for_ours(running: Settings, path: Path) -> None:
    other = path.with_name("other.toml")
    other.write_text(CONFIG + "typo = 1")

    assert settings_in_force(other) is None


@pytest.mark.parametrize("change", [{"settings": {"typo": 1}}, {"settings": 3}, {}])
def test_what_an_older_version_wrote_is_not_trusted(running: Settings, path: Path, change: dict[str, object]) -> None:
    kept = running.state_dir / IN_FORCE_NAME
    values = {"config": str(path), **change}
    kept.write_text(json.dumps(values))

    assert settings_in_force(path) is None


def test_it_is_for_this_users_eyes(running: Settings) -> None:
    assert (running.state_dir / IN_FORCE_NAME).stat().st_mode & 0o077 == 0


def test_a_state_folder_that_cannot_be_written_stops_nothing(path: Path, tmp_path: Path) -> None:
    keep_in_force(load_settings(path).model_copy(update={"state_dir": tmp_path / "not there"}))

    assert not (tmp_path / "not there").exists()
