"""What can be asked of the ledger: one job, many, how many, which is next. Nothing here writes."""

from collections.abc import Sequence
from pathlib import Path

from spotlessd.job import COMPANION_RECIPE, Identity, Job, JobState
from spotlessd.sqlite.database import Database
from spotlessd.sqlite.rows import job_of, key_of

KNOWN_STATES = (JobState.QUEUED, JobState.RUNNING, JobState.DONE, JobState.HELD, JobState.QUARANTINED)
"""A file in one of these needs no new job, whatever the recipe is now."""
CLOCK_STEP_SECONDS = 2.5 * 3600
"""A start time further ahead than this was set before the clock was turned back; it does not hold a job up."""
FEW_DUE = 500
"""Fewer jobs that are due are sorted; of more, the first is found sooner by walking all queued ones in order."""


class LedgerReader:
    """The jobs of one station, to look at."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_known(self, identity: Identity) -> bool:
        """Tell whether this very file already has a job that waits, runs or has ended."""
        marks = ", ".join("?" * len(KNOWN_STATES))
        return bool(
            self._database.read(
                "SELECT 1 FROM job WHERE root = ? AND rel = ? AND size = ? AND mtime_ns = ?"  # noqa: S608 - only question marks are put in
                f" AND state IN ({marks}) LIMIT 1",
                *key_of(identity),
                *KNOWN_STATES,
            )
        )

    def next_due(self, now: float, roots: frozenset[str]) -> Job | None:
        """Return the job to start next among `roots`: highest priority, then oldest scan. None if none is due.

        Of one name only one job runs at a time, so that its results are numbered in the order of its jobs.
        """
        marks, names = ", ".join("?" * len(roots)), sorted(roots)
        of_roots = f"state = 'queued' AND root IN ({marks})"
        # Two ranges of one index; an OR over both would walk all that is put off.
        values = (*names, now, *names, now + CLOCK_STEP_SECONDS)
        due = (
            f"SELECT id FROM job INDEXED BY job_by_state WHERE {of_roots} AND not_before <= ?"  # noqa: S608 - only question marks are put in
            f" UNION ALL SELECT id FROM job INDEXED BY job_by_state WHERE {of_roots} AND not_before > ?"
        )
        number = self._database.read(f"SELECT COUNT(*) AS number FROM ({due} LIMIT {FEW_DUE})", *values)[0]["number"]  # noqa: S608
        if not number:
            return None
        if number < FEW_DUE:
            chosen = f"id IN ({due})"
            order = "SELECT * FROM job"
        else:
            chosen = f"{of_roots} AND (not_before <= ? OR not_before > ?)"
            values = (*names, now, now + CLOCK_STEP_SECONDS)
            order = "SELECT * FROM job INDEXED BY job_in_order"
        rows = self._database.read(
            f"{order} WHERE {chosen} AND NOT EXISTS (SELECT 1 FROM job AS other WHERE other.state = 'running'"  # noqa: S608
            " AND other.root = job.root AND other.rel = job.rel) ORDER BY priority DESC, mtime_ns, id LIMIT 1",
            *values,
        )
        return job_of(rows[0]) if rows else None

    def next_start(self) -> float | None:
        """Return when the next queued job may start (seconds since the epoch), or None without queued jobs."""
        rows = self._database.read("SELECT MIN(not_before) AS at FROM job WHERE state = 'queued'")
        return None if rows[0]["at"] is None else float(rows[0]["at"])

    def orphans(self) -> list[Job]:
        """Return the running jobs; at start, with the station's lock held, nobody works on any of them."""
        return [job_of(row) for row in self._database.read("SELECT * FROM job WHERE state = 'running' ORDER BY id")]

    def job(self, job_id: int) -> Job | None:
        """Return one job, or None."""
        rows = self._database.read("SELECT * FROM job WHERE id = ?", job_id)
        return job_of(rows[0]) if rows else None

    def jobs_of(self, root: str, rel: str) -> list[Job]:
        """Return the jobs made for one name, the newest first."""
        rows = self._database.read("SELECT * FROM job WHERE root = ? AND rel = ? ORDER BY id DESC", root, rel)
        return [job_of(row) for row in rows]

    def jobs_with_mask(self, root: str, names: Sequence[str]) -> list[Job]:
        """Return the jobs of a root whose mask has one of `names`, below the output folder; the newest first."""
        marks = ", ".join("?" * len(names))
        rows = self._database.read(
            f"SELECT * FROM job WHERE root = ? AND json_extract(outputs, '$.mask') IN ({marks}) ORDER BY id DESC",  # noqa: S608 - only question marks are put in
            root,
            *names,
        )
        return [job_of(row) for row in rows]

    def masks_needed(self) -> list[Path]:
        """Return the given masks of jobs that may still start: all but those that ended done or held."""
        rows = self._database.read(
            "SELECT DISTINCT override_mask AS mask FROM job WHERE override_mask IS NOT NULL"
            " AND state NOT IN ('done', 'held')"
        )
        return [Path(row["mask"]) for row in rows]

    def jobs(self, state: JobState | None = None, limit: int = -1) -> list[Job]:
        """Return jobs, oldest first; all states without `state`, all rows with `limit` -1."""
        if state is None:
            rows = self._database.read("SELECT * FROM job ORDER BY id LIMIT ?", limit)
        else:
            rows = self._database.read("SELECT * FROM job WHERE state = ? ORDER BY id LIMIT ?", state, limit)
        return [job_of(row) for row in rows]

    def planned(self) -> list[Job]:
        """Return the jobs whose publishing was begun and not ended."""
        return [job_of(row) for row in self._database.read("SELECT * FROM job WHERE plan != '' ORDER BY id")]

    def counts(self) -> dict[JobState, int]:
        """Return the number of scans in each state, zeros included; sidecars count until they are done."""
        rows = self._database.read(
            "SELECT state, COUNT(*) AS number FROM job WHERE NOT (recipe = ? AND state = 'done') GROUP BY state",
            COMPANION_RECIPE,
        )
        found = {row["state"]: int(row["number"]) for row in rows}
        return {state: found.get(state, 0) for state in JobState}

    def unfinished(self, roots: frozenset[str]) -> int:
        """Return how many jobs of `roots` are queued or running."""
        marks = ", ".join("?" * len(roots))
        rows = self._database.read(
            f"SELECT COUNT(*) AS number FROM job WHERE state IN ('queued', 'running') AND root IN ({marks})",  # noqa: S608 - only question marks are put in
            *sorted(roots),
        )
        return int(rows[0]["number"])

    def oldest_queued(self) -> float | None:
        """Return when the longest-waiting queued job was made (seconds since the epoch), or None."""
        rows = self._database.read("SELECT MIN(created) AS at FROM job WHERE state = 'queued'")
        return None if rows[0]["at"] is None else float(rows[0]["at"])

    def history(self, job_id: int) -> list[tuple[float, str, str]]:
        """Return a job's changes of state, oldest first: (seconds since the epoch, state, note)."""
        rows = self._database.read("SELECT at, state, note FROM history WHERE job = ? ORDER BY id", job_id)
        return [(float(row["at"]), str(row["state"]), str(row["note"])) for row in rows]

    def newest_event(self) -> int:
        """Return the number of the newest change of state, 0 if there is none."""
        return int(self._database.read("SELECT COALESCE(MAX(id), 0) AS newest FROM history")[0]["newest"])

    def ended_since(self, event: int) -> list[tuple[int, Job]]:
        """Return (number of the change of state, job) of what was done after `event`, oldest first, some at a time.

        What was only found by its receipt is not among them.
        """
        rows = self._database.read(
            "SELECT history.id AS event, job.* FROM history JOIN job ON job.id = history.job"
            " WHERE history.id > ? AND history.state = 'done' AND history.note = '' ORDER BY history.id LIMIT 50",
            event,
        )
        return [(int(row["event"]), job_of(row)) for row in rows]
