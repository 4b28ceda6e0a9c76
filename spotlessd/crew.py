"""All workers of the station, each with a lane of its own: a dispatcher and its supervisor, turned by one loop.

A lane has its own job, its own back-off and its own trouble: a GPU that does not start stops nobody else, and a child
that is killed takes down one job. Lanes share one queue, its rests and what is left of disk and memory (commons.py).
Names are given to one result at a time: the parent has one thread, a result whose names are being given goes first, and
when it cannot go on everything rests. `now`: monotonic seconds.
"""

from multiprocessing.connection import Connection

from spotlessd.commons import Commons, Seat
from spotlessd.companions.companion_copy import Copier
from spotlessd.dispatch import Dispatcher
from spotlessd.engine import Engine
from spotlessd.errors import LedgerError
from spotlessd.job import FailureKind, Job
from spotlessd.monitoring.status import JobInHand, WorkerFacts
from spotlessd.supervisor import WorkerState

BAD_STARTS = 3
"""A child that merely dies while it starts may have been killed from outside; so many of them were not."""


class Crew:
    """One lane for each of the seats of `commons`. The seats outlive the crew: a new config makes a new one."""

    def __init__(self, engine: Engine, commons: Commons, copier: Copier) -> None:
        self._commons = commons
        self._lanes = [self._lane(engine, seat, commons, copier) for seat in commons.seats]

    def _lane(self, engine: Engine, seat: Seat, commons: Commons, copier: Copier) -> Dispatcher:
        return Dispatcher(engine, seat, commons, copier)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs in hand, in the order of the lanes."""
        return tuple(lane.job for lane in self._lanes if lane.job is not None)

    @property
    def unfinished(self) -> tuple[Job, ...]:
        """The jobs that would be given up if the station stopped now."""
        return self.jobs

    @property
    def troubles(self) -> tuple[str, ...]:
        """What is wrong with whoever computes, beside what is wrong with one worker."""
        return ()

    @property
    def pause_reason(self) -> str:
        """Why nothing is started because something could not be written, "" if it can."""
        return self._commons.pause_reason

    @property
    def start_exit_code(self) -> int | None:
        """The exit code of a station none of whose workers can start; None if one can, or may yet."""
        for lane in self._lanes:
            trouble = lane.start_trouble
            # One that says why is believed at once.
            if trouble is None or not (trouble.is_told or lane.seat.supervisor.bad_starts >= BAD_STARTS):
                return None
        return next(lane.start_trouble.exit_code for lane in self._lanes if lane.start_trouble is not None)

    def tick(self, now: float, *, may_start: bool) -> None:
        """Take the workers' news, publish what is finished, and start the next jobs if `may_start`.

        Raises:
            LedgerError: the ledger could not be written; everything in hand is kept for the next tick.
        """
        for lane in sorted(self._lanes, key=lambda lane: not lane.has_plan):
            lane.tick(now, may_start=may_start)
            # They share one queue: what one does not find, no other will in this round.
            may_start = may_start and not lane.finds_nothing

    def recall(self, reason: str) -> tuple[Job, ...]:
        """Take back what is in hand and no worker has begun, for nothing is to be started; returns those jobs."""
        return ()

    def leave(self, reason: str, kind: FailureKind) -> None:
        """The station ends: give up the jobs in hand, for nobody will look after them.

        Raises:
            LedgerError: as for `drop`.
        """
        self.drop(reason, kind)

    def drop(self, reason: str, kind: FailureKind = FailureKind.STOPPED) -> None:
        """Give up all jobs in hand, as a rule because somebody asked; a planned result is left to the next start.

        Raises:
            LedgerError: the ledger could not be written for one of them; every child has ended all the same.
        """
        for lane in self._lanes:
            lane.kill()
        error: LedgerError | None = None
        for lane in self._lanes:
            try:
                lane.drop(reason, kind)
            except LedgerError as raised:
                error = raised
        if error is not None:
            raise error

    def stop(self) -> None:
        """End every child: idle ones are asked to, all at the same time, before any is waited for."""
        supervisors = [lane.seat.supervisor for lane in self._lanes]
        if len(supervisors) > 1:
            for supervisor in supervisors:
                supervisor.ask_to_end()
        for supervisor in supervisors:
            supervisor.stop()

    def seconds_to_next(self, now: float) -> float | None:
        """Return how long until a rest or a back-off is over; None if nothing is timed."""
        waits = [lane.seat.supervisor.seconds_to_start(now) for lane in self._lanes]
        timed = [wait for wait in (self._commons.rest_seconds(now), *waits) if wait > 0]
        return min(timed) if timed else None

    def wait_handles(self) -> list[Connection | int]:
        """Return what to wait on for news of any child."""
        return [handle for lane in self._lanes for handle in lane.seat.supervisor.wait_handles()]

    def workers(self) -> tuple[WorkerFacts, ...]:
        """Return what each worker is and does now."""
        return tuple(_facts(lane, is_only=len(self._lanes) == 1) for lane in self._lanes)


def _facts(lane: Dispatcher, *, is_only: bool) -> WorkerFacts:
    worker, job, ready, trouble = lane.seat.supervisor, lane.job, lane.seat.supervisor.ready, lane.start_trouble
    in_hand = None
    if job is not None:
        beat = worker.heartbeat
        step = "publish" if worker.state is not WorkerState.BUSY else (beat.step if beat else "start")
        in_hand = JobInHand(job.id, job.identity.rel, job.attempt, step, beat.fraction if beat else 0.0, job.started)
    name = "the worker" if is_only else f"worker {lane.seat.name}"
    return WorkerFacts(
        name=lane.seat.name,
        state=str(worker.state),
        pid=worker.pid,
        device=ready.device if ready else "",
        precision=ready.precision if ready else "",
        models=tuple(model.name for model in ready.models) if ready else (),
        memory_mb=round(worker.memory_mb, 1),
        restarts=max(worker.restarts, 0),
        job=in_hand,
        waits=lane.waits,
        trouble="" if trouble is None else f"{name} cannot start: {trouble.reason}",
    )
