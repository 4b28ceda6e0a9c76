"""The process that draws pictures: started on demand by picture_process.py, ends when it is idle. Loads no torch.

Takes one JSON line for each request on standard input and answers on standard output (picture_words.py). One request
is worked on at a time: what the page asked for last comes first, thumbnails after tiles. It steps back behind
everything else on the machine, and the kernel takes it before the daemon when memory is short.
"""

import ctypes
import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

NICENESS = 10
OUT_OF_MEMORY_SCORE = "700"
"""Before the daemon's worker (500)."""
PR_SET_PDEATHSIG = 1
OPEN_FRAMES = 2
"""Frames whose files and coarse levels stay at hand."""
REST_SECONDS = 10.0
"""Without a request for so long, everything held of the frames is given back."""
CACHE_CHECK_BYTES = 64 << 20
WHOLE_LEVEL = 4
"""Tiles from here on show so much of a frame that they are drawn before finer ones."""
RANKS = {"layout": 0, "mask": 0, "tile": 1, "thumb": 2}


class Requests:
    """What is still to be done: filled by the reading thread, emptied by the drawing one."""

    def __init__(self) -> None:
        self._waiting: dict[int, dict[str, Any]] = {}
        self._cancelled: set[int] = set()
        self._changed = threading.Condition()

    def add(self, words: dict[str, Any]) -> None:
        """Take a request, or the word that one is no longer wanted."""
        with self._changed:
            if "cancel" in words:
                if self._waiting.pop(int(words["cancel"]), None) is None:
                    self._cancelled.add(int(words["cancel"]))
            else:
                self._waiting[int(words["id"])] = words
            self._changed.notify_all()

    def next(self, seconds: float) -> dict[str, Any] | None:
        """Return what is to be drawn now, None if nothing came for `seconds`."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._waiting), seconds):
                return None
            self._cancelled.clear()
            best = min(self._waiting.values(), key=_rank)
            return self._waiting.pop(best["id"])

    def is_wanted(self, words: dict[str, Any]) -> bool:
        """Tell whether a begun request, or another one of its frame, is still wanted."""
        with self._changed:
            job = words["files"]["job"]
            return words["id"] not in self._cancelled or any(
                other["files"]["job"] == job for other in self._waiting.values()
            )


def _rank(words: dict[str, Any]) -> tuple[int, bool, int]:
    """Return what is done sooner: the least one."""
    return RANKS.get(words["do"], len(RANKS)), words.get("level", 0) < WHOLE_LEVEL, -words["id"]


def main(arguments: list[str]) -> None:
    """Draw until standard input ends or nothing was asked for long: STATE_DIR CACHE_MB IDLE_SECONDS PARENT_PID."""
    state_dir, cache_bytes = Path(arguments[0]), int(arguments[1]) << 20
    idle_seconds, parent = float(arguments[2]), int(arguments[3])
    _end_with(parent)
    # Whatever a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    requests = Requests()
    threading.Thread(target=_read, args=(requests,), name="requests", daemon=True).start()
    from spotlessd.review.drawing import Desk

    desk = Desk(state_dir, cache_bytes, OPEN_FRAMES, CACHE_CHECK_BYTES)
    last = time.monotonic()
    while time.monotonic() - last < idle_seconds:
        words = requests.next(min(REST_SECONDS, idle_seconds))
        if words is None:
            desk.rest()
            continue
        _say(answers, {"id": words["id"], "begun": True})
        _say(answers, {"id": words["id"], **desk.do(words, partial(requests.is_wanted, words))})
        last = time.monotonic()


def _say(answers: IO[str], words: dict[str, Any]) -> None:
    try:
        answers.write(json.dumps(words) + "\n")
        answers.flush()
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)


def _read(requests: Requests) -> None:
    """Take what is asked; the end of the input is the end of the daemon, and ours."""
    for line in sys.stdin:
        requests.add(json.loads(line))
    os._exit(0)


def _end_with(parent: int) -> None:
    """Step back, and do not outlive the parent even in the middle of a long call."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):
        os.nice(NICENESS)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OUT_OF_MEMORY_SCORE, encoding="ascii")
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
