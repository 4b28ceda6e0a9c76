"""Put one finished result in its place: companions copied, names planned and given, the ledger told.

Comes in: the part files of one attempt and its receipt. Goes out: published files, and the job's end in the ledger.
Every step may be cut short by a crash or a full disk: the plan is committed before the first name is given, so that
the step in hand is repeated or taken back, by this run or by the next. When to try again is the dispatcher's.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from loguru import logger

from spotless_core.options import MaskFormat
from spotlessd import publish
from spotlessd.companions.companion_copy import Copier, found_companions, late_name
from spotlessd.companions.company import Company
from spotlessd.crash_points import crash_point
from spotlessd.engine import Engine
from spotlessd.errors import PublishError
from spotlessd.folders.roots import Root
from spotlessd.job import Job, JobState, Tally
from spotlessd.publish import NameTakenError, PartLostError, PublishPlan
from spotlessd.publishing.found_receipts import results_of
from spotlessd.publishing.result_files import Naming, Parts
from spotlessd.work_orders import recipe_run, station_facts

MASK_SUFFIXES = {MaskFormat.PNG: ".png", MaskFormat.TIFF: ".tif"}
HELD_NOTE = "held: "
"""What begins each note of a receipt that says why its frame is held."""


class NoResultError(PublishError):
    """A sidecar's scan has no result that it could be put beside."""


@dataclass(slots=True)
class Result:
    """A finished job that is being published. `plan` is set once the ledger knows it.

    `rel`: what its names are made from. `endings`: those of its companions, by role; None until they are copied.
    """

    parts: Parts
    receipt: dict[str, Any]
    rel: str
    endings: dict[str, str] | None = None
    plan: PublishPlan | None = None
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Placer:
    """Gives results their names. `keeps_timestamp`: image, mask, preview and receipt get the scan's time of change.

    `worker`: which of several workers the results are of, for their receipts; "" if there is one.
    """

    engine: Engine
    company: Company
    copier: Copier
    station_id: str
    mask_format: MaskFormat = MaskFormat.PNG
    keeps_timestamp: bool = False
    worker: str = ""

    def finished(self, job: Job, root: Root, parts: Parts, receipt: dict[str, Any]) -> Result:
        """Return what the worker made, with the facts from which a lost ledger is rebuilt."""
        facts = station_facts(job, self.station_id, recipe_run(job, root.profile.recipe), self.worker)
        return Result(parts, {**receipt, "station": facts}, job.identity.rel)

    def late_companion(self, job: Job, root: Root, parts: Parts) -> Result:
        """Copy a sidecar that came too late for its scan's receipt into a part. It needs no worker.

        Raises:
            NoResultError: its scan has no result.
            NotCopiedError: the sidecar cannot be read whole.
            PublishError: the output folder cannot be written.
        """
        rel = job.identity.rel
        outputs, companion = self.company.result_beside(root, rel), root.look_at(rel)
        if outputs is None or companion is None or companion.companion is None:
            raise NoResultError(
                f"{Path(rel).name}: the scan it belongs to has no result. Restore the scan, then retry this."
            )
        scan = publish.read_receipt(root.output / outputs.get("receipt", "")).get("input", {})
        size = (scan["width"], scan["height"]) if "width" in scan and "height" in scan else None
        facts = station_facts(job, self.station_id, job.recipe)
        copied = self.copier.copy_late(parts, companion, outputs["image"], size, facts)
        name = late_name(outputs["image"], companion.companion)
        return Result(copied.parts, copied.receipt, name, copied.endings)

    def resumed(self, job: Job, root: Root) -> Result:
        """Return the result that an earlier run was cut off from, between two steps of its plan."""
        plan = PublishPlan.from_json(job.plan)
        last = plan.steps[-1]
        receipt = publish.read_receipt(root.output / last.part) or publish.read_receipt(root.output / last.final)
        rel = job.identity.rel
        parts = publish.planned_parts(root.output, rel, plan)
        companion = root.rules.companions.parse(PurePosixPath(rel).name)
        if "companion_of" in receipt and companion is not None:
            rel = late_name(str(receipt["companion_of"]), companion)
        return Result(parts, receipt, rel, publish.planned_endings(plan), plan)

    def is_in_place(self, job: Job, root: Root) -> bool:
        """End a queued job whose result lies there with its receipt: its ledger has lost the last commits."""
        found = next((scan for scan in results_of(root, job.identity) if scan.recipe == job.recipe), None)
        if found is None:
            return False
        taken = self.engine.take(job)
        if taken is not None:
            self.engine.finish(taken, found.state, found.outputs, found.sha256, {})
        return True

    def put_in_place(self, job: Job, root: Root, result: Result) -> None:
        """Publish a result and end its job; may be called again after an error.

        Raises:
            PartLostError: the work has to be done again; `undo` first.
            PublishError: the disk or the folder does not allow it now.
            LedgerError: the ledger could not be written; what was named stays, and the next call goes on.
        """
        while True:
            if result.plan is None:
                result.plan = self._make_plan(job, root, result)
            try:
                publish.carry_out(root.output, result.plan)
                break
            except NameTakenError as error:
                logger.bind(job=job.id, file=job.identity.rel).debug("{}", error)
                publish.take_back(root.output, result.plan)
                crash_point("publish.taken_back")
                result.plan = None
        self.note(job, result.receipt, result.plan.names)

    def note(self, job: Job, receipt: dict[str, Any], outputs: dict[str, str]) -> None:
        """Write down a result that is published, and end its job. `outputs`: names by role, relative to the output.

        Raises:
            LedgerError: the ledger could not be written; call again.
        """
        names = {role: {"name": name} for role, name in outputs.items()}
        if "station" in receipt:
            self.engine.note_companions(found_companions({**receipt, "outputs": names}))
            crash_point("companion.noted")
        state = JobState.HELD if receipt.get("outcome") == "held" else JobState.DONE
        sha256 = str(receipt.get("input", {}).get("sha256", ""))
        seconds = dict(receipt.get("seconds", {}))
        if not self.engine.finish(job, state, outputs, sha256, seconds, tally_of(receipt)):
            logger.bind(job=job.id, file=job.identity.rel).warning("published, but the ledger's row had moved on")

    def undo(self, job: Job, root: Root, result: Result) -> None:
        """Take back what was named and remove the parts: the result cannot be published.

        Raises:
            PublishError: the folder does not allow it now.
        """
        if result.plan is not None:
            publish.take_back(root.output, result.plan)
        self.engine.plan(job, "")
        publish.drop_parts(result.parts)

    def _make_plan(self, job: Job, root: Root, result: Result) -> PublishPlan:
        endings = self._companions_copied(job, root, result)
        plan = publish.make_plan(
            root.output,
            result.rel,
            result.parts,
            result.receipt,
            Naming(MASK_SUFFIXES[self.mask_format], endings),
            job.identity.mtime_ns if self.keeps_timestamp else None,
        )
        if not self.engine.plan(job, plan.to_json()):
            raise PartLostError(f"job {job.id}: attempt {job.attempt} is void.")
        crash_point("publish.planned")
        return plan

    def _companions_copied(self, job: Job, root: Root, result: Result) -> dict[str, str]:
        """Copy what goes with the scan, once; returns the endings by role. A frame that is held takes nothing along."""
        if result.endings is None:
            is_held = result.receipt.get("outcome") == "held"
            companions = [] if is_held else self.company.ready_for(root, job.identity.rel)
            name = PurePosixPath(job.identity.rel).name
            copied = self.copier.copy_companions(result.parts, result.receipt, name, companions)
            result.parts, result.receipt, result.endings = copied.parts, copied.receipt, copied.endings
        return result.endings


def tally_of(receipt: dict[str, Any]) -> Tally | None:
    """Return a scan's receipt in short; None for a sidecar's."""
    if "defects" not in receipt or "coverage" not in receipt:
        return None
    held = [str(note).removeprefix(HELD_NOTE) for note in receipt.get("notes", []) if str(note).startswith(HELD_NOTE)]
    return Tally(len(receipt["defects"]), float(receipt["coverage"]), "; ".join(held))
