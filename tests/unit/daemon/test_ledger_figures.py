"""Rate, queue and news as read from the ledger."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from spotlessd.job import COMPANION_RECIPE, Identity, JobState
from spotlessd.ledger import FoundScan, Ledger
from spotlessd.sqlite.database import Database
from spotlessd.sqlite.figures import RATE_JOBS, LedgerFigures


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "ledger.sqlite3") as opened:
        yield opened


def finish(ledger: Ledger, name: str, seconds: float, *, start: float = 20.0) -> None:
    made = ledger.enqueue(Identity("scans", name, 100, 1), 1, "r", 10.0)
    assert made is not None
    running = ledger.claim(made, "me", start)
    assert running is not None
    assert ledger.finish(running, JobState.DONE, {}, "", {"detect": seconds / 2}, start + seconds)


def test_without_a_finished_job_there_is_no_rate(database: Database) -> None:
    Ledger(database).enqueue(Identity("scans", "a", 1, 1), 1, "r", 1.0)

    assert LedgerFigures(database).rate() is None


def test_the_rate_is_that_of_the_last_jobs_only(database: Database) -> None:
    ledger = Ledger(database)
    finish(ledger, "slow", 1000.0)
    for number in range(RATE_JOBS):
        finish(ledger, f"{number}", 2.0, start=5000.0)

    rate = LedgerFigures(database).rate()

    assert rate is not None
    assert (rate.jobs, rate.seconds_per_job, rate.seconds_for(300)) == (RATE_JOBS, 2.0, 6.0)


def test_scans_known_from_receipts_and_sidecars_count_for_no_rate(database: Database) -> None:
    ledger = Ledger(database)
    ledger.adopt([FoundScan(Identity("scans", "a", 5, 5), "r", JobState.DONE, "", {})], 1.0)
    ledger.enqueue(Identity("scans", "a_ir", 9, 9), 1, COMPANION_RECIPE, 1.0)

    figures = LedgerFigures(database)

    assert figures.rate() is None
    assert (figures.queue(5).jobs, figures.queue(5).size) == (0, 0)


def test_the_queue_is_told_in_the_order_it_is_worked_off(database: Database) -> None:
    ledger = Ledger(database)
    ids = [
        ledger.enqueue(Identity("scans", name, 10, age), 1, "r", 1.0) for name, age in (("b", 2), ("a", 1), ("c", 3))
    ]
    assert ids[2] is not None
    ledger.bump(ids[2])

    queue = LedgerFigures(database).queue(2)

    assert (queue.jobs, queue.size) == (3, 30)
    assert [job.identity.rel for job in queue.first] == ["c", "a"]


def test_news_come_once_with_what_a_notice_needs(database: Database) -> None:
    ledger, figures = Ledger(database), LedgerFigures(database)
    finish(ledger, "a", 4.0)
    seen = figures.last_news()
    ledger.refuse(Identity("scans", "b", 1, 1), 1, "r", "bad.", 30.0)

    news = figures.news(seen)

    assert [(each.rel, each.state, each.note) for each in news] == [
        ("b", JobState.QUEUED, ""),
        ("b", JobState.QUARANTINED, "bad."),
    ]
    assert figures.news(news[-1].number) == []


def test_the_news_of_a_finished_job_carry_its_seconds_and_an_adopted_one_says_so(database: Database) -> None:
    ledger, figures = Ledger(database), LedgerFigures(database)
    finish(ledger, "a", 4.0)
    ledger.adopt([FoundScan(Identity("scans", "b", 5, 5), "r", JobState.HELD, "", {})], 50.0)

    done, adopted = figures.news(0)[-2:]

    assert (done.duration, done.seconds, done.is_adopted) == (4.0, {"detect": 2.0}, False)
    assert adopted.is_adopted


def test_there_is_work_while_a_job_is_queued_or_running(database: Database) -> None:
    ledger, figures = Ledger(database), LedgerFigures(database)
    seen = [figures.has_work()]
    made = ledger.enqueue(Identity("scans", "a", 1, 1), 1, "r", 1.0)
    assert made is not None
    seen.append(figures.has_work())
    running = ledger.claim(made, "me", 2.0)
    assert running is not None
    seen.append(figures.has_work())
    ledger.finish(running, JobState.DONE, {}, "", {}, 3.0)

    assert [*seen, figures.has_work()] == [False, True, True, False]
