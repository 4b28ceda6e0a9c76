"""The lanes of a station whose scans are computed by the cluster: as many as may ever be out, turned by one loop.

What the last run left with the cluster is taken over by lanes as soon as its folder is open. A station that stops
leaves its tickets where they are: the next start finds their answers.
"""

import math
import time
from multiprocessing.connection import Connection

from spotlessd.cluster.link import NOT_YET
from spotlessd.cluster.remote_lane import RemoteLane, RemoteTerms
from spotlessd.cluster.station_facts import StationCard, station_facts
from spotlessd.commons import Commons, Seat
from spotlessd.companions.companion_copy import Copier
from spotlessd.crew import Crew
from spotlessd.dispatch import Dispatcher
from spotlessd.engine import Engine
from spotlessd.engine_procrastinate import ProcrastinateEngine
from spotlessd.job import FailureKind, Job
from spotlessd.monitoring.status import JobInHand, WorkerFacts

TELL_SECONDS = 5.0
"""How often the cluster is told how this station is."""
NO_FOLDER = "its folder is not configured any more"


class RemoteCrew(Crew):
    """One lane for each of the seats of `commons`. `roots`: the names of all that are configured."""

    def __init__(
        self,
        engine: ProcrastinateEngine,
        commons: Commons,
        copier: Copier,
        terms: RemoteTerms,
        card: StationCard,
        roots: frozenset[str],
    ) -> None:
        self._cluster = engine
        self._terms = terms
        self._card = card
        self._configured = roots
        self._told_at = -math.inf
        self._connected_at: float | None = None
        self._has_had_time = False
        self._recall_reason = ""
        super().__init__(engine, commons, copier)

    def _lane(self, engine: Engine, seat: Seat, commons: Commons, copier: Copier) -> Dispatcher:
        return RemoteLane(self._cluster, seat, commons, copier, self._terms)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs in hand, and those that the last run left with the cluster."""
        return (*super().jobs, *self._cluster.left)

    @property
    def unfinished(self) -> tuple[Job, ...]:
        """Only what is being published keeps a station from stopping: the rest is the workers'."""
        return tuple(lane.job for lane in self._remote if lane.job is not None and lane.has_answer)

    @property
    def troubles(self) -> tuple[str, ...]:
        """Why the cluster does not take this station's scans."""
        link, view = self._cluster.link, self._cluster.link.view
        if link.refusal is not None:
            return (str(link.refusal),)
        if link.trouble:
            return () if link.trouble.startswith(NOT_YET) else (link.trouble,)
        if not view.slots and self._has_had_time:
            others = " with this station's weights; those that are alive have others" if view.other_slots else ""
            return (f"no worker of the cluster is alive{others}. Start one: spotlessd worker",)
        return ()

    @property
    def start_exit_code(self) -> int | None:
        """The exit code of a station that PostgreSQL will not have; None otherwise."""
        refusal = self._cluster.link.refusal
        return None if refusal is None else refusal.exit_code

    def tick(self, now: float, *, may_start: bool) -> None:
        """Take the cluster's news, publish what is finished, and ask for the next jobs if `may_start`.

        Raises:
            LedgerError: the ledger could not be written; everything in hand is kept for the next tick.
        """
        self._cluster.listen()
        self._note_connection(now)
        self._adopt(now)
        is_paused = not may_start
        if may_start:
            self._recall_reason = ""
        elif self._recall_reason:
            self.recall(self._recall_reason)
        for lane in sorted(self._remote, key=lambda lane: not lane.has_plan):
            lane.tick(now, may_start=may_start)
            # A lane that was free and took nothing shows that there is nothing to take in this round.
            may_start = may_start and lane.job is not None
        if now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            self._tell(is_paused=is_paused)

    def recall(self, reason: str) -> tuple[Job, ...]:
        """Take back the tickets that wait for a worker, as last heard; returns their jobs.

        Those that are heard of later are taken back then, until something may be started again.
        """
        self._recall_reason = reason
        found = []
        for lane in self._remote:
            if lane.job is not None and lane.is_waiting:
                lane.drop(reason)
                found.append(lane.job)
        return tuple(found)

    def leave(self, reason: str, kind: FailureKind) -> None:
        """The station ends: its tickets stay with the cluster, and the next start finds their answers."""

    def wait_handles(self) -> list[Connection | int]:
        """Return what to wait on for news of the cluster."""
        return [self._cluster.link.fileno()]

    def workers(self) -> tuple[WorkerFacts, ...]:
        """Return a worker for each ticket that is out, named by the machine that has it; at least one."""
        busy = [lane for lane in self._remote if lane.job is not None]
        if busy:
            return tuple(self._facts(lane) for lane in busy)
        state = "down" if self.troubles else "idle"
        return (WorkerFacts("cluster", state, None, "", "", (), 0.0, 0, None, self._cluster.why_not),)

    def _note_connection(self, now: float) -> None:
        """After a connection is made, workers may need a while to be seen: after an outage all come back at once."""
        if self._cluster.link.trouble:
            self._connected_at = None
        elif self._connected_at is None:
            self._connected_at = now
        self._has_had_time = self._connected_at is not None and now - self._connected_at >= self._card.lost_seconds

    def _tell(self, *, is_paused: bool) -> None:
        trouble = self.pause_reason or "".join(self.troubles[:1])
        facts = station_facts(self._cluster, self._card, time.time(), is_paused=is_paused, trouble=trouble)
        self._cluster.link.tell(facts)

    @property
    def _remote(self) -> list[RemoteLane]:
        return [lane for lane in self._lanes if isinstance(lane, RemoteLane)]

    def _adopt(self, now: float) -> None:
        """Give the jobs that the last run left to free lanes."""
        for job in list(self._cluster.left):
            name = job.identity.root
            if name not in self._configured:
                self._cluster.release(job, NO_FOLDER)
                continue
            lane = next((lane for lane in self._remote if lane.job is None), None)
            if lane is not None and name in self._commons.roots:
                self._cluster.left.remove(job)
                lane.adopt(job, now)

    def _facts(self, lane: RemoteLane) -> WorkerFacts:
        job, key = lane.job, lane.worker.key
        assert job is not None  # noqa: S101 - `workers` asks for busy ones
        standing = None if key is None else self._cluster.standing_of(key)
        name = standing.worker if standing is not None and standing.worker else "waits for a worker"
        step = standing.step if standing is not None and standing.step else "waiting"
        if lane.has_answer:
            step = "publish"
        fraction = 0.0 if standing is None else standing.fraction
        hand = JobInHand(job.id, job.identity.rel, job.attempt, step, fraction, job.started)
        return WorkerFacts(name, "busy", None, "", "", (), 0.0, 0, hand)
