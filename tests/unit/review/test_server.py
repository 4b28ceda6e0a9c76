"""The served page: a real server in its thread, and real connections."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from drawing_tiff import grainy
from PIL import Image
from review_requests import Listener, get, post, raw, wait_for
from review_station import HEIGHT, NASTY, WIDTH, FakePictures, ReviewStation, write_mask_png

from spotlessd.errors import ReviewError
from spotlessd.job import JobState
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.review import events as events_module
from spotlessd.review import server as server_module
from spotlessd.review.events import MOST_LISTENERS
from spotlessd.review.server import ReviewServer
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database

HOSTILE_PATHS = (
    b"/static/../app.py",
    b"/static/..%2fapp.py",
    b"/static/%2e%2e/%2e%2e/spotlessd.toml",
    b"/frame/..",
    b"/frame/../../etc/passwd",
    b"/thumb/../../../etc/passwd",
    b"/tiles/1/before/0/../../../../etc/passwd",
    b"//evil.example/frame/1",
    b"/..",
    b"/\\..\\..\\etc",
    b"/frame/1e9",
    b"/frame/-1",
    b"/frame/%2e%2e",
    b"/api/frame/99999999999999999999",
    b"http://evil.example/api/roll",
    b"/" + b"a" * 60_000,
)


@pytest.fixture
def station(tmp_path: Path) -> ReviewStation:
    station = ReviewStation(tmp_path)
    station.job("a.tif")
    return station


@pytest.fixture
def served(station: ReviewStation) -> Iterator[ReviewServer]:
    server = ReviewServer(station.settings, port=0, draw=FakePictures)
    server.start()
    yield server
    server.stop()


def has_place(port: int) -> bool:
    """Whether one more page may listen."""
    listener = Listener(port)
    listener.close()
    return listener.status == 200


def test_the_page_is_served_from_a_thread_and_says_nothing_of_itself(served: ReviewServer) -> None:
    status, body = get(served.port, "/api/roll")

    assert (status, json.loads(body)["total"]) == (200, 1)
    assert served.address == f"http://127.0.0.1:{served.port}/"
    head = raw(served.port, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").lower()
    assert b"\r\nserver:" not in head
    assert b"uvicorn" not in head


@pytest.mark.parametrize("path", HOSTILE_PATHS, ids=range(len(HOSTILE_PATHS)))
def test_a_hostile_path_as_it_is_on_the_wire_is_4xx(served: ReviewServer, station: ReviewStation, path: bytes) -> None:
    before = station.files()

    answer = raw(served.port, b"GET " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 4"), answer[:100]
    assert b"root:" not in answer
    assert (station.files(), station.requests()) == (before, [])


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 2_000_000 + b"\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"POST /api/frame/1/retry HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_a_request_that_is_none_is_4xx(served: ReviewServer, request_bytes: bytes) -> None:
    assert raw(served.port, request_bytes).startswith(b"HTTP/1.1 4")
    assert get(served.port, "/api/roll")[0] == 200


def test_a_page_hears_of_a_job_that_ends(
    served: ReviewServer, station: ReviewStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener(served.port)
    first = listener.next()

    job_id = station.job(NASTY, JobState.HELD)
    change = listener.next()
    while not change["ids"]:
        change = listener.next()
    listener.close()

    assert (listener.status, listener.kind) == (200, "text/event-stream; charset=utf-8")
    assert first["ids"] == []
    assert set(first) == {"ids", "counts", "station", "answers"}
    assert job_id in change["ids"]  # type: ignore[operator]


def test_a_page_hears_the_answer_to_its_request(served: ReviewServer, station: ReviewStation) -> None:
    listener = Listener(served.port)
    listener.next()
    time.sleep(0.1)  # the look that the first change is measured from

    with Database.open(station.state / LEDGER_NAME) as database:
        number = Board(database).ask("bump", {"job": 1}, time.time())
    station.answer(number, "job 1 is next.")
    change = listener.next()
    listener.close()

    assert change["answers"] == [{"request": number, "text": "job 1 is next.", "ok": True}]


def test_a_quiet_connection_is_kept_with_comments(served: ReviewServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "HEARTBEAT_SECONDS", 0.1)
    with socket.create_connection(("127.0.0.1", served.port), 20) as connection:
        connection.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        heard = b""
        while heard.count(b": still here\n\n") < 2:
            heard += connection.recv(65536)

    assert b"text/event-stream" in heard


def test_a_hundred_listeners_beyond_the_limit_are_503_and_the_rest_go_on(served: ReviewServer) -> None:
    listeners = [Listener(served.port) for _ in range(MOST_LISTENERS)]
    refused = []
    for _ in range(100):
        each = Listener(served.port)
        refused.append(each.status)
        each.close()

    assert [listener.status for listener in listeners] == [200] * MOST_LISTENERS
    assert refused == [503] * 100
    assert get(served.port, "/api/roll")[0] == 200
    listeners.pop().close()
    wait_for(lambda: has_place(served.port))
    for listener in listeners:
        listener.close()


def test_a_hundred_connections_at_once_are_answered_or_refused(served: ReviewServer) -> None:
    found: list[int] = []

    def ask() -> None:
        found.append(get(served.port, "/api/roll")[0])

    threads = [threading.Thread(target=ask) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(found) == 100
    assert set(found) <= {200, 503}
    assert found.count(200) >= 90


def test_stopping_takes_less_than_two_seconds_with_pages_open(served: ReviewServer) -> None:
    listeners = [Listener(served.port) for _ in range(3)]
    for listener in listeners:
        listener.next()
    begun = time.monotonic()

    served.stop()

    assert time.monotonic() - begun < 2
    assert all(listener.ends() for listener in listeners)
    assert not any(thread.name == "review" for thread in threading.enumerate())
    assert served.trouble == ""
    with pytest.raises(ConnectionRefusedError):
        get(served.port, "/")
    served.stop()


def test_who_draws_is_told_when_the_page_ends(station: ReviewStation) -> None:
    drawing: list[FakePictures] = []

    def draw(folder: Path) -> FakePictures:
        drawing.append(FakePictures(folder))
        return drawing[0]

    server = ReviewServer(station.settings, port=0, draw=draw)
    server.start()
    server.stop()

    assert drawing[0].is_closed


def test_uploads_that_an_earlier_run_left_are_removed(station: ReviewStation) -> None:
    left = station.state / "uploads/abc.png"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a mask")
    server = ReviewServer(station.settings, port=0, draw=FakePictures)

    server.start()
    server.stop()

    assert not left.exists()


def test_a_port_that_is_taken_is_an_error_with_a_sentence(served: ReviewServer, station: ReviewStation) -> None:
    with pytest.raises(ReviewError, match=r"127\.0\.0\.1:\d+ cannot be served .*in use.*Choose another port"):
        ReviewServer(station.settings, port=served.port, draw=FakePictures).start()


def test_a_page_that_cannot_start_is_an_error_and_no_hanging(station: ReviewStation) -> None:
    def draw(_: Path) -> FakePictures:
        raise RuntimeError("no room")

    with pytest.raises(ReviewError, match="no room"):
        ReviewServer(station.settings, port=0, draw=draw).start()


def test_a_mistake_in_a_page_is_500_without_its_inside(served: ReviewServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("/a/secret/path")

    monkeypatch.setattr(server_module.Frames, "roll", fail)

    status, body = get(served.port, "/api/roll")

    assert (status, b"secret" in body) == (500, False)
    assert get(served.port, "/api/frame/1")[0] == 200


def test_a_daemon_without_a_page_does_not_load_its_libraries() -> None:
    code = (
        "import sys, spotlessd.service, spotlessd.cli; "
        "sys.exit(' '.join({'uvicorn', 'starlette', 'jinja2', 'torch'} & set(sys.modules)) or 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_loads_neither_torch_nor_a_decoder() -> None:
    code = (
        "import sys, spotlessd.review.server; "
        "sys.exit(' '.join({'torch', 'cv2', 'tifffile', 'imagecodecs', 'PIL'} & set(sys.modules)) or 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_decision_on_the_page_becomes_a_mask_and_a_request(station: ReviewStation) -> None:
    """With the pictures as they are drawn, by their own process."""
    for folder in (station.scans, station.restored):
        tifffile.imwrite(folder / "real.tif", grainy(HEIGHT, WIDTH, 3), photometric="rgb")
    job_id = station.job("real.tif")
    (station.restored / "real.tif").rename(station.restored / f"real~{job_id}.tif")
    write_mask_png(station.restored / f"masks/{job_id}.png")
    server = ReviewServer(station.settings, port=0)
    server.start()
    try:
        frame = json.loads(get(server.port, f"/api/frame/{job_id}")[1])
        thumb = get(server.port, f"/thumb/{job_id}.jpg")
        layer = get(server.port, f"/tiles/{job_id}/mask/0/0_0.png?k={frame['key']}")
        token = get(server.port, "/")[1].decode().partition('name="csrf-token" content="')[2].partition('"')[0]
        edits = {"choice": "edited", "boxes": [{"mode": "add", "box": [10, 10, 20, 20]}]}
        answer = post(server.port, f"/api/frame/{job_id}/decide", token, edits)
    finally:
        server.stop()

    (request,) = station.requests()
    mask = np.asarray(Image.open(request.arguments["mask"]))
    assert (frame["width"], frame["layers"], frame["trouble"]) == (WIDTH, ["before", "after", "mask"], "")
    assert (thumb[0], thumb[1][:2], layer[0], layer[1][1:4]) == (200, b"\xff\xd8", 200, b"PNG")
    assert answer[0] == 202
    assert mask.shape == (HEIGHT, WIDTH)
    assert (mask[10:20, 10:20] == 255).all()
    assert (mask[3:6, 3:6] == 255).all()
    assert (mask == 255).sum() == 109


def test_the_pictures_keep_to_the_room_that_the_config_gives_them(
    station: ReviewStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms: list[int] = []

    def make(state_dir: Path, *, cache_mb: int) -> FakePictures:
        rooms.append(cache_mb)
        return FakePictures(state_dir)

    monkeypatch.setattr(server_module, "Pictures", make)
    review = station.settings.review.model_copy(update={"cache_mb": 123})
    server = ReviewServer(station.settings.model_copy(update={"review": review}), port=0)
    server.start()
    server.stop()

    assert rooms == [123]
