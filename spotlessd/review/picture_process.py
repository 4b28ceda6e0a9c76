"""The daemon's end of the process that draws (picture_child.py): starts it on demand, and bears its end at any time.

A request that was begun when the child died, or that takes too long, gets an error; those still waiting go to a fresh
child. Of one event loop; two threads of its own read and write the pipes, so that a child that hangs never blocks it,
and closing needs no loop.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from loguru import logger

from spotlessd.review.picture_source import PictureError

IDLE_SECONDS = 60.0
SECONDS = {"mask": 120.0}
"""A request may take so long once it is begun, else `limit_seconds`."""
LIMIT_SECONDS = 60.0
MOST_STARTS = 3
"""A child that dies so often before it began a request cannot be started."""
END_SECONDS = 5.0
"""A killed child is gone at once, unless its disk hangs."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
FAILED = "the picture could not be drawn: the process that draws ended meanwhile. Load the page again to try once more."
STUCK = "drawing the picture took more than {:g} s and was given up."

Words = dict[str, Any]


class _Request:
    def __init__(self, words: Words, future: asyncio.Future[Words]) -> None:
        self.words = words
        self.future = future
        self.starts = 0
        self.is_begun = False


class _Child:
    """One process with its pipes; calls `on_line` and `on_end` from a thread of its own."""

    def __init__(self, command: list[str], on_line: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **ONE_THREAD}
        )
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        self._on_line = on_line
        self._on_end = on_end
        self._threads = [
            threading.Thread(target=work, name="picture-process", daemon=True) for work in (self._read, self._write)
        ]

    def listen(self) -> None:
        """Begin to read and write."""
        for thread in self._threads:
            thread.start()

    def say(self, words: Words) -> None:
        self._lines.put(json.dumps(words).encode() + b"\n")

    def kill(self) -> None:
        self.process.kill()

    def end(self) -> None:
        """Kill it and wait until nothing of it is left."""
        self.kill()
        for thread in self._threads:
            thread.join(END_SECONDS)

    def _read(self) -> None:
        stdout = self.process.stdout
        if stdout is not None:
            with stdout:
                for line in stdout:
                    self._on_line(line)
        self._lines.put(None)
        self.process.kill()
        self.process.wait()
        self._on_end()

    def _write(self) -> None:
        stdin = self.process.stdin
        if stdin is None:
            return
        with suppress(OSError), stdin:  # it just ended: the reading thread tells
            while (line := self._lines.get()) is not None:
                stdin.write(line)
                stdin.flush()


class PictureProcess:
    """`state_dir`: where the pictures go. `cache_mb`: how much of them is kept. `idle_seconds`: then the child ends."""

    def __init__(
        self,
        state_dir: Path,
        cache_mb: int,
        *,
        idle_seconds: float = IDLE_SECONDS,
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        self._arguments = [str(state_dir), str(cache_mb), str(idle_seconds), str(os.getpid())]
        self._limit_seconds = limit_seconds
        self._child: _Child | None = None
        self._requests: dict[int, _Request] = {}
        self._last = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """Process id of the child, None while there is none."""
        return None if self._child is None else self._child.process.pid

    async def ask(self, words: Words) -> Words:
        """Have one request carried out; cancelling the wait takes it back.

        Raises:
            PictureError: the child's sentence, or that it died or hung.
        """
        if self._is_closed:
            raise PictureError("the review page is being closed.")
        self._last += 1
        number = self._last
        request = _Request({"id": number, **words}, asyncio.get_running_loop().create_future())
        self._requests[number] = request
        try:
            self._send(request)
            answer = await request.future
        except asyncio.CancelledError:
            if self._child is not None:
                self._child.say({"cancel": number})
            raise
        finally:
            self._requests.pop(number, None)
        if "error" in answer:
            raise PictureError(str(answer["error"]))
        return answer

    def close(self) -> None:
        """End the child; who still waits gets an error."""
        self._is_closed = True
        self._stop_timer()
        self._fail(lambda _: True, "the review page is being closed.")
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def _send(self, request: _Request) -> None:
        if self._child is None:
            self._start()
        else:
            request.starts += 1
            self._child.say(request.words)

    def _start(self) -> None:
        """Start a child and tell it of all that waits."""
        loop = asyncio.get_running_loop()

        def tell(work: Callable[..., None], *arguments: object) -> None:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits
                loop.call_soon_threadsafe(work, *arguments)

        command = [sys.executable, "-m", "spotlessd.review.picture_child", *self._arguments]
        try:
            child = _Child(command, lambda line: tell(self._hear, line, child), lambda: tell(self._gone, child))
        except OSError as error:
            self._fail(lambda _: True, f"the process that draws cannot be started ({error.strerror or error}).")
            return
        self._child = child
        child.listen()
        for request in self._requests.values():
            request.starts += 1
            child.say(request.words)

    def _hear(self, line: bytes, child: _Child) -> None:
        try:
            words = json.loads(line)
            number = words["id"]
        except (ValueError, KeyError, TypeError):
            logger.warning("review page: the process that draws cannot be understood; it is replaced")
            child.kill()
            return
        if child is self._child:
            self._take({**words, "id": int(number)}, child)

    def _gone(self, child: _Child) -> None:
        """See to those who still wait for a child that ended."""
        if child is not self._child:
            return
        self._stop_timer()
        self._child = None
        self._fail(lambda request: request.is_begun, FAILED)
        self._fail(lambda request: request.starts >= MOST_STARTS, FAILED)
        if self._requests:
            logger.debug("review page: a new process that draws is started")
            self._start()

    def _take(self, words: Words, child: _Child) -> None:
        self._stop_timer()
        request = self._requests.get(words["id"])
        if "begun" in words:
            # Also for a request that nobody wants any more: a child that hangs must not hang for the others.
            seconds = self._limit_seconds
            if request is not None:
                request.is_begun = True
                seconds = SECONDS.get(request.words["do"], seconds)
            self._timer = asyncio.get_running_loop().call_later(seconds, self._give_up, child, seconds)
        elif request is not None and not request.future.done():
            request.future.set_result(words)

    def _give_up(self, child: _Child, seconds: float) -> None:
        logger.warning("review page: drawing took more than {:g} s; the process is replaced", seconds)
        self._fail(lambda request: request.is_begun, STUCK.format(seconds))
        child.kill()

    def _fail(self, concerns: Callable[[_Request], bool], sentence: str) -> None:
        for number, request in list(self._requests.items()):
            if concerns(request):
                del self._requests[number]
                if not request.future.done():
                    with suppress(RuntimeError):
                        request.future.set_result({"error": sentence})

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
