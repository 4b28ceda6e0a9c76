"""The table of faults at the end of the test report, and the station that is hurt.

SPOTLESS_FAULT_REPORT=FILE writes the table there too.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.fault_station import TRIED, VIOLATED, FaultStation


@pytest.fixture
def station(tmp_path: Path) -> Iterator[FaultStation]:
    made = FaultStation(tmp_path / "station")
    yield made
    made.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not TRIED:
        return
    width = max(len(fault) for fault in TRIED)
    lines = [f"{'fault':<{width}}  tried  violations"]
    lines += [f"{fault:<{width}}  {TRIED[fault]:5}  {VIOLATED[fault]:10}" for fault in sorted(TRIED)]
    lines.append(f"{'all':<{width}}  {TRIED.total():5}  {VIOLATED.total():10}")
    terminalreporter.section("faults")
    for line in lines:
        terminalreporter.write_line(line)
    if report := os.environ.get("SPOTLESS_FAULT_REPORT"):
        Path(report).write_text("\n".join(lines) + "\n", encoding="utf-8")
