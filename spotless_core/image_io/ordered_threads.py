"""Do the same to many items on several threads, and get the results in the items' order.

For work that leaves Python: codecs and reads let other threads run meanwhile. The promise: only a few results wait at
a time, so memory is bounded; the first error is raised where its result was due, and no thread is left behind.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_THREADS = 8
"""More threads than this wait for the disk and for Python's lock."""
AHEAD = 2
"""Results that may wait for each thread, so that none idles while the caller writes."""


def usable_threads(asked: int) -> int:
    """Return how many threads to start: `asked`, or for 0 as many as this process may use cores; at most 8."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(asked or cores, cores, MAX_THREADS))


def map_in_order(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Yield `work(item)` of each item in order, with `threads` at work; an error of `work` comes through as it is."""
    if threads <= 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="codec")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads * AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
