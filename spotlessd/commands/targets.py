"""What a person means by an id or a path: the job, or the place of a scan in its watched folder. Nothing is changed."""

from collections.abc import Sequence
from pathlib import Path

from spotlessd.configuration.settings import Settings
from spotlessd.errors import UnknownJobError
from spotlessd.job import Job
from spotlessd.ledger import Ledger


def find_jobs(ledger: Ledger, settings: Settings, target: str) -> Sequence[Job]:
    """Return the jobs meant by an id, a path from here, or a path in a watched folder; the newest first.

    Raises:
        UnknownJobError: there is none.
    """
    if target.isdigit():
        job = ledger.job(int(target))
        if job is not None:
            return [job]
    place = place_of(settings, target)
    found = [] if place is None else ledger.jobs_of(*place)
    for root in settings.roots:
        found = found or ledger.jobs_of(root.name, target)
    if not found:
        raise UnknownJobError(_why_unknown(ledger, settings, target))
    return found


def _why_unknown(ledger: Ledger, settings: Settings, target: str) -> str:
    """Return a sentence that says what to type instead."""
    place = place_of(settings, target)
    if place is not None and any(
        root.name == place[0] and (root.input / place[1]).is_file() for root in settings.roots
    ):
        return f"{target}: it is not queued yet. `spotlessd scan --dry-run` tells what becomes of it."
    absolute = Path(target).absolute()
    for root in settings.roots:
        if absolute.is_relative_to(root.output):
            return f"{target}: a result, or not ours. Name the scan in {root.input}, or its id in `spotlessd list`."
    name = Path(target).name
    near = next((job for job in reversed(ledger.jobs()) if Path(job.identity.rel).name == name), None)
    hint = "" if near is None else f" Did you mean {near.identity.rel} (job {near.id})?"
    return f"{target}: no job has this id or path.{hint} `spotlessd list` shows them all."


def place_of_job(ledger: Ledger, target: str) -> tuple[str, str] | None:
    """Return (root, path in it) of the job with this id; None if `target` is no job's id."""
    job = ledger.job(int(target)) if target.isdigit() else None
    return None if job is None else (job.identity.root, job.identity.rel)


def place_of(settings: Settings, target: str) -> tuple[str, str] | None:
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
