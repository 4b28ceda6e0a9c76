"""The station's side of the cluster: what is asked, what becomes of answers, and what survives a stop."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_workers import restored_bytes
from played_link import RemoteBench, open_remote_bench

from spotlessd.cluster.link import NOT_YET
from spotlessd.cluster.station_link import ClusterView, Withdrawn
from spotlessd.cluster.ticket_queue import Standing
from spotlessd.cluster.tickets import Answer, AnswerKind, order_of
from spotlessd.job import Base, JobState, Overrides


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[RemoteBench]:
    with open_remote_bench(tmp_path) as made:
        yield made


def asked_names(bench: RemoteBench) -> list[str]:
    return [ticket.rel for ticket in bench.link.asked]


def test_a_queued_scan_is_asked_of_the_cluster_and_its_answer_published(bench: RemoteBench) -> None:
    job_id = bench.queue()
    bench.tick()
    [ticket] = bench.link.asked
    assert (ticket.key.job, ticket.key.attempt, ticket.root, ticket.rel) == (job_id, 1, "scans", "frame.tif")
    assert bench.job(job_id).state is JobState.RUNNING
    bench.work(ticket, turn=3)
    bench.tick()
    assert bench.job(job_id).state is JobState.DONE
    assert (bench.root.output / "frame.tif").read_bytes() == restored_bytes(bench.root.input / "frame.tif")
    assert bench.link.acknowledged == [ticket.key]
    assert bench.parts() == set()


def test_the_receipt_names_the_machine_that_computed(bench: RemoteBench) -> None:
    job_id = bench.queue()
    bench.tick()
    bench.work(bench.link.asked[0], worker="gpu2/0")
    bench.tick()
    receipt = (bench.root.output / bench.job(job_id).outputs["receipt"]).read_text()
    assert '"worker": "gpu2/0"' in receipt


def test_only_a_window_of_tickets_is_out(bench: RemoteBench) -> None:
    bench.link.view = ClusterView(slots=1, stations=1)
    for number in range(9):
        bench.queue(f"frame{number}.tif")
    bench.tick()
    window = bench.engine.window
    assert 1 < window < 9
    assert len(bench.link.asked) == window
    bench.work(bench.link.asked[0])
    bench.tick()
    bench.tick()
    assert len(bench.link.asked) == window + 1


def test_more_stations_with_work_make_the_window_smaller(bench: RemoteBench) -> None:
    bench.link.view = ClusterView(slots=8, stations=1)
    alone = bench.engine.window
    bench.link.view = ClusterView(slots=8, stations=4)
    assert bench.engine.window < alone


def test_nothing_is_asked_while_postgresql_does_not_answer(bench: RemoteBench) -> None:
    bench.link.trouble = "the cluster's PostgreSQL at db:5432 does not answer"
    job_id = bench.queue()
    bench.tick()
    assert bench.link.asked == []
    assert bench.job(job_id).state is JobState.QUEUED
    assert bench.crew.troubles == (bench.link.trouble,)
    bench.link.trouble = ""
    bench.tick()
    assert asked_names(bench) == ["frame.tif"]


def test_a_station_that_has_just_started_has_no_trouble_before_its_first_try_has_failed(bench: RemoteBench) -> None:
    bench.link.trouble = f"{NOT_YET} (since 14:03)"
    bench.queue()
    bench.tick()
    assert bench.link.asked == []
    assert bench.crew.troubles == ()


def test_no_more_is_added_once_a_ticket_has_waited_too_long(bench: RemoteBench) -> None:
    bench.queue("first.tif")
    bench.tick()
    bench.wall[0] += 601
    bench.queue("second.tif")
    bench.tick()
    assert asked_names(bench) == ["first.tif"]
    assert "waited 601 s" in bench.engine.why_not
    key = bench.link.asked[0].key
    bench.link.coming.append(Standing(key, "doing", "gpu1", "detect", 0.5, 0.0))
    bench.tick()
    bench.tick()
    assert asked_names(bench) == ["first.tif", "second.tif"]


def test_the_status_names_the_worker_and_its_step(bench: RemoteBench) -> None:
    bench.queue()
    bench.tick()
    assert bench.crew.workers()[0].name == "waits for a worker"
    bench.link.coming.append(Standing(bench.link.asked[0].key, "doing", "gpu1", "detect", 0.5, 0.0))
    bench.tick()
    [worker] = bench.crew.workers()
    assert worker.name == "gpu1"
    assert worker.job is not None
    assert (worker.job.step, worker.job.fraction) == ("detect", 0.5)


def test_a_scan_that_cannot_be_read_is_quarantined_with_the_workers_words(bench: RemoteBench) -> None:
    job_id = bench.queue()
    bench.tick()
    bench.fail(bench.link.asked[0], exit_code=65, message="frame.tif: no image.")
    bench.tick()
    job = bench.job(job_id)
    assert (job.state, job.reason) == (JobState.QUARANTINED, "frame.tif: no image.")
    assert bench.link.acknowledged == [bench.link.asked[0].key]


def test_a_child_that_died_under_a_scan_counts_as_a_crash_and_the_third_ends_it(bench: RemoteBench) -> None:
    job_id = bench.queue()
    for attempt in (1, 2, 3):
        bench.wall[0] += 3600
        bench.tick()
        ticket = bench.link.asked[-1]
        assert ticket.key.attempt == attempt
        bench.answer(ticket, Answer(AnswerKind.LOST, "gpu1", message="the worker process ended."))
        bench.tick()
    job = bench.job(job_id)
    assert (job.state, job.crashes) == (JobState.QUARANTINED, 3)
    assert "gpu1: the worker process ended." in job.reason


def test_poison_is_quarantined_at_once(bench: RemoteBench) -> None:
    job_id = bench.queue()
    bench.tick()
    bench.answer(bench.link.asked[0], Answer(AnswerKind.POISON, "", message="3 workers were lost over it."))
    bench.tick()
    job = bench.job(job_id)
    assert (job.state, job.reason) == (JobState.QUARANTINED, "3 workers were lost over it.")


def test_a_worker_whose_device_failed_does_not_stop_the_station(bench: RemoteBench) -> None:
    job_id = bench.queue()
    bench.tick()
    bench.fail(bench.link.asked[0], exit_code=69, message="the GPU is gone.")
    bench.tick()
    job = bench.job(job_id)
    assert (job.state, job.setbacks) == (JobState.QUEUED, 1)
    assert bench.crew.start_exit_code is None


def test_what_the_last_run_left_with_the_cluster_is_taken_over_under_the_same_name(tmp_path: Path) -> None:
    with open_remote_bench(tmp_path) as first:
        job_id = first.queue()
        first.tick()
        [before] = first.link.asked
        first.crew.leave("stopped", "stopped")  # type: ignore[arg-type]
    with open_remote_bench(tmp_path) as second:
        assert [job.id for job in second.crew.jobs] == [job_id]
        second.tick()
        [again] = second.link.asked
        assert again.key == before.key
        second.work(again)
        second.tick()
        job = second.job(job_id)
        assert (job.state, job.attempt, job.interrupts) == (JobState.DONE, 1, 0)


def test_an_answer_that_came_before_the_takeover_is_not_asked_for_again(tmp_path: Path) -> None:
    with open_remote_bench(tmp_path) as first:
        job_id = first.queue()
        first.tick()
        [ticket] = first.link.asked
    with open_remote_bench(tmp_path) as second:
        second.work(ticket, turn=2)
        second.tick()
        second.tick()
        assert second.link.asked == []
        assert second.job(job_id).state is JobState.DONE
        assert second.link.acknowledged == [ticket.key]


def test_an_answer_to_an_attempt_that_is_over_is_forgotten(bench: RemoteBench) -> None:
    job_id = bench.queue()
    bench.tick()
    ticket = bench.link.asked[0]
    stale = replace(ticket, key=replace(ticket.key, attempt=9))
    bench.answer(stale, Answer(AnswerKind.FINISHED, "gpu1", {}))
    bench.tick()
    assert bench.link.acknowledged == [stale.key]
    assert bench.job(job_id).state is JobState.RUNNING


def test_a_root_that_is_not_configured_any_more_gives_its_jobs_back(tmp_path: Path) -> None:
    with open_remote_bench(tmp_path) as first:
        job_id = first.queue()
        first.tick()
    with open_remote_bench(tmp_path, configured=frozenset({"others"})) as second:
        second.tick(may_start=False)
        assert second.job(job_id).state is JobState.QUEUED
        assert second.crew.jobs == ()


def test_pause_at_once_waits_for_postgresql_to_say_that_the_ticket_is_void(bench: RemoteBench) -> None:
    job_id = bench.queue()
    bench.tick()
    ticket = bench.link.asked[0]
    bench.crew.drop("paused by a person, at once")
    bench.tick(may_start=False)
    assert bench.link.withdrawn == [ticket.key]
    assert bench.job(job_id).state is JobState.RUNNING
    bench.link.coming.append(Withdrawn(ticket.key))
    bench.tick(may_start=False)
    job = bench.job(job_id)
    assert (job.state, job.interrupts, job.reason) == (JobState.QUEUED, 0, "paused by a person, at once")


def test_an_answer_that_was_faster_than_the_withdrawal_counts(bench: RemoteBench) -> None:
    job_id = bench.queue()
    bench.tick()
    bench.crew.drop("paused")
    bench.work(bench.link.asked[0])
    bench.tick(may_start=False)
    assert bench.job(job_id).state is JobState.DONE


def test_a_stop_does_not_wait_for_what_the_workers_have(bench: RemoteBench) -> None:
    bench.queue()
    bench.tick()
    assert len(bench.crew.jobs) == 1
    assert bench.crew.unfinished == ()


def test_parts_of_every_turn_go_when_the_attempt_is_over(bench: RemoteBench) -> None:
    bench.queue("roll/frame.tif")
    bench.tick()
    ticket = bench.link.asked[0]
    left = bench.root.output / "roll" / f".spotlessd-{ticket.key.job}-1-image_t1.part"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"half")
    other = bench.root.output / "roll" / ".spotlessd-77-1-image_t1.part"
    other.write_bytes(b"another job's")
    bench.work(ticket, turn=2)
    bench.tick()
    assert bench.parts() == {other.name}


def test_a_mask_that_a_person_gave_goes_where_workers_can_read_it(bench: RemoteBench, tmp_path: Path) -> None:
    kept = tmp_path / "given.png"
    kept.write_bytes(b"a mask")
    bench.queue("frame.tif", Overrides(mask=kept), recipe="recipe+1")
    bench.tick()
    [part] = bench.root.output.rglob(".spotlessd-*-given.part")
    assert part.read_bytes() == b"a mask"
    assert part.name in str(bench.link.asked[0].order)
    bench.fail(bench.link.asked[0], exit_code=65)
    bench.tick()
    assert bench.parts() == set()


def test_what_an_edit_teaches_is_fetched_from_the_share(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with open_remote_bench(tmp_path, feedback_dir=state) as bench:
        mask = bench.root.output / "masks" / "frame.png"
        mask.parent.mkdir()
        mask.write_bytes(b"the mask of the first version")
        bench.queue("frame.tif", Overrides(base=Base(1, mask, name="frame")), recipe="recipe+1")
        bench.tick()
        [ticket] = bench.link.asked
        taught = order_of(ticket, 7, bench.shares, None).feedback
        assert taught is not None and taught.is_relative_to(bench.root.output)
        taught.write_bytes(b"crops")
        bench.work(ticket, turn=7)
        bench.tick()
        [kept] = (state / "feedback").iterdir()
        assert (kept.suffix, kept.read_bytes()) == (".npz", b"crops")
        assert bench.parts() == set()


def test_a_file_that_changed_while_the_cluster_had_it_is_not_published(bench: RemoteBench) -> None:
    job_id = bench.queue()
    bench.tick()
    ticket = bench.link.asked[0]
    bench.work(ticket)
    with (bench.root.input / "frame.tif").open("ab") as file:
        file.write(b"more")
    bench.tick()
    assert bench.job(job_id).state is JobState.SUPERSEDED
    assert "frame.tif" not in bench.published()


def test_a_refusal_of_postgresql_ends_a_single_run_with_its_code(bench: RemoteBench) -> None:
    from spotlessd.errors import ConfigError

    assert bench.crew.start_exit_code is None
    bench.link.refusal = ConfigError("PostgreSQL refused the password.")
    assert bench.crew.start_exit_code == 78
    assert bench.crew.troubles == ("PostgreSQL refused the password.",)


def test_without_workers_of_these_weights_the_trouble_says_so(bench: RemoteBench) -> None:
    bench.link.view = ClusterView(slots=0, other_slots=2)
    bench.tick()
    assert bench.crew.troubles == (), "right after a connection others may still be on their way"
    bench.now += 30.0
    bench.tick()
    assert "other" in bench.crew.troubles[0]
    bench.link.view = ClusterView(slots=0)
    assert "spotlessd worker" in bench.crew.troubles[0]


def test_after_an_outage_workers_have_time_to_come_back(bench: RemoteBench) -> None:
    bench.tick()
    bench.now += 30.0
    bench.link.trouble, bench.link.view = "PostgreSQL is away", ClusterView(slots=0)
    bench.tick()
    assert bench.crew.troubles == ("PostgreSQL is away",)
    bench.link.trouble = ""
    bench.tick()
    assert bench.crew.troubles == ()


def test_the_cluster_is_told_the_stations_numbers(bench: RemoteBench) -> None:
    bench.queue("a.tif")
    bench.queue("b.tif")
    bench.tick(may_start=False)
    facts = bench.link.told[-1]
    assert (facts.name, facts.queued, facts.given, facts.is_paused) == ("dark", 2, 0, True)
