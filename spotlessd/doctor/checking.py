"""One thing that the doctor looked at, and how it runs programs to look."""

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

EXIT_TIMED_OUT = 124
"""As in timeout(1)."""
SHOWN_LINES = 3
RAISED = re.compile(r"(spotless_core|spotlessd)\.errors\.\w+: (?P<sentence>.+)")
"""The last line of a traceback of our own errors, which are sentences."""
OWN_VARIABLES = "SPOTLESSD_"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `ok`: None when it cannot be told here. `fix`: what to do, "" if nothing."""

    name: str
    ok: bool | None
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a child process ended; `output`: what it printed, errors included."""

    exit_code: int
    output: str


Runner = Callable[[list[str], float], Finished]


def run_command(arguments: list[str], timeout_seconds: float) -> Finished:
    """Run a command to its end, without our own variables: what it is to do stands in its arguments."""
    try:
        done = subprocess.run(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
            env={name: value for name, value in os.environ.items() if not name.startswith(OWN_VARIABLES)},
        )
    except subprocess.TimeoutExpired:
        return Finished(EXIT_TIMED_OUT, f"no answer within {timeout_seconds:.0f} s")
    except OSError as error:
        return Finished(127, str(error))
    return Finished(done.returncode, done.stdout)


def last_lines(done: Finished) -> str:
    """Return the end of what a child printed: the error, when it failed."""
    lines = [line.strip() for line in done.output.splitlines() if line.strip()]
    if lines and (raised := RAISED.match(lines[-1])):
        return raised["sentence"]
    text = " / ".join(lines[-SHOWN_LINES:]) or "no output"
    return text if done.exit_code == 0 else f"exit {done.exit_code}: {text}"
