"""The ledger and the receipts as the page shows them."""

import json
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from review_station import DEFECTS, NASTY, NOW, ReviewStation

from spotlessd.errors import LedgerError
from spotlessd.job import COMPANION_RECIPE, JobState
from spotlessd.monitoring.status import LEDGER_NAME, LOCK_NAME, PAUSE_KEY, SNAPSHOT_KEY, Pause
from spotlessd.review.frames import Frames, Mark
from spotlessd.review.ledger_look import look_into
from spotlessd.review.roll import Roll, RollQuery
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import MIGRATIONS, Database
from spotlessd.station_lock import StationLock

DAY = 86400.0


@pytest.fixture
def station(tmp_path: Path) -> ReviewStation:
    return ReviewStation(tmp_path)


@pytest.fixture
def frames(station: ReviewStation) -> Frames:
    return Frames(station.settings)


def names(frames: Frames, query: RollQuery | None = None) -> list[str]:
    return [item["rel"] for item in frames.roll(query or RollQuery())["items"]]


def test_a_done_scan_is_told_with_its_figures_and_its_thumb(station: ReviewStation, frames: Frames) -> None:
    job_id = station.job("roll1/a.tif")

    (item,) = frames.roll(RollQuery())["items"]

    assert item["thumb"].startswith(f"/thumb/{job_id}.jpg?k=")
    assert item == {
        "id": job_id,
        "name": "a.tif",
        "rel": "roll1/a.tif",
        "root": "scans",
        "day": time.strftime("%Y-%m-%d", time.localtime(NOW)),
        "state": "done",
        "reason": "",
        "defects": 2,
        "coverage": 0.03,
        "finished": NOW + 2,
        "versions": 1,
        "thumb": item["thumb"],
    }


def test_each_scan_is_one_item_its_newest_job_in_the_place_it_came_in(station: ReviewStation, frames: Frames) -> None:
    station.job("a.tif", at=NOW)
    station.job("b.tif", at=NOW + 10)
    again = station.job("a.tif", JobState.HELD, recipe="r+1", at=NOW + 20)

    items = frames.roll(RollQuery())["items"]

    assert [(item["rel"], item["versions"]) for item in items] == [("b.tif", 1), ("a.tif", 2)]
    assert (items[1]["id"], items[1]["state"]) == (again, "held")


def test_a_scan_that_is_done_again_shows_its_last_result_until_then(station: ReviewStation, frames: Frames) -> None:
    first = station.job("a.tif")
    station.job("a.tif", JobState.QUEUED, recipe="r+1")
    station.job("new.tif", JobState.QUEUED)

    thumbs = {item["rel"]: item["thumb"] for item in frames.roll(RollQuery())["items"]}

    assert thumbs["new.tif"] is None
    assert thumbs["a.tif"].startswith(f"/thumb/{first}.jpg")


def test_a_scan_whose_older_bytes_come_back_is_told_by_the_job_that_waits(
    station: ReviewStation, frames: Frames
) -> None:
    first = station.job("a.tif", JobState.QUEUED)
    (station.scans / "a.tif").write_bytes(b"another scan under the same name")
    station.job("a.tif", JobState.QUEUED)
    (station.scans / "a.tif").write_bytes(b"a scan")
    with Database.open(station.state / LEDGER_NAME) as database:
        database._connection.execute("UPDATE job SET state = 'queued' WHERE id = ?", (first,))

    (item,) = frames.roll(RollQuery())["items"]

    assert (item["id"], item["state"]) == (first, "queued")


def test_sidecars_are_no_frames(station: ReviewStation, frames: Frames) -> None:
    sidecar = station.job("a_IR.tif", JobState.QUEUED, recipe=COMPANION_RECIPE)

    assert names(frames) == []
    assert (frames.frame(sidecar), frames.files(sidecar)) == (None, None)


def test_the_roll_is_cut_by_state_day_and_name_and_the_counts_are_not(station: ReviewStation, frames: Frames) -> None:
    station.job("a_1.tif", at=NOW)
    station.job("ab1.tif", JobState.HELD, at=NOW + DAY)
    station.job("c.tif", JobState.QUEUED, at=NOW + DAY)
    day = time.strftime("%Y-%m-%d", time.localtime(NOW))

    found = frames.roll(RollQuery(state="held"))

    assert names(frames, RollQuery(state="held")) == ["ab1.tif"]
    assert names(frames, RollQuery(state="waiting")) == ["c.tif"]
    assert names(frames, RollQuery(day=day)) == ["a_1.tif"]
    assert names(frames, RollQuery(text="A_1")) == ["a_1.tif"]
    assert names(frames, RollQuery(text="%")) == []
    assert names(frames, RollQuery(root="none")) == []
    assert names(frames, RollQuery(limit=1, offset=1)) == ["ab1.tif"]
    assert (found["total"], found["counts"]["done"], found["counts"]["waiting"]) == (1, 1, 1)


def test_files_that_wait_are_told_with_their_reason_while_the_daemon_runs(
    station: ReviewStation, frames: Frames
) -> None:
    station.wait_for("d.tif", "still growing.")
    stale = frames.roll(RollQuery())
    lock = StationLock(station.state / LOCK_NAME)

    found = frames.roll(RollQuery())
    lock.close()

    assert (stale["waiting"], stale["counts"]["waiting"], stale["station"]["running"]) == ([], 0, False)
    assert found["counts"]["waiting"] == 1
    assert found["waiting"] == [{"root": "scans", "rel": "d.tif", "reason": "still growing."}]
    assert found["station"] == {"id": "dark", "running": True, "paused": "", "job": None}


def test_a_pause_by_a_person_is_told_without_a_daemon_too(station: ReviewStation, frames: Frames) -> None:
    with Database.open(station.state / LEDGER_NAME) as database:
        Board(database).note(PAUSE_KEY, Pause(NOW).to_json())

    assert frames.roll(RollQuery())["station"]["paused"] == "by a person"


def test_the_last_word_of_an_earlier_run_is_not_told_as_this_ones(station: ReviewStation) -> None:
    with Database.open(station.state / LEDGER_NAME) as database:
        Board(database).note(SNAPSHOT_KEY, json.dumps({"pid": os.getpid() + 1, "paused": "stopping"}))
    frames = Frames(station.settings, is_daemon=True)
    before = frames.roll(RollQuery())["station"]["paused"]

    with Database.open(station.state / LEDGER_NAME) as database:
        Board(database).note(SNAPSHOT_KEY, json.dumps({"pid": os.getpid(), "paused": "the disk is full"}))

    assert (before, frames.roll(RollQuery())["station"]["paused"]) == ("", "the disk is full")


def test_figures_that_an_old_ledger_lacks_are_read_from_the_receipt(station: ReviewStation, frames: Frames) -> None:
    station.job("a.tif")
    with Database.open(station.state / LEDGER_NAME) as database:
        database._connection.execute("UPDATE job SET defects = NULL, coverage = NULL")

    (item,) = frames.roll(RollQuery())["items"]

    assert (item["defects"], item["coverage"]) == (2, 0.03)


def test_an_older_ledger_gets_its_frames_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    version = next(number for number, script in enumerate(MIGRATIONS) if "TABLE frame" in script)
    with closing(sqlite3.connect(path)) as connection:
        for script in MIGRATIONS[:version]:
            connection.executescript(script)
        for number, recipe in enumerate(("r", "r+1", COMPANION_RECIPE)):
            connection.execute(
                "INSERT INTO job (root, rel, size, mtime_ns, inode, recipe, state, created) VALUES"
                " ('scans', ?, 1, 1, 1, ?, 'done', ?)",
                ("a_IR.tif" if recipe == COMPANION_RECIPE else "a.tif", recipe, NOW + number),
            )
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()

    with Database.open(path) as database:
        rows = database.read("SELECT rel, job, state, versions, arrived FROM frame")

    assert [tuple(row) for row in rows] == [("a.tif", 2, "done", 2, NOW)]


def test_a_frame_is_told_by_its_receipt(station: ReviewStation, frames: Frames) -> None:
    station.job("a.tif", at=NOW)
    job_id = station.job("b.tif", at=NOW + 10)
    newer = station.job("c.tif", JobState.HELD, at=NOW + 20)

    found = frames.frame(job_id)

    assert found is not None
    assert [defect["index"] for defect in found["defects"]] == [0, 1]
    assert found["defects"][1]["kind"] == DEFECTS[1]["kind"]
    assert (found["width"], found["height"], found["dpi"], found["bits"]) == (60, 40, 4000.0, 16)
    assert (found["sensitivity"], found["coverage"], found["notes"]) == ("high", 0.03, ["a note"])
    assert found["versions"] == [{"id": 2, "name": "b~2.tif", "state": "done", "finished": NOW + 12}]
    assert (found["prev"], found["next"]) == (newer, 1)
    assert found["can"] == {"edit": True, "release": False, "retry": False, "bump": False}


def test_what_can_be_done_follows_from_the_state(station: ReviewStation, frames: Frames) -> None:
    def can(state: JobState) -> set[str]:
        found = frames.frame(station.job(f"{state}.tif", state))
        assert found is not None
        return {name for name, is_so in found["can"].items() if is_so}

    assert can(JobState.HELD) == {"edit", "release"}
    assert can(JobState.QUARANTINED) == {"retry"}
    assert can(JobState.QUEUED) == {"retry", "bump"}
    assert can(JobState.RUNNING) == set()


def test_an_unknown_id_is_nothing(frames: Frames) -> None:
    assert (frames.frame(1), frames.files(1), frames.facts(1)) == (None, None, None)


def test_the_files_of_a_held_frame_have_no_result(station: ReviewStation, frames: Frames) -> None:
    files = frames.files(station.job("a.tif", JobState.HELD))

    assert files is not None
    assert (files.scan, files.result) == (station.scans / "a.tif", None)
    assert files.mask == station.restored / "masks/1.png"


def test_the_key_of_a_frame_changes_with_its_scan(station: ReviewStation, frames: Frames) -> None:
    first = frames.files(station.job("a.tif"))
    (station.scans / "a.tif").write_bytes(b"scanned again")
    second = frames.files(station.job("a.tif"))

    assert first is not None
    assert second is not None
    assert first.key != second.key


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "masks/../../secret", "link.png"])
def test_an_output_that_leads_out_of_its_folder_is_no_file(station: ReviewStation, frames: Frames, name: str) -> None:
    job_id = station.job("a.tif")
    (station.folder / "secret").write_text("secret")
    (station.restored / "link.png").symlink_to(station.folder / "secret")
    with Database.open(station.state / LEDGER_NAME) as database:
        outputs = json.dumps({"image": name, "receipt": name})
        database._connection.execute("UPDATE job SET outputs = ? WHERE id = ?", (outputs, job_id))

    files, found = frames.files(job_id), frames.frame(job_id)

    assert files is not None
    assert (files.result, files.receipt) == (None, None)
    assert found is not None
    assert found["width"] is None


def test_a_station_without_a_ledger_is_an_empty_roll(station: ReviewStation, frames: Frames) -> None:
    (station.state / LEDGER_NAME).unlink()

    found = frames.roll(RollQuery())

    assert (found["items"], found["roots"], found["counts"]["done"]) == ([], ["scans"], 0)
    assert frames.frame(1) is None


def test_a_ledger_that_is_replaced_is_read_as_it_is_now(station: ReviewStation, frames: Frames) -> None:
    station.job("a.tif")
    _, before = frames.changes(Mark())
    path = station.state / LEDGER_NAME
    path.rename(path.with_name("aside"))
    Database.open(path).close()

    assert before is not None
    assert names(frames) == []


def test_a_damaged_ledger_is_an_error_with_a_sentence(station: ReviewStation, frames: Frames) -> None:
    (station.state / LEDGER_NAME).write_bytes(b"no database" * 100)

    with pytest.raises(LedgerError, match="cannot be read"):
        frames.roll(RollQuery())


def test_a_ledger_of_another_version_is_not_guessed_at(station: ReviewStation, frames: Frames) -> None:
    with Database.open(station.state / LEDGER_NAME) as database:
        database._connection.execute("PRAGMA user_version = 99")

    with pytest.raises(LedgerError, match="Restart"):
        frames.roll(RollQuery())


def test_a_look_cannot_write(station: ReviewStation) -> None:
    with look_into(station.state / LEDGER_NAME) as database:
        assert database is not None
        with pytest.raises(LedgerError, match="readonly"):
            database.read("DELETE FROM job")


def test_changes_name_the_jobs_that_moved_and_the_requests_that_were_answered(
    station: ReviewStation, frames: Frames
) -> None:
    mark, first = frames.changes(Mark())
    assert first is not None
    assert frames.changes(mark) == (mark, None)
    job_id = station.job(NASTY, JobState.HELD)
    with Database.open(station.state / LEDGER_NAME) as database:
        number = Board(database).ask("bump", {"job": 1}, NOW)
    station.answer(number, "job 1 is next.")

    mark, change = frames.changes(mark)

    assert change is not None
    assert (change["ids"], change["counts"]["held"]) == ([job_id], 1)
    assert change["answers"] == [{"request": number, "text": "job 1 is next.", "ok": True}]
    assert frames.changes(mark) == (mark, None)


def fill(path: Path, number: int) -> None:
    with Database.open(path) as database, database.transaction() as connection:
        connection.executemany(
            "INSERT INTO job (root, rel, size, mtime_ns, inode, recipe, state, created, defects, coverage, outputs)"
            " VALUES (?, ?, 1, ?, 1, 'r', 'done', ?, 9, 0.1, '{}')",
            [(("a", "b")[n % 2], f"roll{n // 36:05}/frame_{n:06}.tif", n, NOW + n * 60) for n in range(number)],
        )


@pytest.mark.parametrize("number", [2_000, 100_000])
def test_a_long_roll_takes_a_tenth_of_a_second_of_one_processor(tmp_path: Path, number: int) -> None:
    path = tmp_path / "ledger.sqlite3"
    fill(path, number)
    roll = Roll(lambda *_: None)
    queries = (
        RollQuery(),
        RollQuery(root="b"),
        RollQuery(state="done", offset=number // 2),
        RollQuery(text="frame_0019"),
        RollQuery(text="nowhere"),
    )

    for query in queries:
        seconds = []
        for _ in range(3):
            begun = time.thread_time()
            with look_into(path) as database:
                assert database is not None
                json.dumps(roll.read(database, query))
            seconds.append(time.thread_time() - begun)
        assert min(seconds) < 0.1, query
