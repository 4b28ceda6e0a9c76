"""Set up the log: loguru to standard error, as text or one JSON object a line, and to a file if one is configured.

Comes in: the log settings. Under systemd standard error is the journal. Promise: no values of local variables are ever
written (`diagnose=False`): they would hold file contents.
"""

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from loguru import logger

from spotlessd.configuration.sections import LogSettings

if TYPE_CHECKING:
    from loguru import Record

TEXT_FORMAT = "{time:YYYY-MM-DD HH:mm:ss} {level: <7} {message}{exception}"
FILE_SIZE = "50 MB"
FILES_KEPT = 10
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that steer a terminal, or cannot be encoded."""
EXCERPT_BYTES = 4_000_000
"""How much of the end of the log file is searched for the lines of one job."""
EXCERPT_LINES = 30


def change_log(settings: LogSettings, before: LogSettings) -> None:
    """Log as a new config says; if its file cannot be written, as before."""
    try:
        set_up_log(settings)
    except OSError as error:
        set_up_log(before)
        logger.error("{}: cannot be written ({}); the log goes where it went before", settings.file, error.strerror)


def set_up_log(settings: LogSettings, stream: TextIO | None = None, stream_level: str = "") -> None:
    """Replace loguru's sinks by ours; `stream` is standard error when not given, `stream_level` the settings' level.

    Raises:
        OSError: the log file cannot be opened; the stream is logged to all the same.
    """
    logger.remove()
    logger.configure(patcher=_tame)
    logger.add(
        sys.stderr if stream is None else stream,
        level=stream_level or settings.level,
        format=TEXT_FORMAT,
        serialize=settings.json_lines,
        diagnose=False,
        backtrace=False,
    )
    if settings.file is not None:
        logger.add(
            settings.file,
            level=settings.level,
            format=TEXT_FORMAT,
            serialize=settings.json_lines,
            rotation=FILE_SIZE,
            retention=FILES_KEPT,
            enqueue=True,
            diagnose=False,
            backtrace=False,
        )


def _tame(record: "Record") -> None:
    """Let a file's name neither steer a terminal nor look like a line of the log: after a line break it is indented."""
    message = CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), record["message"])
    record["message"] = message.replace("\n", "\n    ")


def lines_about(path: Path, job_id: int) -> list[str]:
    """Return the last lines of a log file about one job, oldest first; none if it cannot be read.

    Every line about a job says `job N`, or carries its number where lines are JSON.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - EXCERPT_BYTES, 0))
            lines = file.read(EXCERPT_BYTES).decode("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    name = re.compile(rf"\bjob {job_id}\b")
    found = (_told(line, job_id, name) for line in lines)
    return [line for line in found if line][-EXCERPT_LINES:]


def _told(line: str, job_id: int, name: re.Pattern[str]) -> str:
    """Return a line as text if it is about the job, else ""."""
    if not line.startswith("{"):
        return line if name.search(line) else ""
    try:
        record = json.loads(line)["record"]
        if record["extra"].get("job") != job_id and not name.search(record["message"]):
            return ""
        return f"{record['time']['repr'][:19]} {record['level']['name']: <7} {record['message']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
