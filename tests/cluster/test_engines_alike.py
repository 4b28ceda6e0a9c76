"""One suite for both engines: a station cannot tell by what it sees who computes for it.

Each test is run with the station's own child, and with a cluster of one worker on a real PostgreSQL.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_bench import EngineBench
from fake_workers import write_fake_scan

from spotlessd.job import JobState

QUIET_SECONDS = 0.7
"""So long it is watched that nothing happens."""


@pytest.fixture(params=["local", "station publishes", pytest.param("worker publishes", marks=pytest.mark.slow)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EngineBench]:
    publish = str(request.param).split()[0]
    made = (
        EngineBench(tmp_path, None)
        if publish == "local"
        else EngineBench(tmp_path, request.getfixturevalue("database"), publish)
    )
    try:
        yield made
    finally:
        made.close()


def test_a_scan_that_is_dropped_is_shown_while_it_is_worked_on_and_then_done(bench: EngineBench) -> None:
    bench.start()
    bench.drop("gated.tif")
    bench.drop("later.tif")
    bench.wait_for(lambda: bench.steps_shown().get("gated.tif") == "inpaint")
    during = bench.status()
    bench.gate.touch()
    bench.wait_for_end("later.tif", JobState.DONE)
    after = bench.status()
    listed = json.loads(bench.run("list", "--json", "--state", "done"))
    shown = json.loads(bench.run("show", "gated.tif", "--json"))
    text = bench.run("status"), bench.run("list"), bench.run("show", "1")

    assert during["counts"]["running"] + during["counts"]["queued"] == 2
    assert (during["health"], after["health"]) == ("ok", "ok")
    assert (after["counts"]["done"], after["counts"]["queued"], after["counts"]["running"]) == (2, 0, 0)
    assert sorted(job["file"] for job in listed) == ["gated.tif", "later.tif"]
    assert [moment["state"] for moment in shown["history"]] == ["queued", "running", "done"]
    assert (bench.job("gated.tif").attempt, bench.job("gated.tif").strikes) == (1, 0)
    assert "2 done" in text[0]
    assert "later.tif" in text[1]
    assert "gated.tif" in text[2]
    bench.check_published("gated.tif", "later.tif")


def test_a_scan_that_vanishes_or_changes_while_it_is_queued_is_not_published(bench: EngineBench) -> None:
    bench.start()
    bench.run("pause")
    bench.drop("gone.tif", "changed.tif")
    (bench.station.scans / "gone.tif").unlink()
    write_fake_scan(bench.station.scans / "changed.tif", 9, size=5000)
    bench.run("resume")

    bench.wait_for_end("gone.tif", JobState.GONE)
    bench.wait_for_end("changed.tif", JobState.SUPERSEDED, JobState.DONE)
    bench.check_published("changed.tif")


def test_a_scan_that_vanishes_or_changes_while_it_is_worked_on_is_not_published(bench: EngineBench) -> None:
    bench.start()
    bench.drop("gated_gone.tif")
    bench.wait_until_begun("gated_gone.tif")
    (bench.station.scans / "gated_gone.tif").unlink()
    bench.gate.touch()
    bench.wait_for_end("gated_gone.tif", JobState.GONE)
    bench.gate.unlink()
    bench.drop("gated_changed.tif")
    bench.wait_until_begun("gated_changed.tif")
    write_fake_scan(bench.station.scans / "gated_changed.tif", 9, size=5000)
    bench.gate.touch()

    bench.wait_for_end("gated_changed.tif", JobState.SUPERSEDED, JobState.DONE)
    bench.check_published("gated_changed.tif")


def test_scans_are_done_in_the_order_in_which_they_came(bench: EngineBench) -> None:
    names = ["brief_c.tif", "brief_a.tif", "brief_e.tif", "brief_b.tif", "brief_d.tif"]
    bench.start()
    bench.run("pause")
    bench.drop(*names)

    bench.run("resume")

    bench.wait_for(lambda: len(bench.finished_order()) == len(names))
    assert bench.finished_order() == [job.identity.rel for job in bench.jobs()]


def test_a_bumped_scan_comes_first_then_the_root_with_the_higher_priority_then_the_rest(bench: EngineBench) -> None:
    urgent = bench.add_root("urgent", 5)
    bench.start()
    bench.run("pause")
    bench.drop("brief_1.tif", "brief_2.tif", "brief_3.tif", "brief_4.tif")
    write_fake_scan(urgent / "brief_high.tif")
    bench.wait_for(lambda: bench.jobs("brief_high.tif"))
    bench.run("bump", "brief_3.tif")
    order = ["brief_3.tif", "brief_high.tif", "brief_1.tif", "brief_2.tif", "brief_4.tif"]

    bench.run("resume")

    bench.wait_for(lambda: len(bench.finished_order()) == len(order))
    assert bench.finished_order() == order


def test_what_comes_late_with_a_higher_priority_overtakes_what_waits(bench: EngineBench) -> None:
    urgent = bench.add_root("urgent", 5)
    bench.start()
    bench.drop("gated.tif")
    bench.wait_until_begun("gated.tif")
    waiting = [f"brief_{number}.tif" for number in range(5)]
    bench.drop(*waiting)
    write_fake_scan(urgent / "late.tif")
    bench.wait_for(lambda: bench.jobs("late.tif"))
    bench.run("bump", waiting[-1])

    bench.gate.touch()

    bench.wait_for(lambda: len(bench.finished_order()) == len(waiting) + 2)
    order = bench.finished_order()
    assert order[0] == "gated.tif"
    assert order.index(waiting[-1]) < order.index("late.tif") < order.index(waiting[2])


def test_a_scan_that_fails_for_a_while_is_tried_again_after_a_pause_and_one_that_kills_at_once(
    bench: EngineBench,
) -> None:
    bench.set_queue("retry_seconds = 0.5")
    bench.set_queue("retry_max_seconds = 1")
    bench.start()
    bench.drop("fail2.tif", "kill_first.tif")

    bench.wait_for_end("fail2.tif", JobState.DONE)
    bench.wait_for_end("kill_first.tif", JobState.DONE)

    failed, killed = bench.job("fail2.tif"), bench.job("kill_first.tif")
    assert (failed.attempt, failed.failures, failed.crashes) == (3, 2, 0)
    assert (killed.attempt, killed.failures, killed.crashes) == (2, 0, 1)
    assert failed.started - failed.created >= 0.5 + 1, "two pauses, the second twice the first"
    bench.check_published("fail2.tif", "kill_first.tif")


def test_a_scan_that_fails_too_often_is_set_aside_with_its_reason_and_retry_brings_it_back(bench: EngineBench) -> None:
    bench.start()
    bench.drop("fail3.tif", "bad.tif", "good.tif")
    bench.wait_for_end("fail3.tif", JobState.QUARANTINED)
    bench.wait_for_end("bad.tif", JobState.QUARANTINED)
    bench.wait_for_end("good.tif", JobState.DONE)
    aside, bad = bench.job("fail3.tif"), bench.job("bad.tif")
    listed = json.loads(bench.run("list", "--json", "--state", "quarantined"))
    bench.check_published("good.tif")

    text = bench.run("retry", "fail3.tif")

    bench.wait_for_end("fail3.tif", JobState.DONE)
    assert (aside.attempt, aside.failures) == (3, 3)
    assert aside.reason == "3 attempts failed; the last one: the copy broke off."
    assert (bad.attempt, bad.reason) == (1, "the scan is damaged.")
    assert sorted(job["file"] for job in listed) == ["bad.tif", "fail3.tif"]
    assert "1 queued again." in text
    assert bench.job("fail3.tif").attempt == 4
    bench.check_published("fail3.tif", "good.tif")


def test_a_scan_has_one_job_however_often_it_is_looked_at(bench: EngineBench) -> None:
    bench.start()
    bench.drop("a.tif", "gated.tif")
    bench.wait_for_end("a.tif", JobState.DONE)
    for _ in range(2):
        bench.run("scan")
    bench.wait_until_begun("gated.tif")
    bench.kill()
    bench.start()
    bench.run("scan")
    bench.gate.touch()
    bench.wait_for_end("gated.tif", JobState.DONE)
    bench.drop("a_later_look.tif")
    bench.wait_for_end("a_later_look.tif", JobState.DONE)

    assert sorted(job.identity.rel for job in bench.jobs()) == ["a.tif", "a_later_look.tif", "gated.tif"]
    assert (bench.job("a.tif").attempt, bench.job("gated.tif").strikes) == (1, 0)
    bench.check_published("a.tif", "a_later_look.tif", "gated.tif")


def test_a_pause_lets_what_is_in_hand_end_and_starts_nothing_until_resume(bench: EngineBench) -> None:
    names = [f"gated_{number}.tif" for number in range(6)]
    bench.start()
    bench.drop(*names)
    bench.wait_until_begun(names[0])
    time.sleep(2 * QUIET_SECONDS)  # until the station has heard how each of its tickets stands
    text = bench.run("pause")
    bench.wait_for(lambda: [job.state for job in bench.jobs()].count(JobState.RUNNING) == 1)
    bench.gate.touch()
    bench.wait_for_end(names[0], JobState.DONE)
    time.sleep(QUIET_SECONDS)
    left = [job.identity.rel for job in bench.jobs() if job.state is JobState.QUEUED]
    paused = bench.status()

    bench.run("resume")

    bench.wait_for(lambda: len(bench.finished_order()) == len(names))
    assert "paused until `spotlessd resume`, after job 1." in text
    assert left == names[1:]
    assert paused["paused"] == "by a person"
    assert {job.strikes + job.interrupts for job in bench.jobs()} == {0}
    bench.check_published(*names)


def test_a_pause_at_once_stops_what_is_in_hand_without_blame(bench: EngineBench) -> None:
    bench.start()
    bench.drop("gated.tif")
    bench.wait_until_begun("gated.tif")

    text = bench.run("pause", "--now")

    bench.wait_for_end("gated.tif", JobState.QUEUED)
    stopped = bench.job("gated.tif")
    bench.gate.touch()
    time.sleep(QUIET_SECONDS)
    assert bench.states("gated.tif") == [JobState.QUEUED]
    bench.run("resume")
    bench.wait_for_end("gated.tif", JobState.DONE)
    assert "stopped and will start again" in text
    assert (stopped.interrupts, stopped.strikes) == (0, 0)
    bench.check_published("gated.tif")
