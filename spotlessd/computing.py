"""Who computes for a station: the workers of its own machine, or a cluster (`engine` in the config).

The service builds one of them and does not care which. Nothing of the cluster is imported for a station without one.
"""

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from spotlessd.commons import Commons, Seat
from spotlessd.companions.companion_copy import Copier
from spotlessd.configuration.parts import retry_policy, worker_limits, worker_setups
from spotlessd.configuration.settings import Settings
from spotlessd.crew import Crew
from spotlessd.engine import LocalEngine
from spotlessd.ledger import Ledger
from spotlessd.sqlite.board import Board
from spotlessd.supervisor import Supervisor
from spotlessd.worker import Loader

if TYPE_CHECKING:
    from prometheus_client import Metric


class Computing(Protocol):
    """The queue, and the seats of those who work on it."""

    @property
    def engine(self) -> LocalEngine:
        """The station's queue."""
        ...

    @property
    def seats(self) -> Sequence[Seat]:
        """The workers' places, as they are now."""
        ...

    def figures(self) -> "Iterable[Metric]":
        """Return what /metrics has beside the station's own figures, without waiting for anything."""
        ...

    def change(self, settings: Settings) -> None:
        """Take over a new config; only right while no job is in hand."""
        ...

    def crew(self, commons: Commons, copier: Copier) -> Crew:
        """Return the lanes of `commons`."""
        ...

    def close(self) -> None:
        """End for good."""
        ...


class OwnComputing:
    """A worker on each device of this machine. They outlive a change of the config that does not concern them."""

    def __init__(self, settings: Settings, ledger: Ledger, loader: Loader, started: float) -> None:
        owner = f"{settings.station_id}/{os.getpid()}/{started:.3f}"
        self.engine = LocalEngine(ledger, owner, retry_policy(settings))
        self._loader = loader
        self._settings = settings
        self._setups = worker_setups(settings)
        self.seats = self._new_seats()

    def figures(self) -> "Iterable[Metric]":
        """Nothing: /metrics has a station's own workers anyway."""
        return ()

    def change(self, settings: Settings) -> None:
        """Take over a new config: new workers where what they load, or how long they live, is another."""
        setups, before = worker_setups(settings), self._settings
        is_same = (setups, settings.queue) == (self._setups, before.queue)
        self._settings, self._setups = settings, setups
        if not is_same:
            for seat in self.seats:
                seat.supervisor.ask_to_end()
            for seat in self.seats:
                seat.supervisor.stop()
            self.seats = self._new_seats()

    def crew(self, commons: Commons, copier: Copier) -> Crew:
        """Return the lanes of `commons`."""
        return Crew(self.engine, commons, copier)

    def close(self) -> None:
        """The crew has ended its workers."""

    def _new_seats(self) -> list[Seat]:
        limits = worker_limits(self._settings)
        return [
            Seat(setup.name, bool(setup.environment), Supervisor(setup, self._loader, limits)) for setup in self._setups
        ]


def computing_for(settings: Settings, ledger: Ledger, board: Board, loader: Loader, started: float) -> Computing:
    """Return who computes. `started`: when the daemon began, seconds since the epoch.

    Raises:
        ConfigError: a cluster is asked for, and the extra [cluster] is not installed.
    """
    if not settings.is_clustered:
        return OwnComputing(settings, ledger, loader, started)
    from spotlessd.cluster.wiring import ClusterComputing

    return ClusterComputing(settings, ledger, board)
