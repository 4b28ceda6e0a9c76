"""A cluster's worker, checked without PostgreSQL: what it answers, gives back, and asks for."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from played_worker import Stage

from spotless_core.options import InpaintMethod
from spotlessd.cluster.machines import WorkerMachine
from spotlessd.cluster.ticket_queue import Machine
from spotlessd.cluster.tickets import AnswerKind
from spotlessd.cluster.worker_link import Drain, Revoked, Settled
from spotlessd.cluster.worker_name import refuse_second, worker_name
from spotlessd.cluster.worker_parts import PATIENCE_SECONDS
from spotlessd.cluster.worker_service import ClusterWorker
from spotlessd.configuration.settings import Settings
from spotlessd.errors import ConfigError, StationBusyError
from spotlessd.folders.roots import MARKER_NAME
from spotlessd.messages import Heartbeat
from spotlessd.supervisor import WorkerState


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    return Stage(tmp_path)


def test_a_finished_frame_is_answered_and_its_parts_are_the_stations(stage: Stage) -> None:
    taken = stage.taken()
    stage.round(taken)
    stage.children[0].finish()

    stage.round()
    stage.round(Settled(taken, is_void=False))

    assert [(each.kind, each.worker, each.receipt) for _, each in stage.link.answers] == [
        (AnswerKind.FINISHED, "gpu1", {"software": "fake"})
    ]
    assert len(stage.parts()) == 3
    assert stage.link.wanted == (1, 1)
    assert stage.link.facts.done == 1


def test_the_parts_of_a_void_answer_are_removed(stage: Stage) -> None:
    taken = stage.taken()
    stage.round(taken)
    stage.children[0].finish()
    stage.round()

    stage.round(Settled(taken, is_void=True))

    assert stage.parts() == []


def test_a_child_that_died_is_answered_as_lost_and_leaves_nothing(stage: Stage) -> None:
    stage.round(stage.taken())
    stage.children[0].die()

    stage.round()

    assert [(each.kind, each.error) for _, each in stage.link.answers] == [(AnswerKind.LOST, "WorkerDiedError")]
    assert stage.parts() == []


def test_a_revoked_ticket_ends_its_child_and_its_parts_unanswered(stage: Stage) -> None:
    taken = stage.taken()
    stage.round(taken)

    stage.round(Revoked(taken))

    assert stage.children[0].is_dropped
    assert (stage.parts(), stage.link.answers, stage.link.wanted) == ([], [], (1, 1))


def test_a_seat_rests_after_a_ticket_it_could_not_do(stage: Stage) -> None:
    (stage.restored / MARKER_NAME).unlink()

    stage.round(stage.taken())

    assert [(reason[:6], seconds) for _, reason, seconds in stage.link.returned] == [("gpu1: ", 5.0)]
    assert stage.link.wanted == (0, 0)
    assert MARKER_NAME in stage.link.facts.trouble
    stage.round(seconds=31.0)
    assert stage.link.wanted == (1, 1)


def test_a_draining_worker_keeps_what_it_has_and_wants_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, seats=2)
    stage.round(stage.taken())

    stage.round(Drain(is_draining=True))

    assert (stage.link.wanted, stage.link.facts.is_draining) == ((0, 0), True)
    assert stage.children[0].state is WorkerState.BUSY
    stage.round(Drain(is_draining=False))
    assert stage.link.wanted == (1, 1)


def test_of_several_seats_one_is_kept_from_large_frames(tmp_path: Path) -> None:
    stage = Stage(tmp_path, seats=3)
    stage.round()
    assert stage.link.wanted == (3, 2)

    stage.round(stage.taken(1, is_large=True), stage.taken(2, is_large=True))

    assert stage.link.wanted == (1, 0)


def test_the_kept_seat_takes_a_large_frame_once_no_small_one_came_for_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path, seats=2)
    stage.round(stage.taken(1, is_large=True))
    stage.round(seconds=PATIENCE_SECONDS - 0.5)
    assert stage.link.wanted == (1, 0)

    stage.round(seconds=0.5)
    assert stage.link.wanted == (1, 1)

    stage.round(stage.taken(2, is_large=True), seconds=0.5)
    stage.children[0].finish()
    stage.round(seconds=60.0)
    assert stage.link.wanted == (1, 0), "the next free seat waits for small ones anew"


def test_a_seat_does_not_count_as_left_alone_while_nobody_could_be_asked(tmp_path: Path) -> None:
    stage = Stage(tmp_path, seats=2)
    stage.round(stage.taken(1, is_large=True))
    stage.link.trouble = "the cluster's PostgreSQL does not answer"
    stage.round(seconds=60.0)
    stage.link.trouble = ""

    stage.round(seconds=PATIENCE_SECONDS - 0.5)
    assert stage.link.wanted == (1, 0)

    stage.round(seconds=PATIENCE_SECONDS)
    assert stage.link.wanted == (1, 1)


def test_the_last_seat_that_works_takes_large_frames_too(tmp_path: Path) -> None:
    stage = Stage(tmp_path, seats=2)
    stage.children[1].state = WorkerState.DOWN

    stage.round()

    assert stage.link.wanted == (1, 1)


def test_a_ticket_that_finds_no_seat_goes_back_at_once(stage: Stage) -> None:
    first, second = stage.taken(1), stage.taken(2)

    stage.round(first, second)

    assert [(taken, seconds) for taken, _, seconds in stage.link.returned] == [(second, 0.0)]


def test_progress_is_passed_on_once_a_second_at_most(stage: Stage) -> None:
    stage.round(stage.taken())
    for fraction in (0.1, 0.2, 0.3):
        stage.children[0].heartbeat = Heartbeat(1, 1, "inpaint", fraction, 0.0, 1.0)
        stage.round(seconds=0.4)

    assert [fraction for _, _, fraction in stage.link.progressed] == [0.1]
    stage.round(seconds=0.4)
    assert [fraction for _, _, fraction in stage.link.progressed] == [0.1, 0.3]


def test_every_round_shows_a_pulse(stage: Stage) -> None:
    stage.round()
    stage.round()

    assert stage.link.pulses == 2


def test_the_classical_fills_are_always_loaded(stage: Stage) -> None:
    fills = stage.worker._checks._terms.fills

    assert list(fills) == [InpaintMethod.AUTO, InpaintMethod.NS, InpaintMethod.TELEA]


def test_a_config_without_an_engine_makes_no_worker(stage: Stage) -> None:
    with pytest.raises(ConfigError, match="engine"):
        ClusterWorker(stage.settings.model_copy(update={"engine": "local"}))


@pytest.mark.parametrize(("host", "name"), [("gpu box.lab", "gpu-box.lab"), ("-_-", "worker"), ("x" * 80, "x" * 64)])
def test_without_a_name_of_its_own_a_worker_is_called_as_its_host(stage: Stage, host: str, name: str) -> None:
    nameless = replace_name(stage.settings, "")

    assert worker_name(nameless, host) == name
    assert worker_name(stage.settings, host) == "gpu1"


def replace_name(settings: Settings, name: str) -> Settings:
    return settings.model_copy(update={"worker": settings.worker.model_copy(update={"name": name})})


def test_a_live_worker_of_the_name_is_refused_and_one_that_is_gone_is_not() -> None:
    facts = WorkerMachine(name="gpu1", host="a", pid=2**22 + 1)
    there = Machine("worker", "gpu1", facts.to_facts(), 3.0)

    with pytest.raises(StationBusyError, match="'gpu1' runs on a"):
        refuse_second("gpu1", [there], 30.0, host="b")
    refuse_second("gpu1", [there], 30.0, host="a")
    refuse_second("gpu1", [replace(there, silent_seconds=31.0)], 30.0, host="b")
    refuse_second("gpu2", [there], 30.0, host="b")
