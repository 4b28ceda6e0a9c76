"""Every scan ever seen: its state, its attempts, what came of it. The one truth beside the folder itself.

A job is claimed by committing its attempt before the work starts, and changed only by who holds that attempt: `finish`
and its sisters name (id, owner, attempt) and return False when the row has moved on, so a late result is void. Times
are given by the caller. Nothing is deleted.
"""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spotlessd.crash_points import crash_point
from spotlessd.database import Database
from spotlessd.job import COMPANION_RECIPE, Decision, Identity, Job, JobState, Overrides, is_legal_move

KNOWN_STATES = (JobState.QUEUED, JobState.RUNNING, JobState.DONE, JobState.HELD, JobState.QUARANTINED)
"""A file in one of these needs no new job, whatever the recipe is now."""
CLOCK_STEP_SECONDS = 2.5 * 3600
"""A start time further ahead than this was set before the clock was turned back; it does not hold a job up."""
REASON_CAP_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class FoundScan:
    """What a receipt says of a scan that was done before this ledger began."""

    identity: Identity
    recipe: str
    state: JobState
    sha256: str
    outputs: dict[str, str]


class Ledger:
    """The jobs of one station."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_known(self, identity: Identity) -> bool:
        """Tell whether this very file already has a job that waits, runs or has ended."""
        marks = ", ".join("?" * len(KNOWN_STATES))
        return bool(
            self._database.read(
                "SELECT 1 FROM job WHERE root = ? AND rel = ? AND size = ? AND mtime_ns = ?"  # noqa: S608 - only question marks are put in
                f" AND state IN ({marks}) LIMIT 1",
                *_key(identity),
                *KNOWN_STATES,
            )
        )

    def enqueue(
        self,
        identity: Identity,
        inode: int,
        recipe: str,
        now: float,
        *,
        priority: int = 0,
        overrides: Overrides | None = None,
    ) -> int | None:
        """Make a job; None if this identity and recipe has one already.

        Waiting jobs for other bytes under the same name are superseded in the same transaction. A job that was given
        up because its file had gone or changed is taken up again when the same file is back.
        """
        overrides = overrides or Overrides()
        with self._database.transaction() as connection:
            rows = connection.execute(
                "INSERT INTO job (root, rel, size, mtime_ns, inode, recipe, state, priority, override_mask,"
                " override_sensitivity, created) VALUES (?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?)"
                " ON CONFLICT (root, rel, size, mtime_ns, recipe) DO UPDATE SET state = 'queued', reason = '',"
                " inode = excluded.inode, not_before = 0 WHERE state IN ('gone', 'superseded') RETURNING id",
                (
                    *_key(identity),
                    inode,
                    recipe,
                    priority,
                    None if overrides.mask is None else str(overrides.mask),
                    overrides.sensitivity,
                    now,
                ),
            ).fetchall()
            if not rows:
                return None
            job_id = int(rows[0]["id"])
            _remember(connection, job_id, now, JobState.QUEUED, "")
            older = connection.execute(
                "SELECT id FROM job WHERE root = ? AND rel = ? AND NOT (size = ? AND mtime_ns = ?)"
                " AND state = 'queued' AND plan = ''",
                _key(identity),
            ).fetchall()
            for row in older:
                _settle(connection, int(row["id"]), JobState.SUPERSEDED, f"replaced by job {job_id}", now)
            crash_point("enqueue.before_commit")
        crash_point("enqueue.after_commit")
        return job_id

    def refuse(self, identity: Identity, inode: int, recipe: str, reason: str, now: float) -> int | None:
        """Make a job that is quarantined from the start; None if the file is known."""
        job_id = self.enqueue(identity, inode, recipe, now)
        if job_id is not None:
            self.give_up(job_id, JobState.QUARANTINED, reason, now)
        return job_id

    def adopt(self, scans: Iterable[FoundScan], now: float) -> int:
        """Write down scans whose receipts were found, as the lost ledger would have known them; returns how many."""
        number = 0
        with self._database.transaction() as connection:
            for scan in scans:
                rows = connection.execute(
                    "INSERT INTO job (root, rel, size, mtime_ns, inode, recipe, state, sha256, outputs, created,"
                    " finished) VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id",
                    (
                        *_key(scan.identity),
                        scan.recipe,
                        scan.state,
                        scan.sha256,
                        json.dumps(scan.outputs),
                        now,
                        now,
                    ),
                ).fetchall()
                for row in rows:
                    _remember(connection, int(row["id"]), now, scan.state, "found by its receipt")
                number += len(rows)
        return number

    def note_companions(self, companions: Iterable[FoundScan], now: float) -> None:
        """Write down sidecars that were published with their scan; one that was waiting or set aside is done now."""
        with self._database.transaction() as connection:
            for found in companions:
                rows = connection.execute(
                    "INSERT INTO job (root, rel, size, mtime_ns, inode, recipe, state, sha256, outputs, created,"
                    " finished) VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT (root, rel, size, mtime_ns, recipe) DO UPDATE SET state = excluded.state,"
                    " reason = '', sha256 = excluded.sha256, outputs = excluded.outputs, finished = excluded.finished"
                    " WHERE state NOT IN ('running', 'done') AND plan = '' RETURNING id",
                    (
                        *_key(found.identity),
                        COMPANION_RECIPE,
                        found.state,
                        found.sha256,
                        json.dumps(found.outputs),
                        now,
                        now,
                    ),
                ).fetchall()
                for row in rows:
                    _remember(connection, int(row["id"]), now, found.state, "published with its scan")

    def next_due(self, now: float, roots: frozenset[str]) -> Job | None:
        """Return the job to start next among `roots`: highest priority, then oldest scan. None if none is due."""
        marks = ", ".join("?" * len(roots))
        rows = self._database.read(
            "SELECT * FROM job WHERE state = 'queued' AND (not_before <= ? OR not_before > ?)"  # noqa: S608 - only question marks are put in
            f" AND root IN ({marks}) ORDER BY priority DESC, mtime_ns, id LIMIT 1",
            now,
            now + CLOCK_STEP_SECONDS,
            *sorted(roots),
        )
        return _job(rows[0]) if rows else None

    def next_start(self) -> float | None:
        """Return when the next queued job may start (seconds since the epoch), or None without queued jobs."""
        rows = self._database.read("SELECT MIN(not_before) AS at FROM job WHERE state = 'queued'")
        return None if rows[0]["at"] is None else float(rows[0]["at"])

    def claim(self, job_id: int, owner: str, now: float) -> Job | None:
        """Commit the next attempt of a queued job and return the job as it now is; None if it is no longer queued."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "UPDATE job SET state = 'running', attempt = attempt + 1, owner = ?, started = ?, finished = 0"
                " WHERE id = ? AND state = 'queued' RETURNING *",
                (owner, now, job_id),
            ).fetchall()
            if not rows:
                return None
            job = _job(rows[0])
            _remember(connection, job.id, now, JobState.RUNNING, f"attempt {job.attempt}")
        crash_point("claim.after_commit")
        return job

    def plan(self, job: Job, plan: str) -> bool:
        """Write down which names are about to be given (JSON; "" = given up). False: the attempt is void."""
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "UPDATE job SET plan = ? WHERE id = ? AND owner = ? AND attempt = ? AND state = 'running'",
                (plan, job.id, job.owner, job.attempt),
            )
            return cursor.rowcount == 1

    def finish(
        self,
        job: Job,
        state: JobState,
        outputs: dict[str, str],
        sha256: str,
        seconds: dict[str, float],
        now: float,
    ) -> bool:
        """End a running job as DONE or HELD. False: the attempt is void."""
        values = {"outputs": json.dumps(outputs), "sha256": sha256, "seconds": json.dumps(seconds), "plan": ""}
        return self._move(job, state, "", values, now)

    def fail(self, job: Job, decision: Decision, now: float) -> bool:
        """Apply what `decide` found. False: the attempt is void."""
        values = {
            "crashes": decision.crashes,
            "failures": decision.failures,
            "interrupts": decision.interrupts,
            "setbacks": decision.setbacks,
            "not_before": now + decision.delay_seconds if decision.delay_seconds else 0.0,
        }
        return self._move(job, decision.state, decision.reason, values, now)

    def drop(self, job: Job, state: JobState, reason: str, now: float) -> bool:
        """End a running job whose file is not what it was: SUPERSEDED or GONE. False: the attempt is void."""
        return self._move(job, state, reason, {}, now)

    def _move(self, job: Job, state: JobState, reason: str, values: dict[str, Any], now: float) -> bool:
        assert is_legal_move(JobState.RUNNING, state), state  # noqa: S101 - our own logic
        columns = "".join(f", {name} = ?" for name in values)
        finished = 0.0 if state is JobState.QUEUED else now
        with self._database.transaction() as connection:
            cursor = connection.execute(
                f"UPDATE job SET state = ?, reason = ?, finished = ?{columns}"  # noqa: S608 - our own column names
                " WHERE id = ? AND owner = ? AND attempt = ? AND state = 'running'",
                (state, reason[:REASON_CAP_CHARACTERS], finished, *values.values(), job.id, job.owner, job.attempt),
            )
            if cursor.rowcount != 1:
                return False
            _remember(connection, job.id, now, state, reason[:REASON_CAP_CHARACTERS])
            return True

    def give_up(self, job_id: int, state: JobState, reason: str, now: float) -> bool:
        """End a queued job before it starts: QUARANTINED, SUPERSEDED or GONE. False if it is no longer queued."""
        assert is_legal_move(JobState.QUEUED, state), state  # noqa: S101 - our own logic
        with self._database.transaction() as connection:
            return _settle(connection, job_id, state, reason, now)

    def orphans(self) -> list[Job]:
        """Return the running jobs; at start, with the station's lock held, nobody works on any of them."""
        return [_job(row) for row in self._database.read("SELECT * FROM job WHERE state = 'running' ORDER BY id")]

    def retry(self, job_id: int, now: float) -> bool:
        """Put a quarantined job back with its counts at zero, or let a waiting one start now. False: neither."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "UPDATE job SET state = 'queued', crashes = 0, failures = 0, interrupts = 0, setbacks = 0,"
                " not_before = 0, reason = '', finished = 0 WHERE id = ? AND state IN ('quarantined', 'queued')"
                " RETURNING id",
                (job_id,),
            ).fetchall()
            if rows:
                _remember(connection, job_id, now, JobState.QUEUED, "retry asked for")
            return bool(rows)

    def bump(self, job_id: int) -> bool:
        """Put a queued job before all others. False if it is not queued."""
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "UPDATE job SET priority = 1 + (SELECT MAX(priority) FROM job WHERE state = 'queued'), not_before = 0"
                " WHERE id = ? AND state = 'queued'",
                (job_id,),
            )
            return cursor.rowcount == 1

    def job(self, job_id: int) -> Job | None:
        """Return one job, or None."""
        rows = self._database.read("SELECT * FROM job WHERE id = ?", job_id)
        return _job(rows[0]) if rows else None

    def jobs_of(self, root: str, rel: str) -> list[Job]:
        """Return the jobs made for one name, the newest first."""
        rows = self._database.read("SELECT * FROM job WHERE root = ? AND rel = ? ORDER BY id DESC", root, rel)
        return [_job(row) for row in rows]

    def jobs(self, state: JobState | None = None, limit: int = -1) -> list[Job]:
        """Return jobs, oldest first; all states without `state`, all rows with `limit` -1."""
        if state is None:
            rows = self._database.read("SELECT * FROM job ORDER BY id LIMIT ?", limit)
        else:
            rows = self._database.read("SELECT * FROM job WHERE state = ? ORDER BY id LIMIT ?", state, limit)
        return [_job(row) for row in rows]

    def planned(self) -> list[Job]:
        """Return the jobs whose publishing was begun and not ended."""
        return [_job(row) for row in self._database.read("SELECT * FROM job WHERE plan != '' ORDER BY id")]

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


def _key(identity: Identity) -> tuple[str, str, int, int]:
    return identity.root, identity.rel, identity.size, identity.mtime_ns


def _settle(connection: sqlite3.Connection, job_id: int, state: JobState, reason: str, now: float) -> bool:
    cursor = connection.execute(
        "UPDATE job SET state = ?, reason = ?, finished = ? WHERE id = ? AND state = 'queued'",
        (state, reason[:REASON_CAP_CHARACTERS], now, job_id),
    )
    if cursor.rowcount != 1:
        return False
    _remember(connection, job_id, now, state, reason[:REASON_CAP_CHARACTERS])
    return True


def _remember(connection: sqlite3.Connection, job_id: int, now: float, state: JobState, note: str) -> None:
    connection.execute("INSERT INTO history (job, at, state, note) VALUES (?, ?, ?, ?)", (job_id, now, state, note))


def _job(row: sqlite3.Row) -> Job:
    mask = row["override_mask"]
    return Job(
        id=row["id"],
        identity=Identity(row["root"], row["rel"], row["size"], row["mtime_ns"]),
        inode=row["inode"],
        recipe=row["recipe"],
        state=JobState(row["state"]),
        priority=row["priority"],
        attempt=row["attempt"],
        crashes=row["crashes"],
        failures=row["failures"],
        interrupts=row["interrupts"],
        setbacks=row["setbacks"],
        not_before=row["not_before"],
        owner=row["owner"],
        sha256=row["sha256"],
        reason=row["reason"],
        plan=row["plan"],
        outputs=json.loads(row["outputs"]),
        seconds=json.loads(row["seconds"]),
        overrides=Overrides(None if mask is None else Path(mask), row["override_sensitivity"]),
        created=row["created"],
        started=row["started"],
        finished=row["finished"],
    )
