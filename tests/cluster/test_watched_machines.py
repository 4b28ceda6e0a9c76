"""What people and monitors see of a cluster's real processes: `doctor --cluster`, /metrics, /healthz and /readyz."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cluster_lab
import pytest
from cluster_lab import Lab
from postgres import Database

METRICS_SECONDS = 0.1


@pytest.fixture
def lab(tmp_path: Path, database: Database) -> Iterator[Lab]:
    made = Lab(tmp_path, database)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def patient_lab(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A worker that is silent is not lost while the test lasts."""
    monkeypatch.setattr(cluster_lab, "LOST_SECONDS", 120.0)
    made = Lab(tmp_path, database)
    try:
        yield made
    finally:
        made.close()


def is_heard_of(lab: Lab, *names: str) -> bool:
    rows = lab.postgres.rows(
        "SELECT split_part(name, '#', 1) FROM spotlessd_machines WHERE to_regclass('spotlessd_machines') IS NOT NULL"
    )
    return set(names) <= {str(name) for (name,) in rows}


def wait_for_machines(lab: Lab, *names: str) -> None:
    lab.wait_for(
        lambda: (
            lab.postgres.rows("SELECT to_regclass('spotlessd_machines') IS NOT NULL") == [(True,)]
            and is_heard_of(lab, *names)
        )
    )


def doctor(lab: Lab, station: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run the command; returns its exit code and its checks by name."""
    config = lab.stations[station].config
    command = [sys.executable, "-m", "spotlessd", "doctor", "--cluster", "--json", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def run_for_real(lab: Lab, name: str) -> None:
    """Start a station by its own command; with a cluster it needs no model."""
    station = lab.station(name, is_started=False)
    command = [sys.executable, "-m", "spotlessd", "run", "--config", str(station.config)]
    with (station.folder / "daemon.log").open("a") as log:
        station.processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True))


def test_the_doctor_proves_every_share_of_every_machine(lab: Lab) -> None:
    for name in ("front", "back"):
        run_for_real(lab, name)
    lab.worker("gpu1")
    wait_for_machines(lab, "front", "back", "gpu1")

    code, checks = doctor(lab, "front")

    proved = {name: check["ok"] for name, check in checks.items() if name.startswith("share all, front/restored on ")}
    assert proved == {
        f"share all, front/restored on {each}": True for each in ("station front", "station back", "worker gpu1")
    }
    assert (code, [name for name, check in checks.items() if check["ok"] is False]) == (0, [])


def test_the_doctor_finds_a_wrong_folder_and_a_worker_that_hangs(patient_lab: Lab) -> None:
    lab = patient_lab
    run_for_real(lab, "front")
    other = lab.folder / "other"
    (other / "front" / "restored").mkdir(parents=True)
    (lab.folder / "gpu2").mkdir()
    (lab.folder / "gpu2" / "mount").symlink_to(other)
    for name in ("gpu1", "gpu2", "gpu3"):
        lab.worker(name)
    wait_for_machines(lab, "front", "gpu1", "gpu2", "gpu3")
    lab.kill_worker("gpu3", signal.SIGSTOP)

    code, checks = doctor(lab, "front")

    wrong = {name.rsplit(" ")[-1]: check["detail"] for name, check in checks.items() if check["ok"] is False}
    assert code == 69
    assert set(wrong) == {"gpu2", "gpu3"}
    assert (
        f"its share of this name is another folder ({lab.folder / 'gpu2' / 'mount' / 'front' / 'restored'}"
        in (wrong["gpu2"])
    )
    assert wrong["gpu3"] == "no answer within 3 heartbeats"
    assert not list(lab.share.rglob(".spotlessd-nonce-*")), "the proof is cleared away"


def test_the_doctor_names_a_worker_that_was_silent_for_long(lab: Lab) -> None:
    run_for_real(lab, "front")
    for name in ("gpu1", "gpu2"):
        lab.worker(name)
    wait_for_machines(lab, "front", "gpu1", "gpu2")
    lab.kill_worker("gpu2")
    time.sleep(cluster_lab.LOST_SECONDS)

    code, checks = doctor(lab, "front")

    assert code == 0
    assert "workers: gpu1; silent: worker gpu2 for " in checks["live machines"]["detail"]


def a_free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def get(port: int, page: str) -> tuple[int, str, float]:
    """Return an answer's status, its text, and the seconds it took."""
    begun = time.perf_counter()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=10) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            status, text = error.code, error.read().decode()
    return status, text, time.perf_counter() - begun


def figure(text: str, name: str) -> float:
    """Return the value of one line of /metrics."""
    return next(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(f"{name} "))


@pytest.fixture
def watched(tmp_path: Path, own_postgres: Database) -> Iterator[tuple[Lab, int, int]]:
    """A station and a worker that serve monitors; (lab, the station's port, the worker's)."""
    station_port, worker_port = a_free_port(), a_free_port()
    lab = Lab(tmp_path, own_postgres)
    try:
        station = lab.station("front", is_started=False)
        station.config.write_text(f"{station.config.read_text()}[health]\nport = {station_port}\n")
        lab.start_station("front")
        lab.worker("gpu1", extra=f"[health]\nport = {worker_port}\n")
        lab.drop("front", "a.tif")
        lab.wait_until_done()
        for port in (station_port, worker_port):
            lab.wait_for(lambda port=port: get(port, "readyz")[0] == 200)  # type: ignore[misc]
            lab.wait_for(lambda port=port: 'spotlessd_cluster_workers{state="alive"} 1.0' in get(port, "metrics")[1])  # type: ignore[misc]
        yield lab, station_port, worker_port
    finally:
        lab.close()


def test_a_station_and_a_worker_answer_monitors_while_postgresql_is_away_and_after(
    watched: tuple[Lab, int, int],
) -> None:
    lab, *ports = watched
    lab.wait_for(lambda: figure(get(ports[1], "metrics")[1], "spotlessd_worker_frames_done_total") == 1)

    lab.postgres.stop()
    for port in ports:
        lab.wait_for(lambda port=port: get(port, "readyz")[0] == 503)  # type: ignore[misc]

    for port in ports:
        assert get(port, "healthz")[:2] == (200, "ok\n"), "degraded, not dead"
        assert "PostgreSQL" in get(port, "readyz")[1]
        text, seconds = min((get(port, "metrics")[1:] for _ in range(5)), key=lambda answer: answer[1])
        assert seconds < METRICS_SECONDS
        assert figure(text, "spotlessd_cluster_picture_age_seconds") > 0
        assert 'spotlessd_cluster_station_up{station="front#' in text

    lab.postgres.start()
    for port in ports:
        lab.wait_for(lambda port=port: get(port, "readyz")[0] == 200)  # type: ignore[misc]
