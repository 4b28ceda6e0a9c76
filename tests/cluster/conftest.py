"""A PostgreSQL for the tests of the cluster: one server for all of them, a fresh database for each."""

from collections.abc import Iterator

import pytest
from postgres import Database, Server, fresh_database, running_server, server_folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The server that all tests share; none of them may stop it."""
    with server_folder() as folder, running_server(folder) as server:
        yield server


@pytest.fixture
def database(postgres: Server) -> Iterator[Database]:
    with fresh_database(postgres) as database:
        yield database


@pytest.fixture
def own_postgres() -> Iterator[Database]:
    """A server of the test's own with one database; it may be stopped, killed and started again."""
    with server_folder() as folder, running_server(folder) as server, fresh_database(server) as database:
        yield database
