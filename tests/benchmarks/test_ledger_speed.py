"""A ledger of 100,000 scans: claiming takes less than 5 ms, the status less than 200 ms.

Run with `make bench`. A commit waits for the disk: claims are measured without that wait (synchronous = OFF).
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from spotlessd.job import JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME, read_status
from spotlessd.sqlite.database import Database

ROWS = 100_000
CLAIM_SECONDS = 0.005
STATUS_SECONDS = 0.2
ROOTS = frozenset({"scans", "negatives"})
SHARES = {"mostly done": 50, "all queued": 1, "all put off": 1}
"""One of so many scans is queued."""


def fill(database: Database, share: int, not_before: float) -> None:
    rows = [
        (
            ("scans", "negatives")[number % 2],
            f"roll{number // 36:05d}/frame{number % 36:02d}.tif",
            10**8 + number,
            10**18 + number,
            "recipe",
            "queued" if number % share == 0 else "done",
            not_before,
            json.dumps({"image": f"frame{number}.tif"}),
        )
        for number in range(ROWS)
    ]
    with database.transaction() as connection:
        connection.executemany(
            "INSERT INTO job (root, rel, size, mtime_ns, inode, recipe, state, not_before, outputs, created)"
            " VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, 100.0)",
            rows,
        )


@pytest.fixture(params=SHARES)
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    with Database.open(tmp_path / LEDGER_NAME) as database:
        fill(database, SHARES[request.param], 5000.0 if request.param == "all put off" else 0.0)
        with database.transaction() as connection:  # one that is due, behind all the others
            connection.execute("UPDATE job SET state = 'queued', not_before = 0 WHERE id > ?", (ROWS - 500,))
        yield Ledger(database)


def test_claiming_from_100000_scans_takes_less_than_5_ms(ledger: Ledger, benchmark: BenchmarkFixture) -> None:
    list(ledger._database.read("PRAGMA synchronous = OFF"))

    def claim() -> None:
        job = ledger.next_due(1000.0, ROOTS)
        assert job is not None
        assert ledger.claim(job.id, "me", 1000.0) is not None

    benchmark.pedantic(claim, rounds=100)

    assert benchmark.stats.stats.median < CLAIM_SECONDS


def test_a_file_is_looked_up_in_less_than_a_tenth_of_a_millisecond(ledger: Ledger, benchmark: BenchmarkFixture) -> None:
    job = ledger.job(ROWS // 2)
    assert job is not None

    assert benchmark(ledger.is_known, job.identity)

    assert benchmark.stats.stats.median < 1e-4


def test_the_status_of_100000_scans_takes_less_than_200_ms(
    ledger: Ledger, tmp_path: Path, benchmark: BenchmarkFixture
) -> None:
    status = benchmark.pedantic(lambda: read_status(tmp_path, 1000.0), rounds=5)

    assert sum(status.counts.values()) == ROWS
    assert status.counts[JobState.QUEUED] >= 500
    assert benchmark.stats.stats.median < STATUS_SECONDS


def test_the_list_of_500_queued_scans_takes_less_than_200_ms(ledger: Ledger, benchmark: BenchmarkFixture) -> None:
    jobs = benchmark.pedantic(lambda: ledger.jobs(JobState.QUEUED, limit=500), rounds=5)

    assert len(jobs) == 500
    assert benchmark.stats.stats.median < STATUS_SECONDS


def test_the_next_start_and_the_open_jobs_are_found_quickly(ledger: Ledger, benchmark: BenchmarkFixture) -> None:
    def ask() -> None:
        ledger.next_start()
        ledger.unfinished(ROOTS)
        ledger.planned()

    benchmark.pedantic(ask, rounds=5)

    assert benchmark.stats.stats.median < STATUS_SECONDS
