"""What it means when PostgreSQL does not let us in: the right error, one clear sentence, and never a password."""

import asyncio
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from loguru import logger
from postgres import Database, free_port

from spotlessd.cluster.connection import (
    ClusterDownError,
    ClusterRefusedError,
    Target,
    open_sync,
    require_extra,
)
from spotlessd.cluster.schema import VERSION
from spotlessd.cluster.ticket_queue import TicketQueue

WRONG = "not-the-password-4711"


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Everything that is logged, ours and the libraries'."""
    lines: list[str] = []
    caplog.set_level(logging.DEBUG)
    sink = logger.add(lambda line: lines.append(str(line)), level="TRACE")
    yield lines
    logger.remove(sink)
    lines += [record.getMessage() for record in caplog.records]


def connect(target: Target) -> None:
    async def try_it() -> None:
        await (await TicketQueue.connect(target)).close()

    asyncio.run(try_it())


def failure(target: Target, kind: type[Exception]) -> str:
    """How both ways of connecting fail, which must be with `kind`: everything that could be shown of it."""
    said = []
    for way in (connect, lambda target: open_sync(target).close()):
        with pytest.raises(kind) as caught:
            way(target)
        said += [str(caught.value), repr(caught.value), *traceback.format_exception(caught.value)]
    return "\n".join([*said, repr(target), str(target), target.place])


def secret(tmp_path: Path, text: str = WRONG, mode: int = 0o600) -> Path:
    path = tmp_path / "secret"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_wrong_password_is_refused_and_shown_nowhere(database: Database, tmp_path: Path, heard: list[str]) -> None:
    said = failure(replace(database.target, password_file=secret(tmp_path)), ClusterRefusedError)

    assert "refuses: the user or the password is wrong: look at engine and cluster.password_file" in said
    assert f"127.0.0.1:{database.server.port}" in said
    assert WRONG not in said + "".join(heard)


def test_the_right_password_is_shown_nowhere_either(database: Database, heard: list[str]) -> None:
    async def play() -> str:
        queue = await TicketQueue.connect(database.target)
        database.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test'")
        with pytest.raises(ClusterDownError) as caught:
            await queue.counts()
        said = f"{queue!r} {queue._wire!r} {queue._wire.connection!r}"
        return said + "".join(traceback.format_exception(caught.value))

    said = asyncio.run(play())

    assert "broke off" in said or "does not answer" in said
    assert database.server.password not in said + repr(database.target) + "".join(heard)


def test_a_missing_database_user_or_password_is_refused_with_what_to_do(database: Database) -> None:
    server, name = database.server, database.name
    no_database = failure(replace(database.target, url=server.url("nowhere")), ClusterRefusedError)
    no_password = failure(replace(database.target, password_file=None), ClusterRefusedError)
    no_user = failure(replace(database.target, url=server.url(name, user="stranger")), ClusterRefusedError)

    assert "the user or the database does not exist" in no_database
    assert "put it in cluster.password_file, ~/.pgpass or PGPASSWORD" in no_password
    assert "the user or the password is wrong" in no_user


def test_a_user_without_rights_is_refused(database: Database, tmp_path: Path) -> None:
    database.server.administrate(f"CREATE ROLE reader_{database.name} LOGIN PASSWORD '{WRONG}'")
    target = Target(database.server.url(database.name, user=f"reader_{database.name}"), secret(tmp_path), "reader")

    with pytest.raises(ClusterRefusedError, match=r"this user may not do that.*permission denied for schema public"):
        connect(target)
    connect(database.target)
    with pytest.raises(ClusterRefusedError, match=r"this user may not do that.*permission denied for table spotlessd_"):
        connect(target)


def test_a_server_that_is_not_there_counts_as_down(tmp_path: Path) -> None:
    port = free_port()
    said = failure(Target(f"postgresql://me@127.0.0.1:{port}/spotless", secret(tmp_path), "test"), ClusterDownError)
    no_host = failure(Target("postgresql://me@no-such-host.invalid/spotless", None, "test"), ClusterDownError)
    no_socket = failure(Target(f"postgresql:///spotless?host={tmp_path}", None, "test"), ClusterDownError)

    assert f"the cluster's PostgreSQL at 127.0.0.1:{port}/spotless does not answer: " in said
    assert "refused" in said
    assert "no-such-host.invalid:5432" in no_host
    assert str(tmp_path) in no_socket
    assert WRONG not in said


def test_too_many_connections_count_as_down(database: Database) -> None:
    database.server.administrate(f"CREATE ROLE one_{database.name} LOGIN CONNECTION LIMIT 0 PASSWORD '{WRONG}'")
    path = database.server.secret_file(f"one_{database.name}", password=WRONG)

    said = failure(Target(database.server.url(database.name, user=f"one_{database.name}"), path, "t"), ClusterDownError)

    assert "too many connections" in said


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{WRONG}@localhost/spotless",
        f"postgresql://me@localhost/spotless?password={WRONG}",
        f"postgresql://me@localhost/spotless?sslpassword={WRONG}",
        f"postgresql://me:{WRONG}%zz@localhost/spotless",
        f"postgresql://me:{WRONG}@[localhost/spotless",
        f"host=localhost password={WRONG} dbname=",
    ],
)
def test_a_password_in_the_address_is_refused_and_shown_nowhere(url: str, heard: list[str]) -> None:
    said = failure(Target(url, None, "test"), ClusterRefusedError)

    assert "engine: " in said
    assert WRONG not in said + "".join(heard)


def test_a_password_file_that_others_may_read_is_refused(database: Database, tmp_path: Path) -> None:
    for mode in (0o604, 0o644, 0o602, 0o660 if os.geteuid() == 0 else 0o640):
        said = failure(replace(database.target, password_file=secret(tmp_path, mode=mode)), ClusterRefusedError)
        assert f"mode {mode:04o}" in said
        assert "chmod 600" in said


def test_a_password_file_that_is_missing_empty_or_no_text_is_refused(database: Database, tmp_path: Path) -> None:
    absent = failure(replace(database.target, password_file=tmp_path / "absent"), ClusterRefusedError)
    empty = failure(replace(database.target, password_file=secret(tmp_path, " \n")), ClusterRefusedError)
    path = secret(tmp_path)
    path.write_bytes(b"\xff\xfe")
    binary = failure(replace(database.target, password_file=path), ClusterRefusedError)

    assert "absent cannot be read (No such file or directory)" in absent
    assert "holds no password" in empty
    assert "not text in UTF-8" in binary


def test_a_password_may_come_from_the_environment_or_from_pgpass(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = replace(database.target, password_file=None)
    monkeypatch.setenv("PGPASSWORD", database.server.password)
    connect(target)
    monkeypatch.delenv("PGPASSWORD")
    monkeypatch.setenv("PGPASSFILE", str(secret(tmp_path, f"*:*:*:*:{database.server.password}\n")))
    connect(target)
    open_sync(target).close()


def test_the_socket_of_this_machine_serves_as_well(database: Database) -> None:
    connect(replace(database.target, url=database.server.url(database.name, is_socket=True)))


def test_ten_machines_that_start_in_the_same_second_make_the_tables_once(database: Database) -> None:
    async def start_all() -> None:
        opened = await asyncio.gather(*[TicketQueue.connect(database.target) for _ in range(10)])
        await asyncio.gather(*[queue.register("gpu") for queue in opened])
        for queue in opened:
            await queue.close()

    asyncio.run(start_all())

    assert database.rows("SELECT version FROM spotlessd_schema") == [(VERSION,)]
    assert database.rows("SELECT count(DISTINCT id) FROM procrastinate_workers") == [(10,)]


def test_tables_of_a_newer_spotlessd_are_refused_and_left_alone(database: Database) -> None:
    connect(database.target)
    database.rows("UPDATE spotlessd_schema SET version = %s", VERSION + 1)

    with pytest.raises(
        ClusterRefusedError, match=f"newer spotlessd \\(version {VERSION + 1}; this one knows {VERSION}"
    ):
        connect(database.target)

    assert database.rows("SELECT version FROM spotlessd_schema") == [(VERSION + 1,)]


def test_tables_of_another_procrastinate_are_refused(database: Database) -> None:
    database.rows("CREATE TABLE procrastinate_jobs (id bigint)")

    with pytest.raises(ClusterRefusedError, match="procrastinate's tables, of a release that this one does not know"):
        connect(database.target)

    assert database.rows("SELECT to_regclass('spotlessd_schema')") == [(None,)]


def test_tables_that_procrastinate_made_itself_are_used(database: Database) -> None:
    connect(database.target)
    ours = database.rows("SELECT tablename FROM pg_tables WHERE tablename LIKE 'spotlessd%%'")
    for (name,) in ours:
        database.rows(f"DROP TABLE {name} CASCADE")
    database.rows("DROP SEQUENCE spotlessd_turns")
    database.rows("INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('mail', 'send')")

    connect(database.target)

    assert database.rows("SELECT count(*) FROM procrastinate_jobs") == [(1,)]


def test_turns_and_worker_ids_never_come_again_when_the_database_is_made_anew(database: Database) -> None:
    numbers = []
    for _ in range(2):
        connect(database.target)
        numbers.append(
            database.rows(
                "SELECT nextval('spotlessd_turns'), (SELECT worker_id FROM procrastinate_register_worker_v1())"
            )
        )
        database.rows("DROP SCHEMA public CASCADE")
        database.rows("CREATE SCHEMA public")
        database.rows("SELECT pg_sleep(1.1)")

    assert numbers[1][0][0] > numbers[0][0][0]  # type: ignore[operator]
    assert numbers[1][0][1] > numbers[0][0][1]  # type: ignore[operator]


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    target = Target("postgresql://me@localhost/spotless", None, "test")

    with pytest.raises(ClusterRefusedError, match='pip install "spotlessd\\[cluster\\]"'):
        connect(target)
    with pytest.raises(ClusterRefusedError, match='pip install "spotlessd\\[cluster\\]"'):
        open_sync(target)


def test_the_libraries_write_to_our_log_and_not_to_standard_error(
    heard: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    require_extra()
    logging.getLogger("psycopg").warning("error ignored in %s", "rollback")
    logging.getLogger("psycopg.pool").warning("pool")
    logging.getLogger("procrastinate.manager").error("something")

    assert [line.split("- ")[-1].strip() for line in heard] == [
        "psycopg: error ignored in rollback",
        "psycopg.pool: pool",
        "procrastinate.manager: something",
    ]
    assert "rollback" not in capfd.readouterr().err.replace("DEBUG", "").split("psycopg:")[0]
