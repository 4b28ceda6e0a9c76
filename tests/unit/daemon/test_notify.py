"""Programs and addresses that are told: quickly, not too often, and whatever they do harms nothing."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from spotlessd.configuration.sections import NoticeKind, NotifySettings
from spotlessd.monitoring.notify import FILES_TOLD, Messenger, Notice, make_messenger, post, run_command

ALL = tuple(NoticeKind)


def notice(kind: NoticeKind = NoticeKind.QUARANTINED, file: str = "a.tif") -> Notice:
    return Notice(kind, f"{file}: bad.", 1_000_000.0, file, 7)


def wait_for(claim: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class Inbox:
    """Takes messages, as a hook would."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def take(self, message: dict[str, Any]) -> None:
        self.messages.append(message)


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


def test_a_message_says_what_where_and_when(inbox: Inbox) -> None:
    messenger = Messenger("dark", ALL, 0.0, [inbox.take])

    messenger.tell(notice())
    messenger.close()

    (message,) = inbox.messages
    assert (message["event"], message["station"], message["count"]) == ("quarantined", "dark", 1)
    assert message["at"] == "1970-01-12T13:46:40+00:00"
    assert message["text"] == "a.tif: bad."
    assert message["files"] == [{"job": 7, "file": "a.tif", "text": "a.tif: bad."}]


def test_a_kind_that_nobody_wants_is_not_sent(inbox: Inbox) -> None:
    messenger = Messenger("dark", (NoticeKind.HELD,), 0.0, [inbox.take])

    messenger.tell(notice(NoticeKind.QUARANTINED))
    messenger.tell(notice(NoticeKind.HELD))
    messenger.close()

    assert [message["event"] for message in inbox.messages] == ["held"]


def test_what_comes_within_the_interval_is_told_together(inbox: Inbox) -> None:
    clock = [0.0]
    messenger = Messenger("dark", ALL, 300.0, [inbox.take], clock=lambda: clock[0])
    messenger.tell(notice())
    wait_for(lambda: len(inbox.messages) == 1)
    for number in range(FILES_TOLD + 5):
        messenger.tell(notice(file=f"{number}.tif"))
    messenger.tell(notice(NoticeKind.HELD))
    wait_for(lambda: len(inbox.messages) == 2)

    clock[0] = 301.0
    messenger.tell(replace(notice(file="last.tif"), text="the very last"))
    wait_for(lambda: len(inbox.messages) == 3)
    messenger.close()

    first, held, together = inbox.messages
    assert (first["count"], held["event"], together["count"]) == (1, "held", FILES_TOLD + 6)
    assert len(together["files"]) == FILES_TOLD
    assert together["text"].endswith("times; the last: the very last")


def test_what_waits_for_its_interval_is_sent_when_the_daemon_ends(inbox: Inbox) -> None:
    messenger = Messenger("dark", ALL, 300.0, [inbox.take])
    messenger.tell(notice())
    wait_for(lambda: len(inbox.messages) == 1)
    messenger.tell(notice(file="b.tif"))

    messenger.close()

    assert [message["files"][0]["file"] for message in inbox.messages] == ["a.tif", "b.tif"]


def test_a_sender_that_fails_in_any_way_does_not_keep_the_others_from_being_told(inbox: Inbox) -> None:
    def fails(_: dict[str, Any]) -> None:
        raise ZeroDivisionError("our own mistake")

    messenger = Messenger("dark", ALL, 0.0, [fails, inbox.take])

    messenger.tell(notice())
    messenger.tell(notice())
    messenger.close()

    assert sum(message["count"] for message in inbox.messages) == 2


def test_telling_never_waits_for_a_hook_that_hangs() -> None:
    release = threading.Event()
    messenger = Messenger("dark", ALL, 0.0, [lambda _: release.wait(30) and None])
    began = time.monotonic()

    for _ in range(1000):
        messenger.tell(notice())
    messenger.close(0.1)

    assert time.monotonic() - began < 5
    release.set()


def test_the_end_of_the_daemon_leaves_no_hook_behind(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f'echo $$ >> "{pids}"; sleep 60'
    messenger = make_messenger(NotifySettings(command=("sh", "-c", script), timeout_seconds=1), "dark")

    messenger.tell(notice())
    messenger.close()

    assert not _is_running(int(pids.read_text()))


def test_without_a_command_or_an_address_no_thread_is_started() -> None:
    before = threading.active_count()

    messenger = make_messenger(NotifySettings(), "dark")
    messenger.tell(notice())
    messenger.close()

    assert threading.active_count() == before


def test_the_command_gets_json_on_its_standard_input(tmp_path: Path) -> None:
    out = tmp_path / "told.json"
    script = f"import sys; open({str(out)!r}, 'w').write(sys.stdin.read())"

    messenger = make_messenger(NotifySettings(command=(sys.executable, "-c", script)), "dark")
    messenger.tell(notice())
    messenger.close()

    assert json.loads(out.read_text())["event"] == "quarantined"


def test_a_command_that_hangs_is_killed_with_all_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f'echo $$ >> "{pids}"; sleep 60 & echo $! >> "{pids}"; wait'

    with pytest.raises(TimeoutError, match="took more than 1 s and was killed"):
        run_command(("sh", "-c", script), {"event": "held"}, 1.0)

    numbers = [int(line) for line in pids.read_text().split()]
    assert len(numbers) == 2
    wait_for(lambda: not any(_is_running(number) for number in numbers))


def _is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (("false",), "status 1"),
        (("/no/such/program",), "No such file"),
        (("sh", "-c", "exec 0<&-; exit 3"), "status 3"),
    ],
)
def test_a_command_that_fails_says_how(command: tuple[str, ...], text: str) -> None:
    with pytest.raises(OSError, match=text):
        run_command(command, {"pad": "x" * 200_000}, 10.0)


class Taker(BaseHTTPRequestHandler):
    """Keeps what is posted to it; /refuse answers 500, /hang drips one byte at a time."""

    taken: list[tuple[str, dict[str, Any]]] = []  # noqa: RUF012 - one list for one test's server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.taken.append((self.headers["Content-Type"], json.loads(body)))
        if self.path == "/hang":
            for _ in range(40):
                self.wfile.write(b"H")
                self.wfile.flush()
                time.sleep(0.05)
            return
        self.send_response(500 if self.path == "/refuse" else 204)
        self.end_headers()

    def log_message(self, format: str, *values: object) -> None:  # noqa: A002 - the base class's name
        return


@pytest.fixture
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Taker)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that gave up is what is tested
    Taker.taken = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_the_address_gets_the_same_json(address: str) -> None:
    messenger = make_messenger(NotifySettings(webhook=f"{address}/hook"), "dark")
    messenger.tell(notice())
    messenger.close()

    ((kind, message),) = Taker.taken
    assert (kind, message["event"]) == ("application/json", "quarantined")


def test_an_address_that_refuses_says_so(address: str) -> None:
    with pytest.raises(OSError, match="500"):
        post(f"{address}/refuse", {}, 10.0)


def test_an_address_that_drips_is_given_up_in_time(address: str) -> None:
    began = time.monotonic()

    with pytest.raises(TimeoutError, match="did not answer within"):
        post(f"{address}/hang", {}, 0.5)

    assert time.monotonic() - began < 5


def test_an_address_where_nobody_listens_says_so() -> None:
    with pytest.raises(OSError, match="refused"):
        post("http://127.0.0.1:1/", {}, 10.0)


def test_the_hooks_process_is_no_child_of_the_terminal(tmp_path: Path) -> None:
    out = tmp_path / "session"

    run_command((sys.executable, "-c", f"import os; open({str(out)!r}, 'w').write(str(os.getsid(0)))"), {}, 20.0)

    assert int(out.read_text()) != os.getsid(0)
