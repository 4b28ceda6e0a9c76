"""One job's way through the parent: gates, order to the worker, the worker's answer, publishing (placing.py).

At most one job is in hand. A job is only started when its root is there, its file is still the one that was queued, and
the disk and the memory have room; it is only published when the file is still that one after it was read. What cannot
be written pauses the queue and costs the file nothing. Every step may be cut short and is picked up by the next `tick`.
"""

import shutil
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
from loguru import logger

from spotless_core.options import RestoreOptions
from spotlessd import publish
from spotlessd.companions.companion_copy import Copier, NotCopiedError
from spotlessd.companions.company import Company
from spotlessd.crash_points import crash_point
from spotlessd.engine import Engine
from spotlessd.errors import PublishError, RootUnavailableError
from spotlessd.folders.roots import Root
from spotlessd.folders.spool import copy_path, make_room
from spotlessd.job import COMPANION_RECIPE, Failure, FailureKind, Job, JobState, classify_failure
from spotlessd.messages import Failed, Finished, Ready
from spotlessd.placing import NoResultError, Placer, Result
from spotlessd.publish import PartLostError
from spotlessd.publishing.durable import remove_part
from spotlessd.publishing.result_files import Parts, part_paths
from spotlessd.start_checks import MemoryGate, check_room, deadline_seconds, difference, megapixels_of
from spotlessd.supervisor import Event, StartTrouble, Supervisor, WorkerLost, WorkerState
from spotlessd.work_orders import make_order

RECHECK_SECONDS = 30.0
"""How long the queue rests after something could not be written, before it is tried again."""
PUBLISH_TRIES = 10
"""After so many tries a finished result is given up, so that one bad name does not hold up the queue."""


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """What the dispatcher needs of the configuration. `reserve_bytes` stays free on the output's disk.

    `profiles`: by root's name, where a root has options of its own. `is_eager`: load the models before the first job
    comes. `keeps_timestamp`: image, mask, preview and receipt get the scan's time of change. `seconds_per_megapixel`:
    how long a frame may take at most, 0 = as long as it moves. `spool_dir`: where scans of spooled roots are copied to.
    """

    station_id: str
    options: RestoreOptions
    reserve_bytes: int
    profiles: Mapping[str, RestoreOptions] = field(default_factory=dict)
    is_eager: bool = True
    keeps_timestamp: bool = False
    seconds_per_megapixel: float = 0.0
    spool_dir: Path = Path("spool")


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
        free_memory_mb: Callable[[], float] = lambda: psutil.virtual_memory().available / 1e6,
    ) -> None:
        self._engine = engine
        self._supervisor = supervisor
        self._roots = roots
        self._settings = settings
        self._company = company
        self._placer = Placer(
            engine, company, copier, settings.station_id, settings.options.mask_format, settings.keeps_timestamp
        )
        self._measure = copier.measure
        self._free_bytes = free_bytes
        self._memory_gate = MemoryGate(free_memory_mb)
        self._events: deque[Event] = deque()
        self._result: Result | None = None
        self._failure: Failure | None = None
        self._copy: Path | None = None
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
        self._events += self._supervisor.poll(now)
        while self._events:
            self._handle(self._events.popleft(), now)
        if self.job is not None and self._failure is not None:
            self._fail(self.job, self._failure, now)
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
            root = self._roots[self.job.identity.root]
            self._result = self._placer.finished(self.job, root, self._parts_of(self.job), event.receipt.to_dict())
            self._publish(now)
        elif isinstance(event, WorkerLost):
            self._fail(self.job, Failure(FailureKind.CRASH, str(event.error)), now)
        elif isinstance(event, Failed):
            self._take_failure(self.job, event, now)

    def _take_failure(self, job: Job, event: Failed, now: float) -> None:
        kind = classify_failure(
            event.exit_code, is_retryable=event.is_retryable, is_out_of_memory=event.is_out_of_memory
        )
        if kind is FailureKind.MACHINE:
            self.start_trouble = self._supervisor.distrust(event.message, event.exit_code, now)
        elif kind is FailureKind.MEMORY:
            # A fresh child has the whole device to itself: what the last one kept or tore into pieces is free again.
            self._supervisor.stop()
        self._fail(job, Failure(kind, event.message), now)

    def _fail(self, job: Job, failure: Failure, now: float) -> None:
        """End a failed attempt. A file that changed while it was read is not blamed for what was read.

        The failure is kept until the ledger has it: what the worker said once, it does not say again.
        """
        self._failure = failure
        root = self._roots[job.identity.root]
        publish.drop_parts(self._parts_of(job))
        changed = difference(root, job)
        if not self._is_there(root):
            # A share that went away looks like a damaged scan; its other jobs do not start before it is back.
            is_blamed = failure.kind in {FailureKind.PHOTO, FailureKind.TRANSIENT}
            reason = self.away[root.name]
            self._engine.fail(job, Failure(FailureKind.OUTPUT, reason) if is_blamed else failure)
        elif changed is not None and changed[0] is not JobState.QUEUED:
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
        elif job.recipe == COMPANION_RECIPE:
            if self._is_wanted(job, root) and self._has_room(job, root, now):
                self._put_beside(job, root, now)
        else:
            self._supervisor.start(now)
            if self._supervisor.state is WorkerState.IDLE and self._is_wanted(job, root):
                self._order(job, root, now)

    def _is_wanted(self, job: Job, root: Root) -> bool:
        """Whether the file is still the one that was queued, and its result is not there yet; else the job ends."""
        changed = difference(root, job)
        # A file that cannot be looked at is left to the worker, whose error says why.
        if changed is not None and changed[0] is not JobState.QUEUED:
            if self._is_there(root):
                self._engine.cancel(job, *changed)
            return False
        return not self._placer.is_in_place(job, root)

    def _order(self, job: Job, root: Root, now: float) -> None:
        """Hand a job to the idle worker, if there is room for it."""
        if not self._has_room(job, root, now):
            return
        megapixels = megapixels_of(root.input / job.identity.rel, self._measure)
        worker = self._supervisor
        shortage = self._memory_gate.shortage(job.id, megapixels, worker.memory_mb, worker.max_memory_mb, now)
        if shortage:
            self._engine.postpone(job, RECHECK_SECONDS, shortage)
            return
        taken = self._engine.take(job)
        if taken is None:
            return
        self.job = taken
        if root.is_spooled:
            self._copy = copy_path(self._settings.spool_dir, taken.id, taken.attempt, taken.identity.rel)
        options = self._settings.profiles.get(root.name, self._settings.options)
        deadline = deadline_seconds(megapixels, self._settings.seconds_per_megapixel)
        order = make_order(taken, root, self._parts_of(taken), options, deadline)
        self._supervisor.submit(replace(order, spool=self._copy), now)
        crash_point("dispatch.mid_job")

    def _has_room(self, job: Job, root: Root, now: float) -> bool:
        """Look for room on the disks of the result and of the working copy; without it everything rests."""
        reserve = self._settings.reserve_bytes
        try:
            publish.make_folders(root.output, job.identity.rel)
            check_room(root.output, job, reserve, self._free_bytes)
            if root.is_spooled:
                make_room(self._settings.spool_dir, job.identity.size, reserve, self._free_bytes)
        except PublishError as error:
            self._rest(str(error), now)
            return False
        return True

    def _put_beside(self, job: Job, root: Root, now: float) -> None:
        """Publish a sidecar that came too late for its scan's receipt beside the result."""
        taken = self._engine.take(job)
        if taken is None:
            return
        self.job = job = taken
        try:
            self._result = self._placer.late_companion(job, root, self._parts_of(job))
        except NoResultError as error:
            self._fail(job, Failure(FailureKind.PHOTO, str(error)), now)
        except NotCopiedError as error:
            self._fail(job, Failure(FailureKind.TRANSIENT, str(error)), now)
        except PublishError as error:
            self._fail(job, Failure(FailureKind.OUTPUT, str(error)), now)
        else:
            self._publish(now)

    def _resume_publishing(self, job: Job, root: Root, now: float) -> None:
        """Go on where an earlier run was cut off between two steps."""
        result = self._placer.resumed(job, root)
        taken = self._engine.take(job)
        if taken is None:
            return
        self.job, self._result = taken, result
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
            self._placer.put_in_place(job, root, result)
        except PartLostError as error:
            self._do_again(job, root, result, str(error), now)
        except PublishError as error:
            result.tries += 1
            if result.tries >= PUBLISH_TRIES:
                self._do_again(job, root, result, str(error), now)
            else:
                self._rest(str(error), now)
        else:
            self._let_go()
            crash_point("finish.after_commit")

    def _do_again(self, job: Job, root: Root, result: Result, reason: str, now: float) -> None:
        """Undo what was named and put the job back: its result cannot be published."""
        try:
            self._placer.undo(job, root, result)
        except PublishError as error:
            self._rest(str(error), now)
            return
        self._fail(job, Failure(FailureKind.OUTPUT, reason), now)

    def _is_there(self, root: Root) -> bool:
        try:
            root.ensure_available()
        except RootUnavailableError as error:
            self.away[root.name] = str(error)
            return False
        self.away.pop(root.name, None)
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
        self._rest_until = now + RECHECK_SECONDS

    def _let_go(self) -> None:
        if self._copy is not None:
            remove_part(self._copy)  # a child that was killed left it
            self._copy = None
        self.job = None
        self._result = None
        self._failure = None
