"""What `spotlessd status` reads."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from spotlessd.errors import StationBusyError
from spotlessd.folders.disk_space import room_text
from spotlessd.job import Identity, JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import (
    LEDGER_NAME,
    LOCK_NAME,
    PAUSE_KEY,
    SNAPSHOT_KEY,
    JobInHand,
    Pause,
    Snapshot,
    WorkerFacts,
    read_pause,
    read_status,
)
from spotlessd.sqlite.board import Board, WaitingFile
from spotlessd.sqlite.database import Database
from spotlessd.station_lock import StationLock

SNAPSHOT = Snapshot(
    version="0",
    pid=1,
    started=0.0,
    written=1000.0,
    worker="busy",
    worker_pid=2,
    device="cpu",
    precision="float32",
    models=("a.safetensors",),
    memory_mb=50.0,
    worker_memory_mb=400.0,
    worker_restarts=0,
    job=JobInHand(3, "a.tif", 1, "detect", 0.5, 990.0),
    paused="",
)


def write(state: Path, snapshot: Snapshot = SNAPSHOT) -> None:
    with Database.open(state / LEDGER_NAME) as database:
        Board(database).note(SNAPSHOT_KEY, snapshot.to_json())


def test_a_snapshot_comes_back_as_it_was_written() -> None:
    assert Snapshot.from_json(SNAPSHOT.to_json()) == SNAPSHOT


def test_a_snapshot_of_several_workers_comes_back_as_it_was_written() -> None:
    workers = (
        WorkerFacts("GPU 0", "busy", 2, "cuda", "bfloat16", ("a.safetensors",), 400.0, 0, SNAPSHOT.job),
        WorkerFacts("GPU 1", "down", None, "", "", (), 0.0, 3, None, "", "worker GPU 1 cannot start: why."),
    )
    snapshot = replace(SNAPSHOT, workers=workers)

    assert Snapshot.from_json(snapshot.to_json()) == snapshot
    assert snapshot.jobs == (SNAPSHOT.job,)


def test_a_snapshot_of_an_older_version_has_its_job(tmp_path: Path) -> None:
    values = json.loads(SNAPSHOT.to_json())
    del values["workers"]

    assert Snapshot.from_json(json.dumps(values)).jobs == (SNAPSHOT.job,)


def test_a_station_that_never_ran_is_not_running(tmp_path: Path) -> None:
    assert read_status(tmp_path, 1000.0).exit_code == 2


def test_a_snapshot_of_a_dead_daemon_does_not_count_as_running(tmp_path: Path) -> None:
    write(tmp_path)

    status = read_status(tmp_path, 1001.0)

    assert (status.health, status.to_dict()["daemon"]) == ("not running", None)


def test_a_held_lock_is_a_running_daemon(tmp_path: Path) -> None:
    write(tmp_path)
    lock = StationLock(tmp_path / LOCK_NAME)

    status = read_status(tmp_path, 1001.0)
    lock.close()

    assert (status.health, status.exit_code) == ("ok", 0)


def test_quarantined_files_are_exit_code_1(tmp_path: Path) -> None:
    write(tmp_path)
    with Database.open(tmp_path / LEDGER_NAME) as database:
        Ledger(database).refuse(Identity("scans", "a.tif", 1, 1), 1, "r", "bad", 1.0)
    lock = StationLock(tmp_path / LOCK_NAME)

    status = read_status(tmp_path, 1001.0)
    lock.close()

    assert (status.exit_code, status.counts[JobState.QUARANTINED]) == (1, 1)


def test_a_daemon_that_says_it_is_degraded_is_exit_code_3(tmp_path: Path) -> None:
    write(tmp_path, replace(SNAPSHOT, degraded=("root scans: away",)))
    lock = StationLock(tmp_path / LOCK_NAME)

    status = read_status(tmp_path, 1001.0)
    lock.close()

    assert (status.exit_code, status.degraded) == (3, ("root scans: away",))


def test_a_daemon_that_fell_silent_is_degraded(tmp_path: Path) -> None:
    write(tmp_path)
    lock = StationLock(tmp_path / LOCK_NAME)

    status = read_status(tmp_path, 1100.0)
    lock.close()

    assert "has not reported for 100 s" in status.degraded[0]


def test_a_pause_ends_by_itself_at_its_time(tmp_path: Path) -> None:
    with Database.open(tmp_path / LEDGER_NAME) as database:
        board = Board(database)
        board.note(PAUSE_KEY, Pause(100.0, until=200.0).to_json())

        assert read_pause(board, 199.0) is not None
        assert read_pause(board, 201.0) is None


def test_waiting_files_come_longest_first(tmp_path: Path) -> None:
    with Database.open(tmp_path / LEDGER_NAME) as database:
        board = Board(database)

        board.show_waiting([WaitingFile("scans", "b", "new", 20.0), WaitingFile("scans", "a", "growing", 10.0)])
        first = board.waiting()
        board.show_waiting([])

        assert [file.rel for file in first] == ["a", "b"]
        assert board.waiting() == []


def test_a_second_lock_is_refused_and_names_the_holder(tmp_path: Path) -> None:
    lock = StationLock(tmp_path / LOCK_NAME)

    with pytest.raises(StationBusyError, match=r"process \d+"):
        StationLock(tmp_path / LOCK_NAME)
    lock.close()

    StationLock(tmp_path / LOCK_NAME).close()


def test_an_answered_command_is_not_open_any_more(tmp_path: Path) -> None:
    with Database.open(tmp_path / LEDGER_NAME) as database:
        board = Board(database)
        number = board.ask("scan", {}, time.time())

        board.answer(number, "done.", time.time())

        command = board.command(number)
        assert board.open_commands() == []
        assert command is not None
        assert (command.is_done, command.answer) == (True, "done.")


def test_room_on_a_disk_is_told_as_it_is_now_and_not_as_when_the_queue_stopped(tmp_path: Path) -> None:
    then = f"{room_text(2_000_000, tmp_path, 25_000_000)}. Free some space."
    write(tmp_path, replace(SNAPSHOT, paused=then, degraded=(f"paused: {then}",)))
    lock = StationLock(tmp_path / LOCK_NAME)

    still_short = read_status(tmp_path, 1001.0, lambda _: 7_000_000)
    enough = read_status(tmp_path, 1001.0, lambda _: 26_000_000)
    lock.close()

    assert still_short.paused.startswith(f"disk: 7 MB free at {tmp_path}, 25 MB wanted. Free some space.")
    assert still_short.degraded == (f"paused: {still_short.paused}",)
    assert enough.paused.endswith("There is room again now: it goes on within the minute.")


def test_a_disk_that_may_hang_is_not_asked(tmp_path: Path) -> None:
    then = f"{room_text(2_000_000, tmp_path / 'restored', 25_000_000)}."
    write(tmp_path, replace(SNAPSHOT, paused=then))
    lock = StationLock(tmp_path / LOCK_NAME)
    asked: list[Path] = []

    def free(folder: Path) -> int:
        asked.append(folder)
        return 10**9

    status = read_status(tmp_path, 1100.0, free)
    lock.close()

    assert (status.paused, asked) == (then, [tmp_path])


def test_a_full_state_disk_is_told_by_the_status_itself(tmp_path: Path) -> None:
    write(tmp_path)
    lock = StationLock(tmp_path / LOCK_NAME)

    status = read_status(tmp_path, 1001.0, lambda _: 4096)
    lock.close()

    assert status.exit_code == 3
    assert "the disk of the state folder is full (0.0 MB free)" in status.degraded[0]
