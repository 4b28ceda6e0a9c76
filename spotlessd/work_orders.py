"""Word a job: as an order to the worker, and as the facts in a receipt from which a lost ledger is rebuilt."""

from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from spotless_core.options import RestoreOptions, Sensitivity
from spotlessd.job import Job
from spotlessd.messages import WorkOrder
from spotlessd.result_files import Parts
from spotlessd.roots import Root


def make_order(job: Job, root: Root, parts: Parts, options: RestoreOptions) -> WorkOrder:
    """Return what the worker is to do for this attempt: `options`, but for what a person asked for this one scan."""
    if job.overrides.sensitivity is not None:
        mask = replace(options.mask, sensitivity=Sensitivity(job.overrides.sensitivity))
        options = replace(options, mask=mask)
    return WorkOrder(
        job_id=job.id,
        attempt=job.attempt,
        source=root.input / job.identity.rel,
        source_name=PurePosixPath(job.identity.rel).name,
        image=parts.image,
        mask=parts.mask,
        preview=parts.preview,
        options=options,
        given_mask=job.overrides.mask,
    )


def station_facts(job: Job, station_id: str) -> dict[str, Any]:
    """Return the receipt's `station`: whose scan this is, and which bytes of it."""
    identity = job.identity
    return {
        "id": station_id,
        "root": identity.root,
        "rel": identity.rel,
        "size": identity.size,
        "mtime_ns": identity.mtime_ns,
        "recipe": job.recipe,
        "job": job.id,
        "attempt": job.attempt,
    }
