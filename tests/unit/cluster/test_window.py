"""How many tickets a station keeps in the cluster."""

from hypothesis import given
from hypothesis import strategies as st

from spotlessd.cluster.window import MAX_WINDOW, window

numbers = st.integers(min_value=0, max_value=10_000)


@given(slots=numbers, stations=numbers, configured=st.integers(min_value=0, max_value=10_000))
def test_a_window_is_never_empty_and_never_above_its_bound(slots: int, stations: int, configured: int) -> None:
    assert 1 <= window(slots, stations, configured=configured) <= MAX_WINDOW


@given(slots=st.integers(min_value=1, max_value=300), stations=st.integers(min_value=1, max_value=300))
def test_all_windows_together_keep_every_slot_busy_and_one_frame_ready_for_each_station(
    slots: int, stations: int
) -> None:
    assert window(slots, stations) * stations >= min(1.5 * slots + stations, MAX_WINDOW * stations)


@given(slots=numbers, stations=st.integers(min_value=1, max_value=300))
def test_more_workers_never_shrink_a_window_and_more_stations_never_widen_it(slots: int, stations: int) -> None:
    assert window(slots + 1, stations) >= window(slots, stations) >= window(slots, stations + 1)


def test_the_configured_number_wins_over_the_workers() -> None:
    assert window(20, 2, configured=3) == 3
    assert window(20, 2, configured=0) == 16


def test_a_station_without_workers_leaves_one_ticket_for_the_first_that_comes() -> None:
    assert window(0, 1) == 1
