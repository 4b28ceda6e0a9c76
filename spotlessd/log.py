"""Set up the log: loguru to standard error, as text or one JSON object a line, and to a file if one is configured.

Comes in: the log settings. Under systemd standard error is the journal. Promise: no values of local variables are ever
written (`diagnose=False`): they would hold file contents.
"""

import sys
from typing import TextIO

from loguru import logger

from spotlessd.settings_sections import LogSettings

TEXT_FORMAT = "{time:YYYY-MM-DD HH:mm:ss} {level: <7} {message}{exception}"
FILE_SIZE = "50 MB"
FILES_KEPT = 10


def set_up_log(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Replace loguru's sinks by ours; `stream` is standard error when not given."""
    logger.remove()
    logger.add(
        sys.stderr if stream is None else stream,
        level=settings.level,
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
