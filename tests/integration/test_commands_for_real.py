"""The commands, monitors, hooks and systemd's socket against a real daemon: busy, stopped, killed and restarted."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemon_station import Station
from fake_workers import write_fake_scan
from prometheus_client.parser import text_string_to_metric_families

from spotlessd.commands import station_commands as commands
from spotlessd.commands.live_status import ENTER, LEAVE
from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.job import Job, JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME, StationStatus, read_status
from spotlessd.sqlite.database import Database


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    made = Station(tmp_path)
    yield made
    made.close()


def settings_of(station: Station) -> Settings:
    return load_settings(station.config)


def status_of(station: Station) -> StationStatus:
    return read_status(station.state, time.time())


def job_of(station: Station, name: str) -> Job:
    with Database.open(station.state / LEDGER_NAME) as database:
        return Ledger(database).jobs_of("scans", name)[0]


def wait_until_busy_with(station: Station, name: str) -> None:
    def is_busy() -> bool:
        snapshot = status_of(station).snapshot
        return snapshot is not None and snapshot.job is not None and snapshot.job.file == name

    station.wait_for(is_busy)


def wait_until_up(station: Station) -> None:
    station.wait_for(lambda: status_of(station).snapshot is not None and status_of(station).is_running)


def stay(station: Station, claim: Callable[[], bool], seconds: float = 1.5) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert claim()
        time.sleep(0.1)


def test_a_soft_pause_lets_the_job_in_hand_end_and_starts_no_other_until_resume(station: Station) -> None:
    write_fake_scan(station.scans / "a.tif", 1)
    write_fake_scan(station.scans / "b.tif", 2)
    station.start("load_slow")
    wait_until_busy_with(station, "a.tif")

    paused = commands.pause(settings_of(station), now=False, seconds=None)
    station.wait_for(lambda: station.states()["a.tif"] is JobState.DONE)
    stay(station, lambda: station.states()["b.tif"] is JobState.QUEUED)
    shown = commands.show_status(settings_of(station), as_json=False).text
    resumed = commands.resume(settings_of(station))

    station.wait_for_states({"a.tif": JobState.DONE, "b.tif": JobState.DONE})
    assert "after job 1" in paused.text
    assert "paused: by a person" in shown
    assert resumed.text == "resumed."


def test_a_hard_pause_stops_the_job_in_hand_without_blaming_the_scan(station: Station) -> None:
    write_fake_scan(station.scans / "hang.tif")
    station.start("load_fake")
    wait_until_busy_with(station, "hang.tif")

    answer = commands.pause(settings_of(station), now=True, seconds=None)

    job = job_of(station, "hang.tif")
    assert "was stopped and will start again" in answer.text
    assert (job.state, job.interrupts, job.strikes) == (JobState.QUEUED, 0, 0)


def test_a_pause_survives_a_killed_daemon_and_ends_by_itself(station: Station) -> None:
    daemon = station.start("load_fake")
    wait_until_up(station)
    commands.pause(settings_of(station), now=False, seconds=9)
    until = time.time() + 9
    daemon.kill()
    daemon.communicate()
    write_fake_scan(station.scans / "a.tif")

    station.start("load_fake")
    station.wait_for(lambda: station.states() == {"a.tif": JobState.QUEUED})
    while time.time() < until - 1:
        assert station.states() == {"a.tif": JobState.QUEUED}
        time.sleep(0.2)

    station.wait_for_states({"a.tif": JobState.DONE})


def test_what_was_asked_while_the_daemon_was_stopped_is_done_at_its_next_start(station: Station) -> None:
    for name in ("bad.tif", "a.tif", "b.tif"):
        write_fake_scan(station.scans / name, len(name))
    daemon = station.start("load_fake")
    station.wait_for_states({"bad.tif": JobState.QUARANTINED, "a.tif": JobState.DONE, "b.tif": JobState.DONE})
    daemon.kill()
    daemon.communicate()
    settings = settings_of(station)

    answers = [
        commands.retry(settings, None, "damaged"),
        commands.reprocess(settings, str(station.scans / "a.tif"), None, "high"),
        commands.scan(settings),
    ]
    shown = commands.show_status(settings, as_json=False)
    station.start("load_fake")

    station.wait_for((station.restored / "previews/a~2.jpg").exists)
    station.wait_for(lambda: job_of(station, "bad.tif").attempt == 2)
    assert {answer.text for answer in answers} == {commands.LATER}
    assert (shown.exit_code, "not read by the daemon yet: retry, reprocess, scan" in shown.text) == (2, True)
    assert (station.restored / "previews/a~2.jpg").read_bytes() == b"PREVIEW high"


def watch(station: Station, output: int) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    return subprocess.Popen(
        [sys.executable, "-m", "spotlessd", "status", "--watch", "--config", str(station.config)],
        stdout=output,
        env=environment,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_live_view_on_a_terminal_puts_the_terminal_back_when_it_is_ended(
    station: Station, number: signal.Signals
) -> None:
    ours, theirs = pty.openpty()
    view = watch(station, theirs)
    os.close(theirs)
    shown = b""
    while b"jobs:" not in shown:
        shown += os.read(ours, 4096)

    view.send_signal(number)
    while not shown.endswith(LEAVE.encode()):
        shown += os.read(ours, 4096)

    assert view.wait(20) == (2 if number == signal.SIGINT else 143)
    assert shown.startswith(ENTER.encode())
    os.close(ours)


def test_the_live_view_into_a_pipe_is_plain_lines(station: Station) -> None:
    view = watch(station, subprocess.PIPE)
    assert view.stdout is not None

    line = view.stdout.readline()
    view.send_signal(signal.SIGINT)
    rest = view.stdout.read()
    view.stdout.close()

    assert (view.wait(20), rest) == (2, b"")
    assert line.endswith(b" not running; no jobs\n")


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        return str(answer.read().decode())


def test_monitors_are_told_while_it_works_and_when_it_is_idle(station: Station) -> None:
    port = free_port()
    station.config.write_text(station.config.read_text() + f"[health]\nport = {port}\n")
    for name in ("a.tif", "bad.tif"):
        write_fake_scan(station.scans / name, len(name))
    station.start("load_fake")
    station.wait_for_states({"a.tif": JobState.DONE, "bad.tif": JobState.QUARANTINED})
    station.wait_for(lambda: "spotlessd_attempts_total 2.0" in get(port, "/metrics"))

    found = {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(get(port, "/metrics"))
        for sample in family.samples
    }

    assert (get(port, "/healthz"), get(port, "/readyz")) == ("ok\n", "ok\n")
    assert (found["spotlessd_jobs done"], found["spotlessd_jobs quarantined"]) == (1, 1)
    assert (found["spotlessd_finished_total done"], found["spotlessd_step_seconds_count total"]) == (1, 1)
    assert found["spotlessd_loop_age_seconds"] < 5
    assert found["spotlessd_disk_free_bytes scans"] > 0
    assert found["spotlessd_memory_bytes parent"] < 120e6


def test_a_taken_port_is_told_and_nothing_else_suffers(station: Station) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        station.config.write_text(station.config.read_text() + f"[health]\nport = {port}\n")
        write_fake_scan(station.scans / "a.tif")

        station.start("load_fake")

        station.wait_for_states({"a.tif": JobState.DONE})
        assert f"health.port = {port}: cannot be served" in status_of(station).degraded[0]


def test_the_hook_is_told_and_one_that_hangs_holds_nothing_up(station: Station, tmp_path: Path) -> None:
    told = tmp_path / "told"
    hook = f'cat >> "{told}"; sleep 60'
    station.config.write_text(
        station.config.read_text()
        + f"[notify]\ncommand = {json.dumps(['sh', '-c', hook])}\ntimeout_seconds = 1\ninterval_seconds = 0\n"
    )
    for name in ("bad.tif", "held.tif", "a.tif"):
        write_fake_scan(station.scans / name, len(name))

    daemon = station.start("load_fake")
    station.wait_for_states({"bad.tif": JobState.QUARANTINED, "held.tif": JobState.HELD, "a.tif": JobState.DONE})
    station.wait_for(lambda: told.exists() and len(told.read_text().splitlines()) >= 3)

    daemon.terminate()
    text, _ = daemon.communicate(timeout=30)

    assert "sh took more than 1 s and was killed" in text
    messages = {message["event"]: message for message in map(json.loads, told.read_text().splitlines())}
    assert set(messages) == {"quarantined", "held", "queue_empty"}
    assert messages["quarantined"]["files"][0]["text"] == "bad.tif: the scan is damaged."
    assert messages["queue_empty"]["text"] == ("every scan has been worked on; to be looked at: 1 quarantined, 1 held.")


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    name = f"spotlessd-test-{os.getpid()}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind("\0" + name)
        bound.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        yield bound


def drained(listener: socket.socket) -> list[str]:
    """Everything said so far."""
    words: list[str] = []
    listener.setblocking(False)
    try:
        while True:
            words += listener.recv(4096).decode().splitlines()
    except BlockingIOError:
        return words
    finally:
        listener.settimeout(30)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="abstract sockets and systemd exist on Linux only")
def test_systemd_hears_ready_alive_status_and_stopping_and_nothing_from_a_loop_that_stands(
    station: Station, systemd: socket.socket
) -> None:
    daemon = station.start("load_fake")
    first = systemd.recv(4096).decode().splitlines()
    time.sleep(2)
    running = drained(systemd)
    daemon.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    drained(systemd)
    time.sleep(2)
    standing = drained(systemd)
    daemon.send_signal(signal.SIGCONT)
    assert "WATCHDOG=1" in systemd.recv(4096).decode()
    daemon.terminate()
    daemon.communicate(timeout=30)

    assert first == ["READY=1", "STATUS=looking at the folders"]
    assert running.count("WATCHDOG=1") >= 2
    assert "STATUS=0 queued, 0 running, 0 quarantined" in running
    assert standing == []
    assert "STOPPING=1" in drained(systemd)
