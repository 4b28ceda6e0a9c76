"""systemd hears what the service says, and its absence changes nothing."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from spotlessd.monitoring.systemd_notify import ALIVE_SECONDS, SystemdNotifier


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind("notify")
        bound.settimeout(5)
        yield bound


def test_ready_carries_the_status(listener: socket.socket) -> None:
    SystemdNotifier({"NOTIFY_SOCKET": "notify"}).ready("watching\n2 folders")

    assert listener.recv(1000) == b"READY=1\nSTATUS=watching 2 folders"


def test_each_message_is_what_systemd_expects(listener: socket.socket) -> None:
    notifier = SystemdNotifier({"NOTIFY_SOCKET": "notify"})

    notifier.alive()
    notifier.status("3 queued")
    notifier.stopping()

    received = [listener.recv(1000) for _ in range(3)]
    assert received == [b"WATCHDOG=1", b"STATUS=3 queued", b"STOPPING=1"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="abstract sockets exist on Linux only")
def test_an_abstract_socket_is_reached() -> None:
    name = f"spotlessd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind("\0" + name)
        bound.settimeout(5)

        SystemdNotifier({"NOTIFY_SOCKET": "@" + name}).alive()

        assert bound.recv(100) == b"WATCHDOG=1"


def test_without_systemd_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr(socket, "socket", lambda *words: made.append(words))

    SystemdNotifier({}).ready("x")

    assert made == []


def test_thousands_of_signs_of_life_become_a_few(listener: socket.socket) -> None:
    now = [100.0]
    notifier = SystemdNotifier({"NOTIFY_SOCKET": "notify"}, clock=lambda: now[0])

    for _ in range(5000):
        notifier.alive()
    now[0] += ALIVE_SECONDS
    notifier.alive()
    notifier.stopping()

    assert [listener.recv(1000) for _ in range(3)] == [b"WATCHDOG=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_a_dead_socket_does_not_stop_the_service(tmp_path: Path) -> None:
    SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).alive()
