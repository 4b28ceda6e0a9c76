"""A station whose workers publish: what it asks, and what it writes down of results that lie there already."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_workers import FakeRestorer, restored_bytes, write_fake_scan
from played_link import RemoteBench, open_remote_bench

from spotlessd import publish
from spotlessd.cluster.remote_crew import RemoteCrew
from spotlessd.cluster.tickets import Answer, AnswerKind, Ticket, order_of
from spotlessd.job import Base, JobState, Overrides
from spotlessd.publish import PublishPlan
from spotlessd.publishing.found_receipts import results_of
from spotlessd.publishing.result_files import Parts, part_paths, turned


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[RemoteBench]:
    with open_remote_bench(tmp_path) as made:
        publishing_workers(made.crew)
        yield made


def publishing_workers(crew: RemoteCrew) -> None:
    for lane in crew._remote:
        lane._terms = replace(lane._terms, publishes="worker")


def planned(bench: RemoteBench, ticket: Ticket, turn: int = 1) -> tuple[PublishPlan, dict[str, object]]:
    """Do what a ticket says, and plan the names, as its worker would."""
    order = order_of(ticket, turn, bench.shares, None)
    made = FakeRestorer().restore(order, lambda step, fraction: None).to_dict()
    usual = part_paths(bench.root.output, ticket.rel, ticket.key.job, ticket.key.attempt)
    parts = Parts(order.image, order.mask, order.preview, turned(usual.receipt, turn))
    plan = publish.make_plan(bench.root.output, ticket.rel, parts, {**made, "station": ticket.naming.station})
    return plan, publish.read_receipt(parts.receipt)


def publish_it(bench: RemoteBench, ticket: Ticket, turn: int = 1) -> None:
    plan, receipt = planned(bench, ticket, turn)
    publish.carry_out(bench.root.output, plan)
    bench.answer(ticket, Answer(AnswerKind.FINISHED, "gpu1", receipt, outputs=plan.names), turn)


def test_what_the_worker_published_is_written_down_as_the_stations_own(bench: RemoteBench) -> None:
    job_id = bench.queue()
    bench.tick()
    [ticket] = bench.link.asked
    assert ticket.publishes == "worker"
    publish_it(bench, ticket)
    bench.tick()
    job = bench.job(job_id)
    scan = (bench.root.input / "frame.tif").read_bytes()
    assert (job.state, job.outputs["image"]) == (JobState.DONE, "frame.tif")
    assert job.sha256 == hashlib.sha256(scan).hexdigest()
    assert bench.link.acknowledged == [ticket.key]
    assert bench.published() == {"frame.tif", "masks/frame.png", "previews/frame.jpg", "receipts/frame.json"}
    assert bench.parts() == set()


def test_a_ledger_that_is_lost_finds_the_result_by_the_receipt_that_the_worker_wrote(bench: RemoteBench) -> None:
    job_id = bench.queue()
    bench.tick()
    publish_it(bench, bench.link.asked[0])
    job = bench.job(job_id)
    [found] = results_of(bench.root, job.identity)
    assert (found.identity, found.recipe, found.state) == (job.identity, job.recipe, JobState.DONE)


def test_a_ticket_says_what_a_receipt_must_say_and_what_goes_with_the_scan(bench: RemoteBench) -> None:
    for name in ("frame_IR.tif", "frame.xmp"):
        write_fake_scan(bench.root.input / name, 3)
    job_id = bench.queue(recipe="recipe+2")
    bench.wall[0] = 4e9  # all is long complete
    bench.tick()
    naming = bench.link.asked[0].naming
    identity = bench.job(job_id).identity
    assert naming.station == {
        "id": "dark",
        "root": "scans",
        "rel": "frame.tif",
        "size": identity.size,
        "mtime_ns": identity.mtime_ns,
        "recipe": f"{bench.root.profile.recipe}+2",
        "job": job_id,
        "attempt": 1,
    }
    assert [(each["name"], each["part"], each["ending"]) for each in naming.companions] == [
        ("frame.xmp", "companion", ".xmp"),
        ("frame_IR.tif", "infrared_sidecar", "_IR.tif"),
    ]
    assert Ticket.from_json(bench.link.asked[0].to_json()) == bench.link.asked[0]


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_scan_that_changed_after_the_worker_published_it_is_done_all_the_same(
    bench: RemoteBench, is_gone: bool
) -> None:
    job_id = bench.queue()
    bench.tick()
    publish_it(bench, bench.link.asked[0])
    before = restored_bytes(bench.root.input / "frame.tif")
    (bench.root.input / "frame.tif").unlink()
    if not is_gone:
        write_fake_scan(bench.root.input / "frame.tif", 9, 5000)
    bench.tick()
    assert bench.job(job_id).state is JobState.DONE
    assert (bench.root.output / "frame.tif").read_bytes() == before


def test_a_station_that_was_killed_before_it_wrote_the_answer_down_does_so_at_its_next_start(tmp_path: Path) -> None:
    with open_remote_bench(tmp_path) as first:
        publishing_workers(first.crew)
        job_id = first.queue()
        first.tick()
        [ticket] = first.link.asked
        publish_it(first, ticket)
        answer = first.link.coming[0]
    with open_remote_bench(tmp_path) as second:
        second.link.coming.append(answer)
        second.tick()
        second.tick()
        assert second.job(job_id).state is JobState.DONE
        assert second.published() == {"frame.tif", "masks/frame.png", "previews/frame.jpg", "receipts/frame.json"}


def test_what_an_edit_taught_is_fetched_as_ever(tmp_path: Path) -> None:
    with open_remote_bench(tmp_path, feedback_dir=tmp_path / "state") as bench:
        publishing_workers(bench.crew)
        mask = bench.root.output / "base.png"
        mask.write_bytes(b"a mask")
        base = Base(1, mask, mask, None, "base", "00")
        job_id = bench.queue(overrides=Overrides(base=base), recipe="recipe+1")
        bench.tick()
        [ticket] = bench.link.asked
        taught = order_of(ticket, 4, bench.shares, None).feedback
        assert taught is not None
        taught.parent.mkdir(exist_ok=True)
        taught.write_bytes(b"crops")
        publish_it(bench, ticket, turn=4)
        bench.tick()
        assert (tmp_path / "state" / "feedback" / f"frame-{job_id}.npz").read_bytes() == b"crops"
        assert bench.parts() == set()


@pytest.mark.parametrize("names", [0, 2, 4])
def test_a_result_whose_naming_killed_the_workers_is_named_by_the_station(bench: RemoteBench, names: int) -> None:
    job_id = bench.queue()
    bench.tick()
    [ticket] = bench.link.asked
    plan, _ = planned(bench, ticket, turn=3)
    for step in plan.steps[:names]:
        (bench.root.output / step.part).rename(bench.root.output / step.final)
    bench.answer(ticket, Answer(AnswerKind.POISON, "gpu1", {"plan": plan.to_json()}), 0)
    bench.tick()
    assert bench.job(job_id).state is JobState.DONE
    assert bench.published() == {"frame.tif", "masks/frame.png", "previews/frame.jpg", "receipts/frame.json"}
    assert json.loads((bench.root.output / "receipts/frame.json").read_text())["station"]["id"] == "dark"


def test_what_is_left_of_such_a_result_is_taken_back_if_it_is_not_whole(bench: RemoteBench) -> None:
    job_id = bench.queue()
    bench.tick()
    [ticket] = bench.link.asked
    plan, _ = planned(bench, ticket, turn=3)
    (bench.root.output / plan.steps[0].part).rename(bench.root.output / plan.steps[0].final)
    (bench.root.output / plan.steps[1].part).unlink()
    bench.answer(ticket, Answer(AnswerKind.POISON, "gpu1", {"plan": plan.to_json()}), 0)
    bench.tick(may_start=False)
    assert bench.job(job_id).state is JobState.QUEUED
    assert (bench.published(), bench.parts()) == (set(), set())
