"""The roll: one item for each scan, its newest job, newest scan first; what the page asks of it and what it answers.

Everything comes from the ledger's table `frame` and its indexes. No file is opened, but for receipts of jobs that ended
before the ledger kept their figures: those are read a few at a time.
"""

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Row
from typing import Any

from spotlessd.job import JobState
from spotlessd.sqlite.database import Database

MOST_ITEMS = 500
"""Of one answer."""
RECEIPTS_SECONDS = 0.03
"""How long one answer may read old receipts; the next one goes on with the rest."""
FIGURES_KEPT = 20_000
WAITING = "waiting"
WAITING_STATES = (JobState.QUEUED, JobState.RUNNING)
PICTURED = (JobState.DONE, JobState.HELD)
"""States in which there is something to look at."""

Figures = tuple[int, float]
Where = tuple[str, tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class RollQuery:
    """What a page asks for; "" = no such limit. `state`: a job's state, or "waiting" for all that are not done yet.

    `day`: ISO date on which the scan came in. `text`: part of its name, in any case.
    """

    root: str = ""
    state: str = ""
    day: str = ""
    text: str = ""
    offset: int = 0
    limit: int = 200


class Roll:
    """Answers `RollQuery`s. `receipt_of`: where a job's receipt lies, by its root and outputs; None: nowhere."""

    def __init__(self, receipt_of: Callable[[str, dict[str, str]], Path | None]) -> None:
        self._receipt_of = receipt_of
        self._figures: OrderedDict[int, Figures | None] = OrderedDict()

    def read(self, database: Database, query: RollQuery, *, is_running: bool = True) -> dict[str, Any]:
        """Return items, total, counts and days as JSON values. `is_running`: as in `counts`."""
        where, values = _where(query)
        limit = min(max(query.limit, 0), MOST_ITEMS)
        # The names first, from an index alone; then the rest of the few that are shown.
        by_order = "" if query.state or query.day else "INDEXED BY frame_in_order"
        rows = database.read(
            "SELECT frame.versions, frame.day, job.* FROM"  # noqa: S608 - only our own words and marks
            f" (SELECT arrived, root, rel FROM frame {by_order} {where}"
            " ORDER BY arrived DESC, root DESC, rel DESC LIMIT ? OFFSET ?) AS shown"
            " JOIN frame ON frame.root = shown.root AND frame.rel = shown.rel JOIN job ON job.id = frame.job"
            " ORDER BY shown.arrived DESC, shown.root DESC, shown.rel DESC",
            *values,
            limit,
            max(query.offset, 0),
        )
        total = database.read(f"SELECT COUNT(*) AS number FROM frame {where}", *values)[0]["number"]  # noqa: S608 - as above
        by_day, day_values = _where(RollQuery(root=query.root, state=query.state, text=query.text))
        days = database.read(
            f"SELECT day, COUNT(*) AS number FROM frame {by_day} GROUP BY day ORDER BY day DESC",  # noqa: S608 - as above
            *day_values,
        )
        until = time.monotonic() + RECEIPTS_SECONDS
        earlier = _earlier_pictures(database, rows)
        return {
            "items": [self._item(row, earlier, until) for row in rows],
            "total": total,
            "counts": counts(database, query.root, is_running=is_running),
            "days": [{"day": row["day"], "count": row["number"]} for row in days],
        }

    def _item(self, row: Row, earlier: dict[tuple[str, str], Row], until: float) -> dict[str, Any]:
        figures = self._figures_of(row, until)
        pictured = row if row["state"] in PICTURED else earlier.get((row["root"], row["rel"]))
        return {
            "id": row["id"],
            "name": row["rel"].rpartition("/")[2],
            "rel": row["rel"],
            "root": row["root"],
            "day": row["day"],
            "state": row["state"],
            "reason": row["reason"],
            "defects": None if figures is None else figures[0],
            "coverage": None if figures is None else figures[1],
            "finished": row["finished"] or None,
            "versions": row["versions"],
            "thumb": None if pictured is None else f"/thumb/{pictured['id']}.jpg?k={key_of(pictured)}",
        }

    def _figures_of(self, row: Row, until: float) -> Figures | None:
        if row["defects"] is not None and row["coverage"] is not None:
            return row["defects"], row["coverage"]
        if row["state"] not in PICTURED:
            return None
        if row["id"] not in self._figures and time.monotonic() < until:
            self._figures[row["id"]] = self._read_figures(row)
            if len(self._figures) > FIGURES_KEPT:
                self._figures.popitem(last=False)
        return self._figures.get(row["id"])

    def _read_figures(self, row: Row) -> Figures | None:
        path = self._receipt_of(row["root"], json.loads(row["outputs"]))
        try:
            receipt = json.loads(path.read_bytes()) if path is not None else {}
            return len(receipt["defects"]), float(receipt["coverage"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def counts(database: Database, root: str = "", *, is_running: bool = True) -> dict[str, int]:
    """Return how many scans are in each state, and under "waiting" how many are not done yet.

    Files that are not settled count as waiting while the daemon runs; what it wrote of them is old when it does not.
    """
    where, values = _where(RollQuery(root=root))
    rows = database.read(
        f"SELECT state, COUNT(*) AS number FROM frame {where} GROUP BY state",  # noqa: S608 - only our own words and marks
        *values,
    )
    found = dict.fromkeys(map(str, JobState), 0) | {row["state"]: row["number"] for row in rows}
    waiting = sum(found[state] for state in WAITING_STATES)
    if is_running:
        waiting += database.read(f"SELECT COUNT(*) AS number FROM waiting {where}", *values)[0]["number"]  # noqa: S608 - as above
    return {**found, WAITING: waiting}


def key_of(row: Row) -> str:
    """Return what changes whenever the pictures of a job would."""
    return f"{row['id']:x}-{row['attempt']:x}-{row['size']:x}-{row['mtime_ns']:x}"


def _where(query: RollQuery) -> Where:
    """Return the WHERE clause and its values."""
    clauses: list[str] = []
    values: list[object] = []
    if query.root:
        clauses.append("root = ?")
        values.append(query.root)
    if query.state == WAITING:
        clauses.append(f"state IN ({', '.join('?' * len(WAITING_STATES))})")
        values += WAITING_STATES
    elif query.state:
        clauses.append("state = ?")
        values.append(query.state)
    if query.day:
        clauses.append("day = ?")
        values.append(query.day)
    if query.text:
        clauses.append(r"rel LIKE ? ESCAPE '\'")
        escaped = query.text.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
        values.append(f"%{escaped}%")
    return f"WHERE {' AND '.join(clauses)}" if clauses else "", tuple(values)


def _earlier_pictures(database: Database, rows: Sequence[Row]) -> dict[tuple[str, str], Row]:
    """Return by (root, rel) the newest finished version of the scans whose newest job has none to show."""
    found = {}
    for row in rows:
        if row["state"] not in PICTURED and row["versions"] > 1:
            earlier = database.read(
                "SELECT * FROM job WHERE root = ? AND rel = ? AND state IN ('done', 'held') AND recipe != 'companion'"
                " ORDER BY id DESC LIMIT 1",
                row["root"],
                row["rel"],
            )
            if earlier:
                found[row["root"], row["rel"]] = earlier[0]
    return found
