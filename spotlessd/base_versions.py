"""Which version of a scan an edited mask is based on: found in the ledger, with its files in the output folder.

Comes in: the scan as it lies there now, and the job a person looked at. Goes out: a `Base` for the worker, or an
`UnknownJobError` with one sentence. Files are not hashed here, as the daemon would stand still meanwhile: the worker
compares them with the receipt, and fills everything anew where one was changed.
"""

from pathlib import Path

from spotlessd.errors import UnknownJobError
from spotlessd.folders.roots import Root
from spotlessd.job import COMPANION_RECIPE, Base, Identity, Job, JobState
from spotlessd.publish import read_receipt
from spotlessd.sqlite.reading import LedgerReader


def base_of(ledger: LedgerReader, root: Root, identity: Identity, job_id: int) -> Base:
    """Return the version that job `job_id` made of this very scan.

    Raises:
        UnknownJobError: it made none, or made it of another scan.
    """
    job = ledger.job(job_id)
    rel = identity.rel
    if job is None or (job.identity.root, job.identity.rel) != (identity.root, rel) or job.recipe == COMPANION_RECIPE:
        raise UnknownJobError(f"job {job_id} is not one of {rel}; a job of this scan expected.")
    if job.identity != identity:
        raise UnknownJobError(f"{rel} changed since job {job_id}; a version of the scan as it is now expected.")
    if job.state not in {JobState.DONE, JobState.HELD} or "mask" not in job.outputs:
        raise UnknownJobError(f"job {job_id} is {job.state} and has no mask; one that is done or held expected.")
    return _base(root, job)


def newest_version(ledger: LedgerReader, identity: Identity) -> int | None:
    """Return the job that made the newest result of this very scan; None if there is none."""
    for job in ledger.jobs_of(identity.root, identity.rel):
        if job.identity == identity and job.state is JobState.DONE and {"image", "mask"} <= job.outputs.keys():
            return job.id
    return None


def _base(root: Root, job: Job) -> Base:
    def path(role: str) -> Path | None:
        return root.output / job.outputs[role] if role in job.outputs else None

    receipt = path("receipt")
    outputs = {} if receipt is None else read_receipt(receipt).get("outputs", {})
    image = outputs.get("image", {}) if isinstance(outputs, dict) else {}
    return Base(
        job=job.id,
        mask=root.output / job.outputs["mask"],
        image=path("image"),
        receipt=receipt,
        name=job.outputs.get("image", job.outputs["mask"]),
        sha256=str(image.get("sha256", "")) if isinstance(image, dict) else "",
    )
