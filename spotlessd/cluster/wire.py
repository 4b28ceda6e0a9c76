"""One connection to PostgreSQL for all a machine says and hears: statements, procrastinate's manager, notifications.

One statement or transaction at a time. A failing connection closes the wire, and every further call says so. Fifty
stations and twenty workers fit PostgreSQL's usual 100 connections because each has only this one.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, LiteralString, ParamSpec, TypeVar

from spotlessd.cluster.connection import STATEMENT_SECONDS, ClusterDownError, Target, open_async, told
from spotlessd.cluster.schema import ensure_schema

if TYPE_CHECKING:
    import psycopg
    from procrastinate.manager import JobManager

ANSWER_SECONDS = STATEMENT_SECONDS + 5
"""A server that took the bytes but does not answer, a hung machine for example, counts as gone after this."""
TRIES = 4
"""A transaction that PostgreSQL broke off because two waited for each other is sent again."""
_AGAIN = {"40P01", "40001"}

P = ParamSpec("P")
T = TypeVar("T")


class _OnePool:
    """What procrastinate takes for a pool: always this connection, within whatever transaction it is in."""

    def __init__(self, connection: "psycopg.AsyncConnection") -> None:
        self._connection = connection

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator["psycopg.AsyncConnection"]:
        yield self._connection


class Wire:
    """An open connection with procrastinate's `manager` on it. Made by `open`."""

    def __init__(self, target: Target, connection: "psycopg.AsyncConnection", manager: "JobManager") -> None:
        self.manager = manager
        self._target = target
        self._connection = connection
        self._lock = asyncio.Lock()
        self._heard: dict[str, asyncio.Event] = {}
        self._channels: set[str] = set()
        self._readable = asyncio.Event()
        self._listener = os.dup(connection.fileno())  # psycopg watches the original and unregisters it at will
        connection.add_notify_handler(lambda notify: self._note(notify.channel, notify.payload))

    @property
    def connection(self) -> "psycopg.AsyncConnection":
        """Return the connection, for what procrastinate is given one explicitly."""
        return self._connection

    @classmethod
    async def open(cls, target: Target) -> "Wire":
        """Connect, and make the tables if they are missing.

        Raises:
            ClusterDownError: it cannot be reached now.
            ClusterRefusedError: somebody must mend something first.
        """
        connection = await open_async(target)
        from procrastinate import PsycopgConnector
        from procrastinate.manager import JobManager

        try:
            with told(target):
                connector = PsycopgConnector()
                await connector.open_async(_OnePool(connection))  # type: ignore[arg-type]  # all it uses of a pool
                await ensure_schema(connection, connector)
            return cls(target, connection, JobManager(connector))
        except BaseException:
            await connection.close()
            raise

    async def close(self) -> None:
        """Hang up. A wire may be closed twice."""
        if self._listener >= 0:
            with contextlib.suppress(ValueError, OSError):
                asyncio.get_running_loop().remove_reader(self._listener)
            os.close(self._listener)
            self._listener = -1
        self._readable.set()  # whoever waits finds it closed
        await self._connection.close()

    async def transact(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` in one transaction; again from its start if PostgreSQL broke it off for another's sake.

        Raises:
            ClusterDownError: the connection broke, before or in it; the wire is closed.
            ClusterRefusedError: PostgreSQL refuses the statement.
        """
        from procrastinate.exceptions import ConnectorException
        from psycopg import Error

        async with self._lock:
            try:
                with told(self._target):
                    async with asyncio.timeout(ANSWER_SECONDS):
                        for left in reversed(range(TRIES)):
                            try:
                                async with self._connection.transaction():
                                    return await work()
                            except (ConnectorException, Error) as error:
                                if not left or _sqlstate(error) not in _AGAIN:
                                    raise
                raise AssertionError("unreachable")
            except TimeoutError as error:
                await self.close()
                raise ClusterDownError(
                    f"the cluster's PostgreSQL at {self._target.place} gave no answer for {ANSWER_SECONDS} s"
                ) from error
            except ClusterDownError:
                await self.close()
                raise
            finally:
                if self._connection.closed:
                    await self.close()

    async def rows(self, statement: LiteralString, *values: object) -> Sequence[tuple[Any, ...]]:
        """Send one statement within `transact` and return its rows, if it has any."""
        cursor = await self._connection.execute(statement, values)
        return await cursor.fetchall() if cursor.description is not None else []

    async def wait(self, seconds: float, channel: LiteralString, payload: str) -> bool:
        """Return True at a notification on `channel` with `payload` since the last wait for it, False after `seconds`.

        The first wait for something returns at once: what came before it began to listen is unknown. May be cancelled
        at any time.

        Raises:
            ClusterDownError: the connection is gone.
        """
        if channel not in self._channels:
            await self.transact(lambda: self.rows("LISTEN " + channel))
            self._channels.add(channel)
        event = self._heard.get(f"{channel} {payload}")
        if event is None:
            self._heard[f"{channel} {payload}"] = asyncio.Event()
            return True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            self._readable.clear()
            await self._take_in()
            if event.is_set():
                event.clear()
                return True
            loop.add_reader(self._listener, self._on_readable)
            try:
                async with asyncio.timeout_at(deadline):
                    await self._readable.wait()
            except TimeoutError:
                return False

    def _on_readable(self) -> None:
        if self._listener >= 0:
            asyncio.get_running_loop().remove_reader(self._listener)
        self._readable.set()

    async def _take_in(self) -> None:
        """Read what has arrived between two statements; a notification that came with a statement is noted already."""
        async with self._lock:
            try:
                with told(self._target):
                    connection = self._connection.pgconn
                    connection.consume_input()
                    while (notify := connection.notifies()) is not None:
                        self._note(notify.relname.decode(), notify.extra.decode())
            except ClusterDownError:
                await self.close()
                raise

    def _note(self, channel: str, payload: str) -> None:
        event = self._heard.get(f"{channel} {payload}")
        if event is not None:
            event.set()
            self._readable.set()


def _sqlstate(error: BaseException) -> str | None:
    state = getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None)
    return state if isinstance(state, str) else None
