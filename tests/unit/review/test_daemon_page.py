"""The daemon's page by its config, and who may ask for it."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from review_requests import get, raw, wait_for
from review_station import FakePictures, ReviewStation

from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.errors import ConfigError
from spotlessd.review.daemon_page import DaemonPage, noted_port
from spotlessd.review.server import ReviewServer, address_of, read_token

TOKEN = "a-token-of-more-than-16-signs"  # noqa: S105 - made for these tests


@pytest.fixture
def station(tmp_path: Path) -> ReviewStation:
    return ReviewStation(tmp_path)


@pytest.fixture
def served(station: ReviewStation) -> Iterator[ReviewServer]:
    server = ReviewServer(station.settings, port=0, draw=FakePictures)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def with_review(station: ReviewStation, text: str) -> Settings:
    path = station.settings.config_path
    base = path.read_text().partition("[review]")[0]
    path.write_text(f"{base}[review]\n{text}\n")
    return load_settings(path)


def test_the_daemon_serves_it_as_its_config_says_and_changes_with_it(station: ReviewStation, port: int) -> None:
    page = DaemonPage()
    page.configure(station.settings)
    off = noted_port(station.state)

    page.configure(with_review(station, f"enabled = true\nport = {port}"))
    on = (noted_port(station.state), get(port, "/api/roll")[0], page.trouble)
    page.configure(with_review(station, f"enabled = false\nport = {port}"))

    assert (off, on) == (None, (port, 200, ""))
    assert noted_port(station.state) is None
    with pytest.raises(ConnectionRefusedError):
        get(port, "/")


def test_a_taken_port_is_a_trouble_of_the_daemon_and_no_more(served: ReviewServer, station: ReviewStation) -> None:
    page = DaemonPage()

    page.configure(with_review(station, f"enabled = true\nport = {served.port}"))
    trouble = page.trouble
    page.configure(with_review(station, "enabled = false"))

    assert "cannot be served" in trouble
    assert page.trouble == ""


def test_a_page_that_dies_is_told(station: ReviewStation, port: int) -> None:
    page = DaemonPage()
    page.configure(with_review(station, f"enabled = true\nport = {port}"))
    server = page._server
    assert server is not None
    assert server._loop is not None
    assert server._stop is not None

    server._loop.call_soon_threadsafe(server._stop.set)

    wait_for(lambda: "not served any more" in page.trouble)
    page.close()


def test_a_host_beyond_this_machine_needs_a_token_file(station: ReviewStation) -> None:
    with pytest.raises(ConfigError) as caught:
        with_review(station, 'enabled = true\nhost = "0.0.0.0"')

    (problem,) = caught.value.problems
    assert f"{station.settings.config_path}:8: review.host: '0.0.0.0'" in problem
    assert caught.value.exit_code == 78


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_this_machine_needs_none(station: ReviewStation, host: str) -> None:
    assert with_review(station, f'host = "{host}"').review.is_local


@pytest.mark.parametrize("text", ["", "short", "a token with blanks in it", "größer-als-sechzehn-zeichen", "\0" * 20])
def test_a_bad_token_serves_nothing(station: ReviewStation, tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    settings = with_review(station, 'token_file = "token"')

    with pytest.raises(ConfigError, match="or more letters"):
        ReviewServer(settings, port=0, draw=FakePictures).start()


def test_a_token_file_that_is_not_there_serves_nothing(station: ReviewStation) -> None:
    settings = with_review(station, 'token_file = "token"')

    with pytest.raises(ConfigError, match="cannot be read"):
        ReviewServer(settings, port=0, draw=FakePictures).start()


def test_with_a_token_the_address_carries_it_and_opens_the_page(station: ReviewStation, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    settings = with_review(station, 'host = "0.0.0.0"\ntoken_file = "token"\nhosts = ["scanner.lan"]')
    server = ReviewServer(settings, port=0, draw=FakePictures)
    server.start()
    try:
        without = get(server.port, "/")[0]
        opened = raw(server.port, f"GET /?token={TOKEN} HTTP/1.1\r\nHost: scanner.lan\r\n\r\n".encode())
        rebound = raw(server.port, f"GET /?token={TOKEN} HTTP/1.1\r\nHost: evil.example\r\n\r\n".encode())
    finally:
        server.stop()

    assert server.address.endswith(f":{server.port}/?token={TOKEN}")
    assert read_token(tmp_path / "token") == TOKEN
    assert without == 401
    assert opened.startswith(b"HTTP/1.1 303")
    assert rebound.startswith(b"HTTP/1.1 421")
    assert address_of(settings, 1, "").startswith(f"http://{socket.gethostname()}:1/")
