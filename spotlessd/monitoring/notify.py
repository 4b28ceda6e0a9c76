"""Tell a program or an address of the person's choice what happened: quarantined, held, queue empty and so on.

Comes in: `Notice`s. Goes out: JSON, on the standard input of `notify.command` and in a POST to `notify.webhook`.
Promises: `tell` returns at once; all waiting is done in a thread of its own; a program that hangs is killed with all it
started, an address that does not answer is left alone; nothing that goes wrong here is more than a line in the log.
Notices of one kind are sent at most every `notify.interval_seconds`; what comes between is counted and sent together.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from loguru import logger

from spotlessd.configuration.sections import NoticeKind, NotifySettings

FILES_TOLD = 20
"""So many files are named in one message; the rest is only counted."""
KILL_SECONDS = 5.0
CLOSE_SECONDS = 10.0
"""How long the end of the daemon waits for notices under way, if nothing else is said."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened. `at`: seconds since the epoch. `file`, `job`: of a scan, else "" and 0."""

    kind: NoticeKind
    text: str
    at: float
    file: str = ""
    job: int = 0


@dataclass(slots=True)
class _Pile:
    """Notices of one kind that are not sent yet: the first and the last, and how many in all."""

    last: Notice
    first: list[Notice]
    count: int = 0


Send = Callable[[dict[str, Any]], None]


class Messenger:
    """Sends notices from a thread of its own. `senders` get each message one after the other and may raise OSError."""

    def __init__(
        self,
        station_id: str,
        events: tuple[NoticeKind, ...],
        interval_seconds: float,
        senders: list[Send],
        clock: Callable[[], float] = time.monotonic,
        close_seconds: float = CLOSE_SECONDS,
    ) -> None:
        self._station_id = station_id
        self._events = frozenset(events)
        self._interval = interval_seconds
        self._senders = senders
        self._clock = clock
        self._close_seconds = close_seconds
        self._piles: dict[NoticeKind, _Pile] = {}
        self._sent_at: dict[NoticeKind, float] = {}
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._work, name="notify", daemon=True)
        if senders:
            self._thread.start()

    def tell(self, notice: Notice) -> None:
        """Take a notice to be sent; returns at once. Kinds that nobody wants are dropped."""
        if notice.kind not in self._events or not self._senders:
            return
        with self._changed:
            pile = self._piles.setdefault(notice.kind, _Pile(notice, []))
            pile.last = notice
            pile.count += 1
            if len(pile.first) < FILES_TOLD:
                pile.first.append(notice)
            self._changed.notify()

    def close(self, seconds: float | None = None) -> None:
        """Send what is waiting, without regard to the interval, for `seconds` at most (None: as it was made)."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(self._close_seconds if seconds is None else seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                pile = self._take()
                while pile is None:
                    if self._is_closing:
                        return
                    self._changed.wait(self._seconds_to_next())
                    pile = self._take()
            message = self._message(pile)
            for send in self._senders:
                try:
                    send(message)
                except Exception as error:  # noqa: BLE001 - whatever is wrong with a hook must not end the thread
                    logger.warning("notify: {}: not told: {}", message["event"], error)

    def _take(self) -> _Pile | None:
        """Return the pile that is due now, or None."""
        now = self._clock()
        for kind, pile in self._piles.items():
            if self._is_closing or now >= self._due(kind):
                self._sent_at[kind] = now
                del self._piles[kind]
                return pile
        return None

    def _due(self, kind: NoticeKind) -> float:
        return self._sent_at[kind] + self._interval if kind in self._sent_at else -float("inf")

    def _seconds_to_next(self) -> float | None:
        if not self._piles:
            return None
        return max(min(self._due(kind) for kind in self._piles) - self._clock(), 0.0)

    def _message(self, pile: _Pile) -> dict[str, Any]:
        last = pile.last
        return {
            "event": str(last.kind),
            "station": self._station_id,
            "host": socket.gethostname(),
            "at": datetime.fromtimestamp(last.at, UTC).isoformat(timespec="seconds"),
            "count": pile.count,
            "text": last.text if pile.count == 1 else f"{pile.count} times; the last: {last.text}",
            "files": [
                {"job": notice.job, "file": notice.file, "text": notice.text} for notice in pile.first if notice.file
            ],
        }


def make_messenger(settings: NotifySettings, station_id: str) -> Messenger:
    """Return a messenger for the configured command and address; without either it takes notices and drops them."""
    senders: list[Send] = []
    if settings.command:
        senders.append(lambda message: run_command(settings.command, message, settings.timeout_seconds))
    if settings.webhook:
        senders.append(lambda message: post(settings.webhook, message, settings.timeout_seconds))
    # Long enough that a program that hangs is killed at its time-out, and not left behind by the daemon's end.
    patience = settings.timeout_seconds + KILL_SECONDS
    return Messenger(station_id, settings.events, settings.interval_seconds, senders, close_seconds=patience)


def run_command(command: tuple[str, ...], message: dict[str, Any], timeout_seconds: float) -> None:
    """Run a program with the message on its standard input; what it prints goes to the daemon's standard error.

    Raises:
        OSError: it cannot be started, failed, or took too long; then it was killed with all it started.
    """
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=sys.__stderr__, stderr=sys.__stderr__, start_new_session=True
    ) as process:
        try:
            process.communicate(json.dumps(message).encode() + b"\n", timeout=timeout_seconds)
        except subprocess.TimeoutExpired as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(KILL_SECONDS)
            raise TimeoutError(f"{command[0]} took more than {timeout_seconds:.0f} s and was killed.") from error
    if process.returncode:
        raise OSError(f"{command[0]} ended with status {process.returncode}; what it printed stands above.")


def post(address: str, message: dict[str, Any], timeout_seconds: float) -> None:
    """Post the message as JSON, and wait for the answer's status.

    Raises:
        OSError: the address cannot be reached, refuses, or took too long.
    """
    failure: list[Exception] = []
    request = urllib.request.Request(  # noqa: S310 - the config allows http and https only
        address,
        data=json.dumps(message).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "spotlessd"},
    )

    def ask() -> None:
        try:
            urllib.request.urlopen(request, timeout=timeout_seconds).close()  # noqa: S310 - as above
        except Exception as error:  # noqa: BLE001 - handed to the caller's thread
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            failure.append(error)

    # The time-out of a socket starts again with every byte: only a thread bounds the whole.
    asking = threading.Thread(target=ask, name="webhook", daemon=True)
    asking.start()
    asking.join(timeout_seconds)
    if asking.is_alive():
        raise TimeoutError(f"{address} did not answer within {timeout_seconds:.0f} s.")
    if failure:
        raise OSError(f"{address}: {failure[0]}") from failure[0]
