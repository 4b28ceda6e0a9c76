"""A lane whose worker is somewhere in the cluster: what a `Dispatcher` does differently then.

Room on the disk is looked at here, memory there. What the worker reads and writes lies on shares, so a mask that a
person gave is put beside the parts first, and what an edit teaches is fetched from there. A ticket that is taken back
is only given up once PostgreSQL has said so: until then its answer may come, and may even be published.
"""

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from loguru import logger

from spotlessd import __version__
from spotlessd.cluster.remote_worker import RemoteWorker
from spotlessd.cluster.shares import Shares
from spotlessd.cluster.tickets import NamingFacts, TicketError, TicketFacts, make_ticket
from spotlessd.commons import Commons, Seat
from spotlessd.companions.companion_copy import Copier
from spotlessd.crash_points import crash_point
from spotlessd.dispatch import Dispatcher
from spotlessd.engine_procrastinate import ProcrastinateEngine
from spotlessd.errors import PublishError
from spotlessd.folders.roots import Root
from spotlessd.job import Failure, FailureKind, Job, classify_failure
from spotlessd.messages import Failed, Finished, WorkOrder
from spotlessd.placing import Result
from spotlessd.publishing.durable import cannot_write, make_folder, remove_part
from spotlessd.publishing.feedback_files import feedback_part, publish_feedback
from spotlessd.publishing.result_files import FOLDERS, Parts, part_paths, turned, turned_parts
from spotlessd.start_checks import megapixels_of
from spotlessd.supervisor import Event
from spotlessd.work_orders import recipe_run, station_facts

BY_WORKER = "worker"


@dataclass(frozen=True, slots=True)
class RemoteTerms:
    """What a ticket says beside its job. `station`: its name in the cluster; `shares`: this machine's mounts."""

    station: str
    shares: Shares
    max_losses: int = 3
    large_megapixels: float = 80.0
    publishes: str = "station"


class RemoteLane(Dispatcher):
    """One ticket at a time, from the ledger to the cluster and back. `now`: monotonic seconds."""

    def __init__(
        self, engine: ProcrastinateEngine, seat: Seat, commons: Commons, copier: Copier, terms: RemoteTerms
    ) -> None:
        super().__init__(engine, seat, commons, copier)
        assert isinstance(seat.supervisor, RemoteWorker)  # noqa: S101 - our own logic
        self._cluster = engine
        self.worker = seat.supervisor
        self._terms = terms
        self._withdrawal: Failure | None = None

    @property
    def has_answer(self) -> bool:
        """Whether the worker's answer is in hand: what is left to do is the station's."""
        return self.worker.answer is not None or self.has_plan

    @property
    def is_waiting(self) -> bool:
        """Whether PostgreSQL has said that no worker has its ticket, and it is not being taken back."""
        standing = None if self.worker.key is None else self._cluster.standing_of(self.worker.key)
        is_asked = standing is not None and standing.state == "asked"
        return is_asked and not self.has_answer and self._withdrawal is None

    def adopt(self, job: Job, now: float) -> None:
        """Take over a job that an earlier run of the station left with the cluster."""
        root = self._commons.roots[job.identity.root]
        logger.bind(job=job.id, file=job.identity.rel).debug("job {}: its ticket is taken over", job.id)
        self._hand_over(job, root, megapixels_of(root.input / job.identity.rel, self._measure), now)

    def tick(self, now: float, *, may_start: bool) -> None:
        """As `Dispatcher.tick`; a ticket that was taken back ends its attempt."""
        super().tick(now, may_start=may_start)
        if self.worker.is_withdrawn and self.job is not None:
            self._fail(self.job, self._withdrawal or Failure(FailureKind.STOPPED, "taken back"), now)

    def kill(self) -> None:
        """Another machine's process is not ours to kill; `drop` takes the ticket back."""

    def drop(self, reason: str, kind: FailureKind = FailureKind.STOPPED) -> None:
        """Take the ticket back; one whose answer is in hand is finished."""
        if self.job is not None and not self.has_answer:
            self._withdrawal = Failure(kind, reason)
            self.worker.drop()

    def _is_put_off(self, job: Job, megapixels: float, now: float) -> bool:
        """The workers look at their own memory."""
        return False

    def _hand_over(self, job: Job, root: Root, megapixels: float, now: float) -> None:
        self.job = job
        self._commons.hold(job, root, self.seat, megapixels)
        try:
            order = self._shared_order(job, root, megapixels)
            ticket = make_ticket(order, self._facts(job, root, megapixels), self._terms.shares)
        except PublishError as error:
            self._fail(job, Failure(FailureKind.OUTPUT, str(error)), now)
        except TicketError as error:
            self._fail(job, Failure(FailureKind.TRANSIENT, str(error)), now)
        else:
            self.worker.ask(ticket, order)
            crash_point("dispatch.mid_job")

    def _facts(self, job: Job, root: Root, megapixels: float) -> TicketFacts:
        identity = job.identity
        return TicketFacts(
            station=self._terms.station,
            root=identity.root,
            rel=identity.rel,
            size=identity.size,
            mtime_ns=identity.mtime_ns,
            priority=job.priority,
            megapixels=megapixels,
            is_large=megapixels > self._terms.large_megapixels,
            max_losses=self._terms.max_losses,
            publishes=self._terms.publishes,
            output=root.output,
            version=__version__,
            naming=self._naming(job, root) if self._terms.publishes == BY_WORKER else NamingFacts(),
        )

    def _naming(self, job: Job, root: Root) -> NamingFacts:
        """Return what a worker needs to publish as this station would now."""
        companions = [
            {**asdict(found.companion), "name": found.path.name, "size": found.size, "mtime_ns": found.mtime_ns}
            for found in self._commons.company.ready_for(root, job.identity.rel)
            if found.companion is not None
        ]
        facts = station_facts(job, self._settings.station_id, recipe_run(job, root.profile.recipe))
        return NamingFacts(facts, self._settings.keeps_timestamp, companions)

    def _shared_order(self, job: Job, root: Root, megapixels: float) -> WorkOrder:
        """Return the order, with every file that it names where other machines can read or write it."""
        parts = self._parts_of(job)
        given = job.overrides.mask
        if given is not None:
            given = _beside(parts, job, "given")
            try:
                make_folder(given.parent)
                shutil.copyfile(job.overrides.mask or given, given)
            except OSError as error:
                raise cannot_write(given, error) from error
        return replace(
            self._order_for(job, root, megapixels), given_mask=given, feedback=self._feedback_part(job), spool=None
        )

    def _handle(self, event: Event, now: float) -> None:
        if isinstance(event, Finished) and self.job is not None and self.worker.answer is not None:
            root = self._commons.roots[self.job.identity.root]
            placer, parts = replace(self._placer, worker=self.worker.answer.worker), self._parts_of(self.job)
            if self.worker.answer.outputs:
                self._result = Result(parts, event.receipt, self.job.identity.rel)
            else:
                self._result = placer.finished(self.job, root, parts, event.receipt)
        else:
            super()._handle(event, now)

    def _publish(self, now: float) -> None:
        """As `Dispatcher._publish`; what the worker has published is only written down.

        That holds for a scan that was changed or removed since, too: its result is the one of the bytes that were
        queued, as if it had been published the moment before. What the file is now gets a job of its own.
        """
        job, answer, result = self.job, self.worker.answer, self._result
        if answer is None or not answer.outputs or job is None or result is None:
            super()._publish(now)
            return
        self._placer.note(job, result.receipt, answer.outputs)
        self._commons.note_written()
        self._keep_feedback(job)
        self._let_go()
        crash_point("finish.after_commit")

    def _take_failure(self, job: Job, event: Failed, now: float) -> None:
        """Workers see to their devices and their memory themselves; here only the job is decided on.

        A result whose naming killed the workers is complete: what is left of its names is given here.
        """
        plan = "" if self.worker.answer is None else self.worker.answer.receipt.get("plan", "")
        if plan:
            self._result = self._placer.resumed(replace(job, plan=plan), self._commons.roots[job.identity.root])
            return
        kind = classify_failure(
            event.exit_code, is_retryable=event.is_retryable, is_out_of_memory=event.is_out_of_memory
        )
        self._fail(job, Failure(kind, event.message), now)

    def _feedback_part(self, job: Job) -> Path | None:
        if super()._feedback_part(job) is None:
            return None
        return _beside(self._parts_of(job), job, "feedback")

    def _keep_feedback(self, job: Job) -> None:
        """Fetch what the worker wrote beside its parts into the state folder."""
        folder, taught = self._settings.feedback_dir, self._feedback_part(job)
        if folder is None or taught is None or not (taught := turned(taught, self.worker.turn)).exists():
            return
        part = feedback_part(folder, job)
        try:
            make_folder(part.parent)
            shutil.copyfile(taught, part)
        except OSError as error:
            logger.bind(job=job.id).warning("{}: cannot be fetched ({}); its feedback is lost", taught, error.strerror)
            return
        publish_feedback(part, job)

    def _parts_of(self, job: Job) -> Parts:
        if self._result is not None:
            return self._result.parts
        root = self._commons.roots[job.identity.root]
        return turned_parts(part_paths(root.output, job.identity.rel, job.id, job.attempt), self.worker.turn)

    def _let_go(self) -> None:
        if self.job is not None:
            root = self._commons.roots[self.job.identity.root]
            _sweep(root.output, self.job)
        self._withdrawal = None
        super()._let_go()


def _beside(parts: Parts, job: Job, role: str) -> Path:
    """Return where a file that goes with an attempt's mask lies."""
    return parts.mask.with_name(f".spotlessd-{job.id}-{job.attempt}-{role}.part")


def _sweep(output: Path, job: Job) -> None:
    """Remove what any worker left of an attempt that is over."""
    folder = Path(job.identity.rel).parent
    for base in FOLDERS.values():
        try:
            found = list((output / base / folder).glob(f".spotlessd-{job.id}-{job.attempt}-*.part"))
        except OSError:
            continue  # the share went away; the next start sweeps
        for part in found:
            remove_part(part)
