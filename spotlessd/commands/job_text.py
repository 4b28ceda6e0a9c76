"""Jobs as text and as JSON values, for `spotlessd list` and `spotlessd show`: state, timings, files, receipt, log."""

import json
from pathlib import Path
from typing import Any

from spotlessd.commands.wording import clock_text, duration_text, one_line_name, table
from spotlessd.configuration.settings import Settings
from spotlessd.job import Job
from spotlessd.log import lines_about

RECEIPT_FACTS = ("device", "precision", "coverage", "preservation", "outside_mask_identical", "peak_memory_mb", "notes")
ABOUT_THE_IMAGE = ("preservation", "outside_mask_identical")
History = list[tuple[float, str, str]]


def jobs_table(settings: Settings, jobs: list[Job]) -> str:
    """Return one line for each job."""
    rows = [(str(job.id), str(job.state), str(job.attempt), file_name(settings, job), job.reason) for job in jobs]
    return table([("ID", "STATE", "TRIES", "FILE", "REASON"), *rows])


def job_values(settings: Settings, job: Job) -> dict[str, Any]:
    """Return what the ledger knows of a job as plain JSON values."""
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
        "shortages": job.shortages,
        "reason": job.reason,
        "outputs": output_paths(settings, job),
        "seconds": job.seconds,
        "not_before": job.not_before,
        "created": job.created,
        "started": job.started,
        "finished": job.finished,
    }


def shown_values(settings: Settings, job: Job, history: History) -> dict[str, Any]:
    """Return all that `show --json` tells: the job, its history, what its receipt says, and its lines of the log."""
    return {
        **job_values(settings, job),
        "history": [{"at": at, "state": state, "note": note} for at, state, note in history],
        "receipt": receipt_facts(settings, job),
        "log": _log_lines(settings, job),
    }


def job_text(settings: Settings, job: Job, history: History) -> str:
    """Return all that `show` tells."""
    lines = [f"job {job.id}: {file_name(settings, job)}", f"state: {job.state}"]
    if job.reason:
        lines.append(f"reason: {job.reason}")
    lines.append(
        f"size: {job.identity.size / 1e6:.1f} MB, attempts: {job.attempt} "
        f"(crashes {job.crashes}, failures {job.failures}, interrupts {job.interrupts}, "
        f"short of memory {job.shortages})"
    )
    if job.overrides.mask is not None:
        lines.append(f"mask given: {job.overrides.mask}")
    if job.overrides.sensitivity is not None:
        lines.append(f"sensitivity given: {job.overrides.sensitivity}")
    if job.overrides.base is not None:
        lines.append(f"based on: {one_line_name(job.overrides.base.name)} (job {job.overrides.base.job})")
    if job.overrides.decision:
        lines.append("decided: " + ", ".join(value for value in job.overrides.decision.values() if value))
    lines += [f"{role}: {one_line_name(path)}" for role, path in output_paths(settings, job).items()]
    if job.started and job.finished > job.started:
        waited = duration_text(job.started - job.created)
        lines.append(f"took: {job.finished - job.started:.1f} s, begun {waited} after it was queued")
    if job.seconds:
        lines.append("seconds: " + ", ".join(f"{step} {seconds:.2f}" for step, seconds in job.seconds.items()))
    lines += [f"{name}: {_fact_text(value)}" for name, value in receipt_facts(settings, job).items()]
    lines.append("history:")
    lines += [f"  {clock_text(at)}  {state:<11} {note}".rstrip() for at, state, note in history]
    log = _log_lines(settings, job)
    if log:
        lines += ["log:", *(f"  {line}" for line in log)]
    return "\n".join(lines)


def file_name(settings: Settings, job: Job) -> str:
    """Name a job's file; with several roots the root's name comes first."""
    rel = one_line_name(job.identity.rel)
    return rel if len(settings.roots) == 1 else f"{job.identity.root}: {rel}"


def output_paths(settings: Settings, job: Job) -> dict[str, str]:
    """Return where a job's files lie, by role."""
    for root in settings.roots:
        if root.name == job.identity.root:
            return {role: str(root.output / name) for role, name in job.outputs.items()}
    return dict(job.outputs)


def receipt_facts(settings: Settings, job: Job) -> dict[str, Any]:
    """Return what a person asks a receipt first; empty without one that can be read."""
    path = output_paths(settings, job).get("receipt")
    if path is None:
        return {}
    try:
        receipt = json.loads(Path(path).read_text(encoding="utf-8"))
        facts = {name: receipt[name] for name in RECEIPT_FACTS if receipt.get(name) not in (None, [], ())}
        if receipt.get("outcome") == "held":  # no image was written that these could be true of
            facts = {name: value for name, value in facts.items() if name not in ABOUT_THE_IMAGE}
        return {
            **facts,
            "defects": len(receipt.get("defects", [])),
            "models": [model["name"] for model in receipt.get("models", [])],
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _log_lines(settings: Settings, job: Job) -> list[str]:
    return [] if settings.log.file is None else lines_about(settings.log.file, job.id)


def _fact_text(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(str(each) for each in value) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
