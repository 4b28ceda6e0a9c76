"""Word a job: as an order to the worker, and as the facts in a receipt from which a lost ledger is rebuilt."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from spotless_core.options import DetectOptions, RestoreOptions, Sensitivity
from spotless_core.receipt import DecisionFacts
from spotlessd.folders.roots import Root
from spotlessd.job import Job
from spotlessd.messages import WorkOrder
from spotlessd.publishing.result_files import Parts

SMALLEST_TILE_PX = 256
SHORTAGES_BEFORE_CPU = 2
"""After the first shortage of memory the tiles are smaller, after the second the CPU computes, if it is allowed to."""


def make_order(job: Job, root: Root, parts: Parts, options: RestoreOptions, deadline_seconds: float = 0.0) -> WorkOrder:
    """Return what the worker is to do for this attempt: `options`, but for what a person asked for this one scan.

    A scan that ran out of memory before gets smaller tiles, then the CPU. `deadline_seconds`: 0 = none.
    """
    if job.shortages:
        options = replace(options, detect=_smaller_tiles(options.detect))
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
        is_on_cpu=job.shortages >= SHORTAGES_BEFORE_CPU,
        deadline_seconds=deadline_seconds,
        base=job.overrides.base,
        decision=_decision(job),
    )


def _decision(job: Job) -> DecisionFacts | None:
    """Return who decided on the mask: a person, or the program. None for a person of whom no more is known."""
    values = job.overrides.decision
    if values:
        choice, by, via, at = (values.get(name, "") for name in ("choice", "by", "via", "at"))
        return DecisionFacts(choice, by, via, at)
    if job.overrides.mask is not None:
        return None
    at = datetime.fromtimestamp(job.started, UTC).isoformat(timespec="seconds")
    return DecisionFacts("detected", "program", "detector", at)


def _smaller_tiles(detect: DetectOptions) -> DetectOptions:
    """Return tiles of half the side, a quarter of the memory, with the same overlap."""
    tile_px = min(detect.tile_px, max(SMALLEST_TILE_PX, detect.tile_px // 2 // 64 * 64))
    return DetectOptions(tile_px, max(tile_px // 4, detect.stride_px * tile_px // detect.tile_px))


def recipe_run(job: Job, recipe: str) -> str:
    """Return the recipe that a job ran with, when its folder's is `recipe` now: it may have been queued under another.

    What a person asked to be done again keeps its number.
    """
    _, plus, number = job.recipe.partition("+")
    return recipe + plus + number


def station_facts(job: Job, station_id: str, recipe: str, worker: str = "") -> dict[str, Any]:
    """Return the receipt's `station`: whose scan this is, which bytes of it, and the recipe that it was done with.

    `worker`: which of several did it, "" if there is one.
    """
    identity = job.identity
    facts = {
        "id": station_id,
        "root": identity.root,
        "rel": identity.rel,
        "size": identity.size,
        "mtime_ns": identity.mtime_ns,
        "recipe": recipe,
        "job": job.id,
        "attempt": job.attempt,
    }
    return {**facts, "worker": worker} if worker else facts
