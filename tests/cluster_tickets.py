"""Tickets and answers to play with, and short names for what most tests of the queue do."""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from postgres import Database

from spotlessd.cluster.shares import Place
from spotlessd.cluster.ticket_queue import Taken, TicketQueue
from spotlessd.cluster.tickets import Answer, AnswerKind, Ticket, TicketKey, queue_of

WEIGHTS = "0123abcd" + "00" * 28
OTHER_WEIGHTS = "ffff0000" + "00" * 28
SMALL = queue_of(WEIGHTS, is_large=False)
LARGE = queue_of(WEIGHTS, is_large=True)
QUEUES = [SMALL, LARGE]


def ticket(job: int = 1, **changed: Any) -> Ticket:
    """A ticket of `station`, attempt 1, unless `changed` says otherwise."""
    values: dict[str, Any] = {
        "key": TicketKey(changed.pop("station", "darkroom"), job, changed.pop("attempt", 1)),
        "root": "scans",
        "rel": f"roll0001/frame{job:05d}.tif",
        "size": 60_000_000 + job,
        "mtime_ns": 1_700_000_000_000_000_000 + job,
        "recipe": "recipe-1",
        "weights": WEIGHTS,
        "version": "0.1.0",
        "priority": 0,
        "megapixels": 24.0,
        "is_large": False,
        "max_losses": 3,
        "publishes": "station",
        "output": Place("archive", "restored"),
        "order": {"source": ["archive", f"scans/roll0001/frame{job:05d}.tif"], "options": {"strength": 0.5}},
    }
    return Ticket(**{**values, **changed})


def finished(worker: str = "gpu1", **facts: Any) -> Answer:
    return Answer(AnswerKind.FINISHED, worker, receipt={"input": facts or {"sha256": "00"}}, seconds=2.5)


def story(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """An asynchronous test as a plain one."""

    @functools.wraps(test)
    def run(*arguments: Any, **fixtures: Any) -> None:
        asyncio.run(test(*arguments, **fixtures))  # type: ignore[arg-type]

    return run


@asynccontextmanager
async def queues(database: Database, number: int = 1) -> AsyncIterator[list[TicketQueue]]:
    """So many connections to the cluster."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(number):
            queue = await TicketQueue.connect(database.target)
            stack.push_async_callback(queue.close)
            opened.append(queue)
        yield opened


async def taken(queue: TicketQueue, worker_id: int, name: str = "gpu1") -> Taken:
    """The next ticket; there must be one."""
    found = await queue.take(worker_id, name, QUEUES)
    assert found is not None
    return found
