"""The thread that talks to PostgreSQL, so that the network never holds up a main loop nor raises in it.

The main thread hands over what it wants and looks for news when `fileno()` is readable; both only touch memory. The
thread runs rounds over one connection: whatever is to be sent, then a pause until a notification, a wake-up or the
next time something is due. A connection that fails is made anew, later and later; what was handed over stays meanwhile.
What is sent and fetched is said by station_link.py and worker_link.py. Everything else the two threads share lies in a
book (station_book.py, worker_book.py), which has its own lock; single fields are swapped whole.
"""

import asyncio
import math
import random
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from loguru import logger

from spotlessd.cluster.connection import ClusterDownError, ClusterRefusedError
from spotlessd.cluster.ticket_queue import TicketQueue

FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 30.0
JITTER = 0.25
"""Part of a rest that is left to chance, so that a hundred machines do not come back in the same moment."""
POLL_SECONDS = 1.0
"""How often it is looked whether a notification was missed."""
END_SECONDS = 0.5
"""How long a connection may take to be closed, and the thread to end after its time is over."""
DRAIN_BYTES = 4096
NOT_YET = "the cluster's PostgreSQL has not answered yet"
"""How `trouble` begins between the start and the first try's end: nothing is wrong yet."""

if TYPE_CHECKING:
    import psycopg

Connect = Callable[[], Awaitable[TicketQueue]]


class Link(ABC):
    """What both links share: the thread, the connection, wake-ups and words. Children say what a round does.

    `trouble`: "" while PostgreSQL answers, else one sentence with since when. `refusal`: set while it answers but
    will not work with us until somebody mends something; it is tried again all the same.
    `errands`: set before the start; each is run with every beat, in a transaction of its own (probes, metrics).
    """

    def __init__(self, connect: Connect, name: str) -> None:
        self.name = name
        self.trouble = ""
        self.refusal: ClusterRefusedError | None = None
        self.errands: tuple[Callable[[psycopg.AsyncConnection], Awaitable[object]], ...] = ()
        self._connect = connect
        self._read_end, self._write_end = socket.socketpair()
        self._read_end.setblocking(False)
        self._write_end.setblocking(False)
        self._thread = threading.Thread(target=self._main, name=f"link of {name}", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._closing = asyncio.Event()
        self._close_at: float | None = None
        self._is_connected = False
        self._is_closed = False
        self._lost_at: datetime | None = None
        self._words = ""
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._longest_retry_seconds = math.inf

    # For the main thread.

    def start(self) -> None:
        """Start the thread; it connects by itself, and again and again while it cannot."""
        self._lost_at = datetime.now(UTC)
        self.trouble = f"{NOT_YET} (since {_clock(self._lost_at)})"
        self._thread.start()

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is news."""
        return self._read_end.fileno()

    def close(self, seconds: float = 3.0) -> None:
        """Send what is still to be sent, for at most `seconds`, and end the thread. News can still be read."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._thread.ident is not None:
            self._close_at = time.monotonic() + seconds
            self._from_outside(self._end)
            self._thread.join(seconds + 2 * END_SECONDS)
            if self._thread.is_alive():
                logger.warning("the thread that talks to the cluster's PostgreSQL hangs and is left behind")
        self._read_end.close()
        self._write_end.close()

    def _drain(self) -> None:
        """Take the wake-ups, before looking at what they were for."""
        with suppress(OSError):  # there are no more, or the link is closed
            while self._read_end.recv(DRAIN_BYTES):
                continue

    def _stir(self) -> None:
        """Make the thread go round now."""
        self._from_outside(self._woken.set)

    def _from_outside(self, call: Callable[[], object]) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(call)

    # For the children; all in the link's thread.

    @abstractmethod
    def _greet(self) -> None:
        """A new connection: what must be sent again or looked at now."""

    @abstractmethod
    async def _round(self, queue: TicketQueue, *, is_last: bool) -> float:
        """Send and fetch what is due. Returns the seconds until something is due again, 0 = go on at once."""

    @abstractmethod
    def _has_errands(self) -> bool:
        """Whether anything handed over has not reached PostgreSQL yet."""

    @abstractmethod
    def _listens_to(self) -> str:
        """Return the kind of notification that ends a pause, or ""."""

    @abstractmethod
    def _noticed(self) -> None:
        """Remember that a notification came."""

    def _wake_main(self) -> None:
        """Make the descriptor readable; a full one is readable already."""
        with suppress(OSError):
            self._write_end.send(b"!")

    async def _run_errands(self, queue: TicketQueue) -> None:
        """To be called with each beat."""
        for errand in self.errands:
            await queue.lend(errand)

    # The thread.

    def _main(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._live())

    async def _live(self) -> None:
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        if self._close_at is not None:
            self._end()
        while not self._closing.is_set() or self._has_errands():
            await self._connect_and_serve()
            if self._closing.is_set():
                return
            rest = min(self._retry_seconds, self._longest_retry_seconds)
            rest *= 1.0 + JITTER * random.random()  # noqa: S311 - not for secrets
            self._retry_seconds = min(2 * self._retry_seconds, LONGEST_RETRY_SECONDS)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), rest)

    async def _connect_and_serve(self) -> None:
        """Work over one connection until it fails or the link closes."""
        queue: TicketQueue | None = None
        try:
            queue = await self._connect()
            await self._serve(queue)
        except ClusterRefusedError as error:
            self._is_down(str(error), error)
        except ClusterDownError as error:
            self._is_down(str(error))
        except Exception as error:  # noqa: BLE001 - the thread must live on whatever happens; the log has the place
            if not self._is_told_of(error):
                logger.opt(exception=error).error("the talk with the cluster's PostgreSQL broke off")
            self._is_down(f"the talk with the cluster's PostgreSQL broke off ({type(error).__name__}: {error})")
        finally:
            self._is_connected = False
            if queue is not None:
                with suppress(Exception):
                    await asyncio.wait_for(queue.close(), END_SECONDS)

    async def _serve(self, queue: TicketQueue) -> None:
        self._is_connected = True
        self._greet()
        while True:
            self._woken.clear()
            is_last = self._closing.is_set()
            seconds = await self._round(queue, is_last=is_last)
            self._is_well()
            if is_last:
                return
            if seconds > 0:
                await self._pause(queue, seconds)

    async def _pause(self, queue: TicketQueue, seconds: float) -> None:
        """Wait for a wake-up or a notification, or until the time is over."""
        kind = self._listens_to()
        woken = asyncio.ensure_future(self._woken.wait())
        waits: set[asyncio.Future[object]] = {woken}  # type: ignore[arg-type]  # only whether it is done matters
        notified = asyncio.ensure_future(queue.wait(seconds, kind)) if kind else None
        if notified is not None:
            waits.add(notified)  # type: ignore[arg-type]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        if notified is not None and not notified.cancelled():
            notified.result()
            self._noticed()

    def _end(self) -> None:
        """Begin the end: at once if there is nothing to send or nobody to send it to, else after a last round."""
        assert self._task is not None and self._loop is not None and self._close_at is not None  # noqa: S101 - ours
        self._closing.set()
        self._woken.set()
        if self._is_connected or self._has_errands():
            self._loop.call_later(max(self._close_at - time.monotonic(), 0.0), self._task.cancel)
        else:
            self._task.cancel()

    # Words.

    def _is_well(self) -> None:
        if not self.trouble and self.refusal is None:
            return
        if self._lost_at is not None and self._words:
            away = (datetime.now(UTC) - self._lost_at).total_seconds()
            logger.info("the cluster's PostgreSQL answers again, after {:.0f} s", away)
        self.trouble, self.refusal, self._lost_at, self._words = "", None, None, ""
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._wake_main()

    def _is_told_of(self, error: Exception) -> bool:
        return type(error).__name__ in self._words

    def _is_down(self, words: str, refusal: ClusterRefusedError | None = None) -> None:
        """Keep what is wrong; it is logged when it begins and when somebody is needed, not at every try."""
        words = " ".join(words.split()).removesuffix(".")
        if self._lost_at is None:
            self._lost_at = datetime.now(UTC)
        if refusal is not None and self.refusal is None:
            logger.error("{}", words)
        elif not self._words:
            logger.warning("{}; it is tried again", words)
        self._words = words
        self.refusal = refusal
        self.trouble = f"{words} (since {_clock(self._lost_at)})"
        self._wake_main()


def _clock(moment: datetime) -> str:
    """Word a time as a person at this machine reads it, with the day if it is not today's."""
    local = moment.astimezone()
    is_today = local.date() == datetime.now(UTC).astimezone().date()
    return f"{local:%H:%M}" if is_today else f"{local:%Y-%m-%d %H:%M}"
