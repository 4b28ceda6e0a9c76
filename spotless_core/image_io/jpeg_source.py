"""The bytes of a JPEG file for a walk over its markers, in memory or on the disk: read in bounded pieces.

Comes in: all bytes, or an open file. Goes out: the few bytes asked for, and where the next marker is. What lies beyond
the end is a `TruncatedScanError`. No more than a window of the compressed data is ever held.
"""

import re

from spotless_core.errors import TruncatedScanError
from spotless_core.image_io.positional_file import PositionalFile

WINDOW_BYTES = 1 << 20
FIRST_WINDOW_BYTES = 16
"""A marker hardly ever has more fill bytes before it; hostile files have millions."""
NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""The end of compressed data: neither a stuffed zero nor a restart marker nor a fill byte."""


class JpegSource:
    """Positional reads of `content`; `size` in bytes."""

    def __init__(self, content: bytes | PositionalFile) -> None:
        self._content = content
        self.size = len(content) if isinstance(content, bytes) else content.size

    def read(self, start: int, count: int) -> bytes:
        """Return exactly `count` bytes from `start`.

        Raises:
            TruncatedScanError: the file ends before, or cannot be read.
        """
        if start + count > self.size:
            raise TruncatedScanError(
                f"the JPEG needs {start + count} bytes and more, but the file has {self.size}. "
                "Wait until it is completely written, or scan it again."
            )
        if isinstance(self._content, bytes):
            return self._content[start : start + count]
        return self._content.read(start, count)

    def end_of_fill(self, start: int) -> int:
        """Return where the run of 0xFF that begins at `start` ends; `start` itself where there is none."""
        position, window = start, FIRST_WINDOW_BYTES
        while part := self._window(position, window):
            rest = part.lstrip(b"\xff")
            position += len(part) - len(rest)
            if rest:
                break
            window = min(2 * window, WINDOW_BYTES)
        return position

    def end_of_data(self, start: int) -> int:
        """Return where the compressed data from `start` on end: the position of the next marker's 0xFF.

        Raises:
            TruncatedScanError: no marker follows.
        """
        position = start
        while len(part := self._window(position, WINDOW_BYTES)) > 1:
            found = NEXT_MARKER.search(part)
            if found:
                return position + found.start()
            position += len(part) - 1  # the last byte may be the first of a marker
        raise TruncatedScanError("the JPEG has no end marker. Wait until it is completely written.")

    def _window(self, start: int, count: int) -> bytes:
        """Return up to `count` bytes from `start`, fewer at the end of the file."""
        return self.read(start, max(0, min(count, self.size - start)))
