"""Tell systemd how the service is: ready, alive, what it does, stopping. Without systemd every call does nothing.

The protocol is sd_notify(3): one datagram of `KEY=value` lines to the socket named by $NOTIFY_SOCKET. A leading `@`
means an abstract socket. A message that cannot be sent is dropped: the service must not fail for its own reporting.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping

ALIVE_SECONDS = 0.2
"""Signs of life closer together are left out: thousands of them would fill systemd's socket and make us wait."""


class SystemdNotifier:
    """The link to systemd, read once from the environment. `clock`: monotonic seconds."""

    def __init__(self, environ: Mapping[str, str] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        environ = os.environ if environ is None else environ
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._clock = clock
        self._alive_at = -ALIVE_SECONDS

    def ready(self, status: str) -> None:
        """The service has started."""
        self._send("READY=1", f"STATUS={_one_line(status)}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={_one_line(text)}")

    def alive(self) -> None:
        """The main loop goes on; systemd restarts the service when this stays away. May be called very often."""
        now = self._clock()
        if now - self._alive_at >= ALIVE_SECONDS:
            self._alive_at = now
            self._send("WATCHDOG=1")

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


def _one_line(text: str) -> str:
    return " ".join(text.split())
