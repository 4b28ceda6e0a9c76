"""`spotlessd submit`: restore every scan below an archive folder, and report what became of each.

Comes in: the settings and the command's own values. Goes out: the text or the JSON for the end, and the exit code.
What is seen meanwhile goes to standard error.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from spotlessd.batches.batch import Order, Outcome, report_batch, run_batch
from spotlessd.batches.place import default_output
from spotlessd.batches.report import CSV_NAME, JSON_NAME, SHEET_NAME
from spotlessd.commands.station_commands import Answer
from spotlessd.commands.wording import as_json as to_json
from spotlessd.configuration.settings import Settings
from spotlessd.folders.headers import check_header
from spotlessd.job import JobState
from spotlessd.worker import Loader, load_pipeline


def submit(
    settings: Settings,
    folder: Path,
    output: Path | None,
    *,
    name: str,
    priority: int,
    is_report_only: bool,
    as_json: bool,
    is_screen: bool,
    loader: Loader = load_pipeline,
    check: Callable[[Path], None] = check_header,
) -> Answer:
    """Run the batch of `folder`, or with `is_report_only` only write its report. `is_screen`: stderr is a terminal.

    Raises:
        DaemonError: it cannot be begun, or cannot go on; the sentence says why.
    """
    order = Order(folder, output or default_output(folder), name, priority)
    if is_report_only:
        outcome = report_batch(order, settings)
    else:
        outcome = run_batch(order, settings, sys.stderr, is_screen=is_screen, loader=loader, check=check)
    return Answer(to_json(_values(outcome)) if as_json else _text(outcome), outcome.exit_code)


def _values(outcome: Outcome) -> dict[str, object]:
    batch, totals = outcome.batch, outcome.totals
    return {
        "exit_code": outcome.exit_code,
        "batch": batch.id,
        "input": str(batch.input),
        "output": str(batch.output),
        "scans": totals.scans,
        "states": dict(sorted(totals.states.items())),
        "unfinished": totals.unfinished,
        "report_csv": str(batch.output / CSV_NAME),
        "report_json": str(batch.output / JSON_NAME),
    }


def _text(outcome: Outcome) -> str:
    batch, totals = outcome.batch, outcome.totals
    states = ", ".join(f"{number:,} {state}" for state, number in sorted(totals.states.items()))
    sheet = batch.output / SHEET_NAME / "index.html"
    pages = f", and to look at: {sheet}" if sheet.exists() else ""
    lines = [
        f"{totals.scans:,} scans: {states or 'none was looked at yet'}.",
        f"Results: {batch.output}",
        f"Report: {batch.output / CSV_NAME}, {batch.output / JSON_NAME}{pages}",
    ]
    if totals.states[JobState.QUARANTINED]:
        lines.append("Why some were quarantined: the column `reason` of the report.")
    if totals.unfinished:
        lines.append(f"{totals.unfinished:,} scans are not done yet. To go on, type the same command again.")
    return "\n".join(lines)
