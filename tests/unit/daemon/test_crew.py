"""Several lanes on one queue: what one does leaves the others alone, and what they share is never given away twice."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from fake_workers import write_fake_scan
from played_lanes import Bench, open_bench

from spotlessd import publish
from spotlessd.commons import RECHECK_SECONDS, SUSPECT_INTERRUPTS
from spotlessd.errors import LedgerError, PublishError, WorkerDiedError
from spotlessd.job import Failure, FailureKind, JobState
from spotlessd.messages import Ready
from spotlessd.publish import PublishPlan
from spotlessd.start_checks import MEMORY_PATIENCE_SECONDS, NEIGHBOUR_SECONDS
from spotlessd.supervisor import StartTrouble, WorkerLost, WorkerState

Opening = Callable[..., Bench]


@pytest.fixture
def opening(tmp_path: Path) -> Iterator[Opening]:
    with ExitStack() as stack:

        def one(lanes: int = 2, **values: object) -> Bench:
            made: AbstractContextManager[Bench] = open_bench(tmp_path, lanes, **values)  # type: ignore[arg-type]
            return stack.enter_context(made)

        yield one


@pytest.fixture
def bench(opening: Opening) -> Bench:
    return opening()


def ordered(bench: Bench) -> list[list[int]]:
    """The job ids each lane's worker was given."""
    return [[order.job_id for order in supervisor.orders] for supervisor in bench.supervisors]


def ready_on(bench: Bench, lane: int, device: str) -> None:
    bench.supervisors[lane].events.append(Ready(device, "float32", (), 1.0))


def test_every_lane_takes_a_job_of_its_own(opening: Opening) -> None:
    bench = opening(3)
    ids = [bench.queue(f"{name}.tif") for name in "abcd"]

    bench.tick()

    assert sorted(ordered(bench)) == [[ids[0]], [ids[1]], [ids[2]]]
    assert [job.id for job in bench.crew.jobs] == ids[:3]
    assert bench.job(ids[3]).state is JobState.QUEUED


def test_a_lane_whose_worker_dies_leaves_the_others_job_alone(bench: Bench) -> None:
    first, second = bench.queue("a.tif"), bench.queue("b.tif")
    bench.tick()
    bench.supervisors[0].events.append(WorkerLost(bench.supervisors[0].orders[0], WorkerDiedError("killed.")))

    bench.tick(may_start=False)
    bench.work(1)
    bench.tick(may_start=False)

    assert (bench.job(first).state, bench.job(first).crashes) == (JobState.QUEUED, 1)
    assert (bench.job(second).state, bench.job(second).strikes) == (JobState.DONE, 0)


def test_giving_up_stops_every_lane_even_when_the_ledger_refuses_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = bench.queue("a.tif"), bench.queue("b.tif")
    bench.tick()
    fail = bench.engine.fail
    refusals = iter([LedgerError("disk full")])

    def refuse_once(*arguments: object) -> object:
        for refusal in refusals:
            raise refusal
        return fail(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.engine, "fail", refuse_once)
    with pytest.raises(LedgerError):
        bench.crew.drop("stopped")
    states = [bench.job(first).state, bench.job(second).state]
    bench.crew.drop("stopped")

    assert [supervisor.is_dropped for supervisor in bench.supervisors] == [True, True]
    assert states == [JobState.RUNNING, JobState.QUEUED]
    assert [bench.job(each).interrupts for each in (first, second)] == [0, 0]
    assert bench.crew.jobs == ()


def test_one_name_is_worked_on_by_one_lane_at_a_time(bench: Bench) -> None:
    """Else `reprocess` could get the first name, and the job before it the second."""
    first = bench.queue("a.tif")
    again = bench.queue("a.tif", recipe="recipe+1")
    other = bench.queue("b.tif")

    bench.tick()
    together = ordered(bench)
    bench.work(0)
    bench.tick()

    assert together == [[first], [other]]
    assert ordered(bench) == [[first, again], [other]]


def both_worked(opening: Opening) -> tuple[Bench, list[int]]:
    """Two roots with one output folder have the very same scan, and both workers have just answered."""
    bench = opening(roots=("scans", "more"))
    ids = [bench.queue("frame.tif"), bench.queue("frame.tif", root="more")]
    bench.tick()
    for lane in range(2):
        bench.work(lane)
    return bench, ids


def check_two_results(bench: Bench, ids: list[int]) -> None:
    names = [bench.job(each).outputs for each in ids]
    assert [bench.job(each).state for each in ids] == [JobState.DONE, JobState.DONE]
    assert [each["image"] for each in names] == ["frame.tif", "frame~2.tif"]
    for each in names:
        receipt = json.loads((bench.root.output / each["receipt"]).read_text())
        for facts in receipt["outputs"].values():
            content = (bench.root.output / facts["name"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == facts["sha256"]
    assert len(bench.published()) == 8


def test_results_of_one_name_in_one_folder_are_numbered(opening: Opening) -> None:
    bench, ids = both_worked(opening)

    bench.tick()

    check_two_results(bench, ids)


def test_no_lane_publishes_while_another_ones_names_are_half_given(
    opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, ids = both_worked(opening)
    carry_out, failures = publish.carry_out, iter([PublishError("no space left."), PublishError("no space left.")])

    def fail_twice(output: Path, plan: PublishPlan) -> None:
        for failure in failures:
            raise failure
        carry_out(output, plan)

    monkeypatch.setattr(publish, "carry_out", fail_twice)
    bench.tick()
    bench.tick(now=RECHECK_SECONDS + 1)
    resting = [bool(bench.job(each).plan) for each in ids]
    paused = bench.crew.pause_reason
    bench.tick(now=2 * RECHECK_SECONDS + 2)

    assert (resting, paused) == ([True, False], "no space left.")
    check_two_results(bench, ids)


def test_a_result_whose_names_were_being_given_is_taken_up_before_all_others(bench: Bench) -> None:
    """After a crash: another job must not be given the planned names meanwhile."""
    planned, first = bench.queue("b.tif"), bench.queue("a.tif")
    taken = bench.engine.take(bench.job(planned))
    assert taken is not None
    bench.ledger.plan(taken, "[]")
    bench.engine.recover()
    bench.ledger.bump(first)

    due = bench.engine.next_due(frozenset({"scans"}))

    assert due is not None
    assert due.id == planned


def test_memory_that_another_lane_is_going_to_take_is_not_free(bench: Bench) -> None:
    bench.free_memory[0] = 2000.0
    bench.sizes |= {"a.tif": (10_000, 10_000), "b.tif": (10_000, 10_000)}
    first, second = bench.queue("a.tif"), bench.queue("b.tif")

    bench.tick()
    waiting = bench.job(second)
    bench.work(0)
    bench.wall[0] += NEIGHBOUR_SECONDS + 1
    bench.tick()

    assert waiting.reason.startswith("waits for memory: 2000 MB free, 1500 MB of them for the other workers, 1500 MB")
    assert bench.job(first).state is JobState.DONE
    assert ordered(bench) == [[first, second], []]


def test_memory_that_another_lane_has_taken_is_not_counted_twice(bench: Bench) -> None:
    bench.free_memory[0] = 2000.0
    bench.sizes |= {"a.tif": (10_000, 10_000), "b.tif": (10_000, 10_000)}
    first = bench.queue("a.tif")
    bench.tick()
    bench.supervisors[0].memory_mb = 1500.0
    second = bench.queue("b.tif")

    bench.tick()

    assert ordered(bench) == [[first], [second]]


def test_a_frame_that_waited_long_enough_for_memory_runs_alone(bench: Bench) -> None:
    """Beside another frame the kernel might kill it, and three such deaths set it aside."""
    bench.free_memory[0] = 100.0
    bench.sizes["b.tif"] = (10_000, 10_000)
    bench.supervisors[0].memory_mb = bench.supervisors[1].memory_mb = 1001.0
    small, big = bench.queue("a.tif"), bench.queue("b.tif")
    bench.tick(0.0)
    bench.wall[0] += 100.0
    later = bench.queue("c.tif")

    bench.tick(MEMORY_PATIENCE_SECONDS + 1)
    beside = ordered(bench)
    bench.work(0)
    bench.tick(MEMORY_PATIENCE_SECONDS + 2)

    assert beside == [[small], []]
    assert ordered(bench)[0] == [small, big]
    assert ordered(bench)[1] == [later]


def test_a_disk_with_room_for_one_result_gets_one_at_a_time_and_pauses_nothing(bench: Bench) -> None:
    first, second = bench.queue("a.tif"), bench.queue("b.tif")
    size = bench.job(first).identity.size
    bench.free[0] = 1000 + 5 * size

    bench.tick()
    waits = [worker.waits for worker in bench.crew.workers()]
    together, paused = ordered(bench), bench.crew.pause_reason
    bench.work(0)
    bench.tick()

    assert (together, paused) == ([[first], []], "")
    assert waits[0] == ""
    assert waits[1].startswith("beside the others' results: disk:")
    assert ordered(bench) == [[first, second], []]


def test_a_disk_without_room_for_one_result_lets_every_lane_rest(bench: Bench) -> None:
    bench.queue("a.tif")
    bench.free[0] = 10

    bench.tick()

    assert bench.crew.pause_reason.startswith("disk:")
    assert ordered(bench) == [[], []]
    assert bench.crew.seconds_to_next(1.0) == pytest.approx(RECHECK_SECONDS - 1.0)


def test_a_job_that_was_interrupted_again_and_again_runs_alone(bench: Bench) -> None:
    """It may be what brings the station down; its neighbour must not be blamed for it."""
    suspect = bench.queue("a.tif")
    for _ in range(SUSPECT_INTERRUPTS):
        taken = bench.engine.take(bench.job(suspect))
        assert taken is not None
        bench.engine.fail(taken, Failure(FailureKind.CUT_OFF, "power cut"))
    other = bench.queue("b.tif")

    bench.tick()
    together = ordered(bench)
    waits = bench.crew.workers()[1].waits
    bench.work(0)
    bench.tick()

    assert together == [[suspect], []]
    assert waits == f"job {suspect} was interrupted {SUSPECT_INTERRUPTS} times and runs alone"
    assert ordered(bench) == [[suspect, other], []]


def test_a_single_run_loads_no_more_workers_than_it_has_jobs(opening: Opening) -> None:
    bench = opening(3, is_eager=False)
    for supervisor in bench.supervisors:
        supervisor.state = WorkerState.DOWN
    bench.queue("a.tif")
    bench.tick()
    for_one = [supervisor.starts for supervisor in bench.supervisors]
    bench.queue("b.tif")

    bench.tick()

    assert for_one == [1, 0, 0]
    assert [supervisor.starts for supervisor in bench.supervisors] == [1, 1, 0]


def test_a_lane_that_cannot_start_is_told_and_the_queue_goes_on(bench: Bench) -> None:
    bench.supervisors[0].events.append(StartTrouble("the GPU fell off the bus.", 69))
    bench.supervisors[0].start = lambda now: False  # type: ignore[method-assign]  # its back-off
    job_id = bench.queue("a.tif")
    bench.tick()
    bench.work(1)

    bench.tick()

    assert bench.job(job_id).state is JobState.DONE
    assert [worker.trouble for worker in bench.crew.workers()] == [
        "worker GPU 0 cannot start: the GPU fell off the bus.",
        "",
    ]
    assert bench.crew.start_exit_code is None


def test_a_station_none_of_whose_workers_can_start_has_that_exit_code(bench: Bench) -> None:
    for supervisor in bench.supervisors:
        supervisor.events.append(StartTrouble("no such device.", 69))

    bench.tick(may_start=False)

    assert bench.crew.start_exit_code == 69


def test_a_worker_that_came_up_on_the_cpu_beside_a_gpu_is_stopped_and_told(bench: Bench) -> None:
    ready_on(bench, 0, "cpu")
    bench.tick(may_start=False)
    alone = bench.crew.workers()[0].trouble
    ready_on(bench, 1, "cuda")
    bench.tick(may_start=False)

    bench.tick(may_start=False)

    assert alone == ""
    assert [worker.state for worker in bench.crew.workers()] == ["down", "idle"]
    assert "came up on the CPU" in bench.crew.workers()[0].trouble


def test_of_several_workers_on_the_cpu_one_is_kept(opening: Opening) -> None:
    bench = opening(3)
    for lane in range(3):
        ready_on(bench, lane, "cpu")

    bench.tick(may_start=False)
    bench.tick(may_start=False)

    assert [worker.state for worker in bench.crew.workers()] == ["idle", "down", "down"]


def test_receipts_say_which_of_several_workers_it_was(bench: Bench) -> None:
    bench.queue("a.tif")
    bench.queue("b.tif")
    bench.tick()
    bench.work(0)
    bench.work(1)

    bench.tick()

    receipts = [json.loads((bench.root.output / f"receipts/{name}.json").read_text()) for name in "ab"]
    assert [receipt["station"]["worker"] for receipt in receipts] == ["GPU 0", "GPU 1"]


def test_a_scan_that_comes_back_is_not_started_while_its_older_self_is_worked_on(bench: Bench) -> None:
    old = bench.queue("a.tif")
    bench.tick()
    write_fake_scan(bench.root.input / "a.tif", seed=9, size=5000)
    new = bench.queue("a.tif")

    bench.tick()
    together = ordered(bench)
    bench.work(0)
    bench.tick()

    assert together == [[old], []]
    assert bench.job(old).state is JobState.SUPERSEDED
    assert ordered(bench) == [[old, new], []]
