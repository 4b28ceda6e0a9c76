"""Row 17 of the fault matrix: workers and stations that die, hang, are cut off or come back, in real processes."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_lab import HEARTBEAT_SECONDS, LOST_SECONDS, Lab
from cut_cable import cable_to
from postgres import Database

from spotlessd.job import JobState
from spotlessd.monitoring.status import LEDGER_NAME

REAP_SECONDS = LOST_SECONDS / 3
SLACK_SECONDS = 4.0
"""Beyond heartbeat, patience and the reaper's round: for a busy machine."""
SHORT_SECONDS = 2.0
"""A connection that has not answered for so long is dead."""


@pytest.fixture
def lab(tmp_path: Path, database: Database) -> Iterator[Lab]:
    made = Lab(tmp_path, database)
    try:
        yield made
    finally:
        made.close()


def begin_on_first(lab: Lab, *names: str) -> None:
    """Let worker gpu1 begin with the first scan; then gpu2 comes, and the other scans."""
    lab.station("front")
    lab.worker("gpu1")
    lab.drop("front", names[0])
    lab.wait_for(lambda: lab.begun("front", names[0]) == 1)
    lab.worker("gpu2")
    lab.drop("front", *names[1:])
    lab.wait_for(lambda: f"{names[-1]}" in lab.stations["front"].states())


def wait_until_given_to(lab: Lab, worker: str, rel: str) -> None:
    lab.wait_for(lambda: lab.holder(rel) == worker)


def test_the_scan_of_a_killed_worker_is_begun_elsewhere_within_the_patience(lab: Lab) -> None:
    begin_on_first(lab, "gated.tif", "b.tif")
    lab.wait_for(lambda: lab.stations["front"].states()["b.tif"] is JobState.DONE)

    lab.kill_worker("gpu1")
    killed = time.monotonic()
    wait_until_given_to(lab, "gpu2", "gated.tif")
    seconds = time.monotonic() - killed
    lab.open_gate()

    lab.wait_until_done()
    print(f"begun elsewhere {seconds:.2f} s after the kill")
    assert seconds < HEARTBEAT_SECONDS + LOST_SECONDS + REAP_SECONDS + SLACK_SECONDS
    assert (lab.job("front", "gated.tif").attempt, lab.begun("front", "gated.tif")) == (1, 2)
    lab.check_promises("cluster: worker killed")


def test_a_worker_that_is_cut_off_loses_its_scan_and_what_it_says_later_is_void(lab: Lab) -> None:
    with cable_to(lab.postgres.server.port) as cable:
        lab.station("front")
        lab.worker("gpu1", port=cable.port, answer_seconds=SHORT_SECONDS)
        lab.drop("front", "gated.tif")
        lab.wait_for(lambda: lab.begun("front", "gated.tif") == 1)
        lab.worker("gpu2")
        cable.cut()
        lab.wait_for(lambda: "gave no answer for 2.0 s" in lab.log("gpu1"))
        wait_until_given_to(lab, "gpu2", "gated.tif")
        lab.open_gate()
        lab.wait_until_done()
        cable.mend()
        lab.wait_for(lambda: "the result is void" in lab.log("gpu1") or "taken back" in lab.log("gpu1"))
        lab.kill_worker("gpu2", signal.SIGTERM)
        lab.drop("front", "later.tif")

        lab.wait_until_done()
    assert lab.begun("front", "gated.tif") == 2
    lab.check_promises("cluster: worker cut off")


def test_a_station_that_is_cut_off_keeps_taking_scans_and_catches_up(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_ANSWER_SECONDS", str(SHORT_SECONDS))
    arrived = [f"arrived{number}.tif" for number in range(5)]
    with cable_to(lab.postgres.server.port) as cable:
        station = lab.station("front", port=cable.port)
        lab.worker("gpu1")
        lab.drop("front", "gated.tif")
        lab.wait_for(lambda: lab.begun("front", "gated.tif") == 1)
        cable.cut()
        lab.open_gate()
        lab.wait_for(lambda: lab.waiting_answers() == 1)
        lab.drop("front", *arrived)
        lab.wait_for(lambda: set(arrived) <= set(lab.states("front")))
        lab.wait_for(lambda: "gave no answer for 2.0 s" in (station.folder / "daemon.log").read_text())
        during = lab.states("front")
        cable.mend()

        lab.wait_until_done()
    assert JobState.DONE not in during.values()
    assert JobState.QUEUED in during.values()
    assert lab.begun("front", "gated.tif") == 1
    assert {lab.job("front", name).attempt for name in ("gated.tif", *arrived)} == {1}
    lab.check_promises("cluster: station cut off")


def test_a_worker_that_stood_still_finds_its_result_void(lab: Lab) -> None:
    begin_on_first(lab, "gated.tif")
    lab.kill_worker("gpu1", signal.SIGSTOP)
    wait_until_given_to(lab, "gpu2", "gated.tif")
    lab.open_gate()
    lab.wait_until_done()

    lab.kill_worker("gpu1", signal.SIGCONT)

    lab.wait_for(lambda: "the result is void" in lab.log("gpu1") or "taken back" in lab.log("gpu1"))
    lab.kill_worker("gpu2", signal.SIGTERM)
    lab.drop("front", "later.tif")
    lab.wait_until_done()
    assert (lab.job("front", "gated.tif").attempt, lab.begun("front", "gated.tif")) == (1, 2)
    lab.check_promises("cluster: zombie worker")


def test_a_station_that_is_killed_takes_over_its_tickets_and_repeats_nothing(lab: Lab) -> None:
    names = ["gated.tif", *(f"frame{number}.tif" for number in range(6))]
    begin_on_first(lab, *names)
    lab.stations["front"].processes[-1].kill()
    lab.stations["front"].processes[-1].wait()
    lab.open_gate()
    lab.wait_for(lambda: lab.waiting_answers() > 0)

    lab.start_station("front")

    lab.wait_until_done()
    assert lab.begun("front", "gated.tif") == 1, "what was answered meanwhile is not computed again"
    assert {lab.job("front", name).attempt for name in names} == {1}
    assert {lab.job("front", name).interrupts for name in names} == {0}
    lab.check_promises("cluster: station killed")


def test_a_station_that_stands_still_finds_its_answers_afterwards(lab: Lab) -> None:
    names = [f"gated{number}.tif" for number in range(6)]
    begin_on_first(lab, *names)
    lab.wait_for(lambda: lab.begun("front", names[1]) == 1)
    station = lab.stations["front"].processes[-1]
    station.send_signal(signal.SIGSTOP)
    lab.open_gate()
    lab.wait_for(lambda: lab.waiting_answers() >= 2)
    time.sleep(LOST_SECONDS)

    station.send_signal(signal.SIGCONT)

    lab.wait_until_done()
    assert {lab.begun("front", name) for name in names} == {1}
    lab.check_promises("cluster: station stood still")


def test_a_ledger_that_is_lost_while_tickets_are_out_costs_a_repetition_and_no_second_result(lab: Lab) -> None:
    begin_on_first(lab, "gated.tif", "gated2.tif", "c.tif", "d.tif")
    station = lab.stations["front"]
    station.processes[-1].kill()
    station.processes[-1].wait()
    for path in station.state.glob(f"{LEDGER_NAME}*"):
        path.unlink()

    lab.start_station("front")
    lab.wait_for(lambda: len(station.states()) == 4 if (station.state / LEDGER_NAME).exists() else False)
    lab.open_gate()

    lab.wait_until_done()
    lab.check_promises("cluster: ledger lost")


def test_a_scan_that_kills_whole_workers_is_capped_while_the_others_go_on(lab: Lab) -> None:
    lab.station("front")
    for name in ("gpu1", "gpu2"):
        lab.worker(name)
    lab.drop("front", "killworker.tif", *(f"frame{number}.tif" for number in range(8)))
    station = lab.stations["front"]

    def is_over() -> bool:
        for name, process in list(lab.workers.items()):
            if process.poll() is not None:
                lab.worker(name)  # as systemd would
        states = station.states() if (station.state / LEDGER_NAME).exists() else {}
        return len(states) == 9 and not set(states.values()) & {JobState.QUEUED, JobState.RUNNING}

    lab.wait_for(is_over)
    job = lab.job("front", "killworker.tif")
    assert (job.state, job.attempt) == (JobState.QUARANTINED, 1)
    assert "3 workers were lost over this scan (gpu" in job.reason
    lab.check_promises("cluster: a scan that kills workers", frozenset({"killworker.tif"}))


def test_a_scan_that_kills_its_child_is_set_aside_after_three_attempts(lab: Lab) -> None:
    lab.station("front")
    lab.worker("gpu1")
    lab.drop("front", "crash.tif", "a.tif", "b.tif")

    lab.wait_for(lambda: JobState.QUARANTINED in lab.states("front").values())
    lab.wait_for(lambda: list(lab.states("front").values()).count(JobState.DONE) == 2)
    job = lab.job("front", "crash.tif")
    assert (job.attempt, job.crashes) == (3, 3)
    assert "killed by SIGKILL" in job.reason
    lab.check_promises("cluster: a scan that kills its child", frozenset({"crash.tif"}))


def test_a_second_worker_of_one_name_is_refused_and_the_first_works_on(lab: Lab) -> None:
    lab.station("front")
    first = lab.worker("gpu1")
    lab.drop("front", "gated.tif")
    lab.wait_for(lambda: lab.begun("front", "gated.tif") == 1)

    second = lab.worker("gpu1", state="another-state")

    assert second.wait(20) != 0
    assert "gpu1" in lab.log("gpu1").splitlines()[-1]
    lab.open_gate()
    lab.wait_until_done()
    assert (first.poll(), lab.begun("front", "gated.tif")) == (None, 1)
    lab.kill(first)
    lab.check_promises("cluster: two workers of one name")


def test_a_worker_whose_share_is_mounted_empty_gives_its_tickets_back_and_fails_nothing(lab: Lab) -> None:
    (lab.folder / "gpu1").mkdir()
    (lab.folder / "gpu1/mount").mkdir()
    lab.station("front")
    lab.worker("gpu1")
    lab.drop("front", "a.tif", "b.tif")
    lab.wait_for(lambda: "is given back" in lab.log("gpu1"))
    assert JobState.DONE not in lab.states("front").values()

    lab.worker("gpu2")

    lab.wait_until_done()
    assert {(lab.job("front", name).attempt, lab.job("front", name).strikes) for name in ("a.tif", "b.tif")} == {(1, 0)}
    lab.check_promises("cluster: share mounted empty")
