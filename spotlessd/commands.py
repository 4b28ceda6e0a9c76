"""What each command of `spotlessd` does: read the ledger, or write a request into it for the daemon to find.

Comes in: the station's settings and the command's own values. Goes out: an `Answer`, the text for the person and the
exit code. Requests work while the daemon is busy, stopped or restarting. Nothing here prints, and nothing loads torch.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spotlessd.board import Board
from spotlessd.database import Database
from spotlessd.errors import UnknownJobError
from spotlessd.job import Job, JobState
from spotlessd.ledger import Ledger
from spotlessd.settings import Settings
from spotlessd.status import LEDGER_NAME, StationStatus, is_locked, read_status

ANSWER_SECONDS = 5.0
"""How long a command waits for a running daemon's answer."""
POLL_SECONDS = 0.05
ALWAYS_SHOWN = frozenset({JobState.QUEUED, JobState.RUNNING, JobState.DONE, JobState.QUARANTINED})
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
    text = _json(status.to_dict()) if as_json else _status_text(status)
    return Answer(text, status.exit_code)


def list_jobs(settings: Settings, state: JobState | None, *, as_json: bool) -> Answer:
    """List the jobs, oldest first."""
    with _open(settings) as database:
        jobs = Ledger(database).jobs(state)
    if as_json:
        return Answer(_json([_job_values(settings, job) for job in jobs]))
    if not jobs:
        return Answer("no jobs." if state is None else f"no jobs are {state}.")
    rows = [(str(job.id), str(job.state), str(job.attempt), _file_name(settings, job), job.reason) for job in jobs]
    return Answer(_table([("ID", "STATE", "TRIES", "FILE", "REASON"), *rows]))


def show_job(settings: Settings, target: str, *, as_json: bool) -> Answer:
    """Show one job with its history, timings and where its files are."""
    with _open(settings) as database:
        ledger = Ledger(database)
        job = _find(ledger, settings, target)[0]
        history = ledger.history(job.id)
    if as_json:
        lines = [{"at": at, "state": state, "note": note} for at, state, note in history]
        return Answer(_json({**_job_values(settings, job), "history": lines}))
    return Answer(_job_text(settings, job, history))


def pause(settings: Settings, *, now: bool, seconds: float | None) -> Answer:
    """Start no more jobs; with `now` stop the one in hand."""
    return _ask(settings, "pause", {"now": now, "seconds": seconds})


def resume(settings: Settings) -> Answer:
    """Start jobs again."""
    return _ask(settings, "resume", {})


def scan(settings: Settings) -> Answer:
    """Look at the folders now."""
    return _ask(settings, "scan", {})


def retry(settings: Settings, target: str | None) -> Answer:
    """Queue quarantined jobs again: one, or all with `target` None."""
    if target is None:
        return _ask(settings, "retry", {"all": True})
    with _open(settings) as database:
        job = _find(Ledger(database), settings, target)[0]
    return _ask(settings, "retry", {"jobs": [job.id]})


def bump(settings: Settings, target: str) -> Answer:
    """Put a queued job before all others."""
    with _open(settings) as database:
        found = _find(Ledger(database), settings, target)
    queued = [job for job in found if job.state is JobState.QUEUED]
    return _ask(settings, "bump", {"job": (queued or found)[0].id})


def reprocess(settings: Settings, target: str, mask: Path | None, sensitivity: str | None) -> Answer:
    """Restore a scan again, with a mask drawn by a person or another sensitivity; published under a new name.

    Raises:
        UnknownJobError: the scan lies in no root, or the mask is not there.
    """
    place = _place(settings, target)
    if place is None:
        raise UnknownJobError(f"{target}: no such scan in a watched folder.")
    if mask is not None and not mask.is_file():
        raise UnknownJobError(f"{mask}: no such mask.")
    root, rel = place
    values = {
        "root": root,
        "rel": rel,
        "mask": None if mask is None else str(mask.absolute()),
        "sensitivity": sensitivity,
    }
    return _ask(settings, "reprocess", values)


def _ask(settings: Settings, name: str, arguments: dict[str, Any]) -> Answer:
    """Write a request down, and wait a little for the answer if a daemon runs."""
    with _open(settings) as database:
        board = Board(database)
        number = board.ask(name, arguments, time.time())
        deadline = time.monotonic() + ANSWER_SECONDS
        while is_locked(settings.state_dir):
            command = board.command(number)
            if command is not None and command.is_done:
                return Answer(command.answer)
            if time.monotonic() > deadline:
                return Answer(BUSY)
            time.sleep(POLL_SECONDS)
    return Answer(LATER)


def _open(settings: Settings) -> Database:
    return Database.open(settings.state_dir / LEDGER_NAME)


def _find(ledger: Ledger, settings: Settings, target: str) -> Sequence[Job]:
    """Return the jobs a person means by an id or a path, the newest first."""
    if target.isdigit():
        job = ledger.job(int(target))
        if job is not None:
            return [job]
    place = _place(settings, target)
    found = [] if place is None else ledger.jobs_of(*place)
    for root in settings.roots:
        found = found or ledger.jobs_of(root.name, target)
    if not found:
        raise UnknownJobError(f"{target}: no job has this id or path. `spotlessd list` shows them all.")
    return found


def _place(settings: Settings, target: str) -> tuple[str, str] | None:
    """Return (root, path in it) of a file named as from here or from its root; None if it is in no root."""
    for root in settings.roots:
        for path in (Path(target), root.input / target):
            resolved, folder = path.resolve(), root.input.resolve()
            if resolved.is_file() and resolved.is_relative_to(folder):
                return root.name, resolved.relative_to(folder).as_posix()
    # A file that is gone can still be named by its full path.
    absolute = Path(target).absolute()
    for root in settings.roots:
        if absolute.is_relative_to(root.input):
            return root.name, absolute.relative_to(root.input).as_posix()
    return None


def _file_name(settings: Settings, job: Job) -> str:
    """Name a job's file; with several roots the root's name comes first."""
    rel = job.identity.rel
    return rel if len(settings.roots) == 1 else f"{job.identity.root}: {rel}"


def _output_paths(settings: Settings, job: Job) -> dict[str, str]:
    for root in settings.roots:
        if root.name == job.identity.root:
            return {role: str(root.output / name) for role, name in job.outputs.items()}
    return dict(job.outputs)


def _job_values(settings: Settings, job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": str(job.state),
        "root": job.identity.root,
        "file": job.identity.rel,
        "size": job.identity.size,
        "sha256": job.sha256,
        "recipe": job.recipe,
        "priority": job.priority,
        "attempts": job.attempt,
        "crashes": job.crashes,
        "failures": job.failures,
        "interrupts": job.interrupts,
        "reason": job.reason,
        "outputs": _output_paths(settings, job),
        "seconds": job.seconds,
        "not_before": job.not_before,
        "created": job.created,
        "started": job.started,
        "finished": job.finished,
    }


def _job_text(settings: Settings, job: Job, history: list[tuple[float, str, str]]) -> str:
    lines = [f"job {job.id}: {_file_name(settings, job)}", f"state: {job.state}"]
    if job.reason:
        lines.append(f"reason: {job.reason}")
    lines.append(
        f"size: {job.identity.size / 1e6:.1f} MB, attempts: {job.attempt} "
        f"(crashes {job.crashes}, failures {job.failures}, interrupts {job.interrupts})"
    )
    if job.overrides.mask is not None:
        lines.append(f"mask given: {job.overrides.mask}")
    if job.overrides.sensitivity is not None:
        lines.append(f"sensitivity given: {job.overrides.sensitivity}")
    lines += [f"{role}: {path}" for role, path in _output_paths(settings, job).items()]
    if job.seconds:
        lines.append("seconds: " + ", ".join(f"{step} {seconds:.2f}" for step, seconds in job.seconds.items()))
    lines.append("history:")
    lines += [f"  {_clock_text(at)}  {state:<11} {note}".rstrip() for at, state, note in history]
    return "\n".join(lines)


def _status_text(status: StationStatus) -> str:
    lines = [f"station: {status.health}"]
    lines += [f"  ! {reason}" for reason in status.degraded]
    snapshot = status.snapshot
    if status.is_running and snapshot is not None:
        lines.append(f"daemon: process {snapshot.pid}, {snapshot.memory_mb:.0f} MB")
        device = f" on {snapshot.device} ({snapshot.precision})" if snapshot.device else ""
        lines.append(f"worker: {snapshot.worker}{device}, {snapshot.worker_memory_mb:.0f} MB")
        if snapshot.job is not None:
            job = snapshot.job
            lines.append(f"now: job {job.id}, {job.file}: {job.step} {job.fraction:.0%}")
    if status.paused:
        lines.append(f"paused: {status.paused}")
    shown = (f"{number} {state}" for state, number in status.counts.items() if number or state in ALWAYS_SHOWN)
    lines.append("jobs: " + ", ".join(shown))
    if status.oldest_queued_seconds is not None:
        lines.append(f"oldest in the queue: {status.oldest_queued_seconds:.0f} s")
    lines += [f"waiting: {file.rel}: {file.reason}" for file in status.waiting]
    if status.counts[JobState.QUARANTINED]:
        lines.append("quarantined files and why: spotlessd list --state quarantined")
    return "\n".join(lines)


def _clock_text(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
