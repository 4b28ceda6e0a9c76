"""What monitors ask over HTTP, on 127.0.0.1 only: /healthz (alive?), /readyz (working?), /metrics (Prometheus).

Read only, from threads of its own, each request from the ledger as it is now. Off by default (`health.port = 0`). A
port that is taken, or a request that fails, harms nothing but the answer. healthz fails when the main loop hangs: a
restart helps. readyz fails while scans are not being restored, and says why: a person helps.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from loguru import logger
from prometheus_client.metrics_core import Metric

from spotlessd.errors import LedgerError
from spotlessd.monitoring.metrics import CONTENT_TYPE, DiskGauge, render
from spotlessd.monitoring.notices import Vitals
from spotlessd.monitoring.status import SILENT_SECONDS, StationStatus, read_status

ADDRESS = "127.0.0.1"
REQUEST_SECONDS = 10.0
PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """An answer: HTTP status, body, and its kind."""

    status: int
    body: bytes
    kind: str = PLAIN


class HealthPages:
    """Makes the answers for one station. `vitals`: as the loop knows them now. `more`: figures from memory, no I/O."""

    def __init__(
        self,
        state_dir: Path,
        folders: Mapping[str, Path],
        vitals: Callable[[], Vitals],
        more: Callable[[], Iterable[Metric]] = tuple,
    ) -> None:
        self._more = more
        self._state_dir = state_dir
        self._disk = DiskGauge(folders)
        self._vitals = vitals

    def healthz(self) -> Page:
        """Whether the main loop goes round."""
        age = self._vitals().loop_age
        if age > SILENT_SECONDS:
            return _text(503, f"the main loop has not gone round for {age:.0f} s")
        return _text(200, "ok")

    def readyz(self) -> Page:
        """Whether a scan that comes in now is restored."""
        status = self._status()
        workers = () if status.snapshot is None else status.snapshot.workers
        # While another worker restores scans, one that cannot is a trouble, but no reason to send nothing here.
        borne = {worker.trouble for worker in workers} if any(worker.is_up for worker in workers) else set()
        reasons = [reason for reason in status.degraded if reason not in borne]
        if status.paused:
            reasons.append(f"paused: {status.paused}")
        if self._vitals().loop_age > SILENT_SECONDS:
            reasons.append("the main loop hangs")
        return _text(503, "\n".join(reasons)) if reasons else _text(200, "ok")

    def metrics(self) -> Page:
        """All figures."""
        return Page(200, render(self._status(), self._vitals(), self._disk.read(), self._more()), CONTENT_TYPE)

    def page(self, path: str) -> Page:
        """Return the answer to a GET of `path`."""
        pages = {"/healthz": self.healthz, "/readyz": self.readyz, "/metrics": self.metrics}
        make = pages.get(path.partition("?")[0])
        if make is None:
            return _text(404, f"only {', '.join(pages)} are here")
        try:
            return make()
        except LedgerError as error:
            return _text(503, str(error))

    def _status(self) -> StationStatus:
        return read_status(self._state_dir, time.time())


class HealthServer:
    """Serves the pages until `close`.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, port: int, pages: HealthPages) -> None:
        class Handler(BaseHTTPRequestHandler):
            """One request."""

            timeout = REQUEST_SECONDS
            server_version, sys_version = "spotlessd", ""

            def do_GET(self) -> None:
                page = pages.page(self.path)
                self.send_response(page.status)
                self.send_header("Content-Type", page.kind)
                self.send_header("Content-Length", str(len(page.body)))
                self.end_headers()
                self.wfile.write(page.body)

            def log_message(self, format: str, *values: object) -> None:  # noqa: A002 - the base class's name
                logger.debug("health: " + format.replace("%s", "{}").replace("%d", "{}"), *values)

        self._server = _Server((ADDRESS, port), Handler)
        self._thread = Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that is served."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away, or our own mistake: a line in the log, never a trace on the terminal."""
        logger.opt(exception=True).debug("health: a request of {} failed", client_address)


def _text(status: int, text: str) -> Page:
    return Page(status, f"{text}\n".encode())
