"""The ledger and the receipts as the page shows them: the roll, one frame, its files, and what changed since.

Comes in: a frame's id, a number; the ledger alone knows its files. Goes out: plain JSON values. Each answer is read
anew, so the ledger may be missing, rebuilt or replaced meanwhile. Nothing here writes. Called from threads.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from sqlite3 import Row
from typing import Any

from spotlessd.configuration.settings import Settings
from spotlessd.job import JobState
from spotlessd.monitoring.status import BY_A_PERSON, LEDGER_NAME, PAUSE_KEY, SNAPSHOT_KEY, is_locked, read_pause
from spotlessd.review.frame_files import FrameFiles
from spotlessd.review.ledger_look import look_into
from spotlessd.review.roll import Roll, RollQuery, counts, key_of
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database
from spotlessd.sqlite.figures import LedgerFigures

NO_COUNTS: dict[str, int] = dict.fromkeys([*map(str, JobState), "waiting"], 0)
MOST_RECEIPT_BYTES = 64_000_000
EDITABLE = (JobState.DONE, JobState.HELD)
RETRIABLE = (JobState.QUARANTINED, JobState.QUEUED)
FACTS = ("width", "height", "bits", "dpi", "um_per_px")


@dataclass(frozen=True, slots=True)
class FrameFacts:
    """What a decision about a frame is checked against. `width`, `height` px; 0 where there is no receipt.

    `defect_boxes`: (top, left, bottom, right) px of the receipt's defects, in their order.
    """

    id: int
    root: str
    rel: str
    state: str
    width: int
    height: int
    defect_boxes: tuple[tuple[int, int, int, int], ...]
    files: FrameFiles | None


@dataclass(frozen=True, slots=True)
class Mark:
    """How far the changes have been told: the number of the newest change of state, the time of the newest answer, and
    the station as it was.
    """

    news: int = -1
    answered: float = -1.0
    rest: str = ""


class Frames:
    """Reads one station. `is_daemon`: asked by the daemon itself, which therefore runs."""

    def __init__(self, settings: Settings, *, is_daemon: bool = False, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._roots = {root.name: root for root in settings.roots}
        self._is_daemon = is_daemon
        self._clock = clock
        self._roll = Roll(self._receipt_of)

    def roll(self, query: RollQuery) -> dict[str, Any]:
        """Return the page `query` asks for."""
        with self._look() as database:
            if database is None:
                found = {"items": [], "total": 0, "counts": NO_COUNTS, "days": []}
                return {**found, "roots": list(self._roots), "waiting": [], "station": self._station(None)}
            station = self._station(database)
            found = self._roll.read(database, query, is_running=station["running"])
            waiting = Board(database).waiting() if station["running"] else []
        return {
            **found,
            "roots": list(self._roots),
            "waiting": [
                {"root": file.root, "rel": file.rel, "reason": file.reason}
                for file in waiting
                if query.root in {"", file.root} and query.text.lower() in file.rel.lower()
            ],
            "station": station,
        }

    def frame(self, job_id: int) -> dict[str, Any] | None:
        """Return one frame without its picture's layout; None if there is no such job."""
        with self._look() as database:
            row = _row(database, job_id)
            if database is None or row is None:
                return None
            versions = database.read(
                "SELECT id, rel, state, outputs, finished FROM job WHERE root = ? AND rel = ?"
                " AND recipe != 'companion' ORDER BY id DESC",
                row["root"],
                row["rel"],
            )
            newer, older = _neighbours(database, row)
        receipt = self._receipt(row)
        facts = _facts(receipt)
        state = row["state"]
        return {
            "id": row["id"],
            "name": _name(row["rel"]),
            "rel": row["rel"],
            "root": row["root"],
            "state": state,
            "reason": row["reason"],
            **{name: facts.get(name) for name in FACTS},
            "coverage": receipt.get("coverage"),
            "sensitivity": _sensitivity(receipt),
            "notes": receipt.get("notes", []),
            "defects": [{"index": index, **defect} for index, defect in enumerate(_defects(receipt))],
            "versions": [_version(version) for version in versions],
            "decisions": receipt.get("decisions", []),
            "key": key_of(row),
            "can": {
                "edit": state in EDITABLE and self._scan(row) is not None,
                "release": state == JobState.HELD and self._scan(row) is not None,
                "retry": state in RETRIABLE,
                "bump": state == JobState.QUEUED,
            },
            "prev": newer,
            "next": older,
        }

    def facts(self, job_id: int) -> FrameFacts | None:
        """Return what a decision about a job is checked against; None if there is no such job."""
        with self._look() as database:
            row = _row(database, job_id)
        if row is None:
            return None
        receipt = self._receipt(row)
        facts = _facts(receipt)
        boxes = tuple(tuple(defect["box"]) for defect in _defects(receipt))
        width, height = int(facts.get("width", 0)), int(facts.get("height", 0))
        return FrameFacts(row["id"], row["root"], row["rel"], row["state"], width, height, boxes, self._files(row))

    def files(self, job_id: int) -> FrameFiles | None:
        """Return the files of a job; None if there is no such job, or its folder is not watched any more."""
        with self._look() as database:
            row = _row(database, job_id)
        return None if row is None else self._files(row)

    def changes(self, mark: Mark) -> tuple[Mark, dict[str, Any] | None]:
        """Return the new mark and what changed since `mark`; None: nothing did."""
        with self._look() as database:
            station = self._station(database)
            if database is None:
                now, numbers, ids, answers = Mark(0, 0.0, json.dumps(station)), NO_COUNTS, [], []
            else:
                waiting = database.read("SELECT COUNT(*) AS number FROM waiting")[0]["number"]
                rest = json.dumps([station, waiting])
                now = Mark(LedgerFigures(database).last_news(), _last_answer(database), rest)
                if now == mark:
                    return mark, None
                numbers = counts(database, is_running=station["running"])
                # A ledger that was rebuilt counts from the start again.
                ids = _changed(database, mark.news) if 0 <= mark.news <= now.news else []
                answers = _answers(database, mark.answered) if mark.answered >= 0 else []
        return now, None if now == mark else {"ids": ids, "counts": numbers, "station": station, "answers": answers}

    @contextmanager
    def _look(self) -> Iterator[Database | None]:
        with look_into(self._settings.state_dir / LEDGER_NAME) as database:
            yield database

    def _station(self, database: Database | None) -> dict[str, Any]:
        """Return the station's id, whether its daemon runs, why it is paused ("" if not), and the job in hand."""
        is_running = self._is_daemon or is_locked(self._settings.state_dir)
        values: dict[str, Any] = {"id": self._settings.station_id, "running": is_running, "paused": "", "job": None}
        if database is None:
            return values
        board = Board(database)
        if is_running:
            snapshot = json.loads(board.noted(SNAPSHOT_KEY) or "{}")
            # What an earlier run wrote last is no word of this one.
            if not self._is_daemon or snapshot.get("pid") == os.getpid():
                values["paused"] = str(snapshot.get("paused") or "")
            running = database.read("SELECT id FROM job WHERE state = 'running' ORDER BY id LIMIT 1")
            values["job"] = running[0]["id"] if running else None
        if board.noted(PAUSE_KEY) and read_pause(board, self._clock()) is not None:
            values["paused"] = values["paused"] or BY_A_PERSON
        return values

    def _scan(self, row: Row) -> Path | None:
        root = self._roots.get(row["root"])
        return None if root is None else _inside(root.input, row["rel"])

    def _files(self, row: Row) -> FrameFiles | None:
        scan = self._scan(row)
        if scan is None:
            return None
        outputs = json.loads(row["outputs"]) if row["state"] in EDITABLE else {}
        found = {
            field: self._output(row["root"], outputs, role)
            for field, role in (("result", "image"), ("mask", "mask"), ("preview", "preview"), ("receipt", "receipt"))
        }
        return FrameFiles(row["id"], key_of(row), scan, **found)

    def _output(self, root: str, outputs: dict[str, str], role: str) -> Path | None:
        """Return one output of a job; None where it has none, it is gone, or its name leads out of the folder."""
        settings, name = self._roots.get(root), outputs.get(role)
        if settings is None or not name:
            return None
        path = _inside(settings.output, name)
        return path if path is not None and path.is_file() else None

    def _receipt_of(self, root: str, outputs: dict[str, str]) -> Path | None:
        return self._output(root, outputs, "receipt")

    def _receipt(self, row: Row) -> dict[str, Any]:
        """Return a job's receipt; empty where it has none that can be read."""
        path = self._receipt_of(row["root"], json.loads(row["outputs"]))
        try:
            if path is None or path.stat().st_size > MOST_RECEIPT_BYTES:
                return {}
            receipt = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return {}
        return receipt if isinstance(receipt, dict) else {}


def _row(database: Database | None, job_id: int) -> Row | None:
    """Return a job's row; sidecars are no frames."""
    if database is None:
        return None
    rows = database.read("SELECT * FROM job WHERE id = ? AND recipe != 'companion'", job_id)
    return rows[0] if rows else None


def _neighbours(database: Database, row: Row) -> tuple[int | None, int | None]:
    """Return the newest jobs of the scans before and after this one in the roll, which begins with the newest."""
    found = []
    for sign, order in ((">", "ASC"), ("<", "DESC")):
        rows = database.read(
            f"SELECT job FROM frame WHERE (arrived, root, rel) {sign}"  # noqa: S608 - our own words
            " (SELECT arrived, root, rel FROM frame WHERE root = ? AND rel = ?)"
            f" ORDER BY arrived {order}, root {order}, rel {order} LIMIT 1",
            row["root"],
            row["rel"],
        )
        found.append(rows[0]["job"] if rows else None)
    return found[0], found[1]


def _changed(database: Database, after: int) -> list[int]:
    rows = database.read("SELECT DISTINCT job FROM history WHERE id > ? ORDER BY job DESC LIMIT 500", after)
    return [row["job"] for row in rows]


def _last_answer(database: Database) -> float:
    return float(database.read("SELECT COALESCE(MAX(done), 0.0) AS at FROM command")[0]["at"])


def _answers(database: Database, after: float) -> list[dict[str, Any]]:
    rows = database.read("SELECT id, answer FROM command WHERE done > ? ORDER BY id LIMIT 50", after)
    answers = [(row["id"], json.loads(row["answer"])) for row in rows]
    return [{"request": number, "text": one["text"], "ok": one["exit_code"] == 0} for number, one in answers]


def _inside(folder: Path, rel: str) -> Path | None:
    """Return a path in `folder`; None if the name or a link on the way leads out of it."""
    pure = PurePosixPath(rel)
    if pure.is_absolute() or ".." in pure.parts or "\0" in rel:
        return None
    path = folder / pure
    return path if path.resolve().is_relative_to(folder.resolve()) else None


def _defects(receipt: dict[str, Any]) -> list[dict[str, Any]]:
    defects = receipt.get("defects", [])
    return [defect for defect in defects if isinstance(defect, dict)] if isinstance(defects, list) else []


def _facts(receipt: dict[str, Any]) -> dict[str, Any]:
    facts = receipt.get("input")
    return facts if isinstance(facts, dict) else {}


def _sensitivity(receipt: dict[str, Any]) -> str | None:
    try:
        return str(receipt["options"]["mask"]["sensitivity"])
    except (KeyError, TypeError):
        return None


def _version(row: Row) -> dict[str, Any]:
    name = json.loads(row["outputs"]).get("image") or row["rel"]
    finished = row["finished"]
    return {"id": row["id"], "name": _name(name), "state": row["state"], "finished": finished or None}


def _name(rel: str) -> str:
    return rel.rpartition("/")[2]
