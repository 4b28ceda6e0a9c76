"""What is made durable, and in which order."""

from pathlib import Path

import pytest

from spotlessd.publishing import durable
from spotlessd.publishing.durable import make_folder
from spotlessd.sqlite.database import Database
from spotlessd.station_lock import StationLock


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    folders: list[Path] = []
    monkeypatch.setattr(durable, "sync_folder", folders.append)
    return folders


def test_the_name_of_every_folder_made_is_on_disk(tmp_path: Path, synced: list[Path]) -> None:
    make_folder(tmp_path / "a" / "b")

    assert set(synced) == {tmp_path, tmp_path / "a"}
    assert (tmp_path / "a" / "b").is_dir()


def test_a_folder_that_is_there_costs_nothing(tmp_path: Path, synced: list[Path]) -> None:
    make_folder(tmp_path)

    assert synced == []


def test_the_state_folder_survives_a_power_cut(tmp_path: Path, synced: list[Path]) -> None:
    StationLock(tmp_path / "locks" / "lock").close()
    Database.open(tmp_path / "ledgers" / "ledger.sqlite3").close()

    assert synced == [tmp_path, tmp_path]
