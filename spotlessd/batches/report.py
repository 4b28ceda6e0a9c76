"""What became of a batch: `report.csv`, `report.json` and `contact-sheet/` in OUT.

Comes in: the batch's ledger and the receipts in OUT. Goes out: one line for each scan, with the same values in both
files; report.json has the totals too. Each file is replaced as a whole. Rows are read and written some at a time, so
that a hundred thousand scans take no more memory than a hundred. Nothing here changes the ledger.
Cells of the CSV that a spreadsheet would take for a formula begin with an apostrophe (OWASP, "CSV Injection").
"""

import csv
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from sqlite3 import Row
from typing import Any, TextIO

from spotlessd import __version__
from spotlessd.batches.place import FOLDER_NAME, Batch
from spotlessd.batches.replacing import drop_stale, replaced
from spotlessd.batches.terms import ROOT_NAME
from spotlessd.commands.contact_sheet import contact_sheet
from spotlessd.configuration.settings import Settings
from spotlessd.errors import UnknownJobError
from spotlessd.job import COMPANION_RECIPE, JobState
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.publish import read_receipt
from spotlessd.publishing.durable import cannot_write, sync_folder
from spotlessd.sqlite.database import Database

CSV_NAME, JSON_NAME, SHEET_NAME = "report.csv", "report.json", "contact-sheet"
SHEET_FRAMES = 1000
"""So many frames the contact sheet shows: it is one page, and has a copy of each preview."""
SHEET_MARK = ".spotlessd-contact-sheet"
SCHEMA = 1
ROWS_AT_ONCE = 500
FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n")
LEFT_OUT, WAITING = "left out", "waiting"
THIS_MACHINE = "this machine"


@dataclass(frozen=True, slots=True)
class ScanLine:
    """One scan. `state`: a job's, or "left out" or "waiting" of a file that became no job. Names are those in OUT.

    `defects`, `coverage` (masked fraction, 0 to 1), `seconds` (of work): None where nobody knows.
    """

    scan: str
    state: str
    result: str = ""
    mask: str = ""
    preview: str = ""
    receipt: str = ""
    defects: int | None = None
    coverage: float | None = None
    seconds: float | None = None
    reason: str = ""
    worker: str = ""
    finished: str = ""
    recipe: str = ""
    software: str = ""


@dataclass(slots=True)
class Totals:
    """Sums over the lines. `software`, `recipes`, `workers`: how many scans each has. `unseen`: scans without a line,
    for the run was stopped before it came to them.
    """

    states: Counter[str] = field(default_factory=Counter)
    defects: int = 0
    work_seconds: float = 0.0
    unseen: int = 0
    workers: Counter[str] = field(default_factory=Counter)
    software: Counter[str] = field(default_factory=Counter)
    recipes: Counter[str] = field(default_factory=Counter)

    @property
    def scans(self) -> int:
        """All lines."""
        return sum(self.states.values())

    @property
    def unfinished(self) -> int:
        """Scans that another run has to do."""
        return sum(self.states[state] for state in (JobState.QUEUED, JobState.RUNNING, WAITING)) + self.unseen

    def add(self, line: ScanLine) -> None:
        """Take in one line."""
        self.states[line.state] += 1
        self.defects += line.defects or 0
        self.work_seconds += line.seconds or 0.0
        for counter, value in ((self.workers, line.worker), (self.software, line.software)):
            if value:
                counter[value] += 1
        if line.recipe:
            self.recipes[line.recipe] += 1


def write_report(batch: Batch, settings: Settings, *, began: float | None, has_sheet: bool = True) -> Totals:
    """Write the report of what there is. `settings`: the batch's own. `began`: of this run, seconds since the epoch;
    None without a run. `has_sheet`: with the contact sheet.

    Raises:
        UnknownJobError: the batch has no ledger.
        PublishError: OUT cannot be written.
    """
    path = batch.state_dir / LEDGER_NAME
    if not path.exists():
        raise UnknownJobError(f"{batch.output}: no batch was begun there; leave out --report-only.")
    totals = Totals()
    with Database.open(path) as database:
        with replaced(batch.output / CSV_NAME) as table, replaced(batch.output / JSON_NAME) as file:
            _write_lines(_lines(database, batch.output), table, file, totals)
            _write_totals(file, _facts(database, batch, settings, totals, began))
        if has_sheet:
            _write_sheet(batch, settings, database)
    return totals


def clear_leftovers(batch: Batch) -> None:
    """Remove what runs that were killed left of their reports. Only right while nobody else writes one."""
    for name in (CSV_NAME, JSON_NAME):
        drop_stale(batch.output / name)
    for folder in (batch.output / FOLDER_NAME).glob("sheet-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _write_lines(lines: Iterator[ScanLine], table: TextIO, file: TextIO, totals: Totals) -> None:
    names = [each.name for each in fields(ScanLine)]
    writer = csv.writer(table)
    writer.writerow(names)
    file.write(f'{{\n"schema": {SCHEMA},\n"scans": [')
    for number, line in enumerate(lines):
        values = asdict(line)
        totals.add(line)
        writer.writerow([_cell(values[name]) for name in names])
        file.write(("," if number else "") + "\n" + json.dumps(values, ensure_ascii=False))
    file.write("\n]")


def _write_totals(file: TextIO, facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        file.write(f",\n{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}")
    file.write("\n}\n")


def _facts(database: Database, batch: Batch, settings: Settings, totals: Totals, began: float | None) -> dict[str, Any]:
    row = database.read(
        "SELECT MIN(CASE WHEN started > 0 THEN started END) AS first, MAX(finished) AS last FROM job WHERE attempt > 0"
    )[0]
    written = datetime.now(UTC)
    return {
        "batch": {"id": batch.id, "name": batch.name, "input": str(batch.input), "output": str(batch.output)},
        "totals": {
            "scans": totals.scans,
            **dict(sorted(totals.states.items())),
            "defects": totals.defects,
            "work_seconds": round(totals.work_seconds, 3),
        },
        "workers": dict(totals.workers.most_common()),
        "software": dict(totals.software.most_common()),
        "recipes": dict(totals.recipes.most_common()),
        "recipe_now": settings.recipe(settings.roots[0]),
        "written_by": f"spotlessd {__version__}",
        "written": written.isoformat(timespec="seconds"),
        "first_started": _moment(row["first"] or 0.0),
        "last_finished": _moment(row["last"] or 0.0),
        "run_seconds": None if began is None else round(written.timestamp() - began, 1),
    }


def _lines(database: Database, output: Path) -> Iterator[ScanLine]:
    """Yield every scan by name, then sidecars that went with none, then files that became no job."""
    last = ""
    while rows := database.read(
        "SELECT job.* FROM frame JOIN job ON job.id = frame.job WHERE frame.root = ? AND frame.rel > ?"
        " ORDER BY frame.rel LIMIT ?",
        *(ROOT_NAME, last, ROWS_AT_ONCE),
    ):
        yield from (_line(row, output) for row in rows)
        last = rows[-1]["rel"]
    rows = database.read(
        "SELECT * FROM job WHERE recipe = ? AND state IN ('queued', 'running', 'held', 'quarantined') ORDER BY rel, id",
        COMPANION_RECIPE,
    )
    yield from (_line(row, output) for row in rows)
    last = ""
    while rows := database.read(
        "SELECT rel, reason FROM waiting WHERE root = ? AND rel > ? AND NOT EXISTS"
        " (SELECT 1 FROM frame WHERE frame.root = waiting.root AND frame.rel = waiting.rel) ORDER BY rel LIMIT ?",
        *(ROOT_NAME, last, ROWS_AT_ONCE),
    ):
        for row in rows:
            is_left_out = row["reason"].startswith(LEFT_OUT)
            yield ScanLine(row["rel"], LEFT_OUT if is_left_out else WAITING, reason=row["reason"])
        last = rows[-1]["rel"]


def _line(row: Row, output: Path) -> ScanLine:
    """Return the line of a job. Who did it stands in the receipt alone, as does all of a result that was adopted."""
    names: dict[str, str] = json.loads(row["outputs"])
    receipt = read_receipt(output / names["receipt"]) if "receipt" in names else {}
    facts, defects, coverage = receipt.get("station"), row["defects"], row["coverage"]
    if defects is None and isinstance(receipt.get("defects"), list):
        defects = len(receipt["defects"])
    if coverage is None and isinstance(receipt.get("coverage"), int | float):
        coverage = float(receipt["coverage"])
    seconds = json.loads(row["seconds"]) or receipt.get("seconds") or {}
    named = facts.get("worker", "") if isinstance(facts, dict) else ""
    return ScanLine(
        scan=row["rel"],
        state=row["state"],
        result=names.get("image", ""),
        mask=names.get("mask", ""),
        preview=names.get("preview", ""),
        receipt=names.get("receipt", ""),
        defects=defects,
        coverage=coverage,
        seconds=seconds.get("total"),
        reason=row["reason"],
        worker=str(named or (THIS_MACHINE if receipt else "")),
        finished=_moment(row["finished"]),
        recipe=row["recipe"],
        software=str(receipt.get("software", "")),
    )


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") if at else ""


def _cell(value: object) -> object:
    """Return a cell that a spreadsheet shows as it is."""
    if isinstance(value, str) and value.startswith(FORMULA_BEGINS):
        return f"'{value}"
    return value


def _write_sheet(batch: Batch, settings: Settings, database: Database) -> None:
    """Write the contact sheet aside, then exchange it for the one before; without finished scans there is none."""
    target = _sheet_folder(batch.output, database)
    fresh = batch.output / FOLDER_NAME / f"sheet-{token_hex(4)}"
    aside = fresh.with_name(f"{fresh.name}-before")
    try:
        contact_sheet(settings, fresh, title=batch.name, limit=SHEET_FRAMES)
    except UnknownJobError:
        return
    try:
        (fresh / SHEET_MARK).touch()
        if target.exists():
            target.rename(aside)
        fresh.rename(target)
        sync_folder(batch.output)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        for folder in (fresh, aside):
            shutil.rmtree(folder, ignore_errors=True)


def _sheet_folder(output: Path, database: Database) -> Path:
    """Return the first name that is ours or free: DIR may have a folder of this name, with results in OUT."""
    number = 1
    while True:
        name = SHEET_NAME if number == 1 else f"{SHEET_NAME}~{number}"
        is_scans = database.read("SELECT 1 FROM frame WHERE rel LIKE ? LIMIT 1", f"{name}/%")
        folder = output / name
        if not is_scans and (not folder.exists() or (folder / SHEET_MARK).exists()):
            return folder
        number += 1
