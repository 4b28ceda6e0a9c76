"""One job's way through the parent: gates, order to the worker, the worker's answer, publishing.

At most one job is in hand. A job is only started when its root is there, its file is still the one that was queued, and
the disk has room; it is only published when the file is still that one after it was read. What cannot be written
pauses the queue and costs the file nothing. Every step may be cut short and is picked up by the next `tick`.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from loguru import logger

from spotless_core.options import RestoreOptions
from spotlessd import publish
from spotlessd.companion_copy import Copier, NotCopiedError, found_companions, late_name
from spotlessd.company import Company
from spotlessd.crash_points import crash_point
from spotlessd.engine import Engine
from spotlessd.errors import PublishError, RootUnavailableError
from spotlessd.job import COMPANION_RECIPE, Failure, FailureKind, Job, JobState, classify_failure
from spotlessd.messages import Failed, Finished, Ready
from spotlessd.publish import NameTakenError, PartLostError, PublishPlan
from spotlessd.result_files import Naming, Parts, part_paths
from spotlessd.roots import Root
from spotlessd.start_checks import check_room, difference
from spotlessd.supervisor import Event, StartTrouble, Supervisor, WorkerLost, WorkerState
from spotlessd.work_orders import make_order, station_facts

RECHECK_SECONDS = 30.0
"""How long the queue rests after something could not be written, before it is tried again."""
MASK_SUFFIXES = {"png": ".png", "tiff": ".tif"}
"""By `output.mask_format`."""
PUBLISH_TRIES = 10
"""After so many tries a finished result is given up, so that one bad name does not hold up the queue."""


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """What the dispatcher needs of the configuration. `reserve_bytes` stays free on the output's disk.

    `is_eager`: load the models before the first job comes. `keeps_timestamp`: image, mask, preview and receipt get the
    scan's time of change. `recheck_seconds`: see `RECHECK_SECONDS`.
    """

    station_id: str
    options: RestoreOptions
    reserve_bytes: int
    is_eager: bool = True
    keeps_timestamp: bool = False
    recheck_seconds: float = RECHECK_SECONDS


@dataclass(slots=True)
class _Result:
    """A finished job that is being published. `plan` is set once the ledger knows it.

    `rel`: what its names are made from. `endings`: those of its companions, by role; None until they are copied.
    """

    parts: Parts
    receipt: dict[str, Any]
    rel: str
    endings: dict[str, str] | None = None
    plan: PublishPlan | None = None
    tries: int = 0


class Dispatcher:
    """Moves jobs from the queue to the worker and from the worker to the output folder. `now`: monotonic seconds."""

    def __init__(
        self,
        engine: Engine,
        supervisor: Supervisor,
        roots: Mapping[str, Root],
        settings: DispatchSettings,
        company: Company,
        copier: Copier,
        *,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self._engine = engine
        self._supervisor = supervisor
        self._roots = roots
        self._settings = settings
        self._company = company
        self._copier = copier
        self._free_bytes = free_bytes
        self._result: _Result | None = None
        self._rest_until = 0.0
        self.job: Job | None = None
        self.pause_reason = ""
        self.away: dict[str, str] = {}
        self.start_trouble: StartTrouble | None = None

    def tick(self, now: float, *, may_start: bool) -> None:
        """Take the worker's news, publish what is finished, and start the next job if `may_start`.

        Raises:
            LedgerError: the ledger could not be written; everything in hand is kept for the next tick.
        """
        for event in self._supervisor.poll(now):
            self._handle(event, now)
        if now < self._rest_until:
            return
        self.pause_reason = ""
        if self._result is not None:
            self._publish(now)
        if self.job is None:
            if self._supervisor.recycle_if_worn(now):
                return
            if may_start:
                self._start_next(now)

    def seconds_to_next(self, now: float) -> float | None:
        """Return how long until a rest or a back-off is over; None if nothing is timed."""
        waits = [self._rest_until - now, self._supervisor.seconds_to_start(now)]
        timed = [wait for wait in waits if wait > 0]
        return min(timed) if timed else None

    def drop(self, reason: str) -> None:
        """Give up the job in hand because somebody asked; a result already planned is left to the next start."""
        job = self.job
        if self._supervisor.state is WorkerState.BUSY:
            self._supervisor.drop()
        if job is None or (self._result is not None and self._result.plan is not None):
            return
        publish.drop_parts(self._parts_of(job))
        self._engine.fail(job, Failure(FailureKind.STOPPED, reason))
        self._let_go()

    def _handle(self, event: Event, now: float) -> None:
        if isinstance(event, Ready):
            self.start_trouble = None
            logger.info("worker ready on {} ({})", event.device, event.precision)
        elif isinstance(event, StartTrouble):
            self.start_trouble = event
            logger.error("the worker cannot start: {}", event.reason)
        elif self.job is None:
            logger.warning("the worker answered, but no job is in hand")
        elif isinstance(event, Finished):
            receipt = {**event.receipt.to_dict(), "station": station_facts(self.job, self._settings.station_id)}
            self._result = _Result(self._parts_of(self.job), receipt, self.job.identity.rel)
            self._publish(now)
        elif isinstance(event, WorkerLost):
            self._fail(self.job, Failure(FailureKind.CRASH, str(event.error)), now)
        elif isinstance(event, Failed):
            kind = classify_failure(event.exit_code, is_retryable=event.is_retryable)
            if kind is FailureKind.MACHINE:
                self.start_trouble = self._supervisor.distrust(event.message, event.exit_code, now)
            self._fail(self.job, Failure(kind, event.message), now)

    def _fail(self, job: Job, failure: Failure, now: float) -> None:
        """End a failed attempt. A file that changed while it was read is not blamed for what was read."""
        root = self._roots[job.identity.root]
        publish.drop_parts(self._parts_of(job))
        changed = difference(root, job)
        if changed is not None and changed[0] is not JobState.QUEUED and self._is_there(root):
            self._engine.drop(job, *changed)
        else:
            self._engine.fail(job, failure)
            if failure.kind is FailureKind.OUTPUT:
                self._rest(failure.reason, now)
        self._let_go()

    def _start_next(self, now: float) -> None:
        if self._settings.is_eager:
            self._supervisor.start(now)
        present = frozenset(
            name for name, root in self._roots.items() if self._is_there(root) and self._company.has_looked(root)
        )
        job = self._engine.next_due(present) if present else None
        if job is None:
            return
        root = self._roots[job.identity.root]
        if job.plan:
            self._resume_publishing(job, root, now)
            return
        is_companion = job.recipe == COMPANION_RECIPE
        if not is_companion:
            self._supervisor.start(now)
            if self._supervisor.state is not WorkerState.IDLE:
                return
        changed = difference(root, job)
        # A file that cannot be looked at is left to the worker, whose error says why.
        if changed is not None and changed[0] is not JobState.QUEUED:
            if self._is_there(root):
                self._engine.cancel(job, *changed)
            return
        try:
            publish.make_folders(root.output, job.identity.rel)
            check_room(root.output, job, self._settings.reserve_bytes, self._free_bytes)
        except PublishError as error:
            self._rest(str(error), now)
            return
        taken = self._engine.take(job)
        if taken is None:
            return
        self.job = taken
        if is_companion:
            self._put_beside(taken, root, now)
            return
        self._supervisor.submit(make_order(taken, root, self._parts_of(taken), self._settings.options), now)
        crash_point("dispatch.mid_job")

    def _put_beside(self, job: Job, root: Root, now: float) -> None:
        """Copy a sidecar that came too late for its scan's receipt beside the result. It needs no worker."""
        rel = job.identity.rel
        outputs, companion = self._company.result_beside(root, rel), root.look_at(rel)
        if outputs is None or companion is None or companion.companion is None:
            reason = f"{Path(rel).name}: the scan it belongs to has no result. Restore the scan, then retry this."
            self._fail(job, Failure(FailureKind.PHOTO, reason), now)
            return
        scan = publish.read_receipt(root.output / outputs.get("receipt", "")).get("input", {})
        size = (scan["width"], scan["height"]) if "width" in scan and "height" in scan else None
        facts = station_facts(job, self._settings.station_id)
        try:
            copied = self._copier.copy_late(self._parts_of(job), companion, outputs["image"], size, facts)
        except NotCopiedError as error:
            self._fail(job, Failure(FailureKind.TRANSIENT, str(error)), now)
            return
        except PublishError as error:
            self._fail(job, Failure(FailureKind.OUTPUT, str(error)), now)
            return
        self._result = _Result(
            copied.parts, copied.receipt, late_name(outputs["image"], companion.companion), copied.endings
        )
        self._publish(now)

    def _resume_publishing(self, job: Job, root: Root, now: float) -> None:
        """Go on where an earlier run was cut off between two steps."""
        plan = PublishPlan.from_json(job.plan)
        last = plan.steps[-1]
        receipt = publish.read_receipt(root.output / last.part) or publish.read_receipt(root.output / last.final)
        taken = self._engine.take(job)
        if taken is None:
            return
        self.job = taken
        parts = publish.planned_parts(root.output, job.identity.rel, plan)
        rel = job.identity.rel
        companion = root.rules.companions.parse(PurePosixPath(rel).name)
        if "companion_of" in receipt and companion is not None:
            rel = late_name(str(receipt["companion_of"]), companion)
        self._result = _Result(parts, receipt, rel, publish.planned_endings(plan), plan)
        self._publish(now)

    def _publish(self, now: float) -> None:
        job, result = self.job, self._result
        assert job is not None and result is not None  # noqa: S101 - our own logic
        root = self._roots[job.identity.root]
        if result.plan is None:
            if not self._is_there(root):
                self._fail(job, Failure(FailureKind.OUTPUT, self.away[root.name]), now)
                return
            changed = difference(root, job)
            if changed is not None and changed[0] is JobState.QUEUED:
                self._fail(job, Failure(FailureKind.OUTPUT, changed[1]), now)
                return
            if changed is not None:
                publish.drop_parts(self._parts_of(job))
                self._engine.drop(job, *changed)
                self._let_go()
                return
        try:
            self._put_in_place(job, root, result)
        except PartLostError as error:
            self._do_again(job, root, result, str(error), now)
        except PublishError as error:
            result.tries += 1
            if result.tries >= PUBLISH_TRIES:
                self._do_again(job, root, result, str(error), now)
            else:
                self._rest(str(error), now)

    def _put_in_place(self, job: Job, root: Root, result: _Result) -> None:
        while True:
            if result.plan is None:
                endings = self._companions_copied(job, root, result)
                settings = self._settings
                plan = publish.make_plan(
                    root.output,
                    result.rel,
                    result.parts,
                    result.receipt,
                    Naming(MASK_SUFFIXES[settings.options.mask_format], endings),
                    job.identity.mtime_ns if settings.keeps_timestamp else None,
                )
                if not self._engine.plan(job, plan.to_json()):
                    raise PartLostError(f"job {job.id}: attempt {job.attempt} is void.")
                result.plan = plan
                crash_point("publish.planned")
            try:
                publish.carry_out(root.output, result.plan)
                break
            except NameTakenError as error:
                logger.bind(job=job.id, file=job.identity.rel).debug("{}", error)
                publish.take_back(root.output, result.plan)
                result.plan = None
        names = {role: {"name": name} for role, name in result.plan.names.items()}
        if "station" in result.receipt:
            self._engine.note_companions(found_companions({**result.receipt, "outputs": names}))
            crash_point("companion.noted")
        state = JobState.HELD if result.receipt.get("outcome") == "held" else JobState.DONE
        sha256 = str(result.receipt.get("input", {}).get("sha256", ""))
        seconds = dict(result.receipt.get("seconds", {}))
        if not self._engine.finish(job, state, result.plan.names, sha256, seconds):
            logger.bind(job=job.id, file=job.identity.rel).warning("published, but the ledger's row had moved on")
        self._let_go()
        crash_point("finish.after_commit")

    def _companions_copied(self, job: Job, root: Root, result: _Result) -> dict[str, str]:
        """Copy what goes with the scan, once; returns the endings by role. A frame that is held takes nothing along."""
        if result.endings is None:
            is_held = result.receipt.get("outcome") == "held"
            companions = [] if is_held else self._company.ready_for(root, job.identity.rel)
            name = PurePosixPath(job.identity.rel).name
            copied = self._copier.copy_companions(result.parts, result.receipt, name, companions)
            result.parts, result.receipt, result.endings = copied.parts, copied.receipt, copied.endings
        return result.endings

    def _do_again(self, job: Job, root: Root, result: _Result, reason: str, now: float) -> None:
        """Undo what was named and put the job back: its result cannot be published."""
        try:
            if result.plan is not None:
                publish.take_back(root.output, result.plan)
        except PublishError as error:
            self._rest(str(error), now)
            return
        self._engine.plan(job, "")
        publish.drop_parts(result.parts)
        self._fail(job, Failure(FailureKind.OUTPUT, reason), now)

    def _is_there(self, root: Root) -> bool:
        """Check a root, and log once when it goes and once when it is back."""
        try:
            root.ensure_available()
        except RootUnavailableError as error:
            if root.name not in self.away:
                logger.warning("{}", error)
            self.away[root.name] = str(error)
            return False
        if self.away.pop(root.name, None) is not None:
            logger.info("root {} is back", root.name)
        return True

    def _parts_of(self, job: Job) -> Parts:
        if self._result is not None:
            return self._result.parts
        root = self._roots[job.identity.root]
        return part_paths(root.output, job.identity.rel, job.id, job.attempt)

    def _rest(self, reason: str, now: float) -> None:
        if reason != self.pause_reason:
            logger.warning("paused: {}", reason)
        self.pause_reason = reason
        self._rest_until = now + self._settings.recheck_seconds

    def _let_go(self) -> None:
        self.job = None
        self._result = None
