"""Every scan ever seen: its state, its attempts, what came of it. The one truth beside the folder itself.

A job is claimed by committing its attempt before the work starts, and changed only by who holds that attempt: `finish`
and its sisters name (id, owner, attempt) and return False when the row has moved on, so a late result is void. Times
are given by the caller. Nothing is deleted.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from spotlessd.crash_points import crash_point
from spotlessd.job import COMPANION_RECIPE, Decision, Identity, Job, JobState, Overrides, Tally, is_legal_move
from spotlessd.sqlite.reading import LedgerReader
from spotlessd.sqlite.rows import (
    REASON_CAP_CHARACTERS,
    edit_text,
    end_queued,
    job_of,
    key_of,
    remember,
    supersede_quarantined,
)


@dataclass(frozen=True, slots=True)
class FoundScan:
    """What a receipt says of a scan that was done before this ledger began."""

    identity: Identity
    recipe: str
    state: JobState
    sha256: str
    outputs: dict[str, str]


class Ledger(LedgerReader):
    """The jobs of one station, to look at and to move on."""

    def batch(self) -> AbstractContextManager[None]:
        """Make what is written inside one transaction; see `Database.batch`."""
        return self._database.batch()

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
                " override_sensitivity, override_edit, created) VALUES (?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?)"
                " ON CONFLICT (root, rel, size, mtime_ns, recipe) DO UPDATE SET state = 'queued', reason = '',"
                " inode = excluded.inode, not_before = 0 WHERE state IN ('gone', 'superseded') RETURNING id",
                (
                    *key_of(identity),
                    inode,
                    recipe,
                    priority,
                    None if overrides.mask is None else str(overrides.mask),
                    overrides.sensitivity,
                    edit_text(overrides),
                    now,
                ),
            ).fetchall()
            if not rows:
                return None
            job_id = int(rows[0]["id"])
            remember(connection, job_id, now, JobState.QUEUED, "")
            older = connection.execute(
                "SELECT id FROM job WHERE root = ? AND rel = ? AND NOT (size = ? AND mtime_ns = ?)"
                " AND +state = 'queued' AND plan = ''",  # +: by the name, not through all that are queued
                key_of(identity),
            ).fetchall()
            for row in older:
                end_queued(connection, int(row["id"]), JobState.SUPERSEDED, f"replaced by job {job_id}", now)
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
                        *key_of(scan.identity),
                        scan.recipe,
                        scan.state,
                        scan.sha256,
                        json.dumps(scan.outputs),
                        now,
                        now,
                    ),
                ).fetchall()
                for row in rows:
                    remember(connection, int(row["id"]), now, scan.state, "found by its receipt")
                number += len(rows)
            crash_point("adopt.before_commit")
        crash_point("adopt.after_commit")
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
                        *key_of(found.identity),
                        COMPANION_RECIPE,
                        found.state,
                        found.sha256,
                        json.dumps(found.outputs),
                        now,
                        now,
                    ),
                ).fetchall()
                for row in rows:
                    remember(connection, int(row["id"]), now, found.state, "published with its scan")

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
            job = job_of(rows[0])
            remember(connection, job.id, now, JobState.RUNNING, f"attempt {job.attempt}")
            crash_point("claim.before_commit")
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
        tally: Tally | None = None,
    ) -> bool:
        """End a running job as DONE, or as HELD with the tally's reason. False: the attempt is void."""
        values = {
            "outputs": json.dumps(outputs),
            "sha256": sha256,
            "seconds": json.dumps(seconds),
            "plan": "",
            "defects": None if tally is None else tally.defects,
            "coverage": None if tally is None else tally.coverage,
        }
        return self._move(job, state, "" if tally is None else tally.held, values, now)

    def fail(self, job: Job, decision: Decision, now: float) -> bool:
        """Apply what `decide` found. False: the attempt is void."""
        values = {
            "crashes": decision.crashes,
            "failures": decision.failures,
            "interrupts": decision.interrupts,
            "setbacks": decision.setbacks,
            "shortages": decision.shortages,
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
            remember(connection, job.id, now, state, reason[:REASON_CAP_CHARACTERS])
            if state is JobState.DONE:
                supersede_quarantined(connection, job, now)
            crash_point("move.before_commit")
        crash_point("move.after_commit")
        return True

    def give_up(self, job_id: int, state: JobState, reason: str, now: float) -> bool:
        """End a queued job before it starts: QUARANTINED, SUPERSEDED or GONE. False if it is no longer queued."""
        assert is_legal_move(JobState.QUEUED, state), state  # noqa: S101 - our own logic
        with self._database.transaction() as connection:
            return end_queued(connection, job_id, state, reason, now)

    def postpone(self, job_id: int, until: float, reason: str) -> bool:
        """Let a queued job wait until then (seconds since the epoch), and say why. False if it is not queued."""
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "UPDATE job SET not_before = ?, reason = ? WHERE id = ? AND state = 'queued'",
                (until, reason[:REASON_CAP_CHARACTERS], job_id),
            )
            return cursor.rowcount == 1

    def retry(self, job_id: int, now: float) -> bool:
        """Put a quarantined job back with its counts at zero, or let a waiting one start now. False: neither."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "UPDATE job SET state = 'queued', crashes = 0, failures = 0, interrupts = 0, setbacks = 0,"
                " shortages = 0, not_before = 0, reason = '', finished = 0"
                " WHERE id = ? AND state IN ('quarantined', 'queued') RETURNING id",
                (job_id,),
            ).fetchall()
            if rows:
                remember(connection, job_id, now, JobState.QUEUED, "retry asked for")
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

    def rename(self, outputs: Mapping[int, Mapping[str, str]]) -> None:
        """Write down the files of ended jobs under other names: by job, role → name relative to the output folder."""
        with self._database.transaction() as connection:
            for job_id, names in outputs.items():
                connection.execute("UPDATE job SET outputs = ? WHERE id = ?", (json.dumps(dict(names)), job_id))

    def rename_companions(self, root: str, names: Mapping[str, str]) -> None:
        """Write down what the files of sidecars are called now, name → new name; the rest stays."""
        if not names:
            return
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT id, outputs FROM job WHERE root = ? AND recipe = ?", (root, COMPANION_RECIPE)
            ).fetchall()
            for row in rows:
                before = json.loads(row["outputs"])
                after = {role: names.get(name, name) for role, name in before.items()}
                if after != before:
                    connection.execute("UPDATE job SET outputs = ? WHERE id = ?", (json.dumps(after), row["id"]))

    def change_overrides(self, job_id: int, overrides: Overrides) -> bool:
        """Write down another base for a queued job. False if it is not queued."""
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "UPDATE job SET override_edit = ? WHERE id = ? AND state = 'queued'", (edit_text(overrides), job_id)
            )
            return cursor.rowcount == 1
