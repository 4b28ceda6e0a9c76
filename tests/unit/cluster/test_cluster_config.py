"""The keys of a cluster in the config: what is refused, and that no password is ever shown."""

from pathlib import Path

import pytest

from spotlessd.cli import main
from spotlessd.configuration.in_force import keep_in_force, settings_in_force
from spotlessd.configuration.keeper import ConfigKeeper
from spotlessd.configuration.problems import hide_password
from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.errors import ConfigError
from spotlessd.monitoring.status import LOCK_NAME
from spotlessd.station_lock import StationLock

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
    [
        "postgresql://me:s3cret@db/spotless",
        "postgresql://db/spotless?password=s3cret",
        "postgres://a:s3cret@h/d",
        "postgresql://me:a@s3cret@db/spotless",
        "postgresql://me:a s3cret@db/spotless",
        "postgresql://me@lab:s3cret@db/spotless",
        "POSTGRESQL://me:s3cret@db/spotless",
        "mysql://me:s3cret@db/spotless",
        "postgresql://db/spotless?sslmode=require&PASSWORD=s3cret",
        "postgresql://db/spotless?pass%77ord=s3cret",
        "postgresql://db/spotless?sslpassword=s3cret",
    ],
)
def test_a_password_in_the_address_is_refused_and_not_shown(tmp_path: Path, engine: str) -> None:
    found = problems(tmp_path, f'engine = "{engine}"\n' + ROOT + SHARE)
    assert "PGPASSWORD, ~/.pgpass or cluster.password_file" in found
    assert "s3cret" not in found


@pytest.mark.parametrize(
    "value",
    [
        '"postgresql://me:s3cret@db:port/spotless"',
        '"postgresql://me:a/s3cret@db/spotless"',
        '"postgresql://me:a#s3cret@db/spotless"',
        '"postgresql:/me:s3cret@db/spotless"',
        '"postgresql://me:s3cret"',
        "\"host=db password='a s3cret'\"",
        '["postgresql://me:s3cret@db/spotless"]',
        "postgresql://me:s3cret@db/spotless",
    ],
)
def test_a_password_is_not_shown_either_when_the_address_is_wrong_otherwise(tmp_path: Path, value: str) -> None:
    found = problems(tmp_path, f"engine = {value}\n" + ROOT + SHARE)
    assert ":1: " in found
    assert "s3cret" not in found


def test_a_password_in_the_variable_is_not_shown_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOTLESSD_ENGINE", "postgresql://me:s3cret@db/spotless")
    found = problems(tmp_path, ROOT + SHARE)
    assert found.startswith("environment SPOTLESSD_ENGINE: engine: ")
    assert "s3cret" not in found


@pytest.mark.parametrize("engine", ["postgres://db/x", "postgresql://me@[::1]:5432/x?sslmode=require&passfile=/p"])
def test_an_address_without_a_password_is_taken_as_it_is(tmp_path: Path, engine: str) -> None:
    assert load(tmp_path, f'engine = "{engine}"\n' + ROOT + SHARE).engine == engine


def test_a_wrong_port_is_shown() -> None:
    assert hide_password("postgresql://db:99999/x") == "postgresql://db:99999/x"


@pytest.mark.parametrize("share", ['[[shares]]\nname = "a b"\npath = "."\n', '[[shares]]\nname = "all"\n'])
def test_of_a_wrong_share_only_that_is_told(tmp_path: Path, share: str) -> None:
    assert "lies in no share" not in problems(tmp_path, ENGINE + ROOT + share)


def test_of_a_wrong_engine_and_a_wrong_root_only_that_is_told(tmp_path: Path) -> None:
    assert len(problems(tmp_path, 'engine = "db"\n' + SHARE).splitlines()) == 1
    assert len(problems(tmp_path, ENGINE + '[[roots]]\ninput = "scans"\n' + SHARE).splitlines()) == 1


def test_the_kept_settings_of_a_cluster_are_the_settings(tmp_path: Path) -> None:
    settings = load(tmp_path, ENGINE + ROOT + SHARE + '[cluster]\npassword_file = "pw"\n[worker]\nname = "gpu1"\n')
    lock = StationLock(settings.state_dir / LOCK_NAME)
    keep_in_force(settings)
    found = settings_in_force(settings.config_path)
    lock.close()
    assert found is not None
    assert found.model_dump() == settings.model_dump()
    assert settings.cluster.password_file == tmp_path / "pw"


STATION_COMMANDS = (
    "run --once",
    "status",
    "list",
    "show 1",
    "retry 1",
    "pause",
    "resume",
    "bump 1",
    "scan",
    "feedback",
)


@pytest.mark.parametrize("words", [*STATION_COMMANDS, "install-service --user --print", "review"])
def test_what_needs_folders_says_that_the_config_is_a_workers(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = load(tmp_path, ENGINE + SHARE).config_path
    command, *more = words.split()
    assert main([command, "--config", str(path), *more]) == 78
    told = capsys.readouterr().err
    assert f"`spotlessd {command}` needs a station's" in told
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "state").exists()


def test_a_workers_config_is_checked_like_any(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = load(tmp_path, ENGINE + SHARE).config_path
    assert main(["check-config", "--config", str(path)]) == 0
    assert "ok, for `spotlessd worker` only" in capsys.readouterr().out


def test_a_running_station_keeps_its_folders_when_the_new_config_has_none(tmp_path: Path) -> None:
    keeper = ConfigKeeper(load(tmp_path, ENGINE + ROOT + SHARE))
    load(tmp_path, ENGINE + SHARE)
    keeper.read()
    assert "no [[roots]]" in keeper.trouble
    assert not keeper.has_news


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
    assert "cluster.lost_seconds: 30: less than two heartbeats (cluster.heartbeat_seconds = 20)" in found
    more = "[cluster]\nheartbeat_seconds = 20\nlost_seconds = 40\n"
    assert load(tmp_path, ENGINE + SHARE + more).cluster.lost_seconds == 40


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
