"""What changed, sent to the open pages as server-sent events (WHATWG HTML, section 9.2).

One task looks at the ledger while somebody listens, and only then. A page that does not take its events is let go; it
comes back by itself and starts from the state of that moment.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from loguru import logger
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from spotlessd.errors import LedgerError
from spotlessd.review.frames import Mark

POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
MOST_LISTENERS = 20
MOST_WAITING = 30
"""Events that a page has not taken yet; then it is let go."""
HEARTBEAT = b": still here\n\n"

Change = dict[str, Any]
Look = Callable[[Mark], Awaitable[tuple[Mark, Change | None]]]


class TooManyListenersError(Exception):
    """`MOST_LISTENERS` pages listen already."""


class Events:
    """Belongs to one event loop. `look`: returns what changed since a mark, and the new mark."""

    def __init__(self, look: Look, *, poll_seconds: float = POLL_SECONDS) -> None:
        self._look = look
        self._poll_seconds = poll_seconds
        self._queues: set[asyncio.Queue[bytes | None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def listeners(self) -> int:
        """How many pages listen."""
        return len(self._queues)

    def join(self) -> "asyncio.Queue[bytes | None]":
        """Take a place; `part` gives it back.

        Raises:
            TooManyListenersError: there is none left.
        """
        if len(self._queues) >= MOST_LISTENERS or self._is_closed:
            raise TooManyListenersError
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(MOST_WAITING)
        self._queues.add(queue)
        return queue

    def part(self, queue: "asyncio.Queue[bytes | None]") -> None:
        """Give a place back; may be repeated."""
        self._queues.discard(queue)

    async def messages(self, queue: "asyncio.Queue[bytes | None]") -> AsyncIterator[bytes]:
        """Yield what is sent to one page, from now on; the first message tells how things are."""
        mark, change = await self._look_safely(Mark())
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch(mark))
        if change is not None:
            yield _event(change)
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    message = await queue.get()
            except TimeoutError:
                yield HEARTBEAT
                continue
            if message is None:
                return
            yield message

    def leave(self) -> None:
        """Send every page away and stop looking. For good."""
        self._is_closed = True
        for queue in list(self._queues):
            self._let_go(queue)
        if self._task is not None:
            self._task.cancel()

    async def _watch(self, mark: Mark) -> None:
        """Look again and again while somebody listens."""
        try:
            while self._queues:
                await asyncio.sleep(self._poll_seconds)
                mark, change = await self._look_safely(mark)
                if change is not None:
                    self._send(_event(change))
        except Exception as error:  # noqa: BLE001 - the pages come back, and then it is tried anew
            logger.opt(exception=error).error("review page: the events ended")
            for queue in list(self._queues):
                self._let_go(queue)

    def _send(self, message: bytes) -> None:
        for queue in list(self._queues):
            if queue.full():
                self._let_go(queue)
            else:
                queue.put_nowait(message)

    async def _look_safely(self, mark: Mark) -> tuple[Mark, Change | None]:
        try:
            return await self._look(mark)
        except LedgerError as error:
            logger.debug("review page: {}", error)
            return mark, None

    def _let_go(self, queue: "asyncio.Queue[bytes | None]") -> None:
        self._queues.discard(queue)
        if queue.full():
            queue.get_nowait()
        queue.put_nowait(None)


class EventStream(StreamingResponse):
    """The answer to one page; its place is taken when it is made and given back when it ends, however it ends.

    Raises:
        TooManyListenersError: there is no place left.
    """

    def __init__(self, events: Events) -> None:
        self._events = events
        self._queue = events.join()
        super().__init__(events.messages(self._queue), media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the page goes away or is sent away."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._events.part(self._queue)


def _event(change: Change) -> bytes:
    return f"event: change\ndata: {json.dumps(change)}\n\n".encode()
