"""The daemon's review page, as its config wants it; the libraries are loaded when the page is first wanted.

Where it is served is written down in the state folder, for `spotlessd review`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from loguru import logger

from spotlessd.configuration.settings import Settings
from spotlessd.errors import DaemonError, ReviewError
from spotlessd.publishing.durable import make_folder

if TYPE_CHECKING:
    from spotlessd.review.server import ReviewServer

ADDRESS_NOTE = "review.port"


class DaemonPage:
    """The page of one daemon. `trouble`: why it is not served, "" where it is or is not wanted."""

    def __init__(self) -> None:
        self._server: ReviewServer | None = None
        self._settings: Settings | None = None
        self._start_trouble = ""

    @property
    def trouble(self) -> str:
        """What is wrong, a sentence."""
        return self._start_trouble or (self._server.trouble if self._server is not None else "")

    def configure(self, settings: Settings) -> None:
        """Serve the page as these settings say; what has not changed goes on."""
        before, self._settings = self._settings, settings
        if before is not None and (before.review, before.roots) == (settings.review, settings.roots):
            return
        self.close()
        self._start_trouble = ""
        if not settings.review.enabled:
            return
        from spotlessd.review.server import ReviewServer, address_of

        server = ReviewServer(settings, is_daemon=True)
        try:
            server.start()
            note_address(settings, server.port)
        except DaemonError as error:
            self._start_trouble = str(error)
            logger.error("{}", error)
            return
        self._server = server
        logger.info("review page: {}", address_of(settings, server.port, ""))

    def close(self) -> None:
        """Stop serving."""
        if self._server is None:
            return
        self._server.stop()
        self._server = None
        if self._settings is not None:
            (self._settings.state_dir / ADDRESS_NOTE).unlink(missing_ok=True)


def note_address(settings: Settings, port: int) -> None:
    """Write down for `spotlessd review` where the daemon serves the page.

    Raises:
        ReviewError: the state folder cannot be written.
    """
    path = settings.state_dir / ADDRESS_NOTE
    try:
        make_folder(path.parent)
        path.write_text(f"{port}\n", encoding="ascii")
    except OSError as error:
        raise ReviewError(f"{path}: cannot be written ({error.strerror}).") from error


def noted_port(state_dir: Path) -> int | None:
    """Return the port that the daemon serves the page on; None if it says none."""
    try:
        return int((state_dir / ADDRESS_NOTE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
