"""Rows of the ledger's tables and the values they stand for; the statements that more than one module needs."""

import json
import sqlite3
from pathlib import Path

from spotlessd.job import Identity, Job, JobState, Overrides

REASON_CAP_CHARACTERS = 2000


def key_of(identity: Identity) -> tuple[str, str, int, int]:
    """Return the columns root, rel, size, mtime_ns."""
    return identity.root, identity.rel, identity.size, identity.mtime_ns


def end_queued(connection: sqlite3.Connection, job_id: int, state: JobState, reason: str, now: float) -> bool:
    """End a queued job with its reason. False if it is not queued."""
    cursor = connection.execute(
        "UPDATE job SET state = ?, reason = ?, finished = ? WHERE id = ? AND state = 'queued'",
        (state, reason[:REASON_CAP_CHARACTERS], now, job_id),
    )
    if cursor.rowcount != 1:
        return False
    remember(connection, job_id, now, state, reason[:REASON_CAP_CHARACTERS])
    return True


def remember(connection: sqlite3.Connection, job_id: int, now: float, state: JobState, note: str) -> None:
    """Write a change of state into the job's history."""
    connection.execute("INSERT INTO history (job, at, state, note) VALUES (?, ?, ?, ?)", (job_id, now, state, note))


def job_of(row: sqlite3.Row) -> Job:
    """Return a row of the table `job` as a `Job`."""
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
        shortages=row["shortages"],
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
