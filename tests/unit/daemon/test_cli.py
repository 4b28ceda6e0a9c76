"""The command line: every command is there, errors become exit codes, JSON is JSON."""

import json
from pathlib import Path

import pytest

from spotlessd.cli import main
from spotlessd.commands.arguments import build_parser, parse_arguments, parse_duration
from spotlessd.configuration.settings import load_settings
from spotlessd.job import Identity
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.sqlite.database import Database

COMMANDS = (
    *("init", "run", "status", "list", "show", "retry", "reprocess", "pause", "resume"),
    *("bump", "scan", "check-config", "doctor", "install-service", "demo"),
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    assert main(["init", str(tmp_path / "station")]) == 0
    return tmp_path / "station" / "spotlessd.toml"


@pytest.fixture
def job_id(config: Path) -> int:
    settings = load_settings(config)
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        made = Ledger(database).refuse(Identity("scans", "roll/a.tif", 5, 6), 7, "r", "it is damaged.", 1.0)
    assert made is not None
    return made


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args([command, "--help"])

    assert ended.value.code == 0
    assert "usage: spotlessd" in capsys.readouterr().out


def test_a_second_init_changes_nothing_and_says_so(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(config.parent)]) == 73
    assert "already" in capsys.readouterr().err


def test_a_missing_config_is_exit_code_78(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--config", str(tmp_path / "none.toml")]) == 78
    assert "none.toml" in capsys.readouterr().err


def test_a_good_config_is_told(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "--config", str(config)]) == 0
    assert "ok, station" in capsys.readouterr().out


def test_status_of_a_stopped_station_is_exit_code_2(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()

    code = main(["status", "--json", "--config", str(config)])

    values = json.loads(capsys.readouterr().out)
    assert code == 2
    assert (values["running"], values["counts"]["done"]) == (False, 0)


def test_list_tells_why_a_scan_is_quarantined(config: Path, job_id: int, capsys: pytest.CaptureFixture[str]) -> None:
    main(["list", "--state", "quarantined", "--config", str(config)])

    assert "it is damaged." in capsys.readouterr().out


def test_list_as_json_can_be_filtered(config: Path, job_id: int, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()

    main(["list", "--state", "done", "--json", "--config", str(config)])

    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("target", ["1", "roll/a.tif", "full path"])
def test_a_job_is_found_by_id_name_or_path(
    config: Path, job_id: int, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if target == "full path":
        target = str(config.parent / "scans" / "roll" / "a.tif")
    capsys.readouterr()

    code = main(["show", target, "--json", "--config", str(config)])

    values = json.loads(capsys.readouterr().out)
    assert code == 0
    assert (values["id"], values["state"]) == (job_id, "quarantined")
    assert [line["state"] for line in values["history"]] == ["queued", "quarantined"]


@pytest.mark.parametrize("command", ["show", "retry", "bump", "reprocess"])
def test_an_unknown_target_is_exit_code_66(config: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "nothing.tif", "--config", str(config)]) == 66


@pytest.mark.parametrize("words", [[], ["7", "--all"], ["7", "--reason", "memory"]])
def test_retry_wants_a_target_or_all_or_a_reason(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["retry", *words])


@pytest.mark.parametrize("words", [["7"], ["--all"], ["--reason", "memory"], ["--all", "--reason", "memory"]])
def test_retry_takes_one_or_all_or_all_with_a_reason(words: list[str]) -> None:
    assert parse_arguments(["retry", *words]).command == "retry"


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("1.5h", 5400), ("1d", 86400)])
def test_a_duration_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_the_service_file_is_printed_and_not_written(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install-service", "--user", "--print", "--config", str(config)]) == 0
    assert "run --config" in capsys.readouterr().out
