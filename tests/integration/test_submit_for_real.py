"""`spotlessd submit` as a process with a fake worker: done once, gone on with after a kill, one at a time."""

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_workers import restored_bytes, write_fake_scan
from submitting import make_config, start_submit

from spotlessd.folders.roots import MARKER_NAME
from spotlessd.sqlite.database import Database

DEADLINE_SECONDS = 60.0


class Submitted:
    """An archive of fake scans and a station that stands still."""

    def __init__(self, folder: Path, number: int) -> None:
        self.archive, self.output = folder / "archive", folder / "archive-restored"
        self.log = folder / "submit.log"
        self.config = make_config(folder / "station")
        for position in range(number):
            write_fake_scan(self.archive / f"roll{position % 3}" / f"s{position:03d}.tif", position, 300)

    def start(self, *words: str, loader: str = "load_fake") -> subprocess.Popen[str]:
        return start_submit(self.config, str(self.archive), *words, loader=loader, log=self.log)

    def run(self, *words: str, loader: str = "load_fake") -> tuple[int, str]:
        process = start_submit(self.config, str(self.archive), *words, loader=loader)
        text, _ = process.communicate(timeout=DEADLINE_SECONDS)
        return process.returncode, text

    def attempts(self) -> list[tuple[str, str, int]]:
        with Database.open(self.output / ".spotlessd-batch" / "state" / "ledger.sqlite3") as database:
            rows = database.read("SELECT rel, state, attempt FROM job ORDER BY rel")
        return [(row["rel"], row["state"], row["attempt"]) for row in rows]

    def done(self) -> int:
        return len(list((self.output / "receipts").rglob("*.json")))

    def inputs(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.archive)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.archive.rglob("*.tif")
        }

    def check_all_are_done_once(self) -> None:
        scans = sorted(self.archive.rglob("*.tif"))
        for scan in scans:
            assert (self.output / scan.relative_to(self.archive)).read_bytes() == restored_bytes(scan)
        assert self.done() == len(scans)
        assert not list(self.output.rglob("*~2*"))
        assert not list(self.output.rglob("*.part"))


def wait_for(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not claim():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_an_archive_is_restored_with_a_report_and_nothing_else_is_written_into_it(tmp_path: Path) -> None:
    batch = Submitted(tmp_path, 7)
    before = batch.inputs()

    code, text = batch.run()

    assert code == 0
    assert "7 scans: 7 done." in text
    batch.check_all_are_done_once()
    assert batch.inputs() == before
    names = {str(path.relative_to(batch.archive)) for path in batch.archive.rglob("*") if path.is_file()}
    assert names - set(before) == {MARKER_NAME}
    values = json.loads((batch.output / "report.json").read_text())
    assert values["totals"]["done"] == 7
    assert (batch.output / "contact-sheet" / "index.html").is_file()


def test_after_a_kill_the_same_command_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    batch = Submitted(tmp_path, 30)
    process = batch.start(loader="load_timed_50")
    wait_for(lambda: batch.done() >= 5)
    process.kill()
    process.wait()
    kept = {path: path.stat().st_ino for path in (batch.output / "receipts").rglob("*.json")}

    code, _ = batch.run()

    assert code == 0
    assert len(kept) < 30
    batch.check_all_are_done_once()
    assert all(path.stat().st_ino == inode for path, inode in kept.items())
    assert sum(attempt > 1 for _, _, attempt in batch.attempts()) <= 1


def test_results_are_known_by_their_receipts_when_the_ledger_is_lost(tmp_path: Path) -> None:
    batch = Submitted(tmp_path, 4)
    batch.run()
    for path in (batch.output / ".spotlessd-batch" / "state").iterdir():
        path.unlink()

    code, _ = batch.run()

    assert code == 0
    batch.check_all_are_done_once()
    assert {attempt for _, _, attempt in batch.attempts()} == {0}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_the_scan_in_hand_and_says_how_to_go_on(tmp_path: Path, number: signal.Signals) -> None:
    batch = Submitted(tmp_path, 30)
    process = batch.start(loader="load_timed_100")
    wait_for(lambda: batch.done() >= 2)

    process.send_signal(number)
    code = process.wait(DEADLINE_SECONDS)
    text = batch.log.read_text()

    assert code == 75
    assert "have 20 s to end" in text
    assert "type the same command again" in text
    assert {state for _, state, _ in batch.attempts()} == {"done", "queued"}
    assert (batch.output / "report.csv").exists()
    assert not (batch.output / "contact-sheet").exists()
    assert batch.run()[0] == 0
    batch.check_all_are_done_once()


def test_a_stop_before_the_first_look_has_ended_is_not_taken_for_the_end(tmp_path: Path) -> None:
    batch = Submitted(tmp_path, 30)
    for scan in batch.archive.rglob("*.tif"):
        os.utime(scan)  # too young to be settled
    settings = batch.config.read_text()
    batch.config.write_text(settings.replace("settle_seconds = 0.3", "settle_seconds = 30"))
    process = batch.start()
    wait_for((batch.output / ".spotlessd-batch" / "state" / "config-in-force.json").exists)

    process.terminate()
    code = process.wait(DEADLINE_SECONDS)

    assert code == 75
    assert "30 scans are not done yet" in batch.log.read_text()


def test_a_second_run_of_the_same_folder_is_refused_while_one_goes_on(tmp_path: Path) -> None:
    batch = Submitted(tmp_path, 30)
    process = batch.start(loader="load_timed_100")
    wait_for(lambda: batch.done() >= 1)

    same, text = batch.run()
    elsewhere, _ = batch.run(str(tmp_path / "elsewhere"))
    reported, _ = batch.run("--report-only")
    process.kill()
    process.wait()

    assert (same, elsewhere) == (75, 75)
    assert "another `spotlessd submit`" in text
    assert reported == 75
    assert (batch.output / "report.csv").exists()


def test_a_folder_may_be_restored_into_a_second_place(tmp_path: Path) -> None:
    batch = Submitted(tmp_path, 3)
    batch.run()

    code, _ = batch.run(str(tmp_path / "elsewhere"))

    assert code == 0
    assert len(list((tmp_path / "elsewhere" / "receipts").rglob("*.json"))) == 3
    batch.check_all_are_done_once()


def test_quarantined_scans_are_told_by_the_exit_code_each_time(tmp_path: Path) -> None:
    batch = Submitted(tmp_path, 2)
    write_fake_scan(batch.archive / "bad.tif", 1, 300)

    first, _ = batch.run()
    again, text = batch.run("--json")

    assert (first, again) == (65, 65)
    assert json.loads(text[text.index("{") :])["states"] == {"done": 2, "quarantined": 1}


def test_a_worker_that_cannot_start_ends_the_run(tmp_path: Path) -> None:
    assert Submitted(tmp_path, 2).run(loader="load_never")[0] == 69


def test_a_folder_that_nobody_may_write_is_restored_all_the_same(tmp_path: Path) -> None:
    batch = Submitted(tmp_path, 3)
    if os.geteuid() == 0:
        pytest.skip("root writes into every folder; test_place.py has the refusal by a fake")
    batch.archive.chmod(0o555)
    try:
        first, _ = batch.run()
        again, _ = batch.run()
    finally:
        batch.archive.chmod(0o755)

    assert (first, again) == (0, 0)
    assert not (batch.archive / MARKER_NAME).exists()
    batch.check_all_are_done_once()


def test_a_disk_that_is_not_mounted_any_more_is_waited_for_and_not_taken_for_the_archive(tmp_path: Path) -> None:
    batch = Submitted(tmp_path, 2)
    batch.run()
    batch.archive.rename(tmp_path / "unmounted")

    away, _ = batch.run()
    batch.archive.mkdir()
    empty, _ = batch.run()
    write_fake_scan(batch.archive / "other.tif", 1, 300)
    another, text = batch.run()

    assert (away, empty, another) == (75, 75, 75)
    assert MARKER_NAME in text
    assert not (batch.archive / MARKER_NAME).exists()
    assert batch.done() == 2


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda folder: None, 66, "no such folder"),
        (lambda folder: folder.mkdir(), 66, "nothing in it"),
        (lambda folder: (folder.mkdir(), (folder / "a.cr2").touch()), 65, "1 .cr2"),
    ],
)
def test_a_folder_without_scans_is_refused_and_nothing_is_made(
    tmp_path: Path, make: Callable[[Path], object], code: int, words: str
) -> None:
    batch = Submitted(tmp_path, 0)
    make(batch.archive)

    found, text = batch.run()

    assert (found, words in text) == (code, True)
    assert not batch.output.exists()
    assert not (batch.archive / MARKER_NAME).exists()
