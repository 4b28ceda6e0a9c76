"""A state folder that goes away or is exchanged under a running daemon, and one that cannot be written at all."""

import os
import time
from pathlib import Path
from threading import Thread

import pytest
from fake_workers import check_fake_header, load_fake, write_fake_scan

from spotlessd import crew
from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.errors import LedgerError
from spotlessd.folders.roots import MARKER_NAME
from spotlessd.job import Job, JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME, LOCK_NAME
from spotlessd.service import Service
from spotlessd.single_run import EXIT_TRY_AGAIN
from spotlessd.sqlite.database import Database
from spotlessd.station_lock import StationLock

PATIENCE_SECONDS = 20.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in ("scans", "restored"):
        (tmp_path / name).mkdir()
        (tmp_path / name / MARKER_NAME).write_text("dark\n")
    config = tmp_path / "spotlessd.toml"
    config.write_text(
        'station_id = "dark"\n[[roots]]\nname = "scans"\ninput = "scans"\noutput = "restored"\n'
        "[watch]\nsettle_seconds = 0.2\n[disk]\nreserve_mb = 1\n"
    )
    return load_settings(config)


def jobs_in(state: Path) -> list[Job]:
    with Database.open(state / LEDGER_NAME) as database:
        return Ledger(database).jobs()


def move_once_busy(settings: Settings, aside: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        has_ledger = (settings.state_dir / LEDGER_NAME).exists()
        if has_ledger and [job.state for job in jobs_in(settings.state_dir)] == [JobState.RUNNING]:
            break
        time.sleep(0.05)
    settings.state_dir.rename(aside)


def test_a_state_folder_that_goes_away_ends_the_daemon_and_loses_no_job(settings: Settings, tmp_path: Path) -> None:
    write_fake_scan(settings.roots[0].input / "hang.tif")
    mover = Thread(target=move_once_busy, args=(settings, tmp_path / "aside"))
    mover.start()

    code = Service(settings, loader=load_fake, check=check_fake_header).run()
    mover.join()

    (job,) = jobs_in(tmp_path / "aside")
    assert code == EXIT_TRY_AGAIN
    assert (job.state, job.attempt, job.interrupts) == (JobState.QUEUED, 1, 0)
    assert not (settings.state_dir / LEDGER_NAME).exists(), "nothing is begun anew in its place"


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_ledger_that_is_deleted_ends_the_daemon_and_the_next_start_does_nothing_twice(
    settings: Settings, is_replaced: bool
) -> None:
    inputs, ledger = settings.roots[0].input, settings.state_dir / LEDGER_NAME
    write_fake_scan(inputs / "first.tif")
    assert Service(settings, loader=load_fake, check=check_fake_header, is_once=True).run() == 0
    write_fake_scan(inputs / "hang.tif", seed=2)

    def delete_once_busy() -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and JobState.RUNNING not in {
            job.state for job in jobs_in(settings.state_dir)
        }:
            time.sleep(0.05)
        if is_replaced:
            (ledger.with_name("other")).write_bytes(b"not a ledger at all")
            ledger.with_name("other").replace(ledger)
        else:
            ledger.unlink()

    deleter = Thread(target=delete_once_busy)
    deleter.start()
    code = Service(settings, loader=load_fake, check=check_fake_header).run()
    deleter.join()
    (inputs / "hang.tif").rename(inputs / "second.tif")
    again = Service(settings, loader=load_fake, check=check_fake_header, is_once=True).run()

    assert (code, again) == (EXIT_TRY_AGAIN, 0)
    assert sorted(path.name for path in settings.roots[0].output.glob("*.tif")) == ["first.tif", "second.tif"]


def test_a_main_loop_that_breaks_counts_against_the_job_in_hand(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fake_scan(settings.roots[0].input / "hang.tif")
    service = Service(settings, loader=load_fake, check=check_fake_header)
    tick = crew.Crew.tick

    def break_when_busy(self: crew.Crew, now: float, *, may_start: bool) -> None:
        if self.jobs:
            raise RuntimeError("our own mistake")
        tick(self, now, may_start=may_start)

    monkeypatch.setattr(crew.Crew, "tick", break_when_busy)

    with pytest.raises(RuntimeError):
        service.run()

    (job,) = jobs_in(settings.state_dir)
    assert (job.state, job.interrupts) == (JobState.QUEUED, 1)


def test_a_lock_tells_when_another_file_has_its_name(tmp_path: Path) -> None:
    lock = StationLock(tmp_path / "state" / LOCK_NAME)
    before = lock.loss()

    (tmp_path / "state").rename(tmp_path / "aside")
    gone = lock.loss()
    other = StationLock(tmp_path / "state" / LOCK_NAME)
    replaced = lock.loss()

    assert before == ""
    assert "not there any more" in gone
    assert "another file now" in replaced
    assert other.loss() == ""
    lock.close()
    other.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_state_folder_without_the_right_to_write_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o500)

    with pytest.raises(LedgerError, match="give this user the right to write there"):
        StationLock(tmp_path / "state" / LOCK_NAME)


def test_a_state_folder_that_is_no_folder_ends_with_the_code_for_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")

    with pytest.raises(LedgerError, match="state_dir") as caught:
        StationLock(tmp_path / "state" / LOCK_NAME)

    assert caught.value.exit_code == 73
