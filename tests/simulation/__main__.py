"""Prints the figures: PYTHONPATH=.:tests python -m simulation (a minute)."""

from simulation.cases import FORMULAS, HOUR, LARGE_POLICIES, large_frames, single_beside_piles, working_day
from simulation.cluster_model import Layout
from simulation.costs import CPU, GIGABIT, GPU

SMALL, LARGE = (2,), (4, 4, 4, 4, 4)
DAYS = {
    "3 stations, 2 GPUs, 1 Gbit/s": Layout(3, SMALL),
    "3 stations, 2 CPU seats, 1 Gbit/s": Layout(3, SMALL, CPU),
    "9 stations, 8 GPUs, 1 Gbit/s": Layout(9, (4, 4)),
    "12 stations, 8 GPUs, 1 Gbit/s": Layout(12, (4, 4)),
    "50 stations, 20 GPUs, 1 Gbit/s": Layout(50, LARGE),
    "50 stations, 20 GPUs, 10 Gbit/s": Layout(50, LARGE, GPU, 10 * GIGABIT),
    "50 stations, 20 CPU seats, 10 Gbit/s": Layout(50, LARGE, CPU, 10 * GIGABIT),
}


def main() -> None:
    print("Rolls for 8 hours | waited p50 | p95 | max | undone then | seats held | computing | share write | database")
    for name, layout in DAYS.items():
        for lost_at in (0.0, 4 * HOUR) if layout.seats == 20 and layout.share_rate > GIGABIT else (0.0,):
            cluster, waits = working_day(layout, lost_at=lost_at)
            lost = ", a machine of 4 away for an hour" if lost_at else ""
            print(
                f"{name}{lost} | {waits.median:.1f} | {waits.p95:.1f} | {waits.longest:.0f} | {cluster.undone} | "
                f"{cluster.seat_use:.0%} | {cluster.compute_use:.0%} | {cluster.writing.use():.0%} | "
                f"{cluster.database.use():.1%}"
            )
    print("\nWindow | a single scan waited p50 | p95 | frames an hour | seats empty though frames wait")
    cases = (("3 × 2", Layout(3, SMALL), 1), ("50 × 20, 10 Gbit/s", Layout(50, LARGE, GPU, 10 * GIGABIT), 2))
    for title, layout, busy in cases:
        print(f"{title}, piles at {busy} station(s)")
        for name, formula in FORMULAS.items():
            cluster, waits = single_beside_piles(layout, formula, busy)
            done = sum(frame.done >= 0 for frame in cluster.frames) / (cluster.clock.now / HOUR)
            print(f"{name} | {waits.median:.1f} | {waits.p95:.1f} | {done:.0f} | {cluster.starved:.1%}")
    print("\nLarge frames at another station | a single scan waited p50 | p95 | computing")
    for words, policy in LARGE_POLICIES.items():
        cluster, waits = large_frames(policy)
        print(f"{words} | {waits.median:.1f} | {waits.p95:.1f} | {cluster.compute_use:.0%}")


if __name__ == "__main__":
    main()
