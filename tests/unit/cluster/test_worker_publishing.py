"""A worker that publishes, step by step on real folders, with a PostgreSQL that the test plays."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from failing_names import come_between, full, refuse_after
from fake_workers import FakeRestorer, restored_bytes
from played_worker import Stage

from spotlessd import publish
from spotlessd.cluster.ticket_files import remove_older_turns
from spotlessd.cluster.ticket_queue import Taken
from spotlessd.cluster.tickets import Answer, AnswerKind, NamingFacts
from spotlessd.cluster.worker_link import Allowed, Revoked
from spotlessd.folders.roots import MARKER_NAME
from spotlessd.messages import Finished
from spotlessd.publish import PublishPlan
from spotlessd.supervisor import WorkerState


class PublishingStage(Stage):
    """Its children restore; its tickets are the worker's to publish."""

    def ticket(self, job: int = 1, *, turn: int = 7, name: str = "", **naming: Any) -> Taken:
        taken = self.taken(job, turn=turn, publishes="worker")
        ticket = taken.ticket
        facts = {"id": "dark", "root": "scans", "rel": ticket.rel, "size": ticket.size, "mtime_ns": ticket.mtime_ns}
        station = {**facts, "recipe": "recipe", "job": job, "attempt": 1}
        return replace(taken, ticket=replace(ticket, naming=NamingFacts(station, **naming)))

    def compute(self, taken: Taken) -> None:
        """Take a ticket, compute it, and plan its names."""
        self.round(taken)
        child = self.children[0]
        order = child.order
        child.state = WorkerState.IDLE
        receipt = FakeRestorer().restore(order, lambda step, fraction: None).to_dict()
        child.events.append(Finished(order.job_id, order.attempt, receipt, 12.0))
        self.round()

    def answered(self) -> Answer:
        [(_, answer)] = self.link.answers
        return answer

    def last_plan(self) -> PublishPlan:
        return PublishPlan.from_json(self.link.plans[-1][1])

    def names(self) -> set[str]:
        found = {path.relative_to(self.restored).as_posix() for path in self.restored.rglob("*") if path.is_file()}
        return {name for name in found if MARKER_NAME not in name and not name.endswith(".part")}


NAMES = {"roll/scan1.tif", "masks/roll/scan1.png", "previews/roll/scan1.jpg", "receipts/roll/scan1.json"}
NAMES_2 = {name.replace("scan1", "scan1~2") for name in NAMES}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[PublishingStage]:
    return PublishingStage(tmp_path)


def lost_while_naming(stage: PublishingStage, names: int) -> Taken:
    """A ticket whose worker was lost after it gave so many names; the next worker's claim."""
    taken = stage.ticket()
    stage.compute(taken)
    plan = stage.last_plan()
    for step in plan.steps[:names]:
        (stage.restored / step.part).rename(stage.restored / step.final)
    stage.worker._publisher._works.clear()
    return replace(taken, turn=9, losses=1, plan=plan.to_json())


def test_no_name_is_given_before_postgresql_has_the_plan(stage: PublishingStage) -> None:
    taken = stage.ticket()
    stage.compute(taken)
    assert (stage.names(), stage.link.answers) == (set(), [])
    assert {*stage.last_plan().names.values()} == NAMES

    stage.round(Allowed(taken))

    answer = stage.answered()
    assert (stage.names(), stage.parts()) == (NAMES, [])
    assert {*answer.outputs.values()} == NAMES
    assert answer.receipt == json.loads((stage.restored / "receipts/roll/scan1.json").read_text())
    assert answer.receipt["station"] == {**taken.ticket.naming.station, "worker": "gpu1"}
    assert stage.link.facts.done == 1


def test_a_seat_takes_the_next_scan_while_a_result_waits_for_postgresql(stage: PublishingStage) -> None:
    stage.compute(stage.ticket())
    stage.round()
    assert stage.link.wanted[0] == 1
    assert stage.worker._publisher.is_busy


def test_a_result_that_is_somebody_elses_now_is_not_named_and_leaves_nothing(stage: PublishingStage) -> None:
    taken = stage.ticket()
    stage.compute(taken)
    stage.round(Revoked(taken))
    assert (stage.names(), stage.parts(), stage.link.answers) == (set(), [], [])
    assert not stage.worker._publisher.is_busy


def test_a_frame_that_is_held_gets_its_names_without_an_image(stage: PublishingStage) -> None:
    taken = stage.ticket(companions=[{"name": "x.xmp", "part": "companion", "stem": "x", "ending": ".xmp"}])
    stage.round(taken)
    child = stage.children[0]
    order = replace(child.order, source_name="held.tif")
    order.image.unlink()
    receipt = FakeRestorer().restore(order, lambda step, fraction: None).to_dict()
    child.events.append(Finished(order.job_id, order.attempt, receipt, 12.0))
    stage.round()
    stage.round(Allowed(taken))
    assert stage.names() == NAMES - {"roll/scan1.tif"}
    assert stage.answered().receipt["outcome"] == "held"


def test_a_name_that_somebody_took_meanwhile_leads_to_another_plan(stage: PublishingStage) -> None:
    taken = stage.ticket()
    stage.compute(taken)
    somebodys = stage.restored / "masks/roll/scan1.png"
    somebodys.write_bytes(b"not ours")

    stage.round(Allowed(taken))
    assert stage.names() == {"masks/roll/scan1.png"}
    stage.round(Allowed(taken))

    assert stage.names() == NAMES_2 | {"masks/roll/scan1.png"}
    assert somebodys.read_bytes() == b"not ours"
    assert {*stage.answered().outputs.values()} == NAMES_2


def test_files_of_another_scan_with_the_same_bytes_stay_his(stage: PublishingStage) -> None:
    taken = stage.ticket()
    stage.compute(taken)
    first = stage.last_plan().steps[1]
    his = stage.restored / first.final
    his.write_bytes((stage.restored / first.part).read_bytes())
    inode = his.stat().st_ino
    for _ in range(2):
        stage.round(Allowed(taken))
    assert his.stat().st_ino == inode
    assert {*stage.answered().outputs.values()} == NAMES_2


def test_a_name_that_is_taken_while_names_are_given_has_them_taken_back(
    stage: PublishingStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = stage.ticket()
    stage.compute(taken)
    somebodys = stage.restored / "masks/roll/scan1.png"
    come_between(monkeypatch, somebodys)

    stage.round(Allowed(taken))
    assert len(stage.link.plans) == 2, "it is asked again before anything is taken back"
    assert "roll/scan1.tif" in stage.names()
    stage.round(Allowed(taken))
    assert stage.names() == {"masks/roll/scan1.png"}
    stage.round(Allowed(taken))

    assert stage.names() == NAMES_2 | {"masks/roll/scan1.png"}
    assert somebodys.read_bytes() == b"not ours"
    assert {*stage.answered().outputs.values()} == NAMES_2


def test_a_worker_that_was_given_up_takes_nothing_back(stage: PublishingStage, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = stage.ticket()
    stage.compute(taken)
    come_between(monkeypatch, stage.restored / "masks/roll/scan1.png")
    stage.round(Allowed(taken))
    stage.round(Revoked(taken))
    assert "roll/scan1.tif" in stage.names()


def test_a_scan_that_changed_while_it_was_computed_is_not_published(stage: PublishingStage) -> None:
    taken = stage.ticket()
    stage.round(taken)
    (stage.scans / taken.ticket.rel).write_bytes(b"another scan")
    stage.children[0].finish()
    stage.round()
    assert (stage.answered().kind, stage.answered().error) == (AnswerKind.FAILED, "SpoolError")
    assert (stage.parts(), stage.link.plans) == ([], [])


def test_what_cannot_be_written_is_the_stations_to_decide_on(
    stage: PublishingStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = stage.ticket()
    stage.compute(taken)
    monkeypatch.setattr(publish, "_name", refuse_after(2))
    for _ in range(4):
        stage.round(Allowed(taken))
    answer = stage.answered()
    assert (answer.kind, answer.exit_code, answer.is_retryable) == (AnswerKind.FAILED, 73, True)
    assert (stage.names(), stage.parts()) == (set(), [])


def test_a_receipt_that_cannot_be_written_is_told_at_once(
    stage: PublishingStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "sync_file", full)
    stage.compute(stage.ticket())
    assert (stage.answered().exit_code, stage.parts(), stage.link.plans) == (73, [], [])


def test_a_share_that_went_away_sends_the_result_to_others_with_its_plan(stage: PublishingStage) -> None:
    taken = stage.ticket()
    stage.compute(taken)
    away = stage.restored.rename(stage.share / "elsewhere")
    stage.restored.mkdir()
    stage.round(Allowed(taken))
    stage.round(Allowed(taken))
    assert (stage.link.answers, [each for each, _, _ in stage.link.returned]) == ([], [taken])
    assert len(list(away.rglob("*.part"))) == 4


@pytest.mark.parametrize("names", [0, 2, 4])
def test_what_a_lost_worker_had_planned_is_named_and_not_computed_again(stage: PublishingStage, names: int) -> None:
    again = lost_while_naming(stage, names)
    stage.children[0].order = None
    stage.round(again)
    assert stage.children[0].order is None
    stage.round(Allowed(again))
    assert (stage.names(), stage.parts()) == (NAMES, [])
    assert {*stage.answered().outputs.values()} == NAMES
    assert stage.answered().receipt["input"]["name"] == "scan1.tif"


def test_a_plan_whose_parts_were_lost_is_taken_back_and_computed_again(stage: PublishingStage) -> None:
    again = lost_while_naming(stage, 1)
    next((stage.restored / "masks").rglob("*.part")).unlink()
    stage.round(again)
    stage.round(Allowed(again))
    assert stage.names() == {"roll/scan1.tif"}
    stage.round(Allowed(again))
    assert (stage.names(), stage.parts()) == (set(), [])
    assert stage.link.plans[-1] == (again, "")
    assert [each for each, _, _ in stage.link.returned] == [again]


def test_parts_of_a_lost_worker_are_renamed_before_they_get_other_names(stage: PublishingStage) -> None:
    again = lost_while_naming(stage, 0)
    (stage.restored / "masks/roll/scan1.png").write_bytes(b"not ours")
    for news in (again, Allowed(again)):
        stage.round(news)
    assert stage.parts() and all("_t9.part" in name for name in stage.parts())
    stage.round(Allowed(again))
    assert {*stage.answered().outputs.values()} == NAMES_2


def test_what_an_edit_taught_goes_over_to_the_turn_that_answers(stage: PublishingStage) -> None:
    again = lost_while_naming(stage, 1)
    (stage.restored / "masks/roll/.spotlessd-1-1-feedback_t7.part").write_bytes(b"crops")
    stage.round(again)
    stage.round(Allowed(again))
    assert stage.parts() == [".spotlessd-1-1-feedback_t9.part"]


def test_a_scan_that_has_its_result_is_answered_with_it(stage: PublishingStage) -> None:
    first = stage.ticket()
    stage.compute(first)
    stage.round(Allowed(first))
    before = (stage.restored / "roll/scan1.tif").stat().st_mtime_ns
    stage.children[0].order = None
    other = stage.ticket(turn=8)

    stage.round(other)

    assert stage.children[0].order is None
    assert stage.link.answers[-1][1].outputs == stage.link.answers[0][1].outputs
    assert (stage.restored / "roll/scan1.tif").stat().st_mtime_ns == before


def test_a_scan_that_got_its_result_while_it_was_computed_gets_no_second_one(stage: PublishingStage) -> None:
    first, second = stage.ticket(turn=7), stage.ticket(turn=8)
    stage.compute(second)
    works = dict(stage.worker._publisher._works)
    stage.worker._publisher._works.clear()
    stage.compute(first)
    stage.round(Allowed(first))
    stage.worker._publisher._works.update(works)
    stage.round(Allowed(second))
    assert (stage.names(), stage.parts()) == (NAMES, [])
    assert stage.link.answers[-1][1].outputs == stage.link.answers[0][1].outputs


def test_an_edited_version_of_a_scan_with_a_result_is_another_one(stage: PublishingStage) -> None:
    first, second = stage.ticket(turn=7), stage.ticket(turn=8)
    edited = {**second.ticket.naming.station, "recipe": "recipe+1"}
    second = replace(second, ticket=replace(second.ticket, naming=NamingFacts(edited)))
    for taken in (first, second):
        stage.compute(taken)
        stage.round(Allowed(taken))
    assert stage.names() == NAMES | NAMES_2
    assert (stage.restored / "roll/scan1~2.tif").read_bytes() == restored_bytes(stage.scans / "roll/scan1.tif")


def test_what_goes_with_a_scan_is_copied_as_the_station_knows_it(stage: PublishingStage) -> None:
    (stage.scans / "roll").mkdir(exist_ok=True)
    (stage.scans / "roll/scan1.tif.xmp").write_bytes(b"<edits/>")
    facts = {"part": "companion", "stem": "scan1.tif", "ending": ".xmp"}
    mtime_ns = (stage.scans / "roll/scan1.tif.xmp").stat().st_mtime_ns - 7
    xmp = {**facts, "name": "scan1.tif.xmp", "size": 8, "mtime_ns": mtime_ns}
    gone = {**facts, "name": "SCAN1.TIF.xmp", "size": 8, "mtime_ns": mtime_ns}
    taken = stage.ticket(companions=[xmp, gone])
    stage.compute(taken)
    assert any("companion_t7" in name for name in stage.parts())
    stage.round(Allowed(taken))
    assert stage.names() == NAMES | {"roll/scan1.tif.xmp"}
    receipt = stage.answered().receipt
    assert [(fact["name"], fact["mtime_ns"]) for fact in receipt["input"]["companions"]] == [
        ("scan1.tif.xmp", mtime_ns)
    ]
    assert [note for note in receipt["notes"] if "SCAN1.TIF.xmp changed or went away" in note]


def test_results_get_the_scans_time_of_change_if_the_station_wants_it(stage: PublishingStage) -> None:
    taken = stage.ticket(keeps_timestamp=True)
    stage.compute(taken)
    stage.round(Allowed(taken))
    assert {(stage.restored / name).stat().st_mtime_ns for name in NAMES} == {taken.ticket.mtime_ns}


def test_parts_of_older_turns_go_before_a_lost_scan_is_computed_again(stage: PublishingStage) -> None:
    taken = replace(stage.taken(turn=9), losses=1)
    stage.round(stage.taken(turn=7))
    given = stage.restored / "masks/roll/.spotlessd-1-1-given.part"
    given.write_bytes(b"a mask")
    others = stage.restored / "roll/.spotlessd-11-1-image_t7.part"
    newer = stage.restored / "roll/.spotlessd-1-1-image_t10.part"
    for path in (others, newer):
        path.write_bytes(b"x")
    remove_older_turns(taken, stage.restored)
    assert stage.parts() == sorted({given.name, others.name, newer.name})
