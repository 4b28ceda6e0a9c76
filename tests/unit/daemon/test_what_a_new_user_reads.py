"""The sentences that a person meets who has not read the source: what happened, and what to type next."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spotless_core.command_line import EXIT_USAGE
from spotlessd.cli import main
from spotlessd.commands import setup_commands
from spotlessd.commands import station_commands as commands
from spotlessd.configuration.in_force import keep_in_force
from spotlessd.configuration.keeper import ConfigKeeper
from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.doctor.checking import Check, Finished, last_lines
from spotlessd.errors import UnknownJobError
from spotlessd.folders.roots import MARKER_NAME
from spotlessd.job import Identity, JobState, Tally
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME, LOCK_NAME
from spotlessd.placing import tally_of
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database
from spotlessd.station import init_station
from spotlessd.station_lock import StationLock

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(init_station(tmp_path / "station"))


@pytest.fixture
def broken(settings: Settings) -> Iterator[Settings]:
    """A station whose daemon runs, and whose config was broken since."""
    lock = StationLock(settings.state_dir / LOCK_NAME)
    keep_in_force(settings)
    text = settings.config_path.read_text(encoding="utf-8")
    settings.config_path.write_text(text.replace("\nsettle_seconds =", "\nsettle_second ="), encoding="utf-8")
    yield settings
    lock.close()


def refused(settings: Settings, rel: str, reason: str = "it is damaged.") -> int:
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        made = Ledger(database).refuse(Identity("scans", rel, 5, 6), 7, "r", reason, 1.0)
    assert made is not None
    return made


def edited(settings: Settings, old: str, new: str) -> Path:
    text = settings.config_path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    settings.config_path.write_text(text.replace(old, new), encoding="utf-8")
    return settings.config_path


@pytest.mark.parametrize(
    "words", [["status", "more"], ["foo"], [], ["list", "--state", "bad"], ["pause", "--for", "2w"]]
)
def test_a_wrong_command_line_is_not_the_exit_code_of_a_stopped_daemon(words: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)

    assert ended.value.code == EXIT_USAGE
    assert "--help" in capsys.readouterr().err


def test_a_state_that_does_not_exist_names_those_that_do(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main(["list", "--state", "failed"])

    assert "'failed'; one of queued, running, done, held, quarantined" in capsys.readouterr().err


def test_a_file_with_a_line_break_in_its_name_stays_on_one_line(settings: Settings) -> None:
    refused(settings, "new\nline.tif")

    lines = commands.list_jobs(settings, None, as_json=False).text.splitlines()

    assert len(lines) == 2
    assert "new\\nline.tif" in lines[1]


def test_a_stopped_station_says_what_to_type_to_start_this_one(settings: Settings) -> None:
    text = commands.show_status(settings, as_json=False).text

    assert f"start it: spotlessd run --config {settings.config_path}" in text


def test_a_second_init_says_how_to_start_the_station_that_is_there(settings: Settings, capsys: Captured) -> None:
    assert main(["init", str(settings.config_path.parent)]) == 73
    assert f"spotlessd run --config {settings.config_path}" in capsys.readouterr().err


def test_a_scan_that_waits_is_not_an_unknown_one(settings: Settings) -> None:
    (settings.roots[0].input / "young.tif").write_bytes(b"x")

    with pytest.raises(UnknownJobError, match=r"not queued yet.*scan --dry-run"):
        commands.show_job(settings, "young.tif", as_json=False)


def test_a_name_without_its_folder_is_answered_with_the_whole_one(settings: Settings) -> None:
    job = refused(settings, "roll 7/a.tif")

    with pytest.raises(UnknownJobError, match=rf"Did you mean roll 7/a.tif \(job {job}\)"):
        commands.show_job(settings, "a.tif", as_json=False)


def test_a_result_given_for_a_scan_is_told_so(settings: Settings) -> None:
    result = settings.roots[0].output / "a.tif"

    with pytest.raises(UnknownJobError, match="Name the scan in"):
        commands.show_job(settings, str(result), as_json=False)


def test_reprocess_takes_an_id_as_the_other_commands_do(settings: Settings) -> None:
    job = refused(settings, "roll 7/a.tif")

    assert commands.reprocess(settings, str(job), None, "low").exit_code == 0

    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        (command,) = Board(database).open_commands()
    assert (command.arguments["root"], command.arguments["rel"]) == ("scans", "roll 7/a.tif")


@pytest.mark.parametrize("came", ['"5s"', '"five"'])
def test_a_number_in_quotes_or_with_a_unit_is_explained(settings: Settings, came: str, capsys: Captured) -> None:
    path = edited(settings, "\nsettle_seconds = 5 ", f"\nsettle_seconds = {came} ")

    assert main(["check-config", "--config", str(path)]) == 78
    assert "expected: a number without quotes and without its unit." in capsys.readouterr().err


def test_a_line_that_is_no_toml_is_shown(settings: Settings, capsys: Captured) -> None:
    path = edited(settings, '\ninput = "scans" ', '\ninput = "scans ')

    assert main(["check-config", "--config", str(path)]) == 78
    assert "The line: 'input = \"scans" in capsys.readouterr().err


def test_an_unknown_variable_gets_no_hint_that_only_shares_our_prefix(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("SPOTLESSD_FOO", "1")

    assert main(["check-config", "--config", str(settings.config_path)]) == 78
    assert capsys.readouterr().err.strip() == "spotlessd: environment SPOTLESSD_FOO: unknown variable"


def test_check_config_names_a_folder_that_is_not_there(settings: Settings, capsys: Captured) -> None:
    path = edited(settings, '\ninput = "scans" ', '\ninput = "scnas" ')

    assert main(["check-config", "--config", str(path)]) == 0
    assert f"! {path.parent / 'scnas'} is not there now" in capsys.readouterr().out


def test_a_log_file_that_cannot_be_opened_is_a_sentence(settings: Settings, capsys: Captured) -> None:
    (settings.state_dir / "taken").write_text("a file where a folder is wanted")
    path = edited(settings, '\nfile = "" ', '\nfile = "state/taken/spotlessd.log" ')

    assert main(["run", "--once", "--config", str(path)]) == 73
    assert "spotlessd.log: cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["status"], ["status", "--json"], ["list"], ["scan", "--dry-run"], ["config", "show", "--origin"]]
)
def test_with_a_broken_config_a_command_goes_by_what_the_daemon_kept_and_says_so(
    broken: Settings, words: list[str], capsys: Captured
) -> None:
    main([*words, "--config", str(broken.config_path)])

    printed = capsys.readouterr()
    assert printed.out
    assert "the config is wrong (see: spotlessd check-config)" in printed.err


def test_with_a_broken_config_the_values_are_those_that_the_daemon_kept(broken: Settings, capsys: Captured) -> None:
    assert main(["config", "show", "--json", "--config", str(broken.config_path)]) == 0

    shown = {entry["key"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert shown["watch.settle_seconds"]["value"] == 5
    assert shown["watch.settle_seconds"]["origin"] == "kept by the running daemon"


def test_with_a_broken_config_the_doctor_looks_at_what_the_daemon_works_by(
    broken: Settings, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    looked_at: list[Settings | None] = []

    def run_checks(settings: Settings | None) -> list[Check]:
        looked_at.append(settings)
        return []

    monkeypatch.setattr(setup_commands, "run_checks", run_checks)

    assert main(["doctor", "--config", str(broken.config_path)]) == 69
    assert looked_at[0] is not None
    assert looked_at[0].roots == broken.roots
    assert "The daemon goes on with the settings before it" in capsys.readouterr().out


def test_a_changed_station_id_asks_for_a_restart_rather_than_for_another_marker(settings: Settings) -> None:
    keeper = ConfigKeeper(settings)
    edited(settings, f'"{settings.station_id}"', '"other"')

    keeper.read()

    assert keeper.trouble == "station_id changed; that needs a restart. The old config stays in force."


def test_a_foreign_marker_says_how_to_take_the_folder_over(settings: Settings, capsys: Captured) -> None:
    path = edited(settings, f'"{settings.station_id}"', '"other"')

    assert main(["run", "--once", "--config", str(path)]) == 75
    marker = settings.roots[0].input / MARKER_NAME
    assert f"set it back; if the other station is gone, type: echo other > '{marker}'" in capsys.readouterr().err


def test_a_dry_look_at_a_folder_that_is_away_prints_no_line_of_a_log(settings: Settings, capsys: Captured) -> None:
    (settings.roots[0].input / MARKER_NAME).unlink()

    main(["scan", "--dry-run", "--config", str(settings.config_path)])

    printed = capsys.readouterr()
    assert "folder away" in printed.out
    assert printed.err == ""


def test_what_was_in_hand_when_the_daemon_ended_is_not_told_as_running(settings: Settings) -> None:
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        ledger = Ledger(database)
        job = ledger.enqueue(Identity("scans", "a.tif", 5, 6), 7, "r", time.time())
        assert job is not None
        assert ledger.claim(job, "station/1/0", time.time()) is not None

    assert "it starts again with the daemon" in commands.show_status(settings, as_json=False).text


def test_the_doctor_shows_the_sentence_of_our_own_error_and_not_its_traceback() -> None:
    output = 'Traceback …\n  File "device.py", line 43\nspotless_core.errors.DeviceError: no CUDA device answers.'

    assert last_lines(Finished(1, output)) == "no CUDA device answers."


def test_a_held_frame_says_in_the_list_why_it_is_held(settings: Settings) -> None:
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        ledger = Ledger(database)
        queued = ledger.enqueue(Identity("scans", "a.tif", 5, 6), 7, "r", time.time())
        assert queued is not None
        job = ledger.claim(queued, "station/1/0", time.time())
        assert job is not None
        tally = Tally(14, 0.06, "6.00% of the frame would be repaired, 3.00% is allowed (mask.max_coverage)")
        ledger.finish(job, JobState.HELD, {}, "", {}, time.time(), tally)

    assert "3.00% is allowed" in commands.list_jobs(settings, JobState.HELD, as_json=False).text


def test_what_a_receipt_says_of_a_held_frame_goes_into_the_ledger() -> None:
    notes = ["the encoding was sensed", "held: too much", "held: a hole is wide"]

    tally = tally_of({"defects": [{}], "coverage": 0.5, "notes": notes})

    assert tally == Tally(1, 0.5, "too much; a hole is wide")
