"""`spotlessd status --watch`: the status again and again until Ctrl-C, a screen on a terminal, else a line a change.

Comes in: how to read the status, the stream, the clock. Promise: the terminal is left as it was found (own screen,
visible cursor), however it ends; a reader that goes away ends it in silence.
"""

import shutil
import time
from collections.abc import Callable
from typing import TextIO

from spotlessd.commands.status_text import one_line, status_lines
from spotlessd.commands.wording import clock_text, printable
from spotlessd.errors import LedgerError
from spotlessd.monitoring.status import StationStatus

REFRESH_SECONDS = 1.0
ENTER = "\x1b[?1049h\x1b[?25l"
"""The terminal's second screen, and no cursor (xterm control sequences)."""
LEAVE = "\x1b[?25h\x1b[?1049l"
HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


def watch_status(
    read: Callable[[], StationStatus],
    stream: TextIO,
    *,
    is_screen: bool,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> int:
    """Show the status until Ctrl-C, and return the exit code of the last one. `is_screen`: `stream` is a terminal."""
    return watch(lambda code: _look(read, code), stream, is_screen=is_screen, sleep=sleep, clock=clock)


def watch(
    look: Callable[[int], tuple[int, list[str], str]],
    stream: TextIO,
    *,
    is_screen: bool,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> int:
    """Show what `look` returns for the exit code before: the next code, a screen's lines, and the same in one line."""
    code = 0
    shown = ""
    if is_screen:
        stream.write(ENTER)
    try:
        while True:
            code, lines, line = look(code)
            if is_screen:
                stream.write(_screen(lines, clock()))
            elif line != shown:
                stream.write(f"{clock_text(clock())} {printable(line)}\n")
                shown = line
            stream.flush()
            sleep(REFRESH_SECONDS)
    except KeyboardInterrupt:
        return code
    finally:
        if is_screen:
            stream.write(LEAVE)
            stream.flush()


def _look(read: Callable[[], StationStatus], code: int) -> tuple[int, list[str], str]:
    """Read once. A ledger that cannot be read now is told and looked at again."""
    try:
        status = read()
    except LedgerError as error:
        return code, [str(error)], str(error)
    return status.exit_code, status_lines(status), one_line(status)


def _screen(lines: list[str], now: float) -> str:
    """Return one picture of the terminal's size; what does not fit is cut off, never wrapped."""
    columns, rows = shutil.get_terminal_size()
    head = f"spotlessd, {clock_text(now)} (Ctrl-C ends this view, not the daemon)"
    fitting = [printable(line)[: max(columns - 1, 1)] for line in [head, "", *lines]][: max(rows - 1, 1)]
    return HOME + "".join(f"{line}{CLEAR_LINE}\r\n" for line in fitting) + CLEAR_BELOW
