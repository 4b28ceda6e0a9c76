"""Workers as processes, with fake children, on a real PostgreSQL: what a station asks comes back, whatever happens."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cluster_workers import STATION, Lab
from fake_workers import restored_bytes
from postgres import Database

from spotlessd.cluster.machines import WorkerMachine
from spotlessd.cluster.tickets import AnswerKind, TicketKey
from spotlessd.folders.roots import MARKER_NAME


@pytest.fixture
def lab(tmp_path: Path, database: Database) -> Iterator[Lab]:
    lab = Lab(tmp_path, database)
    yield lab
    lab.close()


def test_a_ticket_comes_back_with_the_bytes_that_were_asked_for(lab: Lab) -> None:
    lab.start("gpu1")

    lab.ask(lab.ticket(1, "a.tif"))
    found = lab.answers(1)[1]

    assert (found.answer.kind, found.answer.worker) == (AnswerKind.FINISHED, "gpu1")
    assert lab.part(1, found.turn, "a.tif").read_bytes() == restored_bytes(lab.scans / "a.tif")
    assert found.answer.receipt["outputs"]["image"]["name"] == lab.part(1, found.turn, "a.tif").name


def test_a_worker_that_is_stopped_finishes_what_it_has(lab: Lab) -> None:
    worker = lab.start("gpu1")
    lab.ask(lab.ticket(1, "long.tif"), lab.ticket(2, "next.tif"))
    lab.wait_for(lambda standings: standings[1].state == "doing")

    worker.send_signal(signal.SIGTERM)

    assert worker.wait(20) == 0
    assert lab.answers(1)[1].answer.kind is AnswerKind.FINISHED
    assert lab.standings()[2].state == "asked"


def test_a_second_sigterm_gives_the_ticket_back_and_leaves_no_parts(lab: Lab) -> None:
    worker = lab.start("gpu1")
    lab.ask(lab.ticket(1, "endless.tif"))
    lab.wait_for(lambda standings: standings[1].state == "doing")

    worker.send_signal(signal.SIGTERM)
    lab.wait_for(lambda _: "to finish" in lab.log("gpu1").read_text())
    worker.send_signal(signal.SIGTERM)

    assert worker.wait(20) == 0
    assert (lab.standings()[1].state, lab.standings()[1].losses) == ("asked", 0)
    assert lab.parts() == []


def test_the_ticket_of_a_killed_worker_goes_to_another(lab: Lab) -> None:
    first = lab.start("gpu1")
    lab.ask(lab.ticket(1, "long.tif"))
    lab.wait_for(lambda standings: standings[1].state == "doing")
    turn = lab.standings()[1].turn

    first.kill()
    lab.start("gpu2")
    found = lab.answers(1)[1]

    assert (found.answer.kind, found.answer.worker) == (AnswerKind.FINISHED, "gpu2")
    assert found.turn > turn
    assert lab.part(1, found.turn, "long.tif").read_bytes() == restored_bytes(lab.scans / "long.tif")


def test_a_child_that_dies_is_an_answer_and_the_worker_goes_on(lab: Lab) -> None:
    lab.start("gpu1")

    lab.ask(lab.ticket(1, "crash.tif"), lab.ticket(2, "b.tif"))
    answers = lab.answers(2)

    assert answers[1].answer.kind is AnswerKind.LOST
    assert "SIGKILL" in answers[1].answer.message
    assert answers[2].answer.kind is AnswerKind.FINISHED


def test_a_bad_scan_is_answered_with_what_is_wrong(lab: Lab) -> None:
    lab.start("gpu1")

    lab.ask(lab.ticket(1, "bad.tif"))
    answer = lab.answers(1)[1].answer

    assert (answer.kind, answer.exit_code, answer.is_retryable) == (AnswerKind.FAILED, 65, False)
    assert "damaged" in answer.message
    assert lab.parts() == []


def test_of_two_seats_one_stays_free_of_large_frames(lab: Lab) -> None:
    lab.ask(
        lab.ticket(1, "long_1.tif", is_large=True),
        lab.ticket(2, "long_2.tif", is_large=True),
        lab.ticket(3, "small.tif"),
    )
    lab.start("gpu1", gpus=2)

    lab.wait_for(lambda standings: standings[3].state == "answered")
    states = lab.standings()
    large = sorted((states[1].state, states[2].state))

    assert large == ["asked", "doing"]
    assert len(lab.answers(3)) == 3


def test_two_seats_work_at_the_same_time(lab: Lab) -> None:
    lab.start("gpu1", "load_named", gpus=2)

    lab.ask(*(lab.ticket(job, f"scan{job}.tif") for job in range(1, 5)))
    workers = {found.answer.worker for found in lab.answers(4).values()}

    assert workers == {"gpu1/0", "gpu1/1"}


def test_a_draining_worker_takes_nothing_until_it_may_again(lab: Lab) -> None:
    lab.start("gpu1")
    lab.machine(lambda machine: machine.name == "gpu1")

    lab.drain("gpu1", is_asked=True)
    lab.machine(lambda machine: WorkerMachine.from_facts(machine.facts).is_draining)
    lab.ask(lab.ticket(1, "a.tif"))
    with pytest.raises(AssertionError, match="0 of 1 answers"):
        lab.answers(1, seconds=1.5)
    lab.drain("gpu1", is_asked=False)

    assert lab.answers(1)[1].answer.kind is AnswerKind.FINISHED


def test_a_share_without_its_marker_sends_the_ticket_back_with_the_reason(lab: Lab) -> None:
    ticket = lab.ticket(1, "a.tif")
    (lab.restored / MARKER_NAME).unlink()
    lab.start("gpu1")

    lab.ask(ticket)
    lab.wait_for(lambda standings: standings[1].reason != "")

    standing = lab.standings()[1]
    assert (standing.state, standing.losses) == ("asked", 0)
    assert standing.reason.startswith("gpu1: ")
    assert MARKER_NAME in standing.reason


def test_a_ticket_that_is_withdrawn_ends_its_child(lab: Lab) -> None:
    worker = lab.start("gpu1")
    lab.ask(lab.ticket(1, "endless.tif"))
    lab.wait_for(lambda standings: standings[1].state == "doing")

    lab.withdraw(TicketKey(STATION, 1, 1))
    lab.ask(lab.ticket(2, "b.tif"))

    assert lab.answers(1)[2].answer.kind is AnswerKind.FINISHED
    assert worker.poll() is None
    assert [path for path in lab.parts() if path.name.startswith(".spotlessd-1-")] == []


def test_a_second_worker_of_a_name_does_not_start(lab: Lab) -> None:
    lab.tell("gpu1", WorkerMachine(name="gpu1", host="elsewhere", pid=4711).to_facts())

    worker = lab.start("gpu1", lost_seconds=60)

    assert worker.wait(20) == 75
    assert "elsewhere" in lab.log("gpu1").read_text()


def test_a_worker_whose_children_cannot_start_ends_with_69(lab: Lab) -> None:
    assert lab.start("gpu1", "load_never").wait(20) == 69


def test_no_child_outlives_a_killed_worker(lab: Lab) -> None:
    worker = lab.start("gpu1")
    lab.ask(lab.ticket(1, "hang.tif"))
    lab.wait_for(lambda standings: standings[1].state == "doing")
    children = psutil.Process(worker.pid).children()
    assert children

    os.kill(worker.pid, signal.SIGKILL)

    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []
