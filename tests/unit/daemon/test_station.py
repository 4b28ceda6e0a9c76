"""`spotlessd init` makes a station that starts, and never harms one that is there."""

import tomllib
from pathlib import Path

import pytest

from spotlessd.configuration.settings import load_settings
from spotlessd.errors import StationBusyError, StationExistsError
from spotlessd.folders.roots import MARKER_NAME
from spotlessd.folders.station_roots import open_roots
from spotlessd.packaged import packaged_file
from spotlessd.station import init_station


def test_a_new_station_is_ready_to_run(tmp_path: Path) -> None:
    config = init_station(tmp_path / "my station")

    settings = load_settings(config)
    (root,) = open_roots(settings)
    root.ensure_available()
    assert config == tmp_path / "my station" / "spotlessd.toml"
    assert sorted(path.name for path in config.parent.iterdir()) == ["restored", "scans", "spotlessd.toml", "state"]
    assert list(root.scan()) == []


def test_a_station_can_be_moved(tmp_path: Path) -> None:
    init_station(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")

    (root,) = open_roots(load_settings(tmp_path / "there" / "spotlessd.toml"))

    root.ensure_available()
    assert root.input == tmp_path / "there" / "scans"


def test_the_config_is_the_packaged_one_but_for_the_id(tmp_path: Path) -> None:
    table = tomllib.loads(init_station(tmp_path).read_text(encoding="utf-8"))
    packaged = tomllib.loads(packaged_file("config", "spotlessd.toml").read_text(encoding="utf-8"))

    assert {key for key in table if table[key] != packaged[key]} == {"station_id"}


def test_every_station_has_its_own_id(tmp_path: Path) -> None:
    ids = {load_settings(init_station(tmp_path / name / "station")).station_id for name in "ab"}

    assert len(ids) == 2


@pytest.mark.parametrize("name", ["日本", "...", "x" * 200, "a b/ü"])
def test_any_folder_name_gives_a_legal_id(tmp_path: Path, name: str) -> None:
    load_settings(init_station(tmp_path / name))


def test_a_config_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    config = init_station(tmp_path)
    before = config.read_bytes()

    with pytest.raises(StationExistsError, match="already here"):
        init_station(tmp_path)

    assert config.read_bytes() == before


def test_a_lost_config_is_made_again_with_the_same_id(tmp_path: Path) -> None:
    config = init_station(tmp_path)
    station_id = load_settings(config).station_id
    config.unlink()

    assert load_settings(init_station(tmp_path)).station_id == station_id


def test_folders_of_two_stations_are_not_joined(tmp_path: Path) -> None:
    for name in ("scans", "restored"):
        (tmp_path / name).mkdir()
        (tmp_path / name / MARKER_NAME).write_text(f"station-{name}\n", encoding="utf-8")

    with pytest.raises(StationBusyError):
        init_station(tmp_path)

    assert not (tmp_path / "spotlessd.toml").exists()


def test_a_folder_that_cannot_be_made_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StationExistsError, match="file"):
        init_station(tmp_path / "file")


@pytest.mark.parametrize("place", ["scans", "restored", "scans/roll 1/new", "restored/new", "link/new"])
def test_no_station_is_made_in_another_ones_folders(tmp_path: Path, place: str) -> None:
    init_station(tmp_path / "first")
    (tmp_path / "first" / "link").symlink_to(tmp_path / "first" / "scans")
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(
        StationExistsError, match=r"a folder of station 'first-\w+'; nothing was made\. Choose a folder"
    ):
        init_station(tmp_path / "first" / place)

    assert sorted(tmp_path.rglob("*")) == before


def test_a_station_beside_anothers_folders_is_made(tmp_path: Path) -> None:
    init_station(tmp_path / "first")

    init_station(tmp_path / "first" / "second")
