"""Both ends of the cluster's links in one process, for tests: short beats, and waiting for news with a deadline."""

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cluster_tickets import WEIGHTS

from spotlessd.cluster.station_link import StationLink
from spotlessd.cluster.ticket_queue import Answered, Taken
from spotlessd.cluster.worker_link import WorkerLink

HEARTBEAT_SECONDS = 0.1
LOST_SECONDS = 0.6
PATIENCE_SECONDS = 30.0


@contextmanager
def station(connect: Any, name: str = "darkroom") -> Iterator[StationLink]:
    link = StationLink(connect, name, heartbeat_seconds=HEARTBEAT_SECONDS, weights=WEIGHTS)
    link.start()
    try:
        yield link
    finally:
        link.close()


@contextmanager
def worker(connect: Any, name: str = "gpu1", *, lost_seconds: float = LOST_SECONDS) -> Iterator[WorkerLink]:
    link = WorkerLink(connect, name, heartbeat_seconds=HEARTBEAT_SECONDS, lost_seconds=lost_seconds, weights=WEIGHTS)
    link.start()
    try:
        yield link
    finally:
        link.close()


def until(is_done: Callable[[], object], *links: StationLink | WorkerLink, what: str = "it") -> None:
    """Wait for the links' news until something holds; the workers among them pulse."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_done():
        assert time.monotonic() < deadline, f"{what} did not come; trouble: {[link.trouble for link in links]}"
        for link in links:
            if isinstance(link, WorkerLink):
                link.pulse()
        select.select([*links], [], [], 0.02)


def next_of(link: StationLink | WorkerLink, kind: type, *others: StationLink | WorkerLink) -> Any:
    """The next news of a kind; what comes before it is dropped, what comes with it must be of another kind."""
    found: list[Any] = []

    def look() -> bool:
        found.extend(news for news in link.news() if isinstance(news, kind))
        return bool(found)

    until(look, link, *others, what=kind.__name__)
    assert len(found) == 1, found
    return found[0]


def work(link: WorkerLink, answer: Callable[[Taken], Any], seats: int = 2) -> list[Taken]:
    """Go once round a worker's main loop: answer what has come, want the next."""
    link.pulse()
    taken = [news for news in link.news() if isinstance(news, Taken)]
    for one in taken:
        link.answer(one, answer(one))
    link.want(seats, large=seats)
    return taken


def file_away(link: StationLink) -> list[Answered]:
    """Go once round a station's main loop: acknowledge what is answered."""
    answers = [news for news in link.news() if isinstance(news, Answered)]
    for answered in answers:
        link.acknowledge(answered.key)
    return answers
