"""How long the picture of a cluster takes with an empty table of tickets and with 100,000 of them."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cluster_rows import STATION, WEIGHTS, make_tables, put_machine, worker_called
from postgres import Database, fresh_database, running_server
from pytest_benchmark.fixture import BenchmarkFixture

from spotlessd.cluster.overview import read_overview
from spotlessd.cluster.tickets import queue_of

TICKETS = 100_000
STATIONS, WORKERS = 50, 20


@pytest.fixture
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    folder = tmp_path_factory.mktemp("pg")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    with running_server(folder) as server, fresh_database(server) as database:
        yield database


def fill(database: Database, tickets: int) -> None:
    """`tickets` of 50 stations, each with a ticket of a usual size; 200 in hand, 500 answered."""
    for number in range(STATIONS):
        put_machine(database, replace(STATION, name=f"station{number}"))
    for number in range(WORKERS):
        put_machine(database, worker_called(f"worker{number}"))
    ticket = json.dumps({"root": "archive", "rel": "box 3/scan_0001.tif", "order": {"options": "x" * 1200}})
    with database.connect() as connection, connection.cursor() as cursor:
        columns = "station, job, attempt, max_losses, queue, priority, ticket, state, worker, answer"
        with cursor.copy(f"COPY spotlessd_tickets ({columns}) FROM STDIN") as copy:
            for job in range(tickets):
                state = "doing" if job < 200 else "answered" if job < 700 else "asked"
                answer = '{"kind": "finished"}' if state == "answered" else None
                queue = queue_of(WEIGHTS, is_large=job % 10 == 0)
                worker = f"worker{job % WORKERS}" if state == "doing" else ""
                copy.write_row((f"station{job % STATIONS}", job, 1, 3, queue, 0, ticket, state, worker, answer))
        cursor.execute("ANALYZE")


@pytest.mark.parametrize("tickets", [0, TICKETS])
def test_the_picture_of_a_cluster(benchmark: BenchmarkFixture, database: Database, tickets: int) -> None:
    make_tables(database)
    fill(database, tickets)

    with database.connect() as connection:
        overview = benchmark(lambda: read_overview(connection, 1_000_000.0))

    assert len(overview.stations) == STATIONS
    assert sum(overview.states.values()) == tickets
