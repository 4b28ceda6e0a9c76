"""What people asked for through the ledger's command table, applied by the daemon between two looks at the queue.

Each command is applied once and answered with a sentence. Applying one twice after a crash does no harm: a reprocessed
job carries the command's number in its recipe.
"""

import math
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loguru import logger

from spotlessd.base_versions import base_of
from spotlessd.commands.wording import clock_text
from spotlessd.crew import Crew
from spotlessd.engine import Engine
from spotlessd.errors import UnknownJobError
from spotlessd.folders.mount_memory import accept
from spotlessd.folders.roots import Root
from spotlessd.job import Identity, JobState, Overrides
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import PAUSE_KEY, Pause, read_pause
from spotlessd.publishing.given_masks import prune_masks
from spotlessd.reconcile import Reconciler
from spotlessd.replacing import Replacer
from spotlessd.sqlite.board import Board, Command

EXIT_NOT_THERE = 66
EXIT_NOT_UNDERSTOOD = 70
PAUSED = "paused by a person"
PAUSED_NOW = f"{PAUSED}, at once"
PRUNE_SECONDS = 24 * 3600.0
FIRST_IN_LINE = 1000
"""Priority of a job that a person asked for."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The sentence a person reads, and the exit code of the command: 0 if it was done."""

    text: str
    exit_code: int = 0


class Control:
    """Applies commands to the parts of one station. `clock`: seconds since the epoch. `replaces`: `output.replace`.

    `state_dir`: given masks that no job needs are removed from it once a day.
    """

    def __init__(
        self,
        board: Board,
        ledger: Ledger,
        engine: Engine,
        crew: Crew,
        reconciler: Reconciler,
        roots: Mapping[str, Root],
        *,
        clock: Callable[[], float],
        replaces: bool = False,
        state_dir: Path | None = None,
    ) -> None:
        self._board = board
        self._ledger = ledger
        self._engine = engine
        self._crew = crew
        self._reconciler = reconciler
        self._roots = roots
        self._clock = clock
        self._state_dir = state_dir
        self._pruned_at = -math.inf
        self._replacer = Replacer(board, ledger, roots, is_on=replaces, clock=time.monotonic)
        self._actions: dict[str, Callable[[Command], Reply]] = {
            "pause": self._pause,
            "resume": self._resume,
            "retry": self._retry,
            "bump": self._bump,
            "scan": self._scan,
            "reprocess": self._reprocess,
        }

    def exchange_names(self) -> None:
        """Give newer versions the names they are to have, if the station is set up so (replacing.py)."""
        self._replacer.tick()

    def tick(self) -> None:
        """Apply every open command, and end a pause whose time is over.

        Raises:
            LedgerError: the ledger could not be written; the command stays open.
        """
        for command in self._board.open_commands():
            action = self._actions.get(command.name)
            try:
                reply = (
                    Reply(f"unknown command {command.name!r}", EXIT_NOT_UNDERSTOOD)
                    if action is None
                    else action(command)
                )
            except (KeyError, TypeError, ValueError) as error:
                reply = Reply(f"{command.name}: its arguments make no sense ({error!r})", EXIT_NOT_UNDERSTOOD)
            self._board.answer(command.id, reply.text, self._clock(), reply.exit_code)
            logger.info("command {}: {}", command.name, reply.text)
        self._prune_masks()
        if self._board.noted(PAUSE_KEY) is not None and read_pause(self._board, self._clock()) is None:
            self._board.forget(PAUSE_KEY)
            logger.info("the pause is over")
        self.exchange_names()

    def _prune_masks(self) -> None:
        now = self._clock()
        if self._state_dir is None or now - self._pruned_at < PRUNE_SECONDS:
            return
        self._pruned_at = now
        number = prune_masks(self._state_dir, self._ledger.masks_needed(), now)
        if number:
            logger.info("{} given masks removed that no job needs any more", number)

    def _pause(self, command: Command) -> Reply:
        now = self._clock()
        until = command.arguments.get("until")
        if until is not None and float(until) <= now:
            return Reply(f"not paused: the pause was over at {clock_text(float(until))}, before it was read.")
        self._board.note(PAUSE_KEY, Pause(now, None if until is None else float(until)).to_json())
        length = "until `spotlessd resume`" if until is None else f"until {clock_text(float(until))}"
        recalled = () if command.arguments.get("now") else self._crew.recall(PAUSED)
        numbers = [str(job.id) for job in self._crew.jobs if job not in recalled]
        if not numbers:
            return Reply(f"paused {length}.")
        several = len(numbers) > 1
        jobs = f"{'jobs' if several else 'job'} {' and '.join(numbers)}"
        if command.arguments.get("now"):
            self._crew.drop(PAUSED_NOW)
            return Reply(f"paused {length}; {jobs} {'were' if several else 'was'} stopped and will start again.")
        return Reply(f"paused {length}, after {jobs}.")

    def _resume(self, _: Command) -> Reply:
        self._board.forget(PAUSE_KEY)
        return Reply("resumed.")

    def _retry(self, command: Command) -> Reply:
        reason = str(command.arguments.get("reason", "")).lower()
        if command.arguments.get("all"):
            ids = [job.id for job in self._ledger.jobs(JobState.QUARANTINED) if reason in job.reason.lower()]
        else:
            ids = [int(number) for number in command.arguments.get("jobs", [])]
        now = self._clock()
        number = sum(self._ledger.retry(job_id, now) for job_id in ids)
        left = len(ids) - number
        if left:
            return Reply(
                f"{number} queued again. {left} not: only quarantined and waiting jobs can be. "
                "A finished or held scan again: spotlessd reprocess FILE",
                EXIT_NOT_THERE,
            )
        return Reply(f"{number} queued again.")

    def _bump(self, command: Command) -> Reply:
        job_id = int(command.arguments["job"])
        if self._ledger.bump(job_id):
            return Reply(f"job {job_id} is next.")
        return Reply(f"job {job_id} is not queued; only a queued one can be next.", EXIT_NOT_THERE)

    def _scan(self, command: Command) -> Reply:
        self._reconciler.look_soon()
        if command.arguments.get("accept"):
            taken = [str(folder) for root in self._roots.values() for folder in accept(root)]
            if taken:
                return Reply(f"taken as they lie now: {', '.join(taken)}. Looking at the folders.")
            return Reply("no folder has left the mount it lay on; nothing was changed.")
        return Reply("looking at the folders now.")

    def _reprocess(self, command: Command) -> Reply:
        root = self._roots.get(str(command.arguments["root"]))
        if root is None:
            return Reply(f"no root is named {command.arguments['root']!r}.", EXIT_NOT_THERE)
        rel = str(command.arguments["rel"])
        path = root.input / rel
        try:
            status = path.lstat()
        except OSError as error:
            return Reply(f"{path}: {error.strerror}.", EXIT_NOT_THERE)
        if not stat.S_ISREG(status.st_mode):
            return Reply(f"{path}: not a regular file; links are not followed.", EXIT_NOT_THERE)
        identity = Identity(root.name, rel, status.st_size, status.st_mtime_ns)
        try:
            overrides = self._overrides(command.arguments, root, identity)
        except UnknownJobError as error:
            return Reply(str(error), EXIT_NOT_THERE)
        job_id = self._engine.submit(
            identity,
            status.st_ino,
            f"{root.profile.recipe}+{command.id}",
            priority=FIRST_IN_LINE,
            overrides=overrides,
        )
        return Reply((f"job {job_id} queued." if job_id is not None else "queued already.") + _loss(overrides))

    def _overrides(self, arguments: Mapping[str, Any], root: Root, identity: Identity) -> Overrides:
        """Read what is asked for beside the config; raises `UnknownJobError` where its mask or its base is missing."""
        mask, sensitivity = arguments.get("mask"), arguments.get("sensitivity")
        base_job = arguments.get("base_job")
        base = None if base_job is None else base_of(self._ledger, root, identity, int(base_job))
        decision = {str(key): str(value) for key, value in dict(arguments.get("decision") or {}).items()}
        if decision.get("choice") == "edited" and mask is None:
            raise UnknownJobError("an edited mask belongs to the choice 'edited'; none came with it.")
        if decision.get("choice") == "proposed" and (base is None or not base.mask.is_file()):
            raise UnknownJobError("the mask that was proposed is not there any more; reprocess the scan.")
        return Overrides(
            mask=None if mask is None else Path(str(mask)),
            sensitivity=None if sensitivity is None else str(sensitivity),
            base=base,
            decision=decision,
        )


def _loss(overrides: Overrides) -> str:
    """Return what will be missed of the version that was edited, "" if all of it is there."""
    base = overrides.base
    if overrides.mask is None or base is None or base.image is None:
        return ""
    lost = [path.name for path in (base.image, base.mask) if not path.is_file()]
    return f" {' and '.join(lost)} of job {base.job} not found, so every repair is made anew." if lost else ""
