"""What each command of `spotlessd` does: read the ledger, or write a request into it for the daemon to find.

Comes in: the station's settings and the command's own values. Goes out: an `Answer`, the text for the person and the
exit code. Requests work while the daemon is busy, stopped or restarting. Nothing here prints, and nothing loads torch.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spotlessd.base_versions import newest_version
from spotlessd.commands.job_text import job_text, job_values, jobs_table, shown_values
from spotlessd.commands.status_text import status_lines
from spotlessd.commands.targets import find_jobs, place_of, place_of_job
from spotlessd.commands.wording import as_json as to_json
from spotlessd.configuration.settings import Settings
from spotlessd.errors import UnknownJobError
from spotlessd.job import Identity, JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME, is_locked, read_status
from spotlessd.publishing.given_masks import keep_mask
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database

ANSWER_SECONDS = 5.0
"""How long a command waits for a running daemon's answer."""
POLL_SECONDS = 0.05
LATER = "written down; the daemon is not running and will do it at its next start."
BUSY = "written down; the daemon is busy and will do it shortly."


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person sees, and the exit code."""

    text: str
    exit_code: int = 0


def show_status(settings: Settings, *, as_json: bool) -> Answer:
    """Tell how the station is."""
    status = read_status(settings.state_dir, time.time())
    if as_json:
        return Answer(to_json(status.to_dict()), status.exit_code)
    return Answer(
        "\n".join(status_lines(status, settings.config_path, has_roots=len(settings.roots) > 1)), status.exit_code
    )


def list_jobs(settings: Settings, state: JobState | None, *, as_json: bool) -> Answer:
    """List the jobs, oldest first."""
    with _open(settings) as database:
        jobs = Ledger(database).jobs(state)
    if as_json:
        return Answer(to_json([job_values(settings, job) for job in jobs]))
    if not jobs:
        return Answer("no jobs." if state is None else f"no jobs are {state}.")
    return Answer(jobs_table(settings, jobs))


def show_job(settings: Settings, target: str, *, as_json: bool) -> Answer:
    """Show one job with its history, timings, receipt, lines of the log, and where its files are."""
    with _open(settings) as database:
        ledger = Ledger(database)
        job = find_jobs(ledger, settings, target)[0]
        history = ledger.history(job.id)
    if as_json:
        return Answer(to_json(shown_values(settings, job, history)))
    return Answer(job_text(settings, job, history))


def pause(settings: Settings, *, now: bool, seconds: float | None) -> Answer:
    """Start no more jobs, for `seconds` from now or until `resume`; with `now` stop the one in hand."""
    until = None if seconds is None else time.time() + seconds
    return _ask(settings, "pause", {"now": now, "until": until})


def resume(settings: Settings) -> Answer:
    """Start jobs again."""
    return _ask(settings, "resume", {})


def scan(settings: Settings, *, as_json: bool = False, accept: bool = False) -> Answer:
    """Look at the folders now; with `accept` take those that have left their mount as they lie."""
    answer = _ask(settings, "scan", {"accept": True} if accept else {})
    return Answer(to_json({"answer": answer.text}), answer.exit_code) if as_json else answer


def retry(settings: Settings, target: str | None, reason: str = "") -> Answer:
    """Queue quarantined jobs again: one, or with `target` None all; of all those whose reason contains `reason`."""
    if target is None:
        return _ask(settings, "retry", {"all": True, "reason": reason})
    with _open(settings) as database:
        job = find_jobs(Ledger(database), settings, target)[0]
    return _ask(settings, "retry", {"jobs": [job.id], "reason": reason})


def bump(settings: Settings, target: str) -> Answer:
    """Put a queued job before all others."""
    with _open(settings) as database:
        found = find_jobs(Ledger(database), settings, target)
    queued = [job for job in found if job.state is JobState.QUEUED]
    return _ask(settings, "bump", {"job": (queued or found)[0].id})


def reprocess(
    settings: Settings, target: str, mask: Path | None, sensitivity: str | None, *, is_anew: bool = False
) -> Answer:
    """Restore a scan again, with a mask drawn by a person or another sensitivity; published under a new name.

    The mask is checked and copied into the state folder first. Where the newest version has a repair that the mask has
    too, that repair stays as it is, but for `is_anew`: then all are made anew.

    Raises:
        UnknownJobError: the scan lies in no root.
        MissingInputError, ScanError, PublishError: see `keep_mask`.
    """
    place = place_of(settings, target)
    if place is None:
        with _open(settings) as database:
            place = place_of_job(Ledger(database), target)
    if place is None:
        folders = ", ".join(str(root.input) for root in settings.roots)
        raise UnknownJobError(f"{target}: no such scan or id. Name a file in {folders}, or an id of `spotlessd list`.")
    name, rel = place
    kept = base_job = None
    if mask is not None:
        scan = next(root for root in settings.roots if root.name == name).input / rel
        kept = str(keep_mask(mask, scan, settings.state_dir))
        base_job = None if is_anew else _newest_version(settings, name, rel, scan)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    choice = "again" if mask is None else "edited"
    decision = {"choice": choice, "by": "person", "via": "command line", "at": at}
    arguments = {"root": name, "rel": rel, "mask": kept, "sensitivity": sensitivity}
    return _ask(settings, "reprocess", {**arguments, "base_job": base_job, "decision": decision})


def _newest_version(settings: Settings, root: str, rel: str, scan: Path) -> int | None:
    status = scan.lstat()
    with _open(settings) as database:
        return newest_version(Ledger(database), Identity(root, rel, status.st_size, status.st_mtime_ns))


def _ask(settings: Settings, name: str, arguments: dict[str, Any]) -> Answer:
    """Write a request down, and wait a little for the answer if a daemon runs."""
    with _open(settings) as database:
        board = Board(database)
        number = board.ask(name, arguments, time.time())
        deadline = time.monotonic() + ANSWER_SECONDS
        while is_locked(settings.state_dir):
            command = board.command(number)
            if command is not None and command.is_done:
                return Answer(command.answer, command.exit_code)
            if time.monotonic() > deadline:
                return Answer(BUSY)
            time.sleep(POLL_SECONDS)
        # The daemon may have answered and ended between two looks.
        command = board.command(number)
        return Answer(command.answer, command.exit_code) if command is not None and command.is_done else Answer(LATER)


def _open(settings: Settings) -> Database:
    return Database.open(settings.state_dir / LEDGER_NAME)
