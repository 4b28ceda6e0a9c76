"""Edited masks as files: a mask laid into `masks/edited/` of an output folder makes a new version of its scan.

Comes in: PNG or TIFF files there, named like the scan or its mask, in subfolders like the scan's; `NAME~2.png` is an
edit of that version, any other of the newest. Goes out: a job with the mask and that version as its base; the file then
lies in `masks/edited/taken/`. A file is taken when it stayed unchanged for the root's settle time and fits its scan;
one that does not stays where it is, with one sentence in the log and in `status`, and is tried again when it or the
ledger changes. Its content and base are written down before the job is made, so that a run which was killed between the
two makes no second version. Masks are decoded in a process of their own. `now`: monotonic seconds.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from loguru import logger

from spotlessd.base_versions import base_of, newest_version
from spotlessd.configuration.settings import Settings
from spotlessd.control import FIRST_IN_LINE
from spotlessd.crash_points import crash_point
from spotlessd.edited_mask_check import MaskCheck
from spotlessd.engine import Engine
from spotlessd.errors import RootUnavailableError, UnknownJobError
from spotlessd.folders.roots import Root, check_marker
from spotlessd.job import COMPANION_RECIPE, Identity, Job, JobState, Overrides
from spotlessd.ledger import Ledger
from spotlessd.publishing.durable import make_folder
from spotlessd.publishing.handed_in import Shape, files_in, move_aside, shape_of
from spotlessd.publishing.result_files import FOLDERS
from spotlessd.sqlite.board import Board, WaitingFile

EDITED = PurePosixPath(FOLDERS["mask"]) / "edited"
TAKEN = "taken"
LOOK_SECONDS = 2.0
"""Between two looks at a folder on a local disk; one on a share is looked at as often as its scans."""
AGED_SETTLE_SECONDS = 0.05
"""With file ages counted, a file that is old enough still gets a second look this much later."""
SHORTEST_PAUSE_SECONDS = 0.25
AGAIN_SECONDS = 5.0
"""How soon a mask that did not fit is tried again when the ledger has news."""
ANYHOW_SECONDS = 300.0
"""How soon it is tried again without news: its scan may have been away."""
SUFFIXES = (".png", ".tif", ".tiff")
NOTE = "edited mask: {}/{}"
OWN_RECIPE = "{}+mask-{}-{}"

Key = tuple[str, str]


@dataclass(slots=True)
class _Seen:
    """One file there. `since`: unchanged since then, as `last_look` found. `trouble`: why it is not taken.

    `event`: the newest of the ledger when it was `judged`. `is_ours`: published by this station.
    """

    shape: Shape
    since: float
    last_look: float
    first_seen: float
    trouble: str = ""
    event: int = -1
    judged: float = 0.0
    looked_up: float = 0.0
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be done with a mask: the scan as it lies there, and the job whose version was edited."""

    identity: Identity
    inode: int
    base: int


class EditedMasks:
    """The folders of one station. `opened`: the roots that were there, by name. `clock`: seconds since the epoch.

    `counts_age`: a file's own age counts. `check`: starts looking at a mask: (mask, scan, state folder).
    """

    def __init__(
        self,
        opened: Mapping[str, Root],
        ledger: Ledger,
        engine: Engine,
        board: Board,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        counts_age: bool = False,
        check: Callable[[Path, Path, Path], MaskCheck] = MaskCheck,
    ) -> None:
        self._opened = opened
        self._ledger = ledger
        self._engine = engine
        self._board = board
        self._watch = settings.watch
        self._state_dir = settings.state_dir
        self._clock = clock
        self._counts_age = counts_age
        self._start_check = check
        self._seen: dict[Key, _Seen] = {}
        self._due: dict[str, float] = {}
        self._in_hand: tuple[Key, Shape, _Wanted, MaskCheck] | None = None
        self._told: dict[Key, tuple[Shape, str]] = {}
        self._shown: list[WaitingFile] = []

    @property
    def waiting(self) -> list[WaitingFile]:
        """Every mask that lies there and is not taken, and why."""
        return [
            WaitingFile(root, str(EDITED / rel), seen.trouble or "an edited mask, not complete yet", seen.first_seen)
            for (root, rel), seen in sorted(self._seen.items())
            if not seen.is_ours
        ]

    @property
    def is_quiet(self) -> bool:
        """Whether every folder was looked at, and each mask in it is taken or cannot be."""
        is_looked_at = all(name in self._due for name in self._opened)
        return (
            is_looked_at and self._in_hand is None and all(each.trouble or each.is_ours for each in self._seen.values())
        )

    def tick(self, now: float) -> bool:
        """Look at the folders if it is time and take the next complete mask; returns whether `waiting` changed.

        Raises:
            LedgerError: the ledger could not be written; the mask is taken by a later tick.
        """
        for root in list(self._opened.values()):
            if now >= self._due.get(root.name, 0.0):
                pause = self._watch.poll_seconds if root.is_network else min(LOOK_SECONDS, self._watch.rescan_seconds)
                self._due[root.name] = now + pause
                self._look_at(root, now)
        if self._in_hand is not None:
            self._take_answer(now)
        if self._in_hand is None:
            self._judge_next(now)
        before, self._shown = self._shown, self.waiting
        return before != self._shown

    def close(self) -> None:
        """Leave the mask in hand; it is looked at again."""
        if self._in_hand is not None:
            self._in_hand[3].close()
            self._in_hand = None

    def _look_at(self, root: Root, now: float) -> None:
        folder = root.output / EDITED
        try:
            check_marker(root.output, root.station_id)
            make_folder(folder / TAKEN)
            found = dict(files_in(folder, root.rules.ignores, TAKEN))
        except (RootUnavailableError, OSError) as error:
            logger.debug("{}: not looked at ({})", folder, error)
            return
        wall = self._clock()
        for rel, shape in found.items():
            key = (root.name, rel)
            known = self._seen.get(key)
            if known is None or known.shape != shape:
                known = _Seen(shape, now, now, wall if known is None else known.first_seen)
                self._seen[key] = known
                soon = max(self._settle_seconds(root, shape), SHORTEST_PAUSE_SECONDS)
                self._due[root.name] = min(self._due[root.name], now + soon)
            known.last_look = now
        for key in [key for key in self._seen if key[0] == root.name and key[1] not in found]:
            del self._seen[key]
            self._told.pop(key, None)

    def _judge_next(self, now: float) -> None:
        """Start the check of the first mask that is complete; tell of each that cannot be taken."""
        newest = -1
        for key, seen in sorted(self._seen.items()):
            if seen.is_ours or seen.last_look - seen.since < self._settle_seconds(self._opened[key[0]], seen.shape):
                continue
            if seen.trouble:
                if now - seen.looked_up < AGAIN_SECONDS:
                    continue
                seen.looked_up = now
                newest = self._ledger.newest_event() if newest < 0 else newest
                if newest == seen.event and now - seen.judged < ANYHOW_SECONDS:
                    continue
            root = self._opened[key[0]]
            seen.judged = seen.looked_up = now
            seen.event = self._ledger.newest_event()
            try:
                wanted = self._wanted(root, key[1])
            except UnknownJobError as error:
                self._tell(key, str(error))
                continue
            if wanted is None:
                seen.is_ours = True
                continue
            mask, scan = root.output / EDITED / key[1], root.input / wanted.identity.rel
            self._in_hand = (key, seen.shape, wanted, self._start_check(mask, scan, self._state_dir))
            return

    def _take_answer(self, now: float) -> None:
        assert self._in_hand is not None  # noqa: S101 - our own logic
        key, shape, wanted, check = self._in_hand
        answer = check.poll()
        if answer is None:
            return
        self._in_hand = None
        seen, root = self._seen.get(key), self._opened.get(key[0])
        if seen is None or root is None:
            return
        path = root.output / EDITED / key[1]
        try:
            is_same = shape_of(path.lstat()) == shape == seen.shape
        except OSError:
            return  # gone, or away: the next look says which
        if not is_same:
            seen.since = now
            return
        if isinstance(answer, str):
            self._tell(key, answer)
            return
        try:
            number = self._submit(root, key[1], shape, wanted, answer)
        except UnknownJobError as error:
            self._tell(key, str(error))
            return
        try:
            taken = move_aside(path, root.output / EDITED / TAKEN / key[1])
        except OSError as error:
            self._tell(key, f"taken, but it cannot be moved to {TAKEN}/ ({error.strerror}); move it yourself.")
            return
        crash_point("edited.moved")
        self._board.forget(NOTE.format(*key))
        del self._seen[key]
        self._told.pop(key, None)
        what = "its version is there already" if number is None else f"job {number} queued"
        logger.info("edited mask {}: {}; the file is now {}", key[1], what, taken.relative_to(root.output))

    def _submit(self, root: Root, rel: str, shape: Shape, wanted: _Wanted, kept: Path) -> int | None:
        """Make the job; once for this content in this file, however often we are killed meanwhile."""
        note = NOTE.format(root.name, rel)
        content = {"mask": kept.name, "size": shape[0], "mtime_ns": shape[1], "scan": wanted.identity.rel}
        known = _values(self._board.noted(note))
        if {key: known.get(key) for key in content} == content:
            base, recipe = int(known["base"]), str(known["recipe"])
        else:
            base, recipe = wanted.base, OWN_RECIPE.format(root.profile.recipe, kept.stem, wanted.base)
            self._board.note(note, json.dumps({**content, "base": base, "recipe": recipe}))
        crash_point("edited.noted")
        at = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds")
        overrides = Overrides(
            mask=kept,
            base=base_of(self._ledger, root, wanted.identity, base),
            decision={"choice": "edited", "by": "person", "via": "edited mask", "at": at},
        )
        number = self._engine.submit(wanted.identity, wanted.inode, recipe, priority=FIRST_IN_LINE, overrides=overrides)
        crash_point("edited.submitted")
        return number

    def _wanted(self, root: Root, rel: str) -> _Wanted | None:
        """Return what a mask is about; None for one that we published ourselves, of a scan in a folder `edited`.

        Raises:
            UnknownJobError: there is no such scan or version.
        """
        place = PurePosixPath(rel)
        if place.suffix.lower() not in SUFFIXES:
            raise UnknownJobError(f"{place.name}: a {place.suffix or 'nameless'} file; a PNG or TIFF mask expected.")
        own = PurePosixPath(FOLDERS["mask"])
        if self._ledger.jobs_with_mask(root.name, [str(EDITED / rel)]):
            return None
        names = [str(own / place.with_suffix(suffix)) for suffix in (".png", ".tif")]
        jobs = [job for job in self._ledger.jobs_with_mask(root.name, names) if _has_version(job)]
        if not jobs:
            raise UnknownJobError(
                f"{place.name}: no finished scan has a mask of this name; one as in {own}/ expected, "
                f"for example {own / place.parent / 'NAME.png'}."
            )
        job = jobs[0]
        path = root.input / job.identity.rel
        try:
            status = path.lstat()
        except OSError as error:
            raise UnknownJobError(
                f"{place.name}: its scan {job.identity.rel} is not there ({error.strerror})."
            ) from None
        identity = Identity(root.name, job.identity.rel, status.st_size, status.st_mtime_ns)
        base = job.id
        if PurePosixPath(job.identity.rel).stem == place.stem:
            base = newest_version(self._ledger, identity) or job.id
        base_of(self._ledger, root, identity, base)
        return _Wanted(identity, status.st_ino, base)

    def _settle_seconds(self, root: Root, shape: Shape) -> float:
        seconds = self._watch.settle_seconds_network if root.is_network else self._watch.settle_seconds
        if not self._counts_age:
            return seconds
        age = self._clock() - shape[1] / 1e9
        return min(seconds, max(seconds - age, AGED_SETTLE_SECONDS))

    def _tell(self, key: Key, sentence: str) -> None:
        """Note why a mask is not taken; the log hears of it when it is news."""
        seen = self._seen[key]
        seen.trouble = f"edited mask: {sentence}"
        if self._told.get(key) != (seen.shape, sentence):
            self._told[key] = (seen.shape, sentence)
            logger.warning("{}: edited mask {!a} is not taken: {}", key[0], key[1], sentence)


def _has_version(job: Job) -> bool:
    return job.state in {JobState.DONE, JobState.HELD} and job.recipe != COMPANION_RECIPE


def _values(text: str | None) -> dict[str, Any]:
    try:
        values = json.loads(text or "{}")
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
