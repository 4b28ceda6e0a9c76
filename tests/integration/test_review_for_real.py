"""The review page of a real daemon and of the command: live, while jobs run, over restarts, with bad ports."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from daemon_station import DEADLINE_SECONDS, TESTS, Station
from fake_workers import write_fake_scan

from spotlessd.job import JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME, read_status
from spotlessd.sqlite.database import Database

MOST_PARENT_MB = 120.0
MANY = 2_000


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    made = Station(tmp_path)
    yield made
    made.close()


@pytest.fixture
def port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def serve(station: Station, port: int) -> None:
    station.config.write_text(station.config.read_text() + f"[review]\nenabled = true\nport = {port}\n")


def ask(port: int, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def roll(port: int) -> dict[str, Any]:
    return dict(json.loads(ask(port, "/api/roll")[1]))


def answers(port: int) -> bool:
    try:
        return ask(port, "/api/roll")[0] == 200
    except OSError:
        return False


def command(station: Station, *words: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "spotlessd", *words, "--config", str(station.config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
    )
    station.processes.append(process)
    return process


def test_the_page_follows_a_scan_from_its_arrival_to_its_result(station: Station, port: int) -> None:
    serve(station, port)
    station.start("load_fake")
    station.wait_for(lambda: answers(port))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS)
    connection.request("GET", "/events")
    events = connection.getresponse()

    write_fake_scan(station.scans / "a.tif")
    changed: set[int] = set()
    done = 0
    while done < 1:
        line = events.readline()
        if line.startswith(b"data: "):
            change = json.loads(line.removeprefix(b"data: "))
            changed.update(change["ids"])
            done = change["counts"]["done"]
    events.close()
    connection.close()

    (item,) = roll(port)["items"]
    assert (item["state"], item["rel"], {item["id"]}) == ("done", "a.tif", changed)
    assert item["defects"] is not None
    assert roll(port)["station"]["running"]


def test_what_is_asked_on_the_page_is_done_by_the_daemon(station: Station, port: int) -> None:
    serve(station, port)
    write_fake_scan(station.scans / "bad.tif")
    station.start("load_fake")
    station.wait_for(lambda: answers(port))
    station.wait_for_states({"bad.tif": JobState.QUARANTINED})
    token = ask(port, "/")[1].decode().partition('name="csrf-token" content="')[2].partition('"')[0]
    own = {"Origin": f"http://127.0.0.1:{port}", "X-CSRF-Token": token}
    (item,) = roll(port)["items"]

    status, body = ask(port, f"/api/frame/{item['id']}/retry", "POST", own)

    assert (status, json.loads(body)["text"]) == (202, "written down; the station does it next.")

    def was_retried() -> bool:
        with Database.open(station.state / LEDGER_NAME) as database:
            return "retry asked for" in {note for _, _, note in Ledger(database).history(item["id"])}

    station.wait_for(was_retried)


def test_the_parent_stays_small_with_the_page_in_use(station: Station, port: int) -> None:
    serve(station, port)
    with Database.open(station.state / LEDGER_NAME) as database, database.transaction() as connection:
        connection.executemany(
            "INSERT INTO job (root, rel, size, mtime_ns, inode, recipe, state, created, defects, coverage, outputs)"
            " VALUES ('scans', ?, 1, 1, 1, 'r', 'done', ?, 9, 0.1, '{}')",
            [(f"frame_{number:04}.tif", 1.7e9 + number) for number in range(MANY)],
        )
    daemon = station.start("load_fake")
    station.wait_for(lambda: answers(port))
    parent = psutil.Process(daemon.pid)
    listeners = []
    for _ in range(10):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/events")
        listeners.append((connection, connection.getresponse()))
    seconds = []
    for number in range(60):
        begun = time.monotonic()
        assert ask(port, f"/api/roll?limit=500&offset={number * 30}")[0] == 200
        seconds.append(time.monotonic() - begun)
        ask(port, f"/api/frame/{number + 1}")

    memory_mb = parent.memory_info().rss / 1e6
    print(f"parent with the page in use: {memory_mb:.1f} MB; roll of 500: {sorted(seconds)[30] * 1000:.1f} ms")
    for connection, answer in listeners:
        answer.close()
        connection.close()

    assert memory_mb < MOST_PARENT_MB
    assert sorted(seconds)[30] < 0.1


def test_a_daemon_with_open_pages_stops_at_once(station: Station, port: int) -> None:
    serve(station, port)
    daemon = station.start("load_fake")
    station.wait_for(lambda: answers(port))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/events")
    events = connection.getresponse()
    begun = time.monotonic()

    daemon.send_signal(signal.SIGTERM)

    assert daemon.wait(20) == 0
    assert time.monotonic() - begun < 5
    events.close()
    connection.close()
    assert not (station.state / "review.port").exists()


def test_a_reload_turns_the_page_on_and_off(station: Station, port: int) -> None:
    daemon = station.start("load_fake")
    station.wait_for(lambda: read_status(station.state, time.time()).snapshot is not None)
    before = station.config.read_text()
    serve(station, port)
    daemon.send_signal(signal.SIGHUP)
    station.wait_for(lambda: answers(port))

    station.config.write_text(before)
    daemon.send_signal(signal.SIGHUP)

    station.wait_for(lambda: not answers(port))


def test_a_taken_port_is_told_in_status_and_nothing_else_suffers(station: Station) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        serve(station, port)
        write_fake_scan(station.scans / "a.tif")

        station.start("load_fake")

        station.wait_for_states({"a.tif": JobState.DONE})
        station.wait_for(lambda: read_status(station.state, time.time()).degraded != ())
        assert f"127.0.0.1:{port} cannot be served" in read_status(station.state, time.time()).degraded[0]


def test_the_command_prints_the_address_that_the_daemon_serves(station: Station, port: int) -> None:
    serve(station, port)
    station.start("load_fake")
    station.wait_for((station.state / "review.port").exists)

    printed, errors = command(station, "review").communicate(timeout=DEADLINE_SECONDS)

    assert (printed, errors) == (f"The daemon serves the page: http://127.0.0.1:{port}/\n", "")


def test_the_command_serves_the_page_itself_until_it_is_stopped(station: Station, port: int) -> None:
    process = command(station, "review", "--port", str(port))
    assert process.stdout is not None
    line = process.stdout.readline()
    found = roll(port)

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=DEADLINE_SECONDS)

    assert line == f"The review page: http://127.0.0.1:{port}/\n"
    assert (found["total"], found["station"]["running"]) == (0, False)
    assert (process.returncode, errors) == (0, "")


def test_the_command_on_a_taken_port_ends_with_a_sentence(station: Station) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        process = command(station, "review", "--port", str(port))
        printed, errors = process.communicate(timeout=DEADLINE_SECONDS)

    assert (process.returncode, printed) == (75, "")
    assert f"127.0.0.1:{port} cannot be served" in errors
    assert "Traceback" not in errors
