"""Figures read from the ledger for status, health and notices: how fast it goes, what is queued, what is new.

Nothing here writes. Sidecars are left out of the figures: they cost no worker time.
"""

import json
from dataclasses import dataclass, field

from spotlessd.job import COMPANION_RECIPE, Job, JobState
from spotlessd.sqlite.database import Database
from spotlessd.sqlite.rows import job_of

RATE_JOBS = 50
"""So many of the last jobs tell how fast it goes."""
NEWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast the last jobs went: how many they were, and the sums of their seconds and of their scans' bytes."""

    jobs: int
    seconds: float
    size: int

    @property
    def seconds_per_job(self) -> float:
        """Mean seconds from the start of a job to its end."""
        return self.seconds / self.jobs

    def seconds_for(self, size: int) -> float:
        """Return how long scans of `size` bytes together should take one worker."""
        return self.seconds * size / self.size


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """The queue: `jobs` and `size` in all, and the jobs that start first."""

    jobs: int
    size: int
    first: tuple[Job, ...] = ()


@dataclass(frozen=True, slots=True)
class News:
    """One change of a job's state. `number` grows with time. `at`: seconds since the epoch. `duration`: seconds from
    start to end, 0 where there is none. `is_adopted`: taken over from a receipt, so nothing happened now.
    """

    number: int
    at: float
    state: JobState
    note: str
    job_id: int
    root: str
    rel: str
    duration: float
    is_companion: bool
    is_adopted: bool
    seconds: dict[str, float] = field(default_factory=dict)


class LedgerFigures:
    """What status, health and notices ask of one station's ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rate(self) -> Rate | None:
        """Return how fast the last jobs went; None before the first one."""
        rows = self._database.read(
            "SELECT COUNT(*) AS jobs, SUM(finished - started) AS seconds, SUM(size) AS size FROM"
            " (SELECT started, finished, size FROM job INDEXED BY job_ended"
            " WHERE attempt > 0 AND state IN ('done', 'held') AND recipe != ?"
            " AND finished > started ORDER BY finished DESC LIMIT ?)",
            COMPANION_RECIPE,
            RATE_JOBS,
        )
        row = rows[0]
        return Rate(row["jobs"], row["seconds"], row["size"]) if row["jobs"] and row["size"] else None

    def queue(self, shown: int) -> QueueFigures:
        """Return the queue with its first `shown` jobs, in the order they are due."""
        totals = self._database.read(
            "SELECT COUNT(*) AS jobs, TOTAL(size) AS size FROM job WHERE state = 'queued' AND recipe != ?",
            COMPANION_RECIPE,
        )[0]
        rows = self._database.read(
            "SELECT * FROM job WHERE state = 'queued' ORDER BY priority DESC, mtime_ns, id LIMIT ?", shown
        )
        return QueueFigures(totals["jobs"], int(totals["size"]), tuple(job_of(row) for row in rows))

    def has_work(self) -> bool:
        """Tell whether any job is queued or running."""
        return bool(self._database.read("SELECT 1 FROM job WHERE state IN ('queued', 'running') LIMIT 1"))

    def last_news(self) -> int:
        """Return the number of the newest change of state; 0 without any."""
        return int(self._database.read("SELECT COALESCE(MAX(id), 0) AS last FROM history")[0]["last"])

    def news(self, after: int) -> list[News]:
        """Return the changes of state after number `after`, oldest first, at most `NEWS_AT_ONCE`."""
        rows = self._database.read(
            "SELECT history.id, history.at, history.state, history.note, history.job, job.root, job.rel, job.recipe,"
            " job.attempt, job.started, job.finished, job.state AS state_now, job.seconds"
            " FROM history JOIN job ON job.id = history.job"
            " WHERE history.id > ? ORDER BY history.id LIMIT ?",
            after,
            NEWS_AT_ONCE,
        )
        return [
            News(
                number=row["id"],
                at=row["at"],
                state=JobState(row["state"]),
                note=row["note"],
                job_id=row["job"],
                root=row["root"],
                rel=row["rel"],
                duration=max(row["at"] - row["started"], 0.0) if row["started"] else 0.0,
                is_companion=row["recipe"] == COMPANION_RECIPE,
                is_adopted=row["state"] in {"done", "held"} and row["attempt"] == 0,
                seconds=json.loads(row["seconds"]) if row["state"] == row["state_now"] else {},
            )
            for row in rows
        ]
