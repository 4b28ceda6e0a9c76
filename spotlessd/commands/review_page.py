"""`spotlessd review`: print the address of the page the daemon serves, or serve it here until Ctrl-C."""

import signal
import socket
from collections.abc import Callable
from threading import Event

from spotlessd.configuration.settings import Settings
from spotlessd.errors import ReviewError
from spotlessd.monitoring.status import LEDGER_NAME, is_locked
from spotlessd.review.daemon_page import noted_port
from spotlessd.review.server import ReviewServer, address_of, read_token
from spotlessd.sqlite.database import Database

LOOK_SECONDS = 0.5
CONNECT_SECONDS = 2.0


def review(
    settings: Settings, *, port: int | None, show: Callable[[str], None], open_page: Callable[[str], object] | None
) -> int:
    """Show where the page is; unless the daemon serves it, serve it until a signal. Returns the exit code.

    `port`: serve it here on this port, whatever the daemon does. `open_page`: opens an address in a browser.

    Raises:
        ConfigError: the token file cannot be used.
        ReviewError: the port is taken, or serving came to an end by itself.
        LedgerError: the ledger cannot be opened.
    """
    served = None if port is not None else _served_by_daemon(settings)
    if served is not None:
        address = address_of(settings, served, read_token(settings.review.token_file))
        show(f"The daemon serves the page: {address}")
        if open_page is not None:
            open_page(address)
        return 0
    # Made, or brought up to date: the page itself only reads.
    Database.open(settings.state_dir / LEDGER_NAME).close()
    server = ReviewServer(settings, port=port)
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        server.start()
        show(f"The review page: {server.address}\nCtrl-C ends it.")
        if open_page is not None:
            open_page(server.address)
        while not stop.wait(LOOK_SECONDS):
            if server.trouble:
                raise ReviewError(server.trouble)
    finally:
        server.stop()
    return 0


def _served_by_daemon(settings: Settings) -> int | None:
    """Return the port on which the station's daemon serves the page; None if it does not."""
    port = noted_port(settings.state_dir)
    if port is None or not is_locked(settings.state_dir):
        return None
    try:
        with socket.create_connection((settings.review.host, port), CONNECT_SECONDS):
            return port
    except OSError:
        return None
