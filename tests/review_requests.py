"""Requests over the network, as a browser or an attacker sends them."""

import http.client
import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress


def get(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def post(port: int, path: str, token: str, value: object) -> tuple[int, bytes]:
    """Ask for a change as the page does."""
    headers = {"Origin": f"http://127.0.0.1:{port}", "X-CSRF-Token": token, "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", path, json.dumps(value), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def raw(port: int, request: bytes) -> bytes:
    """Send bytes as they are and return the first part of the answer."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        with suppress(ConnectionError):  # refused before it was all sent
            connection.sendall(request)
        return connection.recv(65536)


def wait_for(claim: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class Listener:
    """A page that listens to the events."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self._connection.request("GET", "/events")
        self._answer = self._connection.getresponse()
        self.status = self._answer.status
        self.kind = self._answer.headers["Content-Type"]

    def next(self) -> dict[str, object]:
        """Return the data of the next change."""
        while True:
            line = self._answer.readline()
            assert line, "the events ended"
            if line.startswith(b"data: "):
                return dict(json.loads(line.removeprefix(b"data: ")))

    def ends(self) -> bool:
        """Read until the answer ends."""
        while self._answer.readline():
            pass
        self.close()
        return True

    def close(self) -> None:
        self._answer.close()
        self._connection.close()
