"""Runs mutants in child processes and collects what went wrong, each with the number that repeats it.

Comes in: a kind, the first number and how many. Goes out: a `FuzzReport`. A child that crashes or hangs ends one
mutant: it is named from the number the child left behind, its file is kept, and a new child goes on behind it.
"""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

TESTS = Path(__file__).parent.parent
MAX_CRASHES = 10
"""A reader that crashes more often needs no longer list."""
LAST_LINES = 12
READER = "fuzz.child:handle"


@dataclass(slots=True)
class FuzzReport:
    """`findings`: a sentence for each mutant that a reader did not answer as it must. `outcomes`: how many ended how.

    `seconds`: of the processor, without starting. `added_mb`: most memory above that of the process when it started.
    """

    findings: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    added_mb: float = 0.0


def fuzz(
    kind: str, first: int, count: int, folder: Path, *, reader: str = READER, limit_seconds: float = 600.0
) -> FuzzReport:
    """Read mutants `first` to `first` + `count` of `kind` with `reader` and with scratch files in `folder`."""
    report = FuzzReport()
    end, crashes = first + count, 0
    while first < end and crashes < MAX_CRASHES:
        last_words, code = _child(
            [kind, str(first), str(end - first), str(folder), reader], folder, limit_seconds, report
        )
        if code == 0:
            break
        crashes += 1
        number = int((folder / "number").read_text() or first)
        kept = (folder / "mutant").rename(folder / f"{kind}-{number}")
        report.findings.append(f"{kind} mutant {number} {_how_it_ended(code)} (kept as {kept})\n{last_words}")
        first = number + 1
    return report


def _child(words: list[str], folder: Path, limit_seconds: float, report: FuzzReport) -> tuple[str, int]:
    """Run one child; returns its last words and its exit status."""
    (folder / "number").unlink(missing_ok=True)
    (folder / "number").touch()
    variables = {"PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent))), "OMP_NUM_THREADS": "1"}
    with (folder / "stderr").open("w+", encoding="utf-8", errors="replace") as stderr:
        done = subprocess.run(
            [sys.executable, "-m", "fuzz.child", *words],
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            timeout=limit_seconds,
            check=False,
        )
        stderr.seek(0)
        last_words = "".join(stderr.readlines()[-LAST_LINES:])
    for line in done.stdout.splitlines():
        _take(json.loads(line), words[0], report)
    return last_words, done.returncode


def _take(said: dict[str, object], kind: str, report: FuzzReport) -> None:
    if "finding" in said:
        report.findings.append(f"{kind} mutant {said['number']}: {said['finding']}")
        return
    report.outcomes += Counter(said["outcomes"])  # type: ignore[arg-type]
    report.seconds += float(said["seconds"])  # type: ignore[arg-type]
    report.added_mb = max(report.added_mb, float(said["added_mb"]))  # type: ignore[arg-type]


def _how_it_ended(code: int) -> str:
    if code == -signal.SIGALRM:
        return "hangs"
    return f"ends the process ({signal.Signals(-code).name if code < 0 else f'exit status {code}'})"
