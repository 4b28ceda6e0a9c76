"""One job's way through the parent: gates, order to the worker, the worker's answer, publishing (placing.py).

A dispatcher and its supervisor are one lane; at most one job is in its hand (crew.py has them all, commons.py what they
share). A job is only started when its root is there, its file is still the one that was queued, and the disk and the
memory have room; it is only published when the file is still that one after it was read. What cannot be written pauses
the queue and costs the file nothing. Every step may be cut short and is picked up by the next `tick`.
"""

from collections import deque
from dataclasses import replace
from pathlib import Path

from loguru import logger

from spotlessd import publish
from spotlessd.commons import Commons, Seat
from spotlessd.companions.companion_copy import Copier, NotCopiedError
from spotlessd.crash_points import crash_point
from spotlessd.engine import Engine
from spotlessd.errors import PublishError
from spotlessd.folders.roots import Root
from spotlessd.folders.spool import copy_path
from spotlessd.job import COMPANION_RECIPE, EXIT_UNAVAILABLE, Failure, FailureKind, Job, JobState, classify_failure
from spotlessd.messages import Failed, Finished, Ready, WorkOrder
from spotlessd.placing import NoResultError, Placer, Result
from spotlessd.publish import PartLostError
from spotlessd.publishing.durable import remove_part
from spotlessd.publishing.feedback_files import feedback_part, publish_feedback
from spotlessd.publishing.result_files import Parts, part_paths
from spotlessd.start_checks import deadline_seconds, difference, megapixels_of
from spotlessd.supervisor import Event, StartTrouble, WorkerLost, WorkerState
from spotlessd.work_orders import make_order

STRAY = (
    "it came up on the CPU, for the GPU that is meant for it does not answer. Look at nvidia-smi, or name the GPUs to "
    "use in device.gpus."
)
PUBLISH_TRIES = 10
"""After so many tries a finished result is given up, so that one bad name does not hold up the queue."""


class Dispatcher:
    """Moves jobs from the queue to one worker and from there to the output folder. `now`: monotonic seconds.

    `waits`: why the next job of the queue is not started here, "" if it is. `finds_nothing`: the queue had none due in
    this round, for anybody.
    """

    def __init__(self, engine: Engine, seat: Seat, commons: Commons, copier: Copier) -> None:
        self._engine = engine
        self._supervisor = seat.supervisor
        self._commons = commons
        self._settings = settings = commons.settings
        self._placer = Placer(
            engine,
            commons.company,
            copier,
            settings.station_id,
            settings.options.mask_format,
            settings.keeps_timestamp,
            seat.name if seat.has_own_gpu else "",
        )
        self._measure = copier.measure
        self._events: deque[Event] = deque()
        self._result: Result | None = None
        self._failure: Failure | None = None
        self._copy: Path | None = None
        self.seat = seat
        self.job: Job | None = None
        self.waits = ""
        self.finds_nothing = False
        self.start_trouble: StartTrouble | None = None

    @property
    def has_plan(self) -> bool:
        """Whether a result is being given its names: nobody else's comes before it."""
        return self._result is not None and self._result.plan is not None

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
        self.waits = ""
        self.finds_nothing = False
        if self._commons.rests(now):
            return
        if self._result is not None:
            self._publish(now)
        if self.job is None and not self._commons.rests(now):
            if self._commons.is_stray(self.seat):
                self.start_trouble = self._supervisor.distrust(STRAY, EXIT_UNAVAILABLE, now)
                logger.error("{}: {}", self.seat.name, STRAY)
            elif not self._supervisor.recycle_if_worn(now) and may_start:
                self._start_next(now)

    def kill(self) -> None:
        """End a busy worker at once; `drop` then gives up its job."""
        if self._supervisor.state is WorkerState.BUSY:
            self._supervisor.drop()

    def drop(self, reason: str, kind: FailureKind = FailureKind.STOPPED) -> None:
        """Give up the job in hand, as a rule because somebody asked; a planned result is left to the next start."""
        job = self.job
        self.kill()
        if job is None or self.has_plan:
            return
        publish.drop_parts(self._parts_of(job))
        self._engine.fail(job, Failure(kind, reason))
        self._let_go()

    def _handle(self, event: Event, now: float) -> None:
        if isinstance(event, Ready):
            self.start_trouble = None
            logger.info("{} ready on {} ({})", self.seat.name, event.device, event.precision)
        elif isinstance(event, StartTrouble):
            self.start_trouble = event
            logger.error("{} cannot start: {}", self.seat.name, event.reason)
        elif self.job is None:
            logger.warning("the worker answered, but no job is in hand")
        elif isinstance(event, Finished):
            root = self._commons.roots[self.job.identity.root]
            self._result = self._placer.finished(self.job, root, self._parts_of(self.job), event.receipt)
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
        root = self._commons.roots[job.identity.root]
        publish.drop_parts(self._parts_of(job))
        changed = difference(root, job)
        if not self._commons.is_there(root):
            # A share that went away looks like a damaged scan; its other jobs do not start before it is back.
            is_blamed = failure.kind in {FailureKind.PHOTO, FailureKind.TRANSIENT}
            reason = self._commons.away[root.name]
            self._engine.fail(job, Failure(FailureKind.OUTPUT, reason) if is_blamed else failure)
        elif changed is not None and changed[0] is not JobState.QUEUED:
            self._engine.drop(job, *changed)
        else:
            self._engine.fail(job, failure)
            if failure.kind is FailureKind.OUTPUT:
                self._commons.rest(failure.reason, now)
        self._let_go()

    def _start_next(self, now: float) -> None:
        if self._settings.is_eager:
            self._supervisor.start(now)
        present = self._commons.present()
        job = self._engine.next_due(present) if present else None
        self.finds_nothing = job is None
        if job is None:
            return
        root = self._commons.roots[job.identity.root]
        if job.plan:
            self._resume_publishing(job, root, now)
        elif job.recipe == COMPANION_RECIPE:
            if self._is_wanted(job, root) and self._has_room(job, root, now):
                self._put_beside(job, root, now)
        elif self._has_worker(present, now) and self._is_wanted(job, root):
            self._order(job, root, now)

    def _has_worker(self, present: frozenset[str], now: float) -> bool:
        """Whether the worker is ready for a job; where there is none, one is started if the queue is worth it."""
        if self._supervisor.state is WorkerState.DOWN and self._commons.wants_worker(self._engine.unfinished(present)):
            self._supervisor.start(now)
        return self._supervisor.state is WorkerState.IDLE

    def _is_wanted(self, job: Job, root: Root) -> bool:
        """Whether the file is still the one that was queued, and its result is not there yet; else the job ends."""
        changed = difference(root, job)
        # A file that cannot be looked at is left to the worker, whose error says why.
        if changed is not None and changed[0] is not JobState.QUEUED:
            if self._commons.is_there(root):
                self._engine.cancel(job, *changed)
            return False
        return not self._placer.is_in_place(job, root)

    def _order(self, job: Job, root: Root, now: float) -> None:
        """Hand a job to the idle worker, if there is room for it."""
        if not self._has_room(job, root, now):
            return
        self.waits = self._commons.not_beside(job)
        if self.waits:
            return
        megapixels = megapixels_of(root.input / job.identity.rel, self._measure)
        if self._is_put_off(job, megapixels, now):
            return
        taken = self._engine.take(job)
        if taken is not None:
            self._hand_over(taken, root, megapixels, now)

    def _is_put_off(self, job: Job, megapixels: float, now: float) -> bool:
        """Whether a job has to wait for memory; `waits` says why if it is still the next one."""
        shortage = self._commons.shortage(job, megapixels, self.seat, now)
        if shortage is None:
            return False
        if shortage.seconds:
            self._engine.postpone(job, shortage.seconds, shortage.reason)
        else:
            self.waits = shortage.reason
        return True

    def _hand_over(self, job: Job, root: Root, megapixels: float, now: float) -> None:
        """Give a job that was just taken to the worker."""
        self.job = job
        self._commons.hold(job, root, self.seat, megapixels)
        if root.is_spooled:
            self._copy = copy_path(self._settings.spool_dir, job.id, job.attempt, job.identity.rel)
        order = replace(self._order_for(job, root, megapixels), spool=self._copy, feedback=self._feedback_part(job))
        self._supervisor.submit(order, now)
        crash_point("dispatch.mid_job")

    def _order_for(self, job: Job, root: Root, megapixels: float) -> WorkOrder:
        options = self._settings.profiles.get(root.name, self._settings.options)
        deadline = deadline_seconds(megapixels, self._settings.seconds_per_megapixel)
        return make_order(job, root, self._parts_of(job), options, deadline)

    def _has_room(self, job: Job, root: Root, now: float) -> bool:
        self.waits = self._commons.lacking_room(job, root, now)
        return not self.waits

    def _put_beside(self, job: Job, root: Root, now: float) -> None:
        """Publish a sidecar that came too late for its scan's receipt beside the result."""
        taken = self._engine.take(job)
        if taken is None:
            return
        self.job = job = taken
        self._commons.hold(job, root, self.seat)
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
        self._commons.hold(taken, root, self.seat)
        self._publish(now)

    def _publish(self, now: float) -> None:
        job, result = self.job, self._result
        assert job is not None and result is not None  # noqa: S101 - our own logic
        root = self._commons.roots[job.identity.root]
        if result.plan is None:
            if not self._commons.is_there(root):
                self._fail(job, Failure(FailureKind.OUTPUT, self._commons.away[root.name]), now)
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
                self._commons.rest(str(error), now)
        else:
            self._commons.note_written()
            self._keep_feedback(job)
            self._let_go()
            crash_point("finish.after_commit")

    def _keep_feedback(self, job: Job) -> None:
        """Give what a published job taught its name."""
        taught = self._feedback_part(job)
        if taught is not None:
            publish_feedback(taught, job)

    def _feedback_part(self, job: Job) -> Path | None:
        folder = self._settings.feedback_dir
        return None if folder is None or job.overrides.base is None else feedback_part(folder, job)

    def _do_again(self, job: Job, root: Root, result: Result, reason: str, now: float) -> None:
        """Undo what was named and put the job back: its result cannot be published."""
        try:
            self._placer.undo(job, root, result)
        except PublishError as error:
            self._commons.rest(str(error), now)
            return
        self._fail(job, Failure(FailureKind.OUTPUT, reason), now)

    def _parts_of(self, job: Job) -> Parts:
        if self._result is not None:
            return self._result.parts
        root = self._commons.roots[job.identity.root]
        return part_paths(root.output, job.identity.rel, job.id, job.attempt)

    def _let_go(self) -> None:
        if self._copy is not None:
            remove_part(self._copy)  # a child that was killed left it
            self._copy = None
        if self.job is not None:
            self._supervisor.settle()
            self._commons.release(self.job)
        self.job = None
        self._result = None
        self._failure = None
