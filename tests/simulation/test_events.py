"""The simulation's parts against known results of queueing theory: M/M/1, M/D/1, M/M/c, processor sharing."""

import random
from collections.abc import Callable
from math import factorial

import pytest

from simulation.events import Cable, Clock, Servers

CUSTOMERS = 200_000


def mean_wait(number: int, load: float, service: Callable[[random.Random], float]) -> float:
    """The mean seconds before service, of a mean service of 1 s, after a warm-up of a tenth."""
    clock, source = Clock(), random.Random(7)
    servers = Servers(clock, number)
    waits: list[float] = []

    def arrive() -> None:
        seconds, came = service(source), clock.now
        servers.serve(seconds, lambda: waits.append(clock.now - came - seconds))
        if len(waits) < CUSTOMERS:
            clock.after(source.expovariate(load * number), arrive)

    arrive()
    clock.run()
    counted = waits[len(waits) // 10 :]
    return sum(counted) / len(counted)


def erlang_wait(number: int, load: float) -> float:
    """Erlang's C formula: the mean wait in an M/M/c queue with a mean service of 1 s."""
    traffic = number * load
    last = traffic**number / factorial(number) / (1 - load)
    waits = last / (sum(traffic**k / factorial(k) for k in range(number)) + last)
    return waits / (number * (1 - load))


def exponential(source: random.Random) -> float:
    return source.expovariate(1.0)


@pytest.mark.parametrize(("number", "load"), [(1, 0.5), (1, 0.7), (4, 0.7)])
def test_exponential_service_waits_as_erlang_says(number: int, load: float) -> None:
    assert mean_wait(number, load, exponential) == pytest.approx(erlang_wait(number, load), rel=0.05)


def test_constant_service_waits_half_as_long_as_exponential() -> None:
    assert mean_wait(1, 0.7, lambda _: 1.0) == pytest.approx(0.7 / (2 * (1 - 0.7)), rel=0.05)


def test_a_shared_cable_takes_as_long_as_processor_sharing_says_for_constant_sizes_too() -> None:
    clock, source = Clock(), random.Random(3)
    cable = Cable(clock, 10.0)
    seconds: list[float] = []

    def arrive() -> None:
        came = clock.now
        cable.carry(10.0, lambda: seconds.append(clock.now - came))
        if len(seconds) < CUSTOMERS // 2:
            clock.after(source.expovariate(0.7), arrive)

    arrive()
    clock.run()

    assert sum(seconds) / len(seconds) == pytest.approx(1 / (1 - 0.7), rel=0.05)
    assert cable.use() == pytest.approx(0.7, rel=0.03)


def test_two_transfers_at_once_get_half_the_cable_each() -> None:
    clock = Clock()
    cable = Cable(clock, 100.0)
    ends: dict[str, float] = {}
    cable.carry(100.0, lambda: ends.update(short=clock.now))
    cable.carry(200.0, lambda: ends.update(long=clock.now))

    clock.run()

    assert ends == pytest.approx({"short": 2.0, "long": 3.0})
