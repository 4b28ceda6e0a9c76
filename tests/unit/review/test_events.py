"""What open pages are sent."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from spotlessd.errors import LedgerError
from spotlessd.review.events import MOST_LISTENERS, MOST_WAITING, Events, TooManyListenersError
from spotlessd.review.frames import Mark

Change = dict[str, Any] | None


class Ledger:
    """Looks like a ledger that changes with every look, and counts them."""

    def __init__(self) -> None:
        self.looks = 0
        self.trouble: Exception | None = None

    async def look(self, _: Mark) -> tuple[Mark, Change]:
        self.looks += 1
        await asyncio.sleep(0)
        if self.trouble is not None:
            raise self.trouble
        return Mark(self.looks), {"number": self.looks}


def run(story: Callable[[Ledger, Events], Coroutine[Any, Any, None]]) -> None:
    async def tell() -> None:
        before = asyncio.all_tasks()
        ledger = Ledger()
        events = Events(ledger.look, poll_seconds=0.001)
        await story(ledger, events)
        events.leave()
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == before

    asyncio.run(asyncio.wait_for(tell(), 20))


def test_nobody_looks_while_nobody_listens() -> None:
    async def story(ledger: Ledger, events: Events) -> None:
        await asyncio.sleep(0.02)
        assert ledger.looks == 0
        queue = events.join()
        messages = events.messages(queue)
        assert await anext(messages) == b'event: change\ndata: {"number": 1}\n\n'
        assert (await anext(messages)).startswith(b"event: change")

        events.part(queue)
        await asyncio.sleep(0.02)
        looks = ledger.looks
        await asyncio.sleep(0.02)

        assert ledger.looks == looks

    run(story)


def test_looking_begins_again_with_the_next_page() -> None:
    async def story(ledger: Ledger, events: Events) -> None:
        first = events.join()
        await anext(events.messages(first))
        events.part(first)
        await asyncio.sleep(0.02)

        messages = events.messages(events.join())

        for _ in range(3):
            assert (await anext(messages)).startswith(b"event: change")

    run(story)


def test_there_are_places_for_so_many_pages() -> None:
    async def story(_: Ledger, events: Events) -> None:
        queues = [events.join() for _ in range(MOST_LISTENERS)]
        with pytest.raises(TooManyListenersError):
            events.join()

        events.part(queues[0])
        events.part(queues[0])

        events.join()
        assert events.listeners == MOST_LISTENERS

    run(story)


def test_a_page_that_takes_nothing_is_let_go_and_the_others_go_on() -> None:
    async def story(_: Ledger, events: Events) -> None:
        stuck = events.join()
        messages = events.messages(events.join())

        for _ in range(MOST_WAITING + 5):
            await anext(messages)

        assert events.listeners == 1
        assert None in [stuck.get_nowait() for _ in range(stuck.qsize())]

    run(story)


def test_a_ledger_that_cannot_be_read_for_a_while_is_asked_again() -> None:
    async def story(ledger: Ledger, events: Events) -> None:
        messages = events.messages(events.join())
        await anext(messages)
        ledger.trouble = LedgerError("locked")
        await asyncio.sleep(0.02)
        ledger.trouble = None

        assert (await anext(messages)).startswith(b"event: change")

    run(story)


def test_a_mistake_in_looking_ends_the_events_so_that_pages_come_back() -> None:
    async def story(ledger: Ledger, events: Events) -> None:
        messages = events.messages(events.join())
        await anext(messages)
        ledger.trouble = RuntimeError("ours")

        left = [message async for message in messages]

        assert all(message.startswith(b"event: change") for message in left)
        assert events.listeners == 0
        ledger.trouble = None
        assert (await anext(events.messages(events.join()))).startswith(b"event: change")

    run(story)


def test_leaving_sends_everybody_away_for_good() -> None:
    async def story(_: Ledger, events: Events) -> None:
        messages = events.messages(events.join())
        await anext(messages)

        events.leave()

        assert len([message async for message in messages]) <= MOST_WAITING
        with pytest.raises(TooManyListenersError):
            events.join()

    run(story)
