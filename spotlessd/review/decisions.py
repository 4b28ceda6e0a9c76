"""A person's decision written on the notice board, as the commands write theirs; the daemon does it when it can.

Nothing is waited for: the page hears of the new job by the events. So a decision can be taken while the daemon is busy
or stopped.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spotlessd.configuration.settings import Settings
from spotlessd.job import JobState
from spotlessd.monitoring.status import LEDGER_NAME, is_locked
from spotlessd.review.edits import Choice
from spotlessd.review.frames import FrameFacts
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database

BY_EDITS = "review page"
BY_FILE = "edited mask"
WRITTEN = "written down; the station does it next."
LATER = "written down; the station is not running and does it at its next start."


@dataclass(frozen=True, slots=True)
class Answer:
    """The number of the request on the board, and the sentence for the person."""

    request: int
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"request": self.request, "text": self.text}


class NotNowError(Exception):
    """The decision does not go with the frame's state; its text is one sentence."""


class Decisions:
    """Writes for one station. `is_daemon`: the daemon itself asks. `clock`: seconds since the epoch."""

    def __init__(self, settings: Settings, *, is_daemon: bool = False, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._is_daemon = is_daemon
        self._clock = clock

    def decide(
        self,
        frame: FrameFacts,
        choice: Choice,
        *,
        mask: Path | None = None,
        sensitivity: str | None = None,
        via: str = BY_EDITS,
    ) -> Answer:
        """Ask for a new version of a frame. `mask`: the edited mask in the state folder, for EDITED.

        Raises:
            NotNowError: the frame has no result or proposal that could be decided on.
            LedgerError: the board cannot be written.
        """
        check_choice(frame, choice)
        now = self._clock()
        at = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
        return self._ask(
            "reprocess",
            {
                "root": frame.root,
                "rel": frame.rel,
                "mask": None if mask is None else str(mask),
                "sensitivity": sensitivity,
                "base_job": frame.id,
                "decision": {"choice": str(choice), "by": "person", "via": via, "at": at},
            },
        )

    def retry(self, frame: FrameFacts) -> Answer:
        """Ask for another attempt.

        Raises:
            NotNowError: the frame is neither quarantined nor waiting.
            LedgerError: the board cannot be written.
        """
        if frame.state not in {JobState.QUARANTINED, JobState.QUEUED}:
            raise NotNowError(f"the frame is {frame.state}; only quarantined and waiting ones can be tried again.")
        return self._ask("retry", {"jobs": [frame.id], "reason": ""})

    def bump(self, frame: FrameFacts) -> Answer:
        """Ask for the frame to be next.

        Raises:
            NotNowError: it does not wait.
            LedgerError: the board cannot be written.
        """
        if frame.state != JobState.QUEUED:
            raise NotNowError(f"the frame is {frame.state}; only a waiting one can be next.")
        return self._ask("bump", {"job": frame.id})

    def _ask(self, name: str, arguments: dict[str, Any]) -> Answer:
        with Database.open(self._settings.state_dir / LEDGER_NAME) as database:
            number = Board(database).ask(name, arguments, self._clock())
        is_running = self._is_daemon or is_locked(self._settings.state_dir)
        return Answer(number, WRITTEN if is_running else LATER)


def check_state(frame: FrameFacts) -> None:
    """Check that a frame can be decided on at all.

    Raises:
        NotNowError: it cannot.
    """
    if frame.state not in {JobState.DONE, JobState.HELD}:
        raise NotNowError(f"the frame is {frame.state}; it can be decided on once it is done or held.")


def check_choice(frame: FrameFacts, choice: Choice) -> None:
    """Check that a choice goes with the frame's state.

    Raises:
        NotNowError: it does not.
    """
    check_state(frame)
    if choice is Choice.PROPOSED and frame.state != JobState.HELD:
        raise NotNowError("only a held frame can be released with the mask as it was found.")
    if frame.files is None:
        raise NotNowError(f"the folder {frame.root!r} is not watched any more, so its frames cannot be changed.")
    if choice in {Choice.EDITED, Choice.PROPOSED} and frame.files.mask is None:
        raise NotNowError("the frame's mask is not in its folder any more.")
