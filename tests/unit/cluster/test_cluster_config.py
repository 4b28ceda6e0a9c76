"""The keys of a cluster in the config: what is refused, and that no password is ever shown."""

from pathlib import Path

import pytest

from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.errors import ConfigError

ENGINE = 'engine = "postgresql://spotless@db.lab:5432/spotless"\n'
ROOT = '[[roots]]\ninput = "scans"\noutput = "restored"\n'
SHARE = '[[shares]]\nname = "all"\npath = "."\n'


def load(folder: Path, text: str) -> Settings:
    path = folder / "spotlessd.toml"
    path.write_text(text)
    return load_settings(path)


def problems(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    return str(caught.value)


def test_a_station_in_a_cluster(tmp_path: Path) -> None:
    settings = load(tmp_path, ENGINE + ROOT + SHARE)
    assert settings.is_clustered
    assert [(share.name, share.path) for share in settings.shares] == [("all", tmp_path)]


def test_without_an_engine_nothing_is_clustered(tmp_path: Path) -> None:
    assert not load(tmp_path, ROOT + SHARE).is_clustered


def test_a_worker_needs_no_roots(tmp_path: Path) -> None:
    assert load(tmp_path, ENGINE + SHARE).roots == ()
    assert "at least one [[roots]] is required" in problems(tmp_path, ENGINE)
    assert "at least one [[roots]] is required" in problems(tmp_path, SHARE)


@pytest.mark.parametrize(
    "engine", ["postgres", "http://db/spotless", "postgresql://", "postgresql://db", "postgresql://db:99999/x", ""]
)
def test_another_engine_is_refused_with_what_is_expected(tmp_path: Path, engine: str) -> None:
    found = problems(tmp_path, f'engine = "{engine}"\n' + ROOT + SHARE)
    assert f"{tmp_path}/spotlessd.toml:1: engine: " in found
    assert "local or postgresql://user@host:5432/database expected" in found


@pytest.mark.parametrize(
    "engine",
    ["postgresql://me:s3cret@db/spotless", "postgresql://db/spotless?password=s3cret", "postgres://a:s3cret@h/d"],
)
def test_a_password_in_the_address_is_refused_and_not_shown(tmp_path: Path, engine: str) -> None:
    found = problems(tmp_path, f'engine = "{engine}"\n' + ROOT + SHARE)
    assert "PGPASSWORD, ~/.pgpass or cluster.password_file" in found
    assert "s3cret" not in found


def test_a_password_is_not_shown_either_when_the_address_is_wrong_otherwise(tmp_path: Path) -> None:
    found = problems(tmp_path, 'engine = "postgresql://me:s3cret@db:port/spotless"\n' + ROOT + SHARE)
    assert "s3cret" not in found


def test_a_root_outside_of_the_shares_is_named(tmp_path: Path) -> None:
    share = f'[[shares]]\nname = "all"\npath = "{tmp_path}/scans"\n'
    found = problems(tmp_path, ENGINE + ROOT + share)
    assert f"roots[0].output: {tmp_path}/restored lies in no share (all = {tmp_path}/scans)" in found
    assert "roots[0].input" not in found


def test_shares_have_names_and_places_of_their_own(tmp_path: Path) -> None:
    other = '[[shares]]\nname = "{}"\npath = "{}"\n'
    assert "shares[1].name: 'all' came; it is taken" in problems(tmp_path, ENGINE + SHARE + other.format("all", "x"))
    assert "shares[1].path: " in problems(tmp_path, ENGINE + SHARE + other.format("more", "."))
    assert len(load(tmp_path, ENGINE + SHARE + other.format("more", "inside")).shares) == 2


def test_a_worker_may_miss_one_heartbeat(tmp_path: Path) -> None:
    found = problems(tmp_path, ENGINE + SHARE + "[cluster]\nheartbeat_seconds = 20\nlost_seconds = 30\n")
    assert (
        "cluster.lost_seconds: 30; less than two heartbeats" in found.replace("= 30:", "30;")
        or "two heartbeats" in found
    )


def test_a_workers_name_is_a_name_or_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, ENGINE + SHARE + '[worker]\nname = "gpu1"\n').worker.name == "gpu1"
    assert "worker.name" in problems(tmp_path, ENGINE + SHARE + '[worker]\nname = "gpu 1"\n')


def test_a_cluster_that_is_not_used_is_not_imported() -> None:
    import subprocess
    import sys

    code = (
        "import sys, spotlessd.service, spotlessd.cli, spotlessd.computing\n"
        "print([name for name in sys.modules if name.startswith(('spotlessd.cluster', 'procrastinate', 'psycopg'))])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
