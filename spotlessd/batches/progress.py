"""What a person sees of a batch while it runs: how far it is, how fast it goes, and when it should be done.

Comes in: signs of life of the main loop, and the ledger, read beside it. Goes out: on a terminal one line that is drawn
again and again, else a line a minute or for each twentieth of the work. Promise: nothing in here ends the run, and
what the log writes never stands in the middle of the line.
"""

import os
import shutil
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from spotlessd.commands.wording import duration_text, printable
from spotlessd.errors import LedgerError
from spotlessd.job import JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import SNAPSHOT_KEY, Snapshot
from spotlessd.monitoring.systemd_notify import SystemdNotifier
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database

RATE_SECONDS = 300.0
"""The rate is that of this last time."""
SAMPLE_SECONDS = 5.0
SCREEN_SECONDS = 1.0
LINE_SECONDS = 60.0
LINE_PERCENT = 5
HOUR = 3600.0
CLEAR_LINE = "\r\x1b[K"
"""To the line's begin, and empty it (xterm control sequences)."""
ENDED = (JobState.DONE, JobState.HELD, JobState.QUARANTINED)
NO_SCANS = (JobState.SUPERSEDED, JobState.GONE)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a batch is. `found`: the scans that were seen in DIR before it began. `trouble`: why it waits, or ""."""

    counts: dict[JobState, int]
    found: int = 0
    trouble: str = ""

    @property
    def ended(self) -> int:
        """Scans that are done, held or quarantined."""
        return sum(self.counts[state] for state in ENDED)

    @property
    def total(self) -> int:
        """All scans that are known of."""
        return max(self.found, sum(self.counts.values()) - sum(self.counts[state] for state in NO_SCANS))

    @property
    def percent(self) -> int:
        """Hundredths that are done, rounded down."""
        return 100 * self.ended // self.total if self.total else 0


class Pace:
    """How fast scans end: over the last five minutes, or since the start."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, now: float, ended: int) -> None:
        """Take in how many have ended by now. `now`: monotonic seconds."""
        if not self._samples or now - self._samples[-1][0] >= SAMPLE_SECONDS:
            self._samples.append((now, ended))
        while len(self._samples) > 1 and self._samples[1][0] <= now - RATE_SECONDS:
            self._samples.popleft()

    def per_second(self, now: float, ended: int) -> float | None:
        """Return scans per second; None as long as nothing tells."""
        if not self._samples:
            return None
        since, before = self._samples[0]
        return (ended - before) / (now - since) if now > since and ended > before else None


def line_of(standing: Standing, per_second: float | None) -> str:
    """Word the standing in one line, the most important first: a terminal may cut it off."""
    words = [f"{standing.ended:,} of {standing.total:,} scans ({standing.percent} %)"]
    left = standing.total - standing.ended
    if per_second is not None and left > 0:
        words.append(f"about {duration_text(left / per_second)} left")
    words += [f"{standing.counts[state]:,} {state}" for state in ENDED[1:] if standing.counts[state]]
    if per_second is not None:
        words.append(f"{per_second * HOUR:,.0f} an hour")
    if standing.trouble:
        words.append(f"waits: {standing.trouble}")
    return printable(", ".join(words)).replace("\n", " ")


class Progress:
    """The display. `stream` also takes the log's lines, through `write`. `is_screen`: it is a terminal."""

    def __init__(
        self,
        ledger: Path,
        stream: TextIO,
        *,
        found: int,
        grace_seconds: float,
        is_screen: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = ledger
        self._stream = stream
        self._found = found
        self._grace_seconds = grace_seconds
        self._is_screen = is_screen
        self._clock = clock
        self._database: Database | None = None
        self._pace = Pace()
        self._next = clock()
        self._line_at = clock()
        self._line_percent = -LINE_PERCENT
        self._has_line = False
        self._is_stopping = False

    @property
    def is_stopping(self) -> bool:
        """Whether the run was stopped before all was done."""
        return self._is_stopping

    def tick(self) -> None:
        """Look at the ledger if it is time, and show what has changed. May be called very often."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + SCREEN_SECONDS
        standing = self._look()
        if standing is None:
            return
        self._pace.note(now, standing.ended)
        line = line_of(standing, self._pace.per_second(now, standing.ended))
        if self._is_screen:
            width = max(shutil.get_terminal_size().columns - 1, 1)
            self._put(f"{CLEAR_LINE}{line[:width]}")
            self._has_line = True
        elif now - self._line_at >= LINE_SECONDS or standing.percent >= self._line_percent + LINE_PERCENT:
            self._line_at, self._line_percent = now, standing.percent
            self._put(f"{line}\n")

    def stopping(self) -> None:
        """Somebody stopped the run before all was done; say once what happens now."""
        if self._is_stopping:
            return
        self._is_stopping = True
        seconds = duration_text(self._grace_seconds)
        self.write(f"stopping: the scans in hand have {seconds} to end; once more ends it at once\n")

    def write(self, text: str) -> None:
        """Write whole lines above the progress, as the log does."""
        clear = CLEAR_LINE if self._has_line else ""
        self._has_line = False
        self._put(clear + text)

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """End the display with an empty line below."""
        if self._has_line:
            self.write("")
        if self._database is not None:
            self._database.close()

    def _look(self) -> Standing | None:
        """Read the ledger beside the service; None if it cannot be read now."""
        try:
            if self._database is None:
                self._database = Database.open(self._path)
            counts = Ledger(self._database).counts()
            text = Board(self._database).noted(SNAPSHOT_KEY)
        except LedgerError:
            return None
        snapshot = None if text is None else Snapshot.from_json(text)
        trouble = ""
        if snapshot is not None and snapshot.pid == os.getpid():
            trouble = next(iter((*snapshot.degraded, snapshot.paused)), "")
        return Standing(counts, self._found, trouble)

    def _put(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads any more: the work goes on
            self._next = float("inf")


class ProgressNotifier(SystemdNotifier):
    """Hears what the service tells systemd, tells it to systemd too, and lets the display go on."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._is_ending = False

    def alive(self) -> None:
        """The main loop goes on. After `stopping` it does so only if somebody stopped it, not where the run ends."""
        super().alive()
        if self._is_ending:
            self._progress.stopping()
        self._progress.tick()

    def stopping(self) -> None:
        """The service has begun to stop."""
        super().stopping()
        self._is_ending = True
