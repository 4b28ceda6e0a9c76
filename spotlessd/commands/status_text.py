"""The station's status as lines of text: for `spotlessd status`, and for its live view.

Comes in: a `StationStatus`. Goes out: lines without colours. Every file that waits has its reason.
"""

from pathlib import Path

from spotlessd.commands.wording import clock_text, duration_text, one_line_name
from spotlessd.job import Job, JobState
from spotlessd.monitoring.status import BY_A_PERSON, StationStatus, WorkerFacts
from spotlessd.sqlite.board import WaitingFile

ALWAYS_SHOWN = frozenset({JobState.QUEUED, JobState.RUNNING, JobState.DONE, JobState.QUARANTINED})
WAITING_SHOWN = 20
"""So many waiting files are told one by one; `--json` has all of them."""
BAR_CELLS = 20


def status_lines(status: StationStatus, config: Path | None = None, *, has_roots: bool = False) -> list[str]:
    """Return what a person should know, the worst first. `config`: named in what to type.

    `has_roots`: there are several, so each waiting file is told with its own.
    """
    has_roots = has_roots or len({file.root for file in status.waiting}) > 1
    lines = [f"station: {status.health}"]
    lines += ["  ! " + reason.replace("\n", "\n    ") for reason in status.degraded]
    if not status.is_running:
        given = "" if config is None else f" --config {config.absolute()}"
        lines.append(f"  start it: spotlessd run{given} (as a service: spotlessd install-service)")
    lines += _daemon_lines(status)
    if status.paused and f"paused: {status.paused}" not in status.degraded:
        lines.append(f"paused: {_pause_text(status)}")
    if status.requests:
        lines.append(f"asked for, not read by the daemon yet: {', '.join(status.requests)}")
    shown = (f"{number} {state}" for state, number in status.counts.items() if number or state in ALWAYS_SHOWN)
    lines.append("jobs: " + ", ".join(shown))
    if not status.is_running and status.counts[JobState.RUNNING]:
        lines.append("running: was in hand when the daemon ended; it starts again with the daemon")
    lines += _queue_lines(status)
    lines += [
        f"waiting: {_place(file, with_root=has_roots)}: {file.reason} (since {duration_text(status.at - file.since)})"
        for file in status.waiting[:WAITING_SHOWN]
    ]
    if len(status.waiting) > WAITING_SHOWN:
        lines.append(f"waiting: and {len(status.waiting) - WAITING_SHOWN} more")
    if status.counts[JobState.QUARANTINED]:
        lines.append("quarantined files and why: spotlessd list --state quarantined (mended? spotlessd retry ID)")
    if status.counts[JobState.HELD]:
        lines.append("held for a person to look at: spotlessd list --state held")
        lines.append(
            "  to repair one as it was found: spotlessd reprocess ID --mask ITS_MASK (spotlessd show ID names it)"
        )
    return lines


def _place(file: WaitingFile, *, with_root: bool) -> str:
    name = one_line_name(file.rel)
    return f"{file.root}: {name}" if with_root else name


def one_line(status: StationStatus) -> str:
    """Return the status in one line, for a live view that is not a terminal."""
    parts: list[str] = [status.health]
    if status.paused:
        parts.append(f"paused {_pause_text(status)}")
    jobs = status.snapshot.jobs if status.is_running and status.snapshot is not None else ()
    parts += [f"job {job.id} {one_line_name(job.file)} {job.step} {job.fraction:.0%}" for job in jobs]
    parts.append(", ".join(f"{number} {state}" for state, number in status.counts.items() if number) or "no jobs")
    if status.waiting:
        parts.append(f"{len(status.waiting)} waiting")
    return "; ".join([*parts, *status.degraded])


def _daemon_lines(status: StationStatus) -> list[str]:
    snapshot = status.snapshot
    if not status.is_running or snapshot is None:
        return []
    up = duration_text(status.at - snapshot.started)
    lines = [f"daemon: process {snapshot.pid}, up {up}, {snapshot.memory_mb:.0f} MB"]
    device = f" on {snapshot.device} ({snapshot.precision})" if snapshot.device else ""
    restarts = f", restarts: {snapshot.worker_restarts}" if snapshot.worker_restarts else ""
    if len(snapshot.workers) > 1:
        lines += [_worker_line(worker) for worker in snapshot.workers]
    else:
        lines.append(f"worker: {snapshot.worker}{device}, {snapshot.worker_memory_mb:.0f} MB{restarts}")
    if status.rate is not None:
        rate = status.rate
        lines.append(
            f"rate: {rate.seconds_per_job:.1f} s a scan, {rate.size / 1e6 / rate.seconds:.1f} MB/s (last {rate.jobs})"
        )
    for job in snapshot.jobs:
        filled = round(min(max(job.fraction, 0.0), 1.0) * BAR_CELLS)
        bar = "#" * filled + "." * (BAR_CELLS - filled)
        lines.append(
            f"now: job {job.id}, {one_line_name(job.file)}: {job.step} [{bar}] {job.fraction:.0%}, "
            f"attempt {job.attempt}, since {duration_text(status.at - job.since)}"
        )
    return lines


def _worker_line(worker: WorkerFacts) -> str:
    """Return the line of one of several workers."""
    device = f" on {worker.device} ({worker.precision})" if worker.device else ""
    job = f", job {worker.job.id}" if worker.job is not None else ""
    waits = f", {worker.waits}" if worker.waits else ""
    restarts = f", restarts: {worker.restarts}" if worker.restarts else ""
    return f"worker {worker.name}: {worker.state}{device}{job}{waits}, {worker.memory_mb:.0f} MB{restarts}"


def _pause_text(status: StationStatus) -> str:
    if status.paused != BY_A_PERSON or status.pause is None:
        return status.paused
    if status.pause.until is None:
        return f"{BY_A_PERSON} since {clock_text(status.pause.since)}, until `spotlessd resume`"
    return f"{BY_A_PERSON}, until {clock_text(status.pause.until)} or `spotlessd resume`"


def _queue_lines(status: StationStatus) -> list[str]:
    lines = []
    if status.oldest_queued_seconds is not None:
        lines.append(f"oldest in the queue: {duration_text(status.oldest_queued_seconds)}")
    if status.eta_seconds is not None and status.queue.jobs:
        at = clock_text(status.at + status.eta_seconds)
        lines.append(f"queue done in about {duration_text(status.eta_seconds)}, at {at}")
    lines += [
        f"next: job {job.id}, {one_line_name(job.identity.rel)}{_why_not_now(job, status)}"
        for job in status.queue.first
    ]
    rest = status.queue.jobs - len(status.queue.first)
    if rest > 0:
        lines.append(f"next: and {rest} more")
    return lines


def _why_not_now(job: Job, status: StationStatus) -> str:
    """Return why a queued job is not started, "" if it is only not its turn."""
    away = [reason for reason in status.degraded if reason.startswith(f"root {job.identity.root}: ")]
    if away:
        return ": its folder is away"
    if job.not_before > status.at:
        reason = f" after: {job.reason}" if job.reason else ""
        return f": again in {duration_text(job.not_before - status.at)}{reason}"
    return f": again, after: {job.reason}" if job.reason else ""
