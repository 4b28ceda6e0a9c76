"""(Complete files in the folders) − (files the ledger knows) → new jobs; the same at start, on events, by the clock.

Losing an event costs delay and never a scan. A root is opened the first time it is there: results of a lost ledger are
taken over from their receipts before anything in it is queued. A file whose structure ends too early waits; one of a
kind that cannot be restored is quarantined with its sentence and never reaches the worker. What belongs to a scan
(company.py) goes with it. The structure check reads headers only. `now`: monotonic seconds; `clock` gives seconds since
the epoch for a file's age.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from loguru import logger

from spotless_core.errors import MissingInputError, ScanError, SpotlessError, TruncatedScanError
from spotlessd.companions.company import STILL_OPEN, Company, identity_of
from spotlessd.configuration.sections import WatchSettings
from spotlessd.engine import Engine
from spotlessd.errors import LedgerError, RootUnavailableError
from spotlessd.folders.file_checks import WriterState, is_open_for_writing
from spotlessd.folders.mount_memory import MountMemory
from spotlessd.folders.roots import Candidate, Root
from spotlessd.ledger import Ledger
from spotlessd.publishing.found_receipts import found_scans, results_of
from spotlessd.settle import Settler, Waiting
from spotlessd.sqlite.board import Board, WaitingFile

Item = TypeVar("Item")
SHORTEST_PAUSE_SECONDS = 0.25
"""Between two looks: a scanner that writes a file piece by piece raises events without end."""
AGED_SETTLE_SECONDS = 0.05
"""With file ages counted, a file that is old enough still gets a second look this much later."""
ONCE_PATIENCE_FACTOR = 2
"""With file ages counted, a file that ends too early is waited for this many settle times, then set aside."""
SLICE_SECONDS = 0.3
SLICE_FILES = 20
"""So long, and at least so many, settled files are admitted before the main loop goes on."""
LEFT_OUT = "left out: {}"
ADOPTED_KEY = "receipts taken over: {}"


@dataclass(frozen=True, slots=True)
class Rules:
    """How often to look and how long to wait. `counts_age`: a file's own age counts."""

    watch: WatchSettings
    counts_age: bool = False


class Reconciler:
    """Looks at the roots and makes jobs of what is complete. `check` opens a scan's header or raises a ScanError."""

    def __init__(
        self,
        roots: Sequence[Root],
        rules: Rules,
        ledger: Ledger,
        engine: Engine,
        board: Board,
        *,
        check: Callable[[Path], None],
        on_open: Callable[[Root], None],
        clock: Callable[[], float],
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._roots = {root.name: root for root in roots}
        self._rules = rules
        self._ledger = ledger
        self._engine = engine
        self._board = board
        self._check = check
        self._on_open = on_open
        self._clock = clock
        self._on_progress = on_progress
        self._settler = Settler(self._patience(rules.watch.incomplete_seconds))
        self.company = Company(
            ledger,
            engine,
            self._settler,
            check=check,
            settle_seconds=self._whole_settle_seconds,
            patience_seconds=self._patience(rules.watch.sidecar_seconds),
            clock=clock,
        )
        self._mounts = MountMemory(board)
        for root in roots:
            self._mounts.recall(root)
        self._opened: set[str] = set()
        self._due = {root.name: 0.0 for root in roots}
        self._deadline = math.inf
        self._settled: deque[Candidate] = deque()
        self._is_new_look = False
        self._last_look = -SHORTEST_PAUSE_SECONDS
        self._shown: list[WaitingFile] | None = None
        self.others_waiting: Callable[[], list[WaitingFile]] = list
        self.away: dict[str, str] = {}
        self.last_complete_look = 0.0

    @property
    def is_quiet(self) -> bool:
        """Whether every root was looked at or found away, and no file waits."""
        is_seen = all(root.name in self._opened or root.name in self.away for root in self._roots.values())
        return is_seen and not self._settled and not self._settler.waiting()

    @property
    def waiting(self) -> list[Waiting]:
        """Every file that is not complete yet, and why."""
        return self._settler.waiting()

    def due(self, root: str) -> float:
        """Return when a root is looked at next by the clock, in monotonic seconds."""
        return self._due[root]

    def look_soon(self) -> None:
        """Look at every root with the next `tick`: something changed, or somebody asks."""
        self._due = dict.fromkeys(self._due, 0.0)

    def next_look(self) -> float:
        """Return when `tick` has something to do again, in monotonic seconds."""
        if self._settled:
            return 0.0
        dues = [*self._due.values(), self._deadline]
        return max(min(dues), self._last_look + SHORTEST_PAUSE_SECONDS)

    def tick(self, now: float) -> bool:
        """Look at the roots if it is time, and queue what has become complete. Returns whether it looked.

        Raises:
            LedgerError: the ledger could not be written; the files are offered again by a later look.
        """
        if now < self.next_look():
            return False
        if not self._settled:
            self._look(now)
        is_first = self._is_new_look
        self._is_new_look = False
        self._admit_some(now)
        if is_first or not self._settled:
            self.show_waiting(now)
        return True

    def _look(self, now: float) -> None:
        self._is_new_look = True
        self._last_look = now
        waiting_roots = {file.root for file in self._settler.waiting()} if self._deadline <= now else set()
        for root in self._roots.values():
            if self._due[root.name] <= now or root.name in waiting_roots:
                self._look_at(root, now)
        # Companions first: a scan asks whether its own are complete.
        self._settled.extend(sorted(self._settler.settled(now), key=lambda candidate: candidate.companion is None))
        if not self.away:
            self.last_complete_look = now

    def _admit_some(self, now: float) -> None:
        """Admit settled files for a while, all in one transaction; the rest waits for the next `tick`.

        After a night without the daemon 30,000 files may settle at once: commands, results and the watchdog go on.
        """
        tried: list[Candidate] = []
        ends = time.monotonic() + SLICE_SECONDS
        try:
            with self._ledger.batch() if len(self._settled) > 1 else nullcontext():
                while self._settled and (len(tried) < SLICE_FILES or time.monotonic() < ends):
                    tried.append(self._settled.popleft())
                    self._on_progress()
                    self._admit(tried[-1], now)
        except LedgerError as error:
            for left in (*tried, *self._settled):
                self._settler.report_busy(left, str(error), now)
            self._settled.clear()
            raise
        finally:
            deadline = self._settler.next_deadline(now)
            self._deadline = math.inf if deadline is None else deadline

    def _look_at(self, root: Root, now: float) -> None:
        watch = self._rules.watch
        self._due[root.name] = now + (watch.poll_seconds if root.is_polled else watch.rescan_seconds)
        try:
            if root.name not in self._opened:
                root.ensure_available()
                self._open(root)
            seen = set()
            for candidate in self.company.choose(root, self._told(root.scan())):
                seen.add(candidate.rel)
                self._settler.observe(candidate, now, self._settle_seconds(root, candidate))
                self.company.judge_again(candidate, now)
        except RootUnavailableError as error:
            if root.name not in self.away and not root.is_away:  # else the root has told it
                logger.warning("root {}: {}", root.name, error)
            self.away[root.name] = str(error)
            return
        self.away.pop(root.name, None)
        self._mounts.keep(root)
        seen |= {file.rel for file in self._settler.waiting() if file.root == root.name and root.is_unread(file.rel)}
        self._settler.forget_missing(root.name, seen)

    def _open(self, root: Root) -> None:
        """Prepare a root that is there for the first time in this run."""
        key = ADOPTED_KEY.format(root.name)
        if self._board.noted(key) is None:
            now = self._clock()
            number = self._ledger.adopt(self._told(found_scans(root)), now)
            self._board.note(key, str(number))
            if number:
                logger.info("root {}: {} results known from their receipts", root.name, number)
        self._on_open(root)
        self._opened.add(root.name)

    def _told(self, items: Iterator[Item]) -> Iterator[Item]:
        """Pass `items` on, with a sign of life for each: a look at very many files may take minutes."""
        for item in items:
            self._on_progress()
            yield item

    def _patience(self, seconds: float) -> float:
        """Return how long a file is waited for: with file ages counted the run is to end, so not for long."""
        if not self._rules.counts_age:
            return seconds
        return min(seconds, ONCE_PATIENCE_FACTOR * self._rules.watch.settle_seconds)

    def _whole_settle_seconds(self, root: Root) -> float:
        watch = self._rules.watch
        return watch.settle_seconds_network if root.is_network else watch.settle_seconds

    def _settle_seconds(self, root: Root, candidate: Candidate) -> float:
        seconds = self._whole_settle_seconds(root)
        if not self._rules.counts_age:
            return seconds
        age = self._clock() - candidate.mtime_ns / 1e9
        return min(seconds, max(seconds - age, AGED_SETTLE_SECONDS))

    def _admit(self, candidate: Candidate, now: float) -> None:
        """Make a job of a file that stopped changing, unless a look into it says otherwise."""
        if candidate.companion is not None:
            self.company.admit(candidate, now)
            return
        if self.company.holds_back(candidate, now):
            return
        profile, identity = self._roots[candidate.root].profile, identity_of(candidate)
        try:
            if is_open_for_writing(candidate.path, is_network=candidate.is_network) is WriterState.OPEN:
                self._settler.report_busy(candidate, STILL_OPEN, now)
                return
            if self.company.waits_for_bytes(candidate, now):
                return
            self._check(candidate.path)
        except MissingInputError:
            return
        except TruncatedScanError as error:
            if self._settler.report_incomplete(candidate, f"not complete yet: {error}", now):
                return
            self._engine.refuse(identity, candidate.inode, profile.recipe, str(error))
            return
        except ScanError as error:
            self._engine.refuse(identity, candidate.inode, profile.recipe, str(error))
            return
        except OSError as error:
            self._settler.report_busy(candidate, f"cannot be read: {error.strerror or error}", now)
            return
        except SpotlessError as error:
            logger.debug("{}: left to the worker ({})", candidate.rel, error)
        except Exception:  # noqa: BLE001 - one odd header must not end the watch; the worker will meet it in its own process
            logger.exception("{}: the structure check failed; left to the worker", candidate.rel)
        done = results_of(self._roots[candidate.root], identity)
        if done:  # by a ledger that was younger than this one
            self._ledger.adopt(done, self._clock())
            return
        self._engine.submit(identity, candidate.inode, profile.recipe, priority=profile.priority)

    def show_waiting(self, now: float) -> None:
        """Write down for `status` what waits, where that has changed."""
        wall = self._clock()
        files = [
            WaitingFile(file.root, file.rel, file.reason, round(wall - (now - file.since), 0))
            for file in self._settler.waiting()
        ]
        files += [
            WaitingFile(root.name, rel, LEFT_OUT.format(reason), round(wall, 0))
            for root in self._roots.values()
            for rel, reason in sorted(root.left_out.items())
        ]
        files += self.others_waiting()
        known = {(file.root, file.rel): file.since for file in self._shown or ()}
        # The first time told stays: a clock that moves by a fraction must not rewrite the list.
        files = [
            WaitingFile(file.root, file.rel, file.reason, known.get((file.root, file.rel), file.since))
            for file in files
        ]
        if files != self._shown:
            self._board.show_waiting(files)
            self._shown = files
