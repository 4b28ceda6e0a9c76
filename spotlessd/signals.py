"""What the operating system asks of the daemon, turned into flags and one wake-up for the main loop.

SIGTERM and SIGINT: stop; twice: stop at once. SIGHUP: read the config again. SIGUSR1: look at the folders. SIGUSR2:
write the state into the log. The handlers only set flags; `wake` may also be called from other threads. SIGIO is
ignored: a lease on a file can raise it.
"""

import os
import signal
from types import FrameType
from typing import Self

DRAIN_BYTES = 4096


class Inbox:
    """Flags set from outside, and a pipe end that becomes readable when there is news. Use it as a context."""

    def __init__(self) -> None:
        self._read_end, self._write_end = _pipe()
        self.stops = 0
        self.is_reload_asked = False
        self.is_look_asked = False
        self.is_state_asked = False
        self._previous: dict[int, object] = {}

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._read_end

    def wake(self) -> None:
        """Make the main loop go round now; a full pipe is news enough."""
        try:
            os.write(self._write_end, b"!")
        except BlockingIOError:
            return

    def drain(self) -> None:
        """Take all wake-ups, before looking at what they were for."""
        try:
            while os.read(self._read_end, DRAIN_BYTES):
                continue
        except BlockingIOError:
            return

    def ask_look(self, _: str = "") -> None:
        """Somebody saw a change; may be called from any thread."""
        self.is_look_asked = True
        self.wake()

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            self._previous[number] = signal.signal(number, self._on_signal)
        self._previous[signal.SIGIO] = signal.signal(signal.SIGIO, signal.SIG_IGN)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() returned
        os.close(self._read_end)
        os.close(self._write_end)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if number in {signal.SIGTERM, signal.SIGINT}:
            self.stops += 1
        elif number == signal.SIGHUP:
            self.is_reload_asked = True
        elif number == signal.SIGUSR2:
            self.is_state_asked = True
        else:
            self.is_look_asked = True
        self.wake()


def _pipe() -> tuple[int, int]:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    return read_end, write_end
