"""What monitors are told over HTTP."""

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from spotlessd.job import Identity
from spotlessd.ledger import Ledger
from spotlessd.monitoring.health import HealthPages, HealthServer
from spotlessd.monitoring.metrics import DiskGauge
from spotlessd.monitoring.notices import Totals, Vitals
from spotlessd.monitoring.status import (
    LEDGER_NAME,
    LOCK_NAME,
    SILENT_SECONDS,
    SNAPSHOT_KEY,
    JobInHand,
    Snapshot,
    WorkerFacts,
)
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database
from spotlessd.station_lock import StationLock

SNAPSHOT = Snapshot(
    version="0",
    pid=1,
    started=1.0,
    written=4e9,
    worker="idle",
    worker_pid=2,
    device="CPU",
    precision="float32",
    models=(),
    memory_mb=50.0,
    worker_memory_mb=400.0,
    worker_restarts=2,
    job=None,
    paused="",
    last_look=1000.0,
    overflows=3,
    config_ok=False,
)


LAME = "worker GPU 1 cannot start: it fell off the bus."


def with_workers(first_state: str) -> Snapshot:
    """GPU 0 in a state, GPU 1 cannot start."""
    job = JobInHand(7, "a.tif", 1, "detect", 0.5, 1.0) if first_state == "busy" else None
    first = WorkerFacts("GPU 0", first_state, 2, "cuda", "bfloat16", (), 400.0, 0, job)
    second = WorkerFacts("GPU 1", "down", None, "", "", (), 0.0, 4, None, "", LAME)
    return replace(SNAPSHOT, workers=(first, second), degraded=(LAME,))


class Station:
    """A state folder as a running daemon leaves it, and the pages made of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.vitals = Vitals(0.2, Totals({"done": 4, "held": 1}, 30.0, {"detect": (5, 12.5)}, 6))
        self.pages = HealthPages(folder, {"state": folder, "gone": folder / "none"}, lambda: self.vitals)
        self.write(SNAPSHOT)
        with Database.open(folder / LEDGER_NAME) as database:
            ledger = Ledger(database)
            ledger.enqueue(Identity("scans", "a.tif", 100, 1), 1, "r", 1.0)
            ledger.refuse(Identity("scans", "b.tif", 1, 1), 1, "r", "bad.", 1.0)

    def write(self, snapshot: Snapshot) -> None:
        with Database.open(self.folder / LEDGER_NAME) as database:
            Board(database).note(SNAPSHOT_KEY, snapshot.to_json())

    def figures(self) -> dict[str, float]:
        """Every sample by its name and label values."""
        text = self.pages.metrics().body.decode()
        return {
            " ".join([sample.name, *sample.labels.values()]): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    lock = StationLock(tmp_path / LOCK_NAME)
    yield Station(tmp_path)
    lock.close()


def test_a_turning_loop_is_healthy_and_a_hanging_one_is_not(station: Station) -> None:
    alive = station.pages.healthz()
    station.vitals = replace(station.vitals, loop_age=SILENT_SECONDS + 5)

    hanging = station.pages.healthz()

    assert (alive.status, alive.body) == (200, b"ok\n")
    assert (hanging.status, b"has not gone round for 65 s" in hanging.body) == (503, True)


def test_a_station_is_ready_unless_something_keeps_scans_from_being_restored(station: Station) -> None:
    ready = station.pages.readyz()
    station.write(replace(SNAPSHOT, paused="by a person", degraded=("root scans: unplugged",)))

    unready = station.pages.readyz()

    assert ready.status == 200
    assert (unready.status, unready.body) == (503, b"root scans: unplugged\npaused: by a person\n")


def test_the_figures_of_the_queue_come_from_the_ledger_as_it_is_now(station: Station) -> None:
    before = station.figures()
    with Database.open(station.folder / LEDGER_NAME) as database:
        Ledger(database).enqueue(Identity("scans", "c.tif", 50, 1), 1, "r", 1.0)

    after = station.figures()

    assert (before["spotlessd_jobs queued"], after["spotlessd_jobs queued"]) == (1, 2)
    assert after["spotlessd_jobs quarantined"] == 1
    assert after["spotlessd_queued_bytes"] == 150
    assert after["spotlessd_oldest_queued_age_seconds"] > 1e9


def test_the_figures_of_the_work_and_of_the_daemon_are_told(station: Station) -> None:
    found = station.figures()

    expected = {
        "spotlessd_finished_total done": 4,
        "spotlessd_attempts_total": 6,
        "spotlessd_job_seconds_count": 5,
        "spotlessd_job_seconds_sum": 30,
        "spotlessd_step_seconds_count detect": 5,
        "spotlessd_step_seconds_sum detect": 12.5,
        "spotlessd_worker_restarts_total": 2,
        "spotlessd_event_overflows_total": 3,
        "spotlessd_config_ok": 0,
        "spotlessd_worker_up": 1,
        "spotlessd_paused": 0,
        "spotlessd_memory_bytes worker": 400e6,
    }
    assert {name: found[name] for name in expected} == expected
    assert found["spotlessd_last_look_age_seconds"] > 1e9


def test_each_worker_has_figures_of_its_own(station: Station) -> None:
    station.write(with_workers("busy"))

    found = station.figures()

    expected = {
        "spotlessd_worker_ready GPU 0": 1,
        "spotlessd_worker_ready GPU 1": 0,
        "spotlessd_worker_job GPU 0": 7,
        "spotlessd_worker_job GPU 1": 0,
        "spotlessd_worker_device cuda GPU 0": 1,
    }
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(("first_state", "status"), [("idle", 200), ("busy", 200), ("starting", 503)])
def test_a_station_is_ready_as_long_as_one_of_its_workers_is(station: Station, first_state: str, status: int) -> None:
    station.write(with_workers(first_state))

    assert station.pages.readyz().status == status


def test_free_space_is_told_where_it_can_be_and_left_out_where_not(station: Station) -> None:
    found = station.figures()

    assert found["spotlessd_disk_free_bytes state"] > 0
    assert "spotlessd_disk_free_bytes gone" not in found


def test_a_disk_that_hangs_is_left_out_instead_of_holding_up_every_request(tmp_path: Path) -> None:
    gauge = DiskGauge({"share": tmp_path})
    assert set(gauge.read()) == {"share"}

    gauge._folders["share"][1].acquire()

    assert gauge.read() == {}


def test_a_damaged_ledger_is_an_answer_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / LEDGER_NAME).write_bytes(b"no database" * 100)
    pages = HealthPages(tmp_path, {}, lambda: Vitals(0.1, Totals()))

    assert (pages.page("/metrics").status, pages.page("/readyz").status) == (503, 503)
    assert pages.page("/healthz").status == 200


def test_other_paths_are_not_found(station: Station) -> None:
    page = station.pages.page("/etc/passwd")

    assert (page.status, b"/metrics" in page.body) == (404, True)


@pytest.fixture
def served(station: Station) -> Iterator[HealthServer]:
    server = HealthServer(0, station.pages)
    yield server
    server.close()


def get(server: HealthServer, path: str, method: str = "GET") -> tuple[int, str, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - our own server
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read()


def test_the_pages_are_served_with_their_kind(served: HealthServer) -> None:
    assert get(served, "/healthz?verbose") == (200, "text/plain; charset=utf-8", b"ok\n")
    status, kind, body = get(served, "/metrics")
    assert (status, kind.split(";")[0], b"spotlessd_jobs{" in body) == (200, "text/plain", True)
    assert get(served, "/no")[0] == 404


def test_nothing_but_reading_is_offered(served: HealthServer) -> None:
    assert get(served, "/healthz", "POST")[0] == 501


def test_only_this_machine_can_ask(served: HealthServer) -> None:
    assert served._server.server_address[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_an_error(served: HealthServer, station: Station) -> None:
    with pytest.raises(OSError, match="in use"):
        HealthServer(served.port, station.pages)


def test_a_daemon_without_monitors_does_not_load_their_library() -> None:
    code = "import sys, spotlessd.service; sys.exit('prometheus_client' in sys.modules or 'torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
