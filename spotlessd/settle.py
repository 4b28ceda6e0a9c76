"""When is a file complete? A pure state machine over what was seen of it; the clock is an argument.

Comes in: `observe` with each look at a file, and reports of the checks that open it. Goes out: `settled`, each file
once until it changes, and `waiting` with the reason for all others. Rules: a file is handed over only when a look at
least `settle_seconds` after its last change found the same size, mtime and inode; any change starts anew. An event that
says "closed" does not shorten the wait: scanner programs close a file and open it again, and write the infrared sidecar
after they closed the scan. A scan waits for its unfinished sidecar, a sidecar some time for its scan. Nothing is given
up: what a check held back is offered again after growing pauses. `now` is monotonic seconds; a file's times are
compared, never read as a clock.
"""

from collections.abc import Collection
from dataclasses import dataclass

from spotlessd.folders.roots import Candidate

LONGEST_PAUSE_SECONDS = 300.0
"""Pauses between checks double up to this."""
LATE_LOOK_SECONDS = 1.0
"""When a look is overdue (its folder is away), ask again after this instead of at once."""
NEW = "new: waiting until it stays unchanged"
GROWING = "still growing or being changed"
ZERO_TAIL = "its end is all zero bytes; a copy may be filling it: waiting twice as long"
LONG_ZERO_TAIL = "much of its end is zero bytes, as in a copy that is still being filled"

Key = tuple[str, str]
Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file that is not taken yet, and why. `since`: when it was first seen, monotonic seconds."""

    root: str
    rel: str
    reason: str
    since: float


@dataclass(slots=True)
class _Unsettled:
    """What is known of a file that was not handed over. It may go when a look at `due` or later finds it unchanged."""

    candidate: Candidate
    first_seen: float
    last_look: float
    due: float
    settle_seconds: float
    reason: str
    pause_seconds: float
    incomplete_since: float | None = None
    is_doubled: bool = False
    is_alone: bool = False


class Settler:
    """All files that are not complete yet. `incomplete_seconds`: patience with a file that ends too early."""

    def __init__(self, incomplete_seconds: float) -> None:
        self._incomplete_seconds = incomplete_seconds
        self._unsettled: dict[Key, _Unsettled] = {}
        self._handed_over: dict[Key, _Unsettled] = {}

    def observe(self, candidate: Candidate, now: float, settle_seconds: float) -> None:
        """Take in one look at a file."""
        key = (candidate.root, candidate.rel)
        handed_over = self._handed_over.get(key)
        if handed_over is not None:
            if _shape(handed_over.candidate) == _shape(candidate):
                return
            del self._handed_over[key]
            self._unsettled[key] = handed_over
        known = self._unsettled.get(key)
        if known is None:
            self._unsettled[key] = known = _fresh(candidate, now, now, settle_seconds, NEW)
        elif _shape(known.candidate) != _shape(candidate):
            self._unsettled[key] = known = _fresh(candidate, known.first_seen, now, settle_seconds, GROWING)
        known.last_look = now

    def forget_missing(self, root: str, seen_rels: Collection[str]) -> None:
        """Drop every file of `root` that a whole scan did not see."""
        for files in (self._unsettled, self._handed_over):
            for key in [key for key in files if key[0] == root and key[1] not in seen_rels]:
                del files[key]

    def settled(self, now: float) -> list[Candidate]:
        """Hand over every file that is complete as far as looks can tell, oldest file first."""
        ready = [key for key, file in self._unsettled.items() if file.due <= now and file.last_look >= file.due]
        for key in ready:
            self._handed_over[key] = self._unsettled.pop(key)
        candidates = [self._handed_over[key].candidate for key in ready]
        return sorted(candidates, key=lambda candidate: (candidate.mtime_ns, candidate.root, candidate.rel))

    def report_incomplete(self, candidate: Candidate, reason: str, now: float) -> bool:
        """The structure check says that a settled file ends too early. Return whether it waits.

        False: it has not changed for `incomplete_seconds` since the first report; it stays handed over, and the job
        that reads it will set it aside with its reason.
        """
        file = self._take_back(candidate)
        if file is None:
            return True
        if file.incomplete_since is None:
            file.incomplete_since = now
        patience_ends = file.incomplete_since + self._incomplete_seconds
        if now >= patience_ends:
            key = (candidate.root, candidate.rel)
            self._handed_over[key] = self._unsettled.pop(key)
            return False
        self._pause(file, reason, now)
        file.due = min(file.due, patience_ends)
        return True

    def report_busy(self, candidate: Candidate, reason: str, now: float) -> None:
        """A settled file cannot be taken yet (open for writing, not readable): it waits, with growing pauses."""
        file = self._take_back(candidate)
        if file is not None:
            self._pause(file, reason, now)

    def report_zero_tail(self, candidate: Candidate, now: float, *, is_long: bool = False) -> bool:
        """A settled file ends in zero bytes, as a copy that set the length first. Return whether it waits.

        It waits once, for twice its settle time; False when it did that already. If much of its end is zero
        (`is_long`), it waits as one that ends too early: False after `incomplete_seconds` without a change.
        """
        if is_long:
            return self.report_incomplete(candidate, LONG_ZERO_TAIL, now)
        file = self._take_back(candidate)
        if file is None:
            return True
        if file.is_doubled:
            key = (candidate.root, candidate.rel)
            self._handed_over[key] = self._unsettled.pop(key)
            return False
        file.is_doubled = True
        file.reason = ZERO_TAIL
        file.due = now + 2 * file.settle_seconds
        return True

    def report_alone(self, candidate: Candidate, reason: str, seconds: float, now: float) -> bool:
        """A settled sidecar has no scan to go with yet. Return whether it waits.

        False: `seconds` have passed since it was first seen; it stays handed over.
        """
        file = self._take_back(candidate)
        if file is None:
            return True
        file.is_alone = now < file.first_seen + seconds
        if not file.is_alone:
            key = (candidate.root, candidate.rel)
            self._handed_over[key] = self._unsettled.pop(key)
            return False
        file.reason, file.due = reason, file.first_seen + seconds
        return True

    def offer_again(self, candidate: Candidate, now: float) -> None:
        """Hand a complete file, just observed, over once more: what it goes with has come, or has gone."""
        key = (candidate.root, candidate.rel)
        if not self.is_finished(candidate):
            return
        file = self._unsettled.get(key) or self._handed_over.pop(key)
        self._unsettled[key] = file
        file.is_alone = False
        file.due = file.last_look = now

    def report_unfinished_companion(self, candidate: Candidate, companion_rel: str, reason: str, now: float) -> None:
        """A settled scan waits for the file that goes with it; it asks again as that settles, and never later."""
        file = self._take_back(candidate)
        if file is not None:
            companion = self._unsettled[candidate.root, companion_rel]
            file.reason = reason
            file.due = max(min(companion.due, now + file.settle_seconds), now)

    def is_unfinished(self, root: str, rel: str) -> bool:
        """Whether a file is seen and not yet complete; one that only waits for its scan is complete."""
        file = self._unsettled.get((root, rel))
        return file is not None and not file.is_alone

    def is_alone(self, root: str, rel: str) -> bool:
        """Whether a file is complete and waits for its scan."""
        file = self._unsettled.get((root, rel))
        return file is not None and file.is_alone

    def is_finished(self, candidate: Candidate) -> bool:
        """Whether this very file was found complete."""
        key = (candidate.root, candidate.rel)
        file = self._handed_over.get(key) or self._unsettled.get(key)
        return file is not None and _shape(file.candidate) == _shape(candidate) and not self.is_unfinished(*key)

    def reason(self, root: str, rel: str) -> str:
        """Return why a file waits, or waited before it was handed over; "" if it is not known."""
        file = self._unsettled.get((root, rel)) or self._handed_over.get((root, rel))
        return "" if file is None else file.reason

    def waiting(self) -> list[Waiting]:
        """Return every file that is not taken yet, by root and path."""
        return [
            Waiting(root, rel, file.reason, file.first_seen) for (root, rel), file in sorted(self._unsettled.items())
        ]

    def next_deadline(self, now: float) -> float | None:
        """Return when the next file wants a look (`observe`, then `settled`), or None if no file waits."""
        dues = [file.due if file.due > now else now + LATE_LOOK_SECONDS for file in self._unsettled.values()]
        return min(dues, default=None)

    def _take_back(self, candidate: Candidate) -> _Unsettled | None:
        """Make a handed-over file wait again; None if it changed meanwhile and waits anyhow, or is gone."""
        key = (candidate.root, candidate.rel)
        file = self._handed_over.get(key)
        if file is None or _shape(file.candidate) != _shape(candidate):
            return None
        self._unsettled[key] = self._handed_over.pop(key)
        return file

    def _pause(self, file: _Unsettled, reason: str, now: float) -> None:
        file.reason = reason
        file.due = now + file.pause_seconds
        file.pause_seconds = min(file.pause_seconds * 2, LONGEST_PAUSE_SECONDS)


def _fresh(candidate: Candidate, first_seen: float, now: float, settle_seconds: float, reason: str) -> _Unsettled:
    """Start the wait of a file that is new or has changed."""
    return _Unsettled(
        candidate=candidate,
        first_seen=first_seen,
        last_look=now,
        due=now + settle_seconds,
        settle_seconds=settle_seconds,
        reason=reason,
        pause_seconds=min(settle_seconds, LONGEST_PAUSE_SECONDS),
    )


def _shape(candidate: Candidate) -> Shape:
    return candidate.size, candidate.mtime_ns, candidate.inode
