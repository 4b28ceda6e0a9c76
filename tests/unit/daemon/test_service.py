"""The wired station in this process, with a fake worker: single runs, commands, and what a restart remembers."""

import time
from pathlib import Path

import pytest
from fake_workers import check_fake_header, load_fake, write_fake_scan

from spotlessd.commands import station_commands as commands
from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.errors import StationBusyError
from spotlessd.folders.roots import MARKER_NAME
from spotlessd.job import JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME, LOCK_NAME
from spotlessd.service import Service
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database
from spotlessd.station_lock import StationLock


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in ("scans", "restored"):
        (tmp_path / name).mkdir()
        (tmp_path / name / MARKER_NAME).write_text("dark\n")
    config = tmp_path / "spotlessd.toml"
    config.write_text(
        'station_id = "dark"\n[[roots]]\nname = "scans"\ninput = "scans"\noutput = "restored"\n'
        "[watch]\nsettle_seconds = 0.2\n[queue]\nretry_seconds = 0.1\n[disk]\nreserve_mb = 1\n"
    )
    return load_settings(config)


def run_once(settings: Settings) -> int:
    return Service(settings, is_once=True, loader=load_fake, check=check_fake_header).run()


def scans(settings: Settings) -> Path:
    return settings.roots[0].input


def restored(settings: Settings) -> Path:
    return settings.roots[0].output


def test_an_empty_folder_is_done_at_once_without_a_worker(settings: Settings) -> None:
    assert run_once(settings) == 0


def test_a_single_run_restores_what_is_there_and_tells_of_quarantine(settings: Settings) -> None:
    write_fake_scan(scans(settings) / "good.tif")
    write_fake_scan(scans(settings) / "roll" / "bad.tif")

    code = run_once(settings)

    assert code == 65
    assert (restored(settings) / "good.tif").is_file()
    answer = commands.list_jobs(settings, JobState.QUARANTINED, as_json=False)
    assert "the scan is damaged." in answer.text


def test_a_second_single_run_has_nothing_to_do(settings: Settings) -> None:
    write_fake_scan(scans(settings) / "good.tif")
    write_fake_scan(scans(settings) / "bad.tif")

    codes = [run_once(settings), run_once(settings)]

    assert codes == [65, 0]
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        assert [job.attempt for job in Ledger(database).jobs()] == [1, 1]


def test_a_scan_written_again_gets_the_next_name(settings: Settings) -> None:
    write_fake_scan(scans(settings) / "frame.tif", seed=1)
    run_once(settings)
    write_fake_scan(scans(settings) / "frame.tif", seed=2, size=5000)

    run_once(settings)

    assert (restored(settings) / "frame.tif").read_bytes() != (restored(settings) / "frame~2.tif").read_bytes()


def test_a_pause_written_down_while_stopped_is_kept_by_the_next_run(settings: Settings) -> None:
    write_fake_scan(scans(settings) / "frame.tif")
    assert commands.pause(settings, now=False, seconds=None).text == commands.LATER

    paused = run_once(settings)
    commands.resume(settings)
    resumed = run_once(settings)

    assert (paused, resumed) == (75, 0)
    assert (restored(settings) / "frame.tif").is_file()


def test_reprocess_makes_a_second_result_with_its_own_settings(settings: Settings) -> None:
    scan = write_fake_scan(scans(settings) / "frame.tif")
    run_once(settings)

    commands.reprocess(settings, str(scan), None, "high")
    code = run_once(settings)

    assert code == 0
    assert (restored(settings) / "previews/frame.jpg").read_bytes() == b"PREVIEW normal"
    assert (restored(settings) / "previews/frame~2.jpg").read_bytes() == b"PREVIEW high"


def test_reprocess_applied_twice_after_a_crash_makes_one_job(settings: Settings) -> None:
    scan = write_fake_scan(scans(settings) / "frame.tif")
    run_once(settings)
    commands.reprocess(settings, str(scan), None, "high")
    run_once(settings)
    with Database.open(settings.state_dir / LEDGER_NAME) as database, database.transaction() as connection:
        connection.execute("UPDATE command SET done = NULL")

    run_once(settings)

    assert not (restored(settings) / "frame~3.tif").exists()


def test_retry_gives_a_quarantined_scan_new_attempts(settings: Settings) -> None:
    write_fake_scan(scans(settings) / "bad.tif")
    run_once(settings)

    commands.retry(settings, "bad.tif")
    run_once(settings)

    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        job = Ledger(database).jobs()[0]
    assert (job.state, job.attempt, job.failures) == (JobState.QUARANTINED, 2, 1)


def test_an_unknown_command_is_answered_and_stops_nothing(settings: Settings) -> None:
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        numbers = [Board(database).ask(name, {}, time.time()) for name in ("dance", "bump")]

    assert run_once(settings) == 0

    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        answers = [Board(database).command(number) for number in numbers]
    assert answers[0] is not None
    assert answers[0].answer == "unknown command 'dance'"
    assert answers[1] is not None
    assert "make no sense" in answers[1].answer


def test_parts_left_by_a_dead_attempt_are_removed_at_start(settings: Settings) -> None:
    stale = restored(settings) / ".spotlessd-9-1-image.part"
    stale.write_bytes(b"half")

    run_once(settings)

    assert not stale.exists()


def test_a_folder_that_is_away_is_told_by_a_single_run(settings: Settings) -> None:
    (scans(settings) / MARKER_NAME).unlink()

    assert run_once(settings) == 75


def test_a_full_output_disk_ends_a_single_run_with_its_code(settings: Settings) -> None:
    write_fake_scan(scans(settings) / "full.tif")

    assert run_once(settings) == 73


def test_a_station_is_served_by_one_daemon(settings: Settings) -> None:
    lock = StationLock(settings.state_dir / LOCK_NAME)

    with pytest.raises(StationBusyError):
        run_once(settings)
    lock.close()


def test_a_link_is_not_reprocessed(settings: Settings, tmp_path: Path) -> None:
    outside = write_fake_scan(tmp_path / "outside.tif")
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        number = Board(database).ask("reprocess", {"root": "scans", "rel": "link.tif"}, time.time())
    (scans(settings) / "link.tif").symlink_to(outside)

    assert run_once(settings) == 0

    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        command = Board(database).command(number)
    assert command is not None
    assert "links are not followed" in command.answer
    assert not (restored(settings) / "link.tif").exists()
