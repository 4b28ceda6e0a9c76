"""Workers that publish (`cluster.publish = "worker"`), as real processes on a real PostgreSQL: each result once."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cluster_lab import Lab, all_done
from fake_workers import write_fake_scan
from postgres import Database

from spotlessd.job import JobState
from spotlessd.monitoring.status import LEDGER_NAME

STEPS = (
    "publish.receipt_written",
    "publish.parts_synced",
    "publish.planned",
    "publish.linked",
    "publish.image_named",
    "publish.mask_named",
    "publish.preview_named",
    "publish.folders_synced",
    "publish.receipt_named",
    "publish.all_synced",
)


def some_always(steps: Sequence[str], *always: str) -> list[Any]:
    """The steps, all but `always` marked as slow."""
    return [step if step in always else pytest.param(step, marks=pytest.mark.slow) for step in steps]


PUBLISH = 'publish = "worker"\n'


@pytest.fixture
def lab(tmp_path: Path, database: Database) -> Iterator[Lab]:
    made = Lab(tmp_path, database, cluster=PUBLISH)
    try:
        yield made
    finally:
        made.close()


def special_worker(lab: Lab, monkeypatch: pytest.MonkeyPatch, name: str, **words: str) -> "subprocess.Popen[str]":
    """Start a worker that ends (`crash_at`) or is stopped once (`stop_at`) at a step."""
    with monkeypatch.context() as patch:
        for word, step in words.items():
            patch.setenv(f"LAB_{word.upper()}", step)
        return lab.worker(name)


def is_stopped(process: "subprocess.Popen[str]") -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def wait_until_stopped(lab: Lab, process: "subprocess.Popen[str]") -> None:
    lab.wait_for(lambda: is_stopped(process))


def wake(process: "subprocess.Popen[str]") -> None:
    os.kill(process.pid, signal.SIGCONT)


def receipts(lab: Lab, station: str) -> dict[str, dict[str, object]]:
    folder = lab.stations[station].restored / "receipts"
    return {path.name: json.loads(path.read_text()) for path in folder.rglob("*.json")}


def test_results_appear_while_the_station_is_off_and_it_writes_them_down_later(lab: Lab) -> None:
    station = lab.station("front")
    process = station.processes[-1]
    lab.worker("gpu1", "load_slow")
    lab.drop("front", "a.tif", "roll/b.tif")
    lab.wait_for(lambda: "running" in {str(state) for state in lab.states("front").values()})
    lab.wait_for(lambda: len(lab.postgres.rows("SELECT 1 FROM spotlessd_tickets")) == 2)
    process.kill()
    process.wait()
    lab.wait_for(lambda: len(receipts(lab, "front")) == 2)
    before = {name: path.stat().st_mtime_ns for name in ("a.tif", "roll/b.tif") if (path := station.restored / name)}
    lab.start_station("front")
    lab.wait_until_done()
    lab.check_promises()
    assert before == {name: (station.restored / name).stat().st_mtime_ns for name in before}
    assert {each["station"]["worker"] for each in receipts(lab, "front").values()} == {"gpu1"}
    assert lab.job("front", "a.tif").outputs["receipt"] == "receipts/a.json"


@pytest.mark.parametrize("step", some_always(STEPS, "publish.planned", "publish.image_named", "publish.all_synced"))
def test_a_worker_killed_at_any_step_of_publishing_leaves_one_result(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    lab.station("front")
    lab.drop("front", "a.tif", "roll/b.tif")
    first = special_worker(lab, monkeypatch, "gpu1", crash_at=step)
    assert first.wait(30) == 137
    lab.worker("gpu2")
    lab.wait_until_done()
    lab.wait_for(lambda: not lab.postgres.rows("SELECT 1 FROM spotlessd_tickets"))
    lab.check_promises(f"worker killed at {step}")
    is_planned = STEPS.index(step) >= STEPS.index("publish.planned")
    assert lab.log("gpu2").count("goes on with the names that a lost worker was giving") == is_planned
    assert lab.log("gpu2").count("begun on") == 2 - is_planned, "what was planned is not computed again"


@pytest.mark.parametrize(
    "step",
    some_always(
        ["publish.parts_synced", "publish.linked", "publish.mask_named", "publish.all_synced"], "publish.mask_named"
    ),
)
def test_a_worker_that_wakes_up_in_the_middle_of_publishing_changes_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    lab.station("front")
    lab.drop("front", "a.tif")
    zombie = special_worker(lab, monkeypatch, "gpu1", stop_at=step)
    wait_until_stopped(lab, zombie)
    lab.worker("gpu2")
    lab.wait_until_done()
    wake(zombie)
    lab.drop("front", "b.tif")
    lab.kill_worker("gpu2", signal.SIGTERM)
    lab.drop("front", "c.tif")
    lab.wait_until_done()
    lab.check_promises(f"zombie stopped at {step}")
    assert zombie.poll() is None


def test_what_goes_with_a_scan_is_published_by_the_worker_and_known_to_the_station(lab: Lab) -> None:
    station = lab.station("front", is_started=False)
    write_fake_scan(station.scans / "a.tif")
    write_fake_scan(station.scans / "a_IR.tif", 2)
    (station.scans / "a.tif.xmp").write_text("<edits/>")
    os.utime(station.scans / "a.tif.xmp", (1e9, 1e9))
    lab.start_station("front")
    lab.worker("gpu1")
    lab.wait_for(lambda: lab.states("front") == {"a.tif": JobState.DONE, "a_IR.tif": JobState.DONE})
    assert (station.restored / "a.tif.xmp").read_text() == "<edits/>"
    assert (station.restored / "a_IR.tif").read_bytes() == (station.scans / "a_IR.tif").read_bytes()
    assert set(receipts(lab, "front")) == {"a.json"}
    station.check_promises(station.input_hashes())


def test_a_sidecar_that_comes_while_the_worker_has_its_scan_is_put_beside_the_result(lab: Lab) -> None:
    station = lab.station("front")
    lab.worker("gpu1")
    lab.drop("front", "gated.tif")
    lab.wait_for(lambda: lab.begun("front", "gated.tif") == 1)
    write_fake_scan(station.scans / "gated_IR.tif", 2)
    lab.open_gate()
    lab.wait_for(lambda: lab.states("front") == {"gated.tif": JobState.DONE, "gated_IR.tif": JobState.DONE})
    assert (station.restored / "gated_IR.tif").read_bytes() == (station.scans / "gated_IR.tif").read_bytes()
    assert set(receipts(lab, "front")) == {"gated.json", "gated_IR.json"}
    station.check_promises(station.input_hashes())


@pytest.mark.parametrize(
    "step",
    some_always(["publish.planned", "publish.image_named", "publish.all_synced"], "publish.image_named"),
)
def test_a_ledger_that_is_lost_while_the_worker_publishes_gets_the_one_result(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    station = lab.station("front")
    lab.drop("front", "a.tif")
    worker = special_worker(lab, monkeypatch, "gpu1", stop_at=step)
    wait_until_stopped(lab, worker)
    station.processes[-1].kill()
    station.processes[-1].wait()
    for path in station.state.glob(f"{LEDGER_NAME}*"):
        path.unlink()
    lab.start_station("front")
    if step != "publish.all_synced":  # else its receipt tells the new ledger at once
        lab.wait_for(lambda: len(lab.postgres.rows("SELECT 1 FROM spotlessd_tickets")) == 2)
    wake(worker)
    lab.wait_until_done()
    lab.wait_for(lambda: not lab.postgres.rows("SELECT 1 FROM spotlessd_tickets WHERE state <> 'answered'"))
    lab.check_promises(f"ledger lost at {step}")


def test_a_scan_that_is_being_published_is_not_taken_back_by_a_pause(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from spotlessd.cli import main

    station = lab.station("front")
    lab.drop("front", "a.tif")
    worker = special_worker(lab, monkeypatch, "gpu1", stop_at="publish.image_named")
    wait_until_stopped(lab, worker)
    assert main(["pause", "--now", "--config", str(station.config)]) == 0
    lab.worker("gpu2")  # finds the first one lost, and ends what it began
    lab.wait_for(lambda: all_done(station, {"a.tif"}))
    wake(worker)
    lab.check_promises("pause while a worker publishes")


@pytest.mark.parametrize("is_worker_lost", [pytest.param(False, marks=pytest.mark.slow), True])
def test_postgresql_that_goes_down_between_the_names_and_the_answer_costs_nothing(
    tmp_path: Path, own_postgres: Database, monkeypatch: pytest.MonkeyPatch, is_worker_lost: bool
) -> None:
    lab = Lab(tmp_path, own_postgres, cluster=PUBLISH)
    try:
        lab.station("front")
        lab.drop("front", "a.tif")
        worker = special_worker(lab, monkeypatch, "gpu1", stop_at="publish.all_synced")
        wait_until_stopped(lab, worker)
        own_postgres.kill()
        wake(worker)
        lab.wait_for(lambda: "published as a.tif" in lab.log("gpu1"))
        if is_worker_lost:
            lab.kill_worker("gpu1")
        own_postgres.start()
        if is_worker_lost:
            lab.worker("gpu2")
        lab.wait_until_done()
        lab.check_promises("PostgreSQL killed before the answer")
        assert lab.job("front", "a.tif").attempt == 1
        assert sum(lab.log(name).count("begun on") for name in ("gpu1", *["gpu2"] * is_worker_lost)) == 1
    finally:
        lab.close()
