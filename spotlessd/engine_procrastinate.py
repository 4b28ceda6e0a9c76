"""The station's queue with its work done elsewhere: on PostgreSQL, through procrastinate (`spotlessd.cluster`).

The ledger stays the truth: which job is next, how often it was tried, what became of it. A job that was taken is asked
of the cluster as a ticket, named by (station, job, attempt), and its answer is kept until the ledger has it. Only a
window of tickets is out at a time, so priority, order and pause stay the station's, and no station takes all workers.
Promise: asking is idempotent. A station that was killed asks again for what its ledger has as running, and gets the
answer of the first time; a PostgreSQL that was lost costs a repetition, not a scan.
"""

import random
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Protocol

from loguru import logger

from spotlessd.cluster.machines import StationMachine
from spotlessd.cluster.station_link import ClusterView, StationNews, Withdrawn
from spotlessd.cluster.ticket_queue import Answered, Standing
from spotlessd.cluster.tickets import Ticket, TicketKey
from spotlessd.cluster.window import window
from spotlessd.engine import LocalEngine
from spotlessd.errors import DaemonError
from spotlessd.job import Failure, FailureKind, Job, JobState, RetryPolicy
from spotlessd.ledger import Ledger


class Link(Protocol):
    """What the engine needs of `StationLink`."""

    @property
    def trouble(self) -> str:
        """Why PostgreSQL cannot be reached, "" if it can."""
        ...

    @property
    def refusal(self) -> DaemonError | None:
        """Why PostgreSQL will not have us."""
        ...

    @property
    def view(self) -> ClusterView:
        """The cluster as it was last seen."""
        ...

    def fileno(self) -> int:
        """Return what to wait on for news."""
        ...

    def ask(self, ticket: Ticket) -> None:
        """Ask for a ticket."""
        ...

    def withdraw(self, key: TicketKey) -> None:
        """Take a ticket back."""
        ...

    def acknowledge(self, key: TicketKey) -> None:
        """Forget a ticket."""
        ...

    def news(self) -> list[StationNews]:
        """Return what has happened."""
        ...

    def tell(self, facts: StationMachine) -> None:
        """Tell the others how this station is."""
        ...


class ProcrastinateEngine(LocalEngine):
    """The jobs of one station, computed by a cluster. `station`: its name there, unique to this ledger.

    `configured_window`: as `cluster.window`. `max_age_seconds`: when a ticket has waited so long for a worker, no more
    are added. `left`: jobs that the last run left with the cluster, until lanes take them over.
    """

    def __init__(
        self,
        ledger: Ledger,
        station: str,
        policy: RetryPolicy,
        link: Link,
        *,
        configured_window: int = 0,
        max_age_seconds: float = 600.0,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(ledger, f"{station}/cluster", policy, clock=clock, draw=draw)
        self.station = station
        self.link = link
        self._configured_window = configured_window
        self._max_age_seconds = max_age_seconds
        self._asked: dict[TicketKey, float] = {}
        self._news: defaultdict[TicketKey, list[Answered | Withdrawn]] = defaultdict(list)
        self._standings: dict[TicketKey, Standing] = {}
        self.left: list[Job] = []

    def recover(self) -> int:
        """Keep what the last run left with the cluster; requeue what else it left running. Returns how many."""
        orphans = self._ledger.orphans()
        self.left = [job for job in orphans if job.owner == self._owner and not job.plan]
        kept = {job.id for job in self.left}
        for job in orphans:
            if job.id not in kept:
                self._put_back(job)
        if self.left:
            logger.info("{} jobs are still with the cluster", len(self.left))
        return len(orphans)

    def key_of(self, job: Job) -> TicketKey:
        """Return the name of a running job's ticket."""
        return TicketKey(self.station, job.id, job.attempt)

    @property
    def given(self) -> int:
        """How many tickets are out, or were answered and are not settled."""
        return len(self._asked)

    @property
    def window(self) -> int:
        """How many may be out."""
        view = self.link.view
        return window(view.slots, max(view.stations, 1), configured=self._configured_window)

    @property
    def why_not(self) -> str:
        """Why no more is asked of the cluster now, "" if it may be."""
        if self.link.trouble:
            return self.link.trouble
        if self.given + len(self.left) >= self.window:
            return f"{self.given} in the cluster's hands, as many as this station's share is now"
        waited = self._oldest_waiting()
        if waited > self._max_age_seconds:
            return (
                f"a scan has waited {waited:.0f} s for one of the cluster's workers; no more are added until one comes"
            )
        return ""

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs the ledger has in each state."""
        return self._ledger.counts()

    def oldest_queued(self) -> float | None:
        """Return when the oldest queued job was made, seconds since the epoch; None without one."""
        return self._ledger.oldest_queued()

    def ask(self, ticket: Ticket) -> None:
        """Ask the cluster for one attempt; asking again changes nothing. An answer that is there already is enough."""
        self._asked.setdefault(ticket.key, self._clock())
        if ticket.key not in self._news:
            self.link.ask(ticket)

    def withdraw(self, key: TicketKey) -> None:
        """Take a ticket back. The news is `Withdrawn`, or the answer if that came first."""
        self.link.withdraw(key)

    def settle(self, key: TicketKey) -> None:
        """The ledger has what became of this attempt: the cluster may forget it."""
        self._asked.pop(key, None)
        self._news.pop(key, None)
        self._standings.pop(key, None)
        self.link.acknowledge(key)

    def news_of(self, key: TicketKey) -> list[Answered | Withdrawn]:
        """Return what has become of a ticket since the last call."""
        return self._news.pop(key, [])

    def standing_of(self, key: TicketKey) -> Standing | None:
        """Return how far a ticket is, as last heard; None if nothing was heard."""
        return self._standings.get(key)

    def listen(self) -> None:
        """Take the link's news. Answers to questions of a job's earlier attempts are void and forgotten."""
        for news in self.link.news():
            if isinstance(news, Standing):
                if news.key in self._asked:
                    self._standings[news.key] = news
            else:
                self._news[news.key].append(news)
        expected = {self.key_of(job) for job in self.left}
        for key in [key for key in self._news if key not in self._asked and key not in expected]:
            logger.debug("job {}: an answer for attempt {}, which is over", key.job, key.attempt)
            self.settle(key)

    def release(self, job: Job, reason: str) -> None:
        """Put back a job of `left` that nobody can take over."""
        self.left.remove(job)
        self.fail(job, Failure(FailureKind.STOPPED, reason))
        self.withdraw(self.key_of(job))

    def _oldest_waiting(self) -> float:
        """Return how long the oldest ticket has waited that no worker has taken."""
        taken = {key for key, standing in self._standings.items() if standing.worker}
        waits = [self._clock() - at for key, at in self._asked.items() if key not in taken and key not in self._news]
        return max(waits, default=0.0)
