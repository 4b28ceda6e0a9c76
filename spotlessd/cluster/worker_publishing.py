"""A worker gives results their names (`cluster.publish = "worker"`), so that they appear while the station is away.

Comes in: what a child finished, or a plan that a lost worker left. Goes out: published files and the answer that names
them. Promises: PostgreSQL has the plan, under the ticket's current turn, before the first name is given, and is asked
again before a name is taken back: a worker that was given up meanwhile undoes nothing of its successor's. A scan that
has its result gets no second one. What is cut short goes on with the next holder of the ticket, from the plan.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from loguru import logger

from spotlessd import publish
from spotlessd.cluster.seat_checks import BACK_SECONDS, Lack, Task, scan_trouble, station_id
from spotlessd.cluster.shares import NoShareError, Shares
from spotlessd.cluster.ticket_files import (
    companion_of,
    has_begun,
    has_taken_names,
    inherit_feedback,
    is_receipt_of,
    remove_turns,
    result_in_place,
    taken_over,
)
from spotlessd.cluster.ticket_queue import Taken
from spotlessd.cluster.tickets import Answer, AnswerKind, Ticket, TicketKey
from spotlessd.companions.companion_copy import Copier
from spotlessd.crash_points import crash_point
from spotlessd.errors import PublishError, RootUnavailableError
from spotlessd.folders.headers import measure_scan
from spotlessd.folders.roots import check_marker
from spotlessd.placing import MASK_SUFFIXES
from spotlessd.publish import NameTakenError, PartLostError, PublishPlan
from spotlessd.publishing.result_files import Naming, Parts, part_paths, turned

BY_WORKER = "worker"
TRIES = 3
"""Of naming, where the disk or the folder did not allow it; another holder of the same plan may be at work."""


class PublishingLink(Protocol):
    """What is needed of `WorkerLink`."""

    def answer(self, taken: Taken, answer: Answer) -> None:
        """Hand over what became of a ticket."""
        ...

    def give_back(self, taken: Taken, reason: str, seconds: float) -> None:
        """Have a ticket queued again."""
        ...

    def publishing(self, taken: Taken, plan: str) -> None:
        """Ask to give the names of a plan."""
        ...


@dataclass(slots=True)
class _Work:
    """One result on its way. `receipt`: as it will be published. `is_inherited`: a lost worker made parts and plan.

    `trouble`: what stopped the naming; dealt with once PostgreSQL has said again that the ticket is ours.
    """

    taken: Taken
    output: Path
    parts: Parts
    naming: Naming
    answer: Answer
    receipt: dict[str, Any]
    plan: PublishPlan
    is_inherited: bool = False
    trouble: PublishError | None = None
    tries: int = 0

    @property
    def ticket(self) -> Ticket:
        return self.taken.ticket

    @property
    def name(self) -> str:
        return f"job {self.ticket.key.job} of {self.ticket.key.station} ({self.ticket.root}/{self.ticket.rel})"


class WorkerPublisher:
    """Publishes for one worker. `worker`: its name; `alive` is called while a large companion is copied."""

    def __init__(self, link: PublishingLink, shares: Shares, worker: str, alive: Callable[[], None]) -> None:
        self._link = link
        self._shares = shares
        self._worker = worker
        self._alive = alive
        self._works: dict[tuple[TicketKey, int], _Work] = {}

    @property
    def is_busy(self) -> bool:
        """Whether a result is on its way."""
        return bool(self._works)

    def in_place(self, task: Task) -> Answer | None:
        """Return the answer if the scan has its result: by a ledger that was lost, or a PostgreSQL that was emptied."""
        ticket = task.taken.ticket
        found = result_in_place(ticket, task.output) if ticket.publishes == BY_WORKER else None
        return None if found is None else Answer(AnswerKind.FINISHED, self._worker, receipt=found[1], outputs=found[0])

    def begin(self, task: Task, answer: Answer) -> bool:
        """Plan the names of what a child has finished and ask for leave; False if its names are the station's to give.

        From here on the ticket is answered or given back by this.
        """
        taken, ticket = task.taken, task.taken.ticket
        if ticket.publishes != BY_WORKER:
            return False
        trouble = scan_trouble(ticket, task.order.source, answer.worker)
        if trouble is not None:
            task.remove_parts()
            if isinstance(trouble, Lack):
                self._link.give_back(taken, f"{self._worker}: {trouble.reason}", trouble.back_seconds)
            else:
                self._link.answer(taken, trouble)
            return True
        receipt_part = part_paths(task.output, ticket.rel, ticket.key.job, ticket.key.attempt).receipt
        parts = Parts(task.order.image, task.order.mask, task.order.preview, turned(receipt_part, taken.turn))
        receipt = {**answer.receipt, "station": {**ticket.naming.station, "worker": answer.worker}}
        naming = Naming(MASK_SUFFIXES[task.order.options.mask_format])
        work = _Work(taken, task.output, parts, naming, answer, receipt, PublishPlan(()))
        try:
            self._copy_companions(work, task.order.source)
            self._plan(work)
        except PublishError as error:
            self._give_up(work, error)
        return True

    def resume(self, taken: Taken) -> Lack | None:
        """Go on where a worker was lost while it published; nothing is computed. Returns why it cannot be done here."""
        ticket = taken.ticket
        try:
            output = self._shares.path_of(ticket.output)
            check_marker(output, station_id(ticket))
            plan = PublishPlan.from_json(taken.plan)
            parts = publish.planned_parts(output, ticket.rel, plan)
            naming = Naming(PurePosixPath(plan.names["mask"]).suffix, publish.planned_endings(plan))
        except (NoShareError, RootUnavailableError) as error:
            return Lack(str(error))
        except (KeyError, TypeError, ValueError, IndexError):
            return Lack("another version of spotlessd was lost while it published this; it can go on")
        receipt = publish.read_receipt(parts.receipt) or publish.read_receipt(output / plan.names["receipt"])
        answer = Answer(AnswerKind.FINISHED, self._worker)
        work = _Work(taken, output, parts, naming, answer, receipt, plan, is_inherited=True)
        logger.info("{}: goes on with the names that a lost worker was giving", work.name)
        self._ask(work)
        return None

    def allowed(self, taken: Taken) -> None:
        """PostgreSQL has the plan: give the names, or take them back if that failed before."""
        work = self._works.get((taken.ticket.key, taken.turn))
        if work is None:
            return
        try:
            if work.trouble is None:
                self._give_names(work)
            else:
                self._mend(work, work.trouble)
        except PublishError as error:
            # Not even taken back: whoever has the ticket next goes on from the plan.
            logger.warning("{}: {}", work.name, error)
            self._return(work, str(error))

    def revoked(self, taken: Taken) -> None:
        """The ticket is somebody else's: leave what is named to him, and remove what this turn wrote beside it."""
        work = self._works.pop((taken.ticket.key, taken.turn), None)
        if work is not None:
            logger.warning("{}: not published here; the ticket is not this worker's any more", work.name)
            if not work.is_inherited:
                publish.drop_parts(work.parts)

    def _plan(self, work: _Work) -> None:
        ticket = work.ticket
        stamp = ticket.mtime_ns if ticket.naming.keeps_timestamp else None
        work.plan = publish.make_plan(work.output, ticket.rel, work.parts, work.receipt, work.naming, stamp)
        work.receipt = publish.read_receipt(work.parts.receipt)
        self._ask(work)

    def _ask(self, work: _Work) -> None:
        self._works[work.ticket.key, work.taken.turn] = work
        self._link.publishing(work.taken, work.plan.to_json())

    def _give_names(self, work: _Work) -> None:
        crash_point("publish.planned")
        found = result_in_place(work.ticket, work.output)
        if found is not None and not is_receipt_of(work.plan, work.output):
            self._leave_to(work, found)
            return
        if not has_begun(work.plan, work.output) and has_taken_names(work.plan, work.output):
            self._plan_anew(work)
            return
        try:
            publish.carry_out(work.output, work.plan)
        except PublishError as error:
            logger.bind(job=work.ticket.key.job).debug("{}: {}", work.name, error)
            work.trouble = error
            self._ask(work)
            return
        if work.is_inherited:
            inherit_feedback(work.taken, work.output)
        logger.info("{}: published as {}", work.name, work.plan.names.get("image", work.plan.names["receipt"]))
        self._end(work, replace(work.answer, receipt=work.receipt, outputs=work.plan.names))

    def _mend(self, work: _Work, trouble: PublishError) -> None:
        """Deal with what stopped the naming. Raises PublishError if not even that can be done now."""
        work.trouble = None
        work.tries += 1
        if not isinstance(trouble, (NameTakenError, PartLostError)):
            if self._away(work) or work.tries >= TRIES:
                self._give_up(work, trouble)
            else:
                self._give_names(work)
            return
        publish.take_back(work.output, work.plan)
        if isinstance(trouble, PartLostError) or not work.receipt:
            remove_turns(work.taken, work.output, work.taken.turn)
            self._link.publishing(work.taken, "")
            self._return(work, "parts of its result were lost; it is computed again", 0.0)
            return
        crash_point("publish.taken_back")
        found = result_in_place(work.ticket, work.output)
        if found is not None:
            self._leave_to(work, found)
            return
        self._plan_anew(work)

    def _plan_anew(self, work: _Work) -> None:
        if work.is_inherited:
            work.parts, work.is_inherited = taken_over(work.parts, work.taken.turn), False
            inherit_feedback(work.taken, work.output)
        self._plan(work)

    def _leave_to(self, work: _Work, found: tuple[dict[str, str], dict[str, Any]]) -> None:
        """Answer with the result that somebody else has put in place meanwhile; names that are his are not ours."""
        his = found[0].values()
        publish.take_back(work.output, PublishPlan(tuple(step for step in work.plan.steps if step.final not in his)))
        publish.drop_parts(work.parts)
        self._end(work, replace(work.answer, receipt=found[1], outputs=found[0]))

    def _give_up(self, work: _Work, trouble: PublishError) -> None:
        """End a result that cannot be written: the station decides when to try again, unless only this machine cannot.

        Raises:
            PublishError: what is named cannot be taken back now.
        """
        away = self._away(work)
        if away:
            self._return(work, away)
            return
        publish.take_back(work.output, work.plan)
        publish.drop_parts(work.parts)
        self._end(
            work,
            Answer(
                AnswerKind.FAILED,
                self._worker,
                error=type(trouble).__name__,
                message=str(trouble),
                exit_code=trouble.exit_code,
                is_retryable=trouble.is_retryable,
                seconds=work.answer.seconds,
            ),
        )

    def _end(self, work: _Work, answer: Answer) -> None:
        self._works.pop((work.ticket.key, work.taken.turn), None)
        self._link.answer(work.taken, answer)

    def _return(self, work: _Work, reason: str, seconds: float = BACK_SECONDS) -> None:
        self._works.pop((work.ticket.key, work.taken.turn), None)
        self._link.give_back(work.taken, f"{self._worker}: {reason}", seconds)

    def _away(self, work: _Work) -> str:
        try:
            check_marker(work.output, station_id(work.ticket))
        except RootUnavailableError as error:
            return str(error)
        return ""

    def _copy_companions(self, work: _Work, source: Path) -> None:
        """Copy what goes with the scan, as the station saw it when it asked; what has changed since is left out."""
        asked = [] if work.receipt.get("outcome") == "held" else work.ticket.naming.companions
        found = [candidate for facts in asked if (candidate := companion_of(work.ticket, facts, source)) is not None]
        if len(found) < len(asked):
            missing = sorted({facts["name"] for facts in asked} - {candidate.path.name for candidate in found})
            note = f"not copied with this result: {', '.join(missing)} changed or went away after the scan was queued."
            work.receipt = {**work.receipt, "notes": [*work.receipt.get("notes", ()), note]}
        if not found:
            return
        copier = Copier(measure_scan, self._alive, keeps_timestamp=work.ticket.naming.keeps_timestamp)
        copied = copier.copy_companions(work.parts, work.receipt, source.name, found)
        mtimes = {facts["name"]: facts["mtime_ns"] for facts in asked}
        for fact in copied.receipt["input"]["companions"]:
            fact["mtime_ns"] = mtimes[fact["name"]]  # by which the station knows it
        work.parts, work.receipt = copied.parts, copied.receipt
        work.naming = replace(work.naming, endings=copied.endings)
