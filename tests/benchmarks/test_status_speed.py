"""How long `spotlessd status` and the daemon's look for news take with 100,000 jobs in the ledger."""

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from spotlessd.monitoring.status import LEDGER_NAME, read_status
from spotlessd.sqlite.database import Database
from spotlessd.sqlite.figures import LedgerFigures

JOBS = 100_000


def fill(state: Path, done: int) -> None:
    rows = [
        (
            f"roll{number // 36}/frame{number}.tif",
            60_000_000 + number,
            number,
            "done" if number < done else "queued",
            int(number < done),
            float(number),
            20.0 + number if number < done else 0.0,
        )
        for number in range(JOBS)
    ]
    with Database.open(state / LEDGER_NAME) as database, database.transaction() as connection:
        connection.executemany(
            "INSERT INTO job (root, rel, size, mtime_ns, inode, recipe, state, attempt, created, started, finished)"
            " VALUES ('scans', ?, ?, ?, 1, 'r', ?, ?, ?, 1, ?)",
            rows,
        )
        connection.execute("INSERT INTO history (job, at, state, note) SELECT id, created, state, '' FROM job")


@pytest.mark.parametrize("done", [0, JOBS // 2, JOBS])
def test_status(benchmark: BenchmarkFixture, tmp_path: Path, done: int) -> None:
    fill(tmp_path, done)

    status = benchmark(lambda: read_status(tmp_path, 1e6))

    assert sum(status.counts.values()) == JOBS


def test_a_look_for_news(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    fill(tmp_path, JOBS)
    with Database.open(tmp_path / LEDGER_NAME) as database:
        figures = LedgerFigures(database)
        last = figures.last_news()

        assert benchmark(lambda: figures.news(last - 5))
