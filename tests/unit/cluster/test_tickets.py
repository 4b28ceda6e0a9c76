"""Tickets and answers through JSON, between machines with other mounts and other versions."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotless_core.options import (
    DetectOptions,
    FilmFormat,
    InpaintMethod,
    InpaintOptions,
    MaskFormat,
    MaskOptions,
    RestoreOptions,
    Sensitivity,
)
from spotless_core.receipt import DecisionFacts
from spotlessd.cluster import tickets
from spotlessd.cluster.portable_orders import options_of, portable
from spotlessd.cluster.shares import NoShareError, Shares
from spotlessd.cluster.tickets import (
    Answer,
    AnswerKind,
    RefusedError,
    Ticket,
    TicketError,
    TicketFacts,
    make_ticket,
    order_of,
    queue_of,
)
from spotlessd.job import Base
from spotlessd.messages import WorkOrder

HERE = Shares({"all": Path("/mnt/all")})
THERE = Shares({"all": Path("/Volumes/all")})
FACTS = TicketFacts("dark#1", "scans", "roll/ä.tif", 10, 123456789, 5, 24.5, True, 3, "station", Path("/mnt/all/out"))
UNUSUAL = RestoreOptions(
    DetectOptions(512, 256),
    MaskOptions(Sensitivity.HIGH, 13.5, 600.25, 7000.125, 200.5, 11.1, 0.021, False),
    InpaintOptions(InpaintMethod.TELEA, None, 20, False, 900.5, 3.5),
    FilmFormat.F6X7 if hasattr(FilmFormat, "F6X7") else list(FilmFormat)[-1],
    1234.5,
    4000,
    True,
    True,
    MaskFormat.TIFF,
)


def order(root: str = "/mnt/all", **changes: Any) -> WorkOrder:
    part = f"{root}/out/roll/.spotlessd-12-2-{{}}.part"
    values: dict[str, Any] = {
        "job_id": 12,
        "attempt": 2,
        "source": Path(f"{root}/in/roll/ä.tif"),
        "source_name": "ä.tif",
        "image": Path(part.format("image")),
        "mask": Path(part.format("mask")),
        "preview": Path(part.format("preview")),
        "options": UNUSUAL,
        "given_mask": Path(part.format("given")),
        "is_on_cpu": True,
        "deadline_seconds": 77.5,
        "spool": None,
        "base": Base(3, Path(f"{root}/out/masks/a.png"), Path(f"{root}/out/a.tif"), None, "a", "ff"),
        "decision": DecisionFacts("edited", "person", "review page", "2026-11-23T00:00:00+00:00", "a", 1, 2, 3),
        "feedback": Path(part.format("feedback")),
    }
    return WorkOrder(**{**values, **changes})


def through_json(ticket: Ticket) -> Ticket:
    text = ticket.to_json()
    assert "NaN" not in text
    return Ticket.from_json(text)


def test_every_field_of_an_order_arrives_on_a_machine_with_other_mounts() -> None:
    sent = order()
    unset = [each.name for each in fields(WorkOrder) if getattr(sent, each.name) == each.default]
    assert unset == ["spool"], "give the new field of WorkOrder a value here, so that it is seen to travel"
    ticket = through_json(make_ticket(sent, FACTS, HERE))
    expected = order("/Volumes/all")
    for name in ("image", "mask", "preview", "feedback"):
        path = getattr(expected, name)
        expected = replace(expected, **{name: path.with_name(path.name.replace(".part", "_t4.part"))})
    assert order_of(ticket, 4, THERE, None) == expected


def test_every_field_of_the_options_is_unusual_in_these_tests() -> None:
    for part in ("detect", "mask", "inpaint"):
        ours, usual = getattr(UNUSUAL, part), getattr(RestoreOptions(), part)
        same = {each.name for each in fields(ours) if getattr(ours, each.name) == getattr(usual, each.name)}
        assert same <= {"big_lama_path"}
    same = {
        each.name for each in fields(UNUSUAL) if getattr(UNUSUAL, each.name) == getattr(RestoreOptions(), each.name)
    }
    assert same == set()


def test_an_order_with_nothing_but_what_it_must_have_arrives_too() -> None:
    plain = order(options=RestoreOptions(), given_mask=None, base=None, decision=None, feedback=None)
    found = order_of(through_json(make_ticket(plain, FACTS, HERE)), 0, HERE, None)
    assert found == plain


def test_a_spool_is_each_machines_own() -> None:
    ticket = make_ticket(order(spool=Path("/var/spool/x")), FACTS, HERE)
    assert order_of(ticket, 1, HERE, None).spool is None


def test_big_lama_lies_where_the_worker_has_it() -> None:
    inpaint = replace(UNUSUAL.inpaint, big_lama_path=Path("/opt/big-lama.pt"))
    ticket = through_json(make_ticket(order(options=replace(UNUSUAL, inpaint=inpaint)), FACTS, HERE))
    assert order_of(ticket, 1, HERE, Path("/srv/l.pt")).options.inpaint.big_lama_path == Path("/srv/l.pt")
    with pytest.raises(RefusedError, match="this worker has none"):
        order_of(ticket, 1, HERE, None)


def test_a_file_outside_of_the_shares_cannot_be_asked_for() -> None:
    with pytest.raises(TicketError, match=r"/home/mask\.png lies in no share"):
        make_ticket(order(given_mask=Path("/home/mask.png")), FACTS, HERE)


def test_a_machine_without_the_share_says_which() -> None:
    with pytest.raises(NoShareError, match="no share 'all'"):
        order_of(make_ticket(order(), FACTS, HERE), 1, Shares({"else": Path("/mnt")}), None)


def test_other_weights_are_refused_with_both_versions() -> None:
    ticket = replace(make_ticket(order(), FACTS, HERE), weights="ab" * 32, version="9.9")
    with pytest.raises(RefusedError, match=r"spotlessd 9\.9\) wants weights abababab, this worker .* Update"):
        order_of(ticket, 1, HERE, None)


def test_a_recipe_that_comes_out_otherwise_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = make_ticket(order(), FACTS, HERE)
    monkeypatch.setattr(tickets, "recipe_of", lambda options, has_big_lama: "0" * 12)
    with pytest.raises(RefusedError, match=f"wants recipe {ticket.recipe}, this worker .* makes 000000000000"):
        order_of(ticket, 1, HERE, None)


def test_an_option_that_this_version_does_not_know_is_refused_by_name() -> None:
    values = portable(order(), HERE)
    values["options"]["mask"]["newer"] = 1
    with pytest.raises(RefusedError, match=r"newer.*Update"):
        order_of(replace(make_ticket(order(), FACTS, HERE), order=values), 1, HERE, None)


def test_options_with_a_value_of_no_use_are_an_error() -> None:
    values = portable(order(), HERE)["options"]
    values["mask"]["sensitivity"] = "sharpest"
    with pytest.raises(ValueError, match="sharpest"):
        options_of(values)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"key": 1}', "null"])
def test_a_ticket_that_cannot_be_read_says_so_in_one_sentence(text: str) -> None:
    with pytest.raises(TicketError, match="cannot be read by this one"):
        Ticket.from_json(text)


def test_a_key_more_or_less_is_another_version() -> None:
    values = json.loads(make_ticket(order(), FACTS, HERE).to_json())
    with pytest.raises(TicketError, match=r"spotlessd .*newer_key"):
        Ticket.from_json(json.dumps(values | {"newer_key": 1}))
    del values["recipe"]
    with pytest.raises(TicketError, match="recipe"):
        Ticket.from_json(json.dumps(values))


def test_an_answer_arrives_whole() -> None:
    answer = Answer(
        AnswerKind.FAILED, "gpu1", {"a": [1.5]}, "E", "why.", 65, True, True, 12.5, 3.25, {"image": "a.tif"}
    )
    assert all(getattr(answer, each.name) != each.default for each in fields(Answer))
    assert Answer.from_json(answer.to_json()) == answer
    with pytest.raises(TicketError, match="answer"):
        Answer.from_json('{"kind": "other"}')


def test_an_answer_with_a_number_that_is_none_gets_through() -> None:
    answer = Answer(AnswerKind.FINISHED, "gpu1", {"a": [float("nan"), 1.5]}, seconds=float("inf"))
    found = json.loads(answer.to_json())
    assert (found["receipt"], found["seconds"]) == ({"a": [None, 1.5]}, None)


def test_a_ticket_with_a_number_that_is_none_is_an_error() -> None:
    with pytest.raises(TicketError, match=r"roll/ä\.tif: its ticket cannot be written"):
        replace(make_ticket(order(), FACTS, HERE), megapixels=float("nan")).to_json()


@given(st.floats(0.001, 1.0), st.floats(0.0, 1e6))
def test_numbers_arrive_to_the_last_bit(coverage: float, deadline: float) -> None:
    mask = replace(UNUSUAL.mask, max_coverage=coverage)
    ticket = through_json(
        make_ticket(order(options=replace(UNUSUAL, mask=mask), deadline_seconds=deadline), FACTS, HERE)
    )
    found = order_of(ticket, 1, HERE, None)
    assert (found.options.mask.max_coverage, found.deadline_seconds) == (coverage, deadline)


def test_small_and_large_frames_and_other_weights_have_queues_of_their_own() -> None:
    names = {queue_of(weights, is_large=large) for weights in ("aa" * 32, "bb" * 32) for large in (False, True)}
    assert len(names) == 4
    assert queue_of("aabbccdd" * 8, is_large=False) == "restore1-aabbccdd-small"
