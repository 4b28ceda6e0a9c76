"""A changed config is read as a whole, kept until it may be applied, and changes nothing when it is wrong."""

import os
from pathlib import Path

import pytest

from spotlessd.configuration.keeper import REST_SECONDS, ConfigKeeper
from spotlessd.configuration.settings import load_settings

CONFIG = 'station_id = "dark"\n[[roots]]\ninput = "scans"\noutput = "restored"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "spotlessd.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def keeper(path: Path) -> ConfigKeeper:
    return ConfigKeeper(load_settings(path))


def test_an_unchanged_file_is_not_read(keeper: ConfigKeeper) -> None:
    for now in range(5):
        keeper.look(float(now))

    assert not keeper.has_news
    assert keeper.trouble == ""


def test_a_changed_file_is_read_once_it_rests(keeper: ConfigKeeper, path: Path) -> None:
    path.write_text(CONFIG + '[mask]\nsensitivity = "high"\n')
    keeper.look(10.0)
    too_soon = keeper.has_news
    keeper.look(10.0 + REST_SECONDS)
    news = keeper.take()

    assert not too_soon
    assert news is not None
    assert news[0].mask.sensitivity == "high"
    assert [root.name for root in news[1]] == ["scans"]
    assert keeper.settings == news[0]
    assert keeper.take() is None


def test_a_file_that_is_still_being_written_is_not_read(keeper: ConfigKeeper, path: Path) -> None:
    for now in range(5):
        path.write_text(CONFIG + "#" * now + "\ntypo = ")
        keeper.look(0.9 * now)

    assert keeper.trouble == ""


def test_an_editor_that_replaces_the_file_is_noticed(keeper: ConfigKeeper, path: Path, tmp_path: Path) -> None:
    status = path.stat()
    new = tmp_path / "new"
    new.write_text(CONFIG.replace("scans", "input"))
    os.utime(new, ns=(status.st_mtime_ns, status.st_mtime_ns))
    new.replace(path)

    keeper.look(1.0)
    keeper.look(2.0)

    assert keeper.has_news


def test_a_bad_config_changes_nothing_but_the_trouble_until_it_is_right_again(keeper: ConfigKeeper, path: Path) -> None:
    before = keeper.settings
    path.write_text(CONFIG + "typo = 1\n[mask]\ngrow_um = -1\n")
    keeper.read()
    trouble = keeper.trouble
    had_news = keeper.has_news
    path.write_text(CONFIG)
    keeper.look(1.0)
    keeper.look(2.0)

    assert f"{path}:5: roots[0].typo: unknown key" in trouble
    assert f"{path}:7: mask.grow_um: -1.0" in trouble
    assert not had_news
    assert keeper.settings == before
    assert keeper.trouble == ""
    assert not keeper.has_news


def test_a_bad_config_takes_back_a_good_one_that_was_not_applied_yet(keeper: ConfigKeeper, path: Path) -> None:
    path.write_text(CONFIG + "[mask]\ngrow_um = 1\n")
    keeper.read()
    path.write_text("typo")

    keeper.read()

    assert keeper.take() is None


def test_a_config_that_went_away_is_trouble_and_the_old_one_stays(keeper: ConfigKeeper, path: Path) -> None:
    path.unlink()

    keeper.look(1.0)
    keeper.look(2.0)

    assert "is gone; the old config stays in force" in keeper.trouble


@pytest.mark.parametrize("line", ['station_id = "other"', 'state_dir = "elsewhere"'])
def test_what_the_ledger_hangs_on_needs_a_restart(keeper: ConfigKeeper, path: Path, line: str) -> None:
    path.write_text(
        f"{line}\n" + CONFIG.replace('station_id = "dark"\n', "" if "id" in line else 'station_id = "dark"\n')
    )

    keeper.read()

    assert "needs a restart" in keeper.trouble
    assert not keeper.has_news


def test_folders_that_reach_each_other_through_a_link_are_found_before_anything_is_applied(
    keeper: ConfigKeeper, path: Path, tmp_path: Path
) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "scans")
    path.write_text(CONFIG.replace('"restored"', '"link/restored"'))

    keeper.read()

    assert "lies in input" in keeper.trouble
    assert not keeper.has_news


SHARE = '[[shares]]\nname = "{}"\npath = "{}"\n'
ENGINE = 'engine = "postgresql://db.lab/spotless"\n'


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        (CONFIG + SHARE.format("all", "."), "engine"),
        (ENGINE + CONFIG + SHARE.format("all", ".") + SHARE.format("new", "/mnt"), "shares"),
        (ENGINE + CONFIG + SHARE.format("all", ".") + "[cluster]\nwindow = 3\n", "cluster"),
    ],
)
def test_who_computes_is_decided_at_the_start(path: Path, changed: str, key: str) -> None:
    path.write_text(ENGINE + CONFIG + SHARE.format("all", "."))
    keeper = ConfigKeeper(load_settings(path))
    path.write_text(changed)

    keeper.read()

    assert keeper.trouble == f"{key} changed; that needs a restart. The old config stays in force."
    assert not keeper.has_news


def test_shares_of_a_station_without_a_cluster_need_no_restart(keeper: ConfigKeeper, path: Path) -> None:
    path.write_text(CONFIG + SHARE.format("all", "."))

    keeper.read()

    assert keeper.trouble == ""
