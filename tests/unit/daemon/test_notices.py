"""What is worth telling: once, also after a crash, and nothing that happened long ago."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from spotlessd.configuration.sections import NoticeKind
from spotlessd.job import Identity, JobState
from spotlessd.ledger import FoundScan, Ledger
from spotlessd.monitoring.notices import NoticeBook
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database
from spotlessd.sqlite.figures import LedgerFigures


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "ledger.sqlite3") as opened:
        yield opened


def book_of(database: Database, started: float = 0.0) -> NoticeBook:
    return NoticeBook(Board(database), LedgerFigures(database), started)


def quarantine(database: Database, name: str, at: float = 5.0) -> None:
    Ledger(database).refuse(Identity("scans", name, 1, 1), 1, "r", "bad.", at)


def finish(database: Database, name: str, state: JobState = JobState.DONE) -> None:
    ledger = Ledger(database)
    made = ledger.enqueue(Identity("scans", name, 1, 1), 1, "r", 10.0)
    running = ledger.claim(made or 0, "me", 20.0)
    assert running is not None
    ledger.finish(running, state, {}, "", {"detect": 3.0}, 24.0)


def test_a_quarantined_scan_is_told_once_with_its_reason(database: Database) -> None:
    book = book_of(database)
    quarantine(database, "a.tif")

    first, second = book.look(), book.look()

    assert [(notice.kind, notice.text, notice.file, notice.job) for notice in first] == [
        (NoticeKind.QUARANTINED, "a.tif: bad.", "a.tif", 1)
    ]
    assert second == []


def test_a_held_scan_is_told(database: Database) -> None:
    book = book_of(database)
    finish(database, "a.tif", JobState.HELD)

    assert [notice.kind for notice in book.look()] == [NoticeKind.HELD]


def test_what_was_there_before_the_first_look_is_no_news(database: Database) -> None:
    quarantine(database, "old.tif")

    assert book_of(database).look() == []


def test_what_was_quarantined_just_before_a_crash_is_told_after_it(database: Database) -> None:
    book_of(database).look()
    quarantine(database, "a.tif")

    assert [notice.file for notice in book_of(database).look()] == ["a.tif"]


def test_what_was_told_before_a_restart_is_not_told_again(database: Database) -> None:
    book = book_of(database)
    quarantine(database, "a.tif")
    book.look()

    assert book_of(database).look() == []


def test_a_result_taken_over_from_its_receipt_is_no_news(database: Database) -> None:
    book = book_of(database)
    Ledger(database).adopt([FoundScan(Identity("scans", "a", 5, 5), "r", JobState.HELD, "", {})], 5.0)

    assert book.look() == []
    assert book.totals.finished == {}


def test_an_empty_queue_is_worth_telling_only_after_work(database: Database) -> None:
    book = book_of(database)
    quarantine(database, "bad.tif")
    book.look()
    before = book.had_work
    finish(database, "a.tif")
    book.look()
    had_work = book.had_work

    notice = book.work_is_done(Ledger(database).counts(), 30.0)

    assert (before, had_work, book.had_work) == (False, True, False)
    assert (notice.kind, "1 quarantined" in notice.text) == (NoticeKind.QUEUE_EMPTY, True)


def test_a_trouble_is_told_when_it_begins_and_again_when_it_comes_back(database: Database) -> None:
    book = book_of(database)
    full = {"paused: disk": NoticeKind.DISK_FULL}

    told = [
        [notice.kind for notice in book.look_at_troubles(troubles, 1.0)]
        for troubles in (full, full, {"paused: disk: 3 MB": NoticeKind.DISK_FULL}, {}, full)
    ]

    assert told == [[NoticeKind.DISK_FULL], [], [], [], [NoticeKind.DISK_FULL]]


def test_a_second_worker_that_cannot_start_is_told_as_well(database: Database) -> None:
    book = book_of(database)
    first, second = "worker GPU 0 cannot start: why.", "worker GPU 1 cannot start: why."

    told = [
        [notice.text for notice in book.look_at_troubles(dict.fromkeys(texts, NoticeKind.WORKER_DOWN), 1.0)]
        for texts in ([first], [first, second], [second])
    ]

    assert told == [[first], [second], []]


def test_totals_count_what_happened_since_the_start(database: Database) -> None:
    book = book_of(database, started=15.0)
    quarantine(database, "old.tif", at=5.0)
    finish(database, "a.tif")

    book.look()

    totals = book.totals.copy()
    assert (totals.finished, totals.finished_seconds, totals.attempts) == ({"done": 1}, 4.0, 1)
    assert totals.steps == {"detect": (1, 3.0)}
