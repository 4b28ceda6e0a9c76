"""The picture of a whole cluster as plain values: stations, workers, queues, tickets in hand, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from spotlessd.cluster.machines import StationMachine, WorkerMachine

EXIT_OK, EXIT_DEAD_LETTERS, EXIT_NO_WORKER, EXIT_DEGRADED = 0, 1, 2, 3
"""The same as those of `status`; 2 is "nothing computes" here."""


@dataclass(frozen=True, slots=True)
class StationView:
    """A station. `key`: its name among the machines, with its ledger's mark. `answers`: not fetched yet."""

    key: str
    facts: StationMachine
    silent_seconds: float
    is_alive: bool
    waiting: int = 0
    in_hand: int = 0
    answers: int = 0

    @property
    def name(self) -> str:
        """What people call it."""
        return self.facts.name or self.key

    @property
    def given(self) -> int:
        """How many of its scans the cluster has now; its own facts are as old as its last beat."""
        return self.waiting + self.in_hand + self.answers


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker. `is_draining`: somebody asked for it, or it says so itself."""

    key: str
    facts: WorkerMachine
    silent_seconds: float
    is_alive: bool
    is_draining: bool
    in_hand: int = 0

    @property
    def name(self) -> str:
        """What people call it."""
        return self.facts.name or self.key


@dataclass(frozen=True, slots=True)
class QueueView:
    """One queue. `weights`: the first 8 digits; `oldest_seconds`: of those that wait."""

    name: str
    weights: str
    is_large: bool
    waiting: int
    in_hand: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class TicketView:
    """A ticket in somebody's hand, or one that came back. `seconds`: since it was taken, or else asked."""

    station: str
    job: int
    attempt: int
    state: str
    worker: str
    turn: int
    losses: int
    step: str
    fraction: float
    reason: str
    file: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ClusterOverview:
    """The cluster at `at`, seconds since the epoch by this machine's clock. `warnings`: sentences, the worst first."""

    at: float
    lost_seconds: float
    stations: tuple[StationView, ...] = ()
    workers: tuple[WorkerView, ...] = ()
    queues: tuple[QueueView, ...] = ()
    in_hand: tuple[TicketView, ...] = ()
    returned: tuple[TicketView, ...] = ()
    states: Mapping[str, int] = field(default_factory=dict)
    poisoned: int = 0
    warnings: tuple[str, ...] = ()

    def count(self, state: str) -> int:
        """Return how many tickets are in a state: asked, doing, publishing or answered."""
        return self.states.get(state, 0)

    @property
    def oldest_seconds(self) -> float:
        """Return how long the oldest ticket has waited for a worker, 0 if none waits."""
        return max((queue.oldest_seconds for queue in self.queues), default=0.0)

    @property
    def dead_letters(self) -> int:
        """Return the scans that were given up: quarantined by their stations, and those about to be."""
        return sum(station.facts.quarantined for station in self.stations) + self.poisoned

    @property
    def frames_per_hour(self) -> float:
        """Return how many frames all live workers restore in an hour."""
        return sum(worker.facts.frames_per_hour for worker in self.workers if worker.is_alive)

    @property
    def health(self) -> str:
        """Return the word for it; the worst counts."""
        if not any(worker.is_alive for worker in self.workers):
            return "no worker"
        if self.warnings:
            return "degraded"
        return "dead letters" if self.dead_letters else "ok"

    @property
    def exit_code(self) -> int:
        """Return the command's exit code, for cron and monitors."""
        codes = {
            "ok": EXIT_OK,
            "dead letters": EXIT_DEAD_LETTERS,
            "no worker": EXIT_NO_WORKER,
            "degraded": EXIT_DEGRADED,
        }
        return codes[self.health]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON. Keys are only ever added.

        `health`: ok | dead letters | degraded | no worker. `at`: seconds since 1970. `warnings`: sentences. `queue`:
        `waiting`, `in_hand`, `publishing`, `answered` (not fetched yet), `oldest_seconds`, `dead_letters`,
        `frames_per_hour`, and `queues`, each with `name`, `weights`, `is_large`, `waiting`, `in_hand`,
        `oldest_seconds`. `stations` and `workers`: a machine's facts (machines.py) with `key`, `silent_seconds`,
        `is_alive`, and `waiting`, `in_hand`, `answers` or `in_hand`, `is_draining`. `jobs` (in hand) and `returned`
        (given back or lost, waiting again): `station`, `job`, `attempt`, `state`, `worker`, `turn`, `losses`, `step`,
        `fraction`, `reason`, `file`, `seconds`.
        """
        return {
            "health": self.health,
            "at": self.at,
            "warnings": list(self.warnings),
            "queue": {
                "waiting": self.count("asked"),
                "in_hand": self.count("doing"),
                "publishing": self.count("publishing"),
                "answered": self.count("answered"),
                "oldest_seconds": self.oldest_seconds,
                "dead_letters": self.dead_letters,
                "frames_per_hour": self.frames_per_hour,
                "queues": [asdict(queue) for queue in self.queues],
            },
            "stations": [_machine_json(station) for station in self.stations],
            "workers": [_machine_json(worker) for worker in self.workers],
            "jobs": [asdict(ticket) for ticket in self.in_hand],
            "returned": [asdict(ticket) for ticket in self.returned],
        }


def _machine_json(view: StationView | WorkerView) -> dict[str, Any]:
    own = {name: value for name, value in asdict(view).items() if name != "facts"}
    return view.facts.to_facts() | own
