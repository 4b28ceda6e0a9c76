"""How many tickets a station keeps in the cluster at once. Pure numbers; nothing here talks to anyone.

A window too small leaves workers idle while answers travel and results are published; one too large puts a long row of
one station's frames before the next station's single fresh scan, because PostgreSQL serves in the order of asking.
"""

__all__ = ["MAX_WINDOW", "window"]

MAX_WINDOW = 512
"""No station keeps more tickets in the cluster than this, whatever the config or the number of workers says."""

_TICKETS_PER_TWO_SLOTS = 3
"""Two that are computed and one that waits behind them or is being published."""


def window(slots: int, stations: int, *, configured: int = 0) -> int:
    """Return how many tickets one station may have in the cluster now, from 1 to `MAX_WINDOW`.

    `slots`: seats of all live workers that take this station's frames (≥ 0). `stations`: stations that have work now,
    this one included; idle ones must not be counted, or the busy ones cannot use their workers. `configured`: the
    config's `cluster.window`, 0 = by the number of workers.

    Simulated (`tests/simulation`), one station's pile on 2 GPUs: a single scan of another waits 5, 9 and 13 s (median)
    with 1, 1.5 and 2 tickets a slot, 4 minutes with 64 tickets; slots are idle for want of tickets 0.5, 0.3 and 0.3 %
    of the time. Two piles on 20 GPUs: 0.4, 2.4 and 4.8 s, idle 3.7, 0.7 and 0.6 %. Hence 1.5.
    """
    if configured > 0:
        return min(configured, MAX_WINDOW)
    share = -(-_TICKETS_PER_TWO_SLOTS * max(slots, 0) // (2 * max(stations, 1)))  # rounded up
    return min(share + 1, MAX_WINDOW)
