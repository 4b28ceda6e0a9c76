"""Serves the review page: uvicorn in a thread with an event loop of its own, one for a station.

The daemon has one by its config (daemon_page.py), `spotlessd review` makes one for itself. Whatever goes wrong in the
thread is told and harms nothing else.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from urllib.parse import quote

import uvicorn
from anyio import to_thread
from loguru import logger

from spotlessd.configuration.settings import Settings
from spotlessd.errors import ConfigError, ReviewError
from spotlessd.review.app import make_app
from spotlessd.review.decisions import Decisions
from spotlessd.review.events import Events
from spotlessd.review.frames import Frames
from spotlessd.review.picture_source import PictureSource
from spotlessd.review.pictures import Pictures
from spotlessd.review.security import Access

LEAST_TOKEN_CHARACTERS = 16
MOST_TOKEN_BYTES = 1000
MOST_CONNECTIONS = 128
MOST_HEAD_BYTES = 32_768
KEEP_ALIVE_SECONDS = 15
DRAIN_SECONDS = 1
STOP_SECONDS = 3.0
START_SECONDS = 20.0
BACKLOG = 128
EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with


class ReviewServer:
    """One served page. `port`: instead of the config's; 0 = any that is free. `is_daemon`: served by the daemon.

    `draw`: makes who draws the pictures, given the state folder.
    `trouble`: why the page is not served any more, "" while it is.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        port: int | None = None,
        is_daemon: bool = False,
        draw: Callable[[Path], PictureSource] | None = None,
    ) -> None:
        self._settings = settings
        self._draw = draw or (lambda state_dir: Pictures(state_dir, cache_mb=settings.review.cache_mb))
        self._wanted_port = settings.review.port if port is None else port
        self._is_daemon = is_daemon
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: Thread | None = None
        self._is_up = Event()
        self._is_stopping = False
        self._token = ""
        self.port = 0
        self.trouble = ""

    @property
    def address(self) -> str:
        """The page's address as a browser on this machine finds it, with the token if one is needed."""
        return address_of(self._settings, self.port, self._token)

    def start(self) -> None:
        """Serve from now on; returns when the page answers.

        Raises:
            ConfigError: the token file cannot be used.
            ReviewError: the port is taken or cannot be served.
        """
        self._token = read_token(self._settings.review.token_file)
        listener = _listen(self._settings.review.host, self._wanted_port)
        self.port = int(listener.getsockname()[1])
        self._thread = Thread(target=self._serve, args=(listener,), name="review", daemon=True)
        self._thread.start()
        self._is_up.wait(START_SECONDS)
        if self.trouble:
            raise ReviewError(self.trouble)

    def stop(self) -> None:
        """Stop serving; open pages are sent away. Takes at most `STOP_SECONDS`; may be called twice."""
        self._is_stopping = True
        if self._thread is None:
            return
        if self._loop is not None and self._stop is not None:
            with suppress(RuntimeError):  # the loop is closed: the thread has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_SECONDS)

    def _serve(self, listener: socket.socket) -> None:
        """Be the thread."""
        try:
            with listener:
                asyncio.run(self._answer(listener))
            if not self._is_stopping:
                self._tell("it ended by itself")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the daemon goes on, whatever it was
            logger.opt(exception=error).error("review page: stopped")
            self._tell(f"{type(error).__name__}: {error}")
        finally:
            self._is_up.set()

    def _tell(self, what: str) -> None:
        self.trouble = f"review page: not served any more ({what}). Restart spotlessd to have it back."

    async def _answer(self, listener: socket.socket) -> None:
        _send_log_to_ours()
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        frames = Frames(self._settings, is_daemon=self._is_daemon)
        events = Events(lambda mark: to_thread.run_sync(frames.changes, mark))
        app = make_app(
            self._settings,
            self._draw(self._settings.state_dir),
            frames,
            Decisions(self._settings, is_daemon=self._is_daemon),
            _access(self._settings, self._token),
            events,
        )
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=MOST_HEAD_BYTES,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        stopping = asyncio.create_task(self._stop.wait())
        while not (server.started or serving.done()):
            await asyncio.sleep(0.01)
        self._is_up.set()
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        # The listeners first: uvicorn waits for answers that are under way, and theirs have no end.
        events.leave()
        server.should_exit = True
        await serving


def address_of(settings: Settings, port: int, token: str) -> str:
    """Return the page's address; with a `token` it opens the page."""
    host = settings.review.host
    host = socket.gethostname() if host in EVERYWHERE else host
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/{f'?token={quote(token)}' if token else ''}"


def read_token(path: Path | None) -> str:
    """Return the token in a file, without the blanks around it; "" where none is configured.

    Raises:
        ConfigError: the file cannot be read, or its text is no good token.
    """
    if path is None:
        return ""
    try:
        with path.open("rb") as file:
            token = file.read(MOST_TOKEN_BYTES).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"review.token_file = {path}: cannot be read ({error}).") from error
    if len(token) < LEAST_TOKEN_CHARACTERS or not (token.isascii() and token.isprintable()) or " " in token:
        raise ConfigError(
            f"review.token_file = {path}: {LEAST_TOKEN_CHARACTERS} or more letters, digits and signs without blanks "
            "expected. Make one: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return token


def _access(settings: Settings, token: str) -> Access:
    review = settings.review
    own = {review.host, socket.gethostname()} if not review.is_local else {review.host}
    names = {f"[{name}]" if ":" in name else name for name in (*review.hosts, *own)}
    return Access(token, frozenset(name.lower() for name in names), takes_addresses=not review.is_local)


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        ReviewError: there is none to be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        fix = "Choose another port." if error.errno == errno.EADDRINUSE else "Check review.host and review.port."
        raise ReviewError(f"review page: {host}:{port} cannot be served ({error.strerror}). {fix}") from error
    return listener


class _ToOurLog(logging.Handler):
    """uvicorn's messages at our level: what it calls information is detail here."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "DEBUG" if record.levelno < logging.WARNING else record.levelname
        logger.opt(exception=record.exc_info).log(level, "review page: {}", record.getMessage())


def _send_log_to_ours() -> None:
    log = logging.getLogger("uvicorn")
    log.handlers = [_ToOurLog()]
    log.setLevel(logging.INFO)
    log.propagate = False
