"""What the docs say of the cluster, as the simulation finds it; with margins."""

import pytest

from simulation.cases import FORMULAS, LARGE_POLICIES, OURS, large_frames, single_beside_piles, working_day
from simulation.cluster_model import Cluster, Layout, Policy
from simulation.costs import CPU, GIGABIT, GPU, Costs
from simulation.workloads import pile, rolls

SMALL = Layout(3, (2,))
LAB = Layout(50, (4, 4, 4, 4, 4), GPU, 10 * GIGABIT)


def test_every_frame_comes_out_once_though_machines_are_lost_and_children_die() -> None:
    cluster = Cluster(Layout(3, (2, 3)), Policy(OURS), Costs(crash_probability=0.2))
    for frame in [*rolls(range(2), 7200), *pile(2, 200, large=0.3)]:
        cluster.scan(frame)
    for moment in range(100, 7000, 700):
        cluster.lose(moment % 2, moment, 200.0)

    cluster.run(4 * 3600)

    assert [frame.times_done for frame in cluster.frames] == [1] * len(cluster.frames)
    assert cluster.undone == 0
    assert any(frame.turn > frame.attempts for frame in cluster.frames)  # some were lost with a machine
    assert any(frame.attempts > 1 for frame in cluster.frames)  # some children died


def test_frames_that_are_not_through_yet_are_counted_as_such() -> None:
    cluster = Cluster(SMALL, Policy(OURS))
    for frame in pile(0, 50):
        cluster.scan(frame)

    cluster.run(60)

    assert 0 < sum(frame.times_done for frame in cluster.frames) == 50 - cluster.undone < 50


def test_three_stations_and_two_gpus_leave_most_of_the_day_free() -> None:
    cluster, waits = working_day(SMALL)

    assert waits.p95 < 5
    assert cluster.seat_use < 0.4


def test_a_dozen_stations_fill_a_gigabit_share_before_eight_gpus_are_busy() -> None:
    few, few_waits = working_day(Layout(9, (4, 4)))
    many, many_waits = working_day(Layout(12, (4, 4)))

    assert few_waits.p95 < 5
    assert many_waits.median > 300
    assert many.writing.use() > 0.9
    assert many.compute_use < 0.25
    assert many.database.use() < 0.05
    assert few.writing.use() < many.writing.use()


def test_fifty_stations_and_twenty_gpus_need_more_than_a_gigabit() -> None:
    slow, _ = working_day(Layout(50, LAB.machines), 4.0)
    fast, waits = working_day(LAB, 4.0)

    assert slow.writing.use() > 0.95
    assert slow.undone > len(slow.frames) / 2
    assert waits.p95 < 5
    assert fast.database.use() < 0.1


def test_twenty_seats_on_two_cores_each_are_too_few_for_fifty_stations() -> None:
    cluster, waits = working_day(Layout(50, LAB.machines, CPU, 10 * GIGABIT), 4.0)

    assert cluster.seat_use > 0.85
    assert waits.median > 60


@pytest.mark.parametrize(("layout", "busy"), [(SMALL, 1), (LAB, 2)])
def test_our_window_keeps_workers_busy_and_a_single_scan_waits_seconds(layout: Layout, busy: int) -> None:
    ours, waits = single_beside_piles(layout, OURS, busy, 1.0)
    _, behind_all = single_beside_piles(layout, FORMULAS["no limit"], busy, 1.0)
    one, _ = single_beside_piles(layout, FORMULAS["1"], busy, 1.0)

    assert ours.starved < 0.02
    assert waits.p95 < 30
    assert behind_all.median > 20 * waits.median
    assert one.starved > 0.3


def test_idle_stations_must_not_be_counted() -> None:
    counted, _ = single_beside_piles(LAB, FORMULAS["2 × slots / all stations + 1"], 2, 0.5)
    ours, _ = single_beside_piles(LAB, OURS, 2, 0.5)

    assert counted.starved > 0.5
    assert ours.starved < 0.05


def test_small_frames_pass_large_ones_and_a_seat_left_alone_takes_large_ones_too() -> None:
    any_seat, slow = large_frames(LARGE_POLICIES["any seat"], 1.0)
    never, quick = large_frames(LARGE_POLICIES["never more than seats − 1 large"], 1.0)
    ours, waits = large_frames(Policy(OURS), 1.0)

    assert quick.p95 < slow.median / 2
    assert waits.median < slow.median / 2
    assert never.compute_use < 0.7 * any_seat.compute_use
    assert ours.compute_use > 0.75 * any_seat.compute_use


def test_a_machine_lost_for_an_hour_costs_its_frames_a_minute_and_no_others_anything() -> None:
    _, whole = working_day(LAB, 3.0)
    _, lost = working_day(LAB, 3.0, lost_at=3600.0)

    assert lost.p95 < whole.p95 + 5
    assert lost.longest < 120
