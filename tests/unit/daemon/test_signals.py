"""Each signal sets its own flag and wakes the loop; nothing is lost when many come."""

import os
import select
import signal

import pytest

from spotlessd.signals import Inbox

FLAGS = ("is_reload_asked", "is_look_asked", "is_state_asked")


def is_awake(inbox: Inbox) -> bool:
    return bool(select.select([inbox.fileno()], [], [], 0)[0])


@pytest.mark.parametrize(
    ("number", "flag"),
    [
        (signal.SIGHUP, "is_reload_asked"),
        (signal.SIGUSR1, "is_look_asked"),
        (signal.SIGUSR2, "is_state_asked"),
    ],
)
def test_a_signal_sets_its_flag_and_wakes_the_loop(number: int, flag: str) -> None:
    with Inbox() as inbox:
        os.kill(os.getpid(), number)

        assert {name for name in FLAGS if getattr(inbox, name)} == {flag}
        assert is_awake(inbox)
        inbox.drain()
        assert not is_awake(inbox)
        assert inbox.stops == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_number_of_stops_is_counted(number: int) -> None:
    with Inbox() as inbox:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)

        assert inbox.stops == 2


def test_the_handlers_of_before_are_back_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2, signal.SIGIO)]

    with Inbox():
        pass

    after = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2, signal.SIGIO)]
    assert after == before


def test_a_thousand_wake_ups_are_one() -> None:
    with Inbox() as inbox:
        for _ in range(100_000):
            inbox.wake()
        inbox.drain()

        assert not is_awake(inbox)
