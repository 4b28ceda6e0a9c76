"""Rows of the ledger's tables and the values they stand for; the statements that more than one module needs."""

import json
import sqlite3
from pathlib import Path
from typing import Any

from spotlessd.job import COMPANION_RECIPE, Base, Identity, Job, JobState, Overrides

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


def supersede_quarantined(connection: sqlite3.Connection, done: Job, now: float) -> None:
    """A scan that was set aside and is done now, scanned again or asked for again, needs no one any more."""
    rows = connection.execute(
        "SELECT id, reason FROM job WHERE root = ? AND rel = ? AND id < ? AND state = 'quarantined' AND recipe != ?",
        (done.identity.root, done.identity.rel, done.id, COMPANION_RECIPE),
    ).fetchall()
    for row in rows:
        reason = f"done by job {done.id}; it was quarantined: {row['reason']}"[:REASON_CAP_CHARACTERS]
        connection.execute(
            "UPDATE job SET state = ?, reason = ? WHERE id = ?", (JobState.SUPERSEDED, reason, row["id"])
        )
        remember(connection, int(row["id"]), now, JobState.SUPERSEDED, reason)


def remember(connection: sqlite3.Connection, job_id: int, now: float, state: JobState, note: str) -> None:
    """Write a change of state into the job's history."""
    connection.execute("INSERT INTO history (job, at, state, note) VALUES (?, ?, ?, ?)", (job_id, now, state, note))


def job_of(row: sqlite3.Row) -> Job:
    """Return a row of the table `job` as a `Job`."""
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
        overrides=_overrides_of(row),
        created=row["created"],
        started=row["started"],
        finished=row["finished"],
    )


def edit_text(overrides: Overrides) -> str:
    """Return the column `override_edit`: base and decision as JSON, "" if there is neither."""
    base = overrides.base
    if base is None and not overrides.decision:
        return ""
    values: dict[str, Any] = {"decision": dict(overrides.decision)}
    if base is not None:
        paths = {"mask": base.mask, "image": base.image, "receipt": base.receipt}
        values["base"] = {
            **{name: None if path is None else str(path) for name, path in paths.items()},
            "job": base.job,
            "name": base.name,
            "sha256": base.sha256,
        }
    return json.dumps(values)


def _overrides_of(row: sqlite3.Row) -> Overrides:
    # A look without the right to write may meet a ledger that the daemon has not brought up to date yet.
    text = row["override_edit"] if "override_edit" in row.keys() else ""  # noqa: SIM118 - a Row holds values, not keys
    edit = json.loads(text) if text else {}
    return Overrides(
        mask=_path(row["override_mask"]),
        sensitivity=row["override_sensitivity"],
        base=_base_of(edit["base"]) if edit.get("base") else None,
        decision=edit.get("decision", {}),
    )


def _base_of(values: dict[str, Any]) -> Base:
    return Base(
        job=int(values["job"]),
        mask=Path(values["mask"]),
        image=_path(values["image"]),
        receipt=_path(values["receipt"]),
        name=values["name"],
        sha256=values["sha256"],
    )


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
