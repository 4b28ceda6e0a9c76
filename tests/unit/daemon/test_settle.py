"""A file is handed over when it is complete, once, and never before."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotlessd.folders.roots import Candidate
from spotlessd.settle import LONGEST_PAUSE_SECONDS, Settler

SETTLE = 5.0
INCOMPLETE = 300.0
SCAN = Candidate("scans", "a.tif", Path("/scans/a.tif"), size=100, mtime_ns=1, inode=1)


@pytest.fixture
def settler() -> Settler:
    return Settler(INCOMPLETE)


def hand_over(settler: Settler, candidate: Candidate, now: float) -> float:
    """Let a new file settle from `now` on; return when it was handed over."""
    settler.observe(candidate, now, SETTLE)
    settler.observe(candidate, now + SETTLE, SETTLE)
    assert settler.settled(now + SETTLE) == [candidate]
    return now + SETTLE


def test_a_file_that_stays_unchanged_is_handed_over_once(settler: Settler) -> None:
    now = hand_over(settler, SCAN, 0)

    settler.observe(SCAN, now + 60, SETTLE)

    assert settler.settled(now + 60) == []
    assert settler.waiting() == []


def test_a_file_still_growing_is_not_settled(settler: Settler) -> None:
    for second in range(60):
        settler.observe(replace(SCAN, size=second), float(second), SETTLE)
        assert settler.settled(float(second)) == []

    assert [(waiting.rel, waiting.since) for waiting in settler.waiting()] == [("a.tif", 0.0)]
    assert "growing" in settler.waiting()[0].reason


@pytest.mark.parametrize("changed", [replace(SCAN, size=101), replace(SCAN, mtime_ns=2), replace(SCAN, inode=2)])
def test_any_change_starts_the_wait_anew(settler: Settler, changed: Candidate) -> None:
    settler.observe(SCAN, 0, SETTLE)
    settler.observe(changed, SETTLE - 1, SETTLE)
    settler.observe(changed, SETTLE, SETTLE)

    assert settler.settled(SETTLE) == []
    assert settler.next_deadline(SETTLE) == 2 * SETTLE - 1


def test_time_alone_settles_nothing_without_another_look(settler: Settler) -> None:
    settler.observe(SCAN, 0, SETTLE)

    assert settler.settled(1000) == []


def test_a_file_written_over_after_it_was_handed_over_is_handed_over_again(settler: Settler) -> None:
    now = hand_over(settler, SCAN, 0)

    again = replace(SCAN, mtime_ns=2)

    assert hand_over(settler, again, now + 1) == now + 1 + SETTLE


def test_a_time_stamp_in_the_future_is_no_problem(settler: Settler) -> None:
    hand_over(settler, replace(SCAN, mtime_ns=2**62), 0)


def test_a_file_that_went_away_is_forgotten_and_new_when_it_returns(settler: Settler) -> None:
    now = hand_over(settler, SCAN, 0)
    settler.forget_missing("scans", set())

    hand_over(settler, SCAN, now)


def test_files_of_another_root_are_not_forgotten(settler: Settler) -> None:
    settler.observe(SCAN, 0, SETTLE)

    settler.forget_missing("other", set())

    assert len(settler.waiting()) == 1


def test_an_incomplete_file_is_offered_again_after_growing_pauses(settler: Settler) -> None:
    now = hand_over(settler, SCAN, 0)
    pauses = []
    for _ in range(4):
        assert settler.report_incomplete(SCAN, "it ends too early", now)
        deadline = settler.next_deadline(now)
        assert deadline is not None
        pauses.append(deadline - now)
        now = deadline
        settler.observe(SCAN, now, SETTLE)
        assert settler.settled(now) == [SCAN]

    assert pauses == [5, 10, 20, 40]


def test_the_reason_of_the_check_is_shown_while_it_waits(settler: Settler) -> None:
    now = hand_over(settler, SCAN, 0)

    settler.report_incomplete(SCAN, "it ends too early", now)

    assert [waiting.reason for waiting in settler.waiting()] == ["it ends too early"]


def test_after_the_patience_an_unchanged_incomplete_file_is_let_through(settler: Settler) -> None:
    start = now = hand_over(settler, SCAN, 0)

    while settler.report_incomplete(SCAN, "it ends too early", now):
        deadline = settler.next_deadline(now)
        assert deadline is not None
        now = deadline
        settler.observe(SCAN, now, SETTLE)
        assert settler.settled(now) == [SCAN]

    settler.observe(SCAN, now + 1000, SETTLE)
    assert now - start == INCOMPLETE
    assert settler.waiting() == []
    assert settler.settled(now + 1000) == []


def test_an_incomplete_file_that_grows_gets_new_patience(settler: Settler) -> None:
    now = hand_over(settler, SCAN, 0)
    settler.report_incomplete(SCAN, "it ends too early", now)
    grown = replace(SCAN, size=200)

    now = hand_over(settler, grown, now + INCOMPLETE)

    assert settler.report_incomplete(grown, "it ends too early", now)


def test_a_report_on_a_file_that_changed_meanwhile_is_void(settler: Settler) -> None:
    now = hand_over(settler, SCAN, 0)
    settler.observe(replace(SCAN, size=200), now + 1, SETTLE)

    assert settler.report_incomplete(SCAN, "it ends too early", now + 1)

    assert settler.next_deadline(now + 1) == now + 1 + SETTLE


def test_a_busy_file_is_never_given_up_and_asked_every_five_minutes_at_most(settler: Settler) -> None:
    now = hand_over(settler, SCAN, 0)
    pause = 0.0
    for _ in range(50):
        settler.report_busy(SCAN, "open for writing", now)
        deadline = settler.next_deadline(now)
        assert deadline is not None
        pause, now = deadline - now, deadline
        settler.observe(SCAN, now, SETTLE)
        assert settler.settled(now) == [SCAN]

    assert pause == LONGEST_PAUSE_SECONDS


def test_a_zero_tail_doubles_the_wait_once(settler: Settler) -> None:
    now = hand_over(settler, SCAN, 0)

    assert settler.report_zero_tail(SCAN, now)
    assert "zero" in settler.waiting()[0].reason
    now += 2 * SETTLE
    settler.observe(SCAN, now, SETTLE)
    assert settler.settled(now) == [SCAN]
    assert not settler.report_zero_tail(SCAN, now)

    assert settler.waiting() == []


def test_an_overdue_look_does_not_make_the_loop_spin(settler: Settler) -> None:
    settler.observe(SCAN, 0, SETTLE)

    deadline = settler.next_deadline(100)

    assert deadline is not None
    assert deadline > 100


def test_without_waiting_files_there_is_no_deadline(settler: Settler) -> None:
    assert settler.next_deadline(0) is None


def test_older_scans_come_first(settler: Settler) -> None:
    newer = replace(SCAN, rel="0.tif", mtime_ns=9)
    for now in (0, SETTLE):
        settler.observe(newer, now, SETTLE)
        settler.observe(SCAN, now, SETTLE)

    assert settler.settled(SETTLE) == [SCAN, newer]


def test_a_complete_sidecar_waits_for_its_scan_and_is_then_let_through(settler: Settler) -> None:
    now = hand_over(settler, SCAN, 0)

    assert settler.report_alone(SCAN, "no scan yet", 60, now)
    assert [waiting.reason for waiting in settler.waiting()] == ["no scan yet"]
    assert settler.next_deadline(now) == 60
    settler.observe(SCAN, 60, SETTLE)
    assert settler.settled(60) == [SCAN]
    assert not settler.report_alone(SCAN, "no scan yet", 60, 60)

    assert settler.waiting() == []


def test_a_sidecar_that_waits_alone_is_complete_and_holds_nothing_up(settler: Settler) -> None:
    settler.observe(SCAN, 0, SETTLE)
    while_settling = settler.is_unfinished("scans", "a.tif"), settler.is_finished(SCAN)
    now = hand_over(settler, SCAN, 0)
    settler.report_alone(SCAN, "no scan yet", 60, now)

    assert while_settling == (True, False)
    assert not settler.is_unfinished("scans", "a.tif")
    assert settler.is_finished(SCAN)
    assert not settler.is_finished(replace(SCAN, size=101))


def test_a_sidecar_that_grows_while_it_waits_alone_has_to_settle_again(settler: Settler) -> None:
    now = hand_over(settler, SCAN, 0)
    settler.report_alone(SCAN, "no scan yet", 60, now)

    settler.observe(replace(SCAN, size=200), now + 1, SETTLE)

    assert settler.is_unfinished("scans", "a.tif")
    assert not settler.is_alone("scans", "a.tif")


def test_a_sidecar_whose_scan_came_is_offered_again_at_once(settler: Settler) -> None:
    now = hand_over(settler, SCAN, 0)
    settler.report_alone(SCAN, "no scan yet", 60, now)

    settler.observe(SCAN, now + 1, SETTLE)
    settler.offer_again(SCAN, now + 1)

    assert settler.settled(now + 1) == [SCAN]
    assert settler.waiting() == []


def test_a_file_that_is_not_complete_is_not_offered_again(settler: Settler) -> None:
    settler.observe(SCAN, 0, SETTLE)

    settler.offer_again(SCAN, 0)

    assert settler.settled(0) == []


def test_a_scan_waits_as_long_as_its_sidecar(settler: Settler) -> None:
    sidecar = replace(SCAN, rel="a_IR.tif")
    settler.observe(SCAN, 0, SETTLE)
    settler.observe(SCAN, SETTLE, SETTLE)
    settler.observe(sidecar, SETTLE - 1, SETTLE)
    assert settler.settled(SETTLE) == [SCAN]

    settler.report_unfinished_companion(SCAN, "a_IR.tif", "its sidecar grows", SETTLE)
    for file in (SCAN, sidecar):
        settler.observe(file, 2 * SETTLE - 1, SETTLE)

    assert settler.settled(2 * SETTLE - 1) == [SCAN, sidecar]


def test_a_scan_asks_again_soon_when_its_sidecar_is_in_a_long_pause(settler: Settler) -> None:
    sidecar = replace(SCAN, rel="a_IR.tif")
    now = hand_over(settler, sidecar, 0)
    for _ in range(6):
        settler.report_busy(sidecar, "open for writing", now)
        now = settler.next_deadline(now) or now
        settler.observe(sidecar, now, SETTLE)
        settler.settled(now)
    settler.report_busy(sidecar, "open for writing", now)
    settler.observe(SCAN, now, SETTLE)
    settler.observe(SCAN, now + SETTLE, SETTLE)
    settler.settled(now + SETTLE)

    settler.report_unfinished_companion(SCAN, "a_IR.tif", "its sidecar is open", now + SETTLE)

    assert settler.next_deadline(now + SETTLE) == now + 2 * SETTLE


def changed_in(file: Candidate, what: str, value: int) -> Candidate:
    match what:
        case "size":
            return replace(file, size=value)
        case "mtime":
            return replace(file, mtime_ns=value)
        case _:
            return replace(file, inode=value)


LOOKS = st.lists(
    st.tuples(
        st.sampled_from([0.1, 0.5, 1.0, 2.0, 4.9, 5.0, 7.0, 400.0]),  # seconds since the look before
        st.sampled_from(["same", "size", "mtime", "inode", "gone"]),
        st.sampled_from(
            ["", "incomplete", "busy", "zeros", "alone", "again"]
        ),  # what a check reports if it is handed over
    ),
    max_size=60,
)


@settings(deadline=None)  # a busy machine is no failure
@given(LOOKS)
def test_no_file_is_ever_handed_over_within_the_window_after_a_change(
    looks: list[tuple[float, str, str]],
) -> None:
    settler = Settler(INCOMPLETE)
    now, changed_at = 0.0, 0.0
    file = SCAN
    for step, (pause, what, report) in enumerate(looks):
        now += pause
        if what == "gone":
            settler.forget_missing("scans", set())
            changed_at = now
        elif what != "same":
            file = changed_in(file, what, 1000 + step)
            changed_at = now
        if step == 0:
            changed_at = now
        settler.observe(file, now, SETTLE)

        for candidate in settler.settled(now):
            assert candidate == file
            assert now - changed_at >= SETTLE - 1e-9
            if report == "incomplete":
                settler.report_incomplete(candidate, "short", now)
            elif report == "busy":
                settler.report_busy(candidate, "busy", now)
            elif report == "zeros":
                settler.report_zero_tail(candidate, now)
            elif report == "alone":
                settler.report_alone(candidate, "no scan", 50, now)
            elif report == "again":
                settler.offer_again(candidate, now)


@settings(deadline=None)  # a busy machine is no failure
@given(LOOKS)
def test_every_file_that_rests_is_handed_over_in_the_end(looks: list[tuple[float, str, str]]) -> None:
    settler = Settler(INCOMPLETE)
    now, file, was_handed_over = 0.0, SCAN, False
    for step, (pause, what, _) in enumerate(looks):
        now += pause
        changed = replace(file, size=1000 + step) if what == "size" else file
        was_handed_over = was_handed_over and changed == file
        file = changed
        settler.observe(file, now, SETTLE)
        was_handed_over |= settler.settled(now) == [file]
    for _ in range(2):
        now = settler.next_deadline(now) or now
        settler.observe(file, now, SETTLE)
        was_handed_over |= settler.settled(now) == [file]

    assert was_handed_over
    assert settler.waiting() == []
