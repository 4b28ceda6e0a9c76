"""How much of one long piece of work is done, for whoever waits for it and must know that it still moves."""

from collections.abc import Callable

OnFraction = Callable[[float], None]
"""Called with the part that is done, in (0, 1]."""


def ignore_fraction(_fraction: float) -> None:
    """Take no notice of the progress."""


class Progress:
    """Counts units of work up to `total` and tells `on_fraction` the part that is done: in (0, 1], never falling."""

    def __init__(self, on_fraction: OnFraction, total: int) -> None:
        self._on_fraction = on_fraction
        self._total = max(total, 1)
        self._done = 0

    def add(self, units: int) -> None:
        """So many units more are done."""
        self.reach(self._done + units)

    def reach(self, units: int) -> None:
        """So many units are done in all; work that turned out to be needless is stepped over like this."""
        self._done = min(max(units, self._done), self._total)
        if self._done:
            self._on_fraction(self._done / self._total)

    def finish(self) -> None:
        """All is done."""
        self.reach(self._total)
