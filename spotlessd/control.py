"""What people asked for through the ledger's command table, applied by the daemon between two looks at the queue.

Each command is applied once and answered with a sentence. Applying one twice after a crash does no harm: a reprocessed
job carries the command's number in its recipe.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from loguru import logger

from spotlessd.board import Board, Command
from spotlessd.dispatch import Dispatcher
from spotlessd.engine import Engine
from spotlessd.job import Identity, JobState, Overrides
from spotlessd.ledger import Ledger
from spotlessd.reconcile import Reconciler
from spotlessd.roots import Root
from spotlessd.status import PAUSE_KEY, Pause

PAUSED_NOW = "paused by a person, at once"
FIRST_IN_LINE = 1000
"""Priority of a job that a person asked for."""


class Control:
    """Applies commands to the parts of one station. `clock`: seconds since the epoch."""

    def __init__(
        self,
        board: Board,
        ledger: Ledger,
        engine: Engine,
        dispatcher: Dispatcher,
        reconciler: Reconciler,
        roots: Mapping[str, Root],
        *,
        recipe: str,
        clock: Callable[[], float],
    ) -> None:
        self._board = board
        self._ledger = ledger
        self._engine = engine
        self._dispatcher = dispatcher
        self._reconciler = reconciler
        self._roots = roots
        self._recipe = recipe
        self._clock = clock
        self._actions: dict[str, Callable[[Command], str]] = {
            "pause": self._pause,
            "resume": self._resume,
            "retry": self._retry,
            "bump": self._bump,
            "scan": self._scan,
            "reprocess": self._reprocess,
        }

    def tick(self) -> None:
        """Apply every open command.

        Raises:
            LedgerError: the ledger could not be written; the command stays open.
        """
        for command in self._board.open_commands():
            action = self._actions.get(command.name)
            try:
                answer = f"unknown command {command.name!r}" if action is None else action(command)
            except (KeyError, TypeError, ValueError) as error:
                answer = f"{command.name}: its arguments make no sense ({error!r})"
            self._board.answer(command.id, answer, self._clock())
            logger.info("command {}: {}", command.name, answer)

    def _pause(self, command: Command) -> str:
        now = self._clock()
        seconds = command.arguments.get("seconds")
        until = None if seconds is None else now + float(seconds)
        self._board.note(PAUSE_KEY, Pause(now, until).to_json())
        length = "until `spotlessd resume`" if seconds is None else f"for {float(seconds):.0f} s"
        job = self._dispatcher.job
        if job is None:
            return f"paused {length}."
        if command.arguments.get("now"):
            self._dispatcher.drop(PAUSED_NOW)
            return f"paused {length}; job {job.id} was stopped and will start again."
        return f"paused {length}, after job {job.id}."

    def _resume(self, _: Command) -> str:
        self._board.forget(PAUSE_KEY)
        return "resumed."

    def _retry(self, command: Command) -> str:
        ids = [int(number) for number in command.arguments.get("jobs", [])]
        if command.arguments.get("all"):
            ids = [job.id for job in self._ledger.jobs(JobState.QUARANTINED)]
        now = self._clock()
        number = sum(self._ledger.retry(job_id, now) for job_id in ids)
        left = len(ids) - number
        return f"{number} queued again." + (f" {left} not: only quarantined and waiting jobs can be." if left else "")

    def _bump(self, command: Command) -> str:
        job_id = int(command.arguments["job"])
        return f"job {job_id} is next." if self._ledger.bump(job_id) else f"job {job_id} is not queued any more."

    def _scan(self, _: Command) -> str:
        self._reconciler.look_soon()
        return "looking at the folders now."

    def _reprocess(self, command: Command) -> str:
        root = self._roots.get(str(command.arguments["root"]))
        if root is None:
            return f"no root is named {command.arguments['root']!r}."
        rel = str(command.arguments["rel"])
        path = root.input / rel
        try:
            status = path.stat()
        except OSError as error:
            return f"{path}: {error.strerror}."
        job_id = self._engine.submit(
            Identity(root.name, rel, status.st_size, status.st_mtime_ns),
            status.st_ino,
            f"{self._recipe}+{command.id}",
            priority=FIRST_IN_LINE,
            overrides=_overrides(command.arguments),
        )
        return f"job {job_id} queued." if job_id is not None else "queued already."


def _overrides(arguments: Mapping[str, Any]) -> Overrides:
    mask, sensitivity = arguments.get("mask"), arguments.get("sensitivity")
    return Overrides(
        mask=None if mask is None else Path(str(mask)), sensitivity=None if sensitivity is None else str(sensitivity)
    )
