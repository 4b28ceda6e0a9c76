"""Where the cluster's PostgreSQL is, its password, and what it means when it does not answer.

Comes in: `engine` and `cluster.password_file` of the config. Goes out: a connection, or one of two errors: it cannot be
reached now (trying again helps), or it refuses us (a person must mend something). Promise: no message, repr or log of
this module holds a password. psycopg (extra `cluster`) is only loaded when something connects.
"""

import asyncio
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from loguru import logger

from spotlessd.configuration.settings import Settings
from spotlessd.errors import DaemonError

if TYPE_CHECKING:
    import psycopg

CONNECT_SECONDS = 5
STATEMENT_SECONDS = 30
KEEPALIVES = {"keepalives": 1, "keepalives_idle": 8, "keepalives_interval": 4, "keepalives_count": 4}
"""A cut cable under an idle connection is seen after 8 + 4 × 4 = 24 s."""
UNACKNOWLEDGED_MS = 20_000
"""A cut cable under a statement: how long sent bytes may stay without the other side's acknowledgement."""
SESSION = (
    f"-c statement_timeout={STATEMENT_SECONDS}s -c idle_in_transaction_session_timeout=60s"
    " -c plan_cache_mode=force_custom_plan"
)
"""A plan for all queues at once would step over every waiting ticket of other queues at each claim; so PostgreSQL makes
one for the queues that are asked for."""
EXAMPLE = "postgresql://user@host:5432/database"


class ClusterDownError(DaemonError):
    """The cluster's PostgreSQL cannot be reached now, or the connection broke."""

    exit_code = 75
    is_retryable = True


class ClusterRefusedError(DaemonError):
    """PostgreSQL answers but will not work with us until somebody mends the config, its users or its tables."""

    exit_code = 78


@dataclass(frozen=True, slots=True)
class Target:
    """Where PostgreSQL is. `url`: without a password; `application`: what `pg_stat_activity` shows, e.g. a name."""

    url: str
    password_file: Path | None
    application: str

    def __repr__(self) -> str:
        return f"Target({self.place}, application={self.application!r})"

    @property
    def place(self) -> str:
        """Host, port and database for people, e.g. `db.lab:5432/spotless`; nothing else of the URL."""
        try:
            parts = urlsplit(self.url)
            if parts.scheme not in {"postgresql", "postgres"}:
                return "an unreadable address"
            query = dict(parse_qsl(parts.query))
            host = parts.hostname or query.get("host", "") or "localhost"
            port = str(parts.port or query.get("port", "") or 5432)
            return f"{host}:{port}{parts.path}"
        except ValueError:
            return "an unreadable address"


def target_of(settings: Settings, application: str) -> Target:
    """Return where the settings' engine is. `application`: up to 63 bytes, shown in `pg_stat_activity`."""
    return Target(settings.engine, settings.cluster.password_file, application)


def open_sync(target: Target) -> "psycopg.Connection":
    """Connect for a command: autocommit, at most 5 s of waiting.

    Raises:
        ClusterDownError: it cannot be reached now.
        ClusterRefusedError: it, or the config, must be mended first.
    """
    require_extra()
    import psycopg

    with told(target):
        return psycopg.connect(target.url, autocommit=True, **_parameters(target))


async def open_async(target: Target) -> "psycopg.AsyncConnection":
    """The same for an event loop.

    Raises:
        ClusterDownError: it cannot be reached now.
        ClusterRefusedError: it, or the config, must be mended first.
    """
    require_extra()
    import psycopg

    parameters = await asyncio.to_thread(_parameters, target)  # the password file may lie on a slow disk
    with told(target):
        return await psycopg.AsyncConnection.connect(target.url, autocommit=True, **parameters)


def require_extra() -> None:
    """Raise ClusterRefusedError if what a cluster needs is not installed; send its libraries' logs to ours."""
    try:
        import procrastinate
        import psycopg  # noqa: F401  # only whether it is there
    except ImportError as error:
        raise ClusterRefusedError(
            f'a cluster needs more packages ({error}). Install them: pip install "spotlessd[cluster]"'
        ) from error
    for name in (procrastinate.__name__, "psycopg", "psycopg.pool"):
        log = logging.getLogger(name)
        if not any(isinstance(handler, _ToOurLog) for handler in log.handlers):
            log.handlers = [_ToOurLog()]
            log.propagate = False


class _ToOurLog(logging.Handler):
    """What the libraries say is detail here: our own errors say what a person must know."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.debug("{}: {}", record.name, record.getMessage())


def _parameters(target: Target) -> dict[str, Any]:
    """Return the connection's parameters beside the URL, without those that the URL itself gives."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        given = conninfo_to_dict(target.url)
    except ProgrammingError:  # its message quotes the URL, perhaps with a password in the wrong place
        raise ClusterRefusedError(f'engine: cannot be read as an address of PostgreSQL; expected "{EXAMPLE}"') from None
    if "password" in given or "sslpassword" in given:
        raise ClusterRefusedError(
            "engine: a password in the address can be read by everybody who sees the config or the process; "
            "put it in cluster.password_file, ~/.pgpass or PGPASSWORD"
        )
    ours: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": target.application[:63],
        "options": SESSION,
        "tcp_user_timeout": UNACKNOWLEDGED_MS,
        **KEEPALIVES,
    }
    options = f"{given['options']} {ours['options']}" if "options" in given else ours["options"]
    parameters = {**{key: value for key, value in ours.items() if key not in given}, "options": options}
    if target.password_file is not None:
        parameters["password"] = _password(target.password_file)
    return parameters


def _password(path: Path) -> str:
    """Return the file's text without white space at its ends.

    The same rule as libpq's for private keys: ours and for us alone (0600), or root's and for a group too (0640). A
    password that any user of the machine may read is refused and not only warned of: libpq ignores such a ~/.pgpass.

    Raises:
        ClusterRefusedError: it cannot be read, is empty, or others may read it.
    """
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            text = file.read(10_000)
    except OSError as error:
        raise ClusterRefusedError(f"cluster.password_file: {path} cannot be read ({error.strerror})") from error
    closed_to = stat.S_IRWXO | (stat.S_IWGRP | stat.S_IXGRP if facts.st_uid == 0 else stat.S_IRWXG)
    if facts.st_mode & closed_to:
        raise ClusterRefusedError(
            f"cluster.password_file: {path} can be read or changed by others (mode {stat.S_IMODE(facts.st_mode):04o}). "
            "Make it yours alone: chmod 600"
        )
    try:
        password = text.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise ClusterRefusedError(f"cluster.password_file: {path} is not text in UTF-8") from None
    if not password or "\0" in password:
        raise ClusterRefusedError(f"cluster.password_file: {path} holds no password; one line of text is expected")
    return password


@contextmanager
def told(target: Target) -> Iterator[None]:
    """Turn every error of psycopg and procrastinate within into one of ours."""
    from procrastinate.exceptions import ConnectorException
    from psycopg import Error

    try:
        yield
    except (ConnectorException, Error) as error:
        cause = error if isinstance(error, Error) else error.__cause__ or error.__context__
        raise _explained(cause if isinstance(cause, Error) else Error(str(error)), target) from error


_REFUSED_CLASSES = {
    "28": "it does not let this user in",
    "3D": "there is no such database",
    "3F": "there is no such schema",
    "42": "this user may not do that, or the tables are others than expected",
}
"""The first two digits of SQLSTATE that waiting does not mend."""
_REFUSED_WORDS = {
    "password authentication failed": "the user or the password is wrong: look at engine and cluster.password_file",
    "no password supplied": "it asks for a password: put it in cluster.password_file, ~/.pgpass or PGPASSWORD",
    "does not exist": "the user or the database does not exist: look at engine, or create it",
    "no pg_hba.conf entry": "its pg_hba.conf does not let this user in from this machine",
    "authentication failed": "it does not let this user in: look at engine and its pg_hba.conf",
    "permission denied": "this user may not use the database: GRANT CONNECT, and CREATE for the first start",
    "is not permitted to log in": "this user may not log in: ALTER ROLE … LOGIN",
    "does not support ssl": "engine asks for an encrypted connection and it has none: look at sslmode",
    "certificate": "its certificate is not accepted: look at sslmode and sslrootcert in engine",
}
"""Before a connection stands, libpq tells no SQLSTATE, only text; other languages and other texts count as down."""


def _explained(error: "psycopg.Error", target: Target) -> DaemonError:
    """Return our error with one sentence for one of psycopg's."""
    said = " ".join(str(error).split()) or type(error).__name__
    said = said.removeprefix("connection failed: ")
    place = f"the cluster's PostgreSQL at {target.place}"
    state = error.sqlstate
    if state is not None:
        if (why := _REFUSED_CLASSES.get(state[:2])) is not None:
            return ClusterRefusedError(f"{place} refuses: {why} ({said})")
        return ClusterDownError(f"{place} broke off: {said}")
    if "socket" not in said.lower() or "FATAL" in said:
        for words, why in _REFUSED_WORDS.items():
            if words in said:
                return ClusterRefusedError(f"{place} refuses: {why} ({said})")
    return ClusterDownError(f"{place} does not answer: {said}")
