"""Facts of machines go through JSON and through versions; rates are of the last quarter of an hour."""

import json

import pytest

from spotlessd.cluster.machines import RATE_SECONDS, Rate, SeatFacts, StationMachine, WorkerMachine

WORKER = WorkerMachine(
    name="gpubox",
    host="gpubox.lab",
    version="0.1.0",
    weights="ab" * 32,
    is_draining=True,
    seats=(SeatFacts("gpu 0", "NVIDIA L4", fraction=0.5), SeatFacts("gpu 1")),
    frames_per_hour=12.5,
    shares=("archive", "scans"),
)


@pytest.mark.parametrize("facts", [WORKER, StationMachine("attic", given=3, is_batch=True, shares=("archive",))])
def test_facts_come_back_from_json_as_they_were(facts: WorkerMachine | StationMachine) -> None:
    assert type(facts).from_facts(json.loads(json.dumps(facts.to_facts()))) == facts


def test_keys_of_another_version_are_dropped_and_missing_ones_are_defaults() -> None:
    found = WorkerMachine.from_facts({"name": "new", "colour": "red", "seats": [{"name": "gpu 0", "heat": 3}, "odd"]})

    assert found == WorkerMachine(name="new", seats=(SeatFacts("gpu 0"),))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", 3),
        ("done", True),
        ("done", "3"),
        ("is_draining", 1),
        ("seats", "x"),
        ("shares", None),
        ("started", "x"),
    ],
)
def test_a_value_of_another_type_is_its_default(key: str, value: object) -> None:
    assert WorkerMachine.from_facts({key: value}) == WorkerMachine()


def test_a_whole_number_is_taken_where_a_fraction_is_expected() -> None:
    found = StationMachine.from_facts({"oldest_seconds": 3})

    assert isinstance(found.oldest_seconds, float)
    assert found.oldest_seconds == 3.0


def test_a_rate_needs_something_noted() -> None:
    assert Rate().per_hour(1e6) == 0.0


def test_a_rate_counts_from_the_first_one_until_a_quarter_of_an_hour_is_full() -> None:
    rate = Rate()
    for at in range(0, 600, 60):
        rate.note(1000.0 + at)

    assert rate.per_hour(1000.0 + 600) == pytest.approx(60.0)


def test_one_frame_just_now_is_no_high_rate() -> None:
    rate = Rate()
    rate.note(5.0)

    assert rate.per_hour(5.1) == 60.0


def test_what_is_older_than_a_quarter_of_an_hour_does_not_count() -> None:
    rate = Rate()
    for at in range(30):
        rate.note(float(at))
    rate.note(1000.0)

    assert rate.per_hour(1000.0) == pytest.approx(3600 / RATE_SECONDS)
    assert rate.per_hour(5000.0) == 0.0
