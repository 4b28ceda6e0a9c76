"""Tell systemd how the service is: ready, alive, what it does, stopping. Without systemd every call does nothing.

The protocol is sd_notify(3): one datagram of `KEY=value` lines to the socket named by $NOTIFY_SOCKET. A leading `@`
means an abstract socket. A message that cannot be sent is dropped: the service must not fail for its own reporting.
"""

import contextlib
import os
import socket
from collections.abc import Mapping


class SystemdNotifier:
    """The link to systemd, read once from the environment; `is_active` is False when not started by systemd."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._watchdog_seconds = _watchdog_seconds(environ)

    @property
    def is_active(self) -> bool:
        """Whether somebody listens."""
        return bool(self._address)

    @property
    def watchdog_seconds(self) -> float | None:
        """How often `alive` must be called: half of WatchdogSec, or None if no watchdog is set for this process."""
        return None if self._watchdog_seconds is None else self._watchdog_seconds / 2

    def ready(self, status: str) -> None:
        """The service has started."""
        self._send("READY=1", f"STATUS={_one_line(status)}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={_one_line(text)}")

    def alive(self) -> None:
        """The main loop goes round; systemd restarts the service when this stays away."""
        self._send("WATCHDOG=1")

    def extend_start(self, seconds: float) -> None:
        """Starting takes longer: systemd waits `seconds` more."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def stopping(self) -> None:
        """The service has begun to stop."""
        self._send("STOPPING=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.settimeout(1.0)
            link.sendto("\n".join(lines).encode(), address)


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """Read WATCHDOG_USEC, unless WATCHDOG_PID says it is meant for another process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        microseconds = int(environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 else None


def _one_line(text: str) -> str:
    return " ".join(text.split())
