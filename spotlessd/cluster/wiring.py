"""Builds a station's part of the cluster from its settings: link, engine, lanes.

The station's name in the cluster is its id and a mark of its ledger: a ledger that was lost begins its numbers again,
and must not be given the answers of the one before.
"""

import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from spotlessd.cluster.connection import target_of
from spotlessd.cluster.probes import ProbeAnswers
from spotlessd.cluster.remote_crew import RemoteCrew
from spotlessd.cluster.remote_lane import RemoteTerms
from spotlessd.cluster.remote_worker import RemoteWorker
from spotlessd.cluster.shares import Shares
from spotlessd.cluster.station_facts import StationCard
from spotlessd.cluster.station_link import StationLink
from spotlessd.cluster.ticket_queue import TicketQueue
from spotlessd.cluster.tickets import weights_sha256
from spotlessd.cluster.window import MAX_WINDOW
from spotlessd.commons import Commons, Seat
from spotlessd.companions.companion_copy import Copier
from spotlessd.configuration.parts import retry_policy
from spotlessd.configuration.settings import Settings
from spotlessd.engine_procrastinate import ProcrastinateEngine
from spotlessd.ledger import Ledger
from spotlessd.sqlite.board import Board

if TYPE_CHECKING:
    from prometheus_client import Metric

    from spotlessd.cluster.cluster_figures import ClusterPicture

MARK_KEY = "cluster_mark"
MARK_BYTES = 4
MOST_LANES = 128
"""More tickets than this are not looked after at once, whatever the config says: each holds a place on the disk."""


class ClusterComputing:
    """The cluster computes. `station_id` and a mark of the ledger make the station's name there."""

    def __init__(self, settings: Settings, ledger: Ledger, board: Board) -> None:
        self._settings = settings
        self._picture: ClusterPicture | None = None
        station = f"{settings.station_id}#{ledger_mark(board)}"
        cluster, weights = settings.cluster, weights_sha256()
        self._link = StationLink(
            connector(settings, f"spotlessd station {settings.station_id}"),
            station,
            heartbeat_seconds=cluster.heartbeat_seconds,
            weights=weights,
            lost_seconds=cluster.lost_seconds,
        )
        self.engine = ProcrastinateEngine(
            ledger,
            station,
            retry_policy(settings),
            self._link,
            configured_window=cluster.window,
            max_age_seconds=cluster.max_age_seconds,
        )
        names = {share.name: share.path for share in settings.shares}
        self._terms = RemoteTerms(station, Shares(names), cluster.max_losses, cluster.large_megapixels, cluster.publish)
        is_batch = settings.station_id.startswith("batch-")
        self._card = StationCard(
            settings.station_id, weights, tuple(names), time.time(), is_batch, cluster.lost_seconds
        )
        lanes = min(cluster.window or MAX_WINDOW, MOST_LANES)
        self.seats = [Seat(f"cluster {number}", False, RemoteWorker(self.engine)) for number in range(lanes)]
        self._link.errands = (ProbeAnswers("station", station, names).answer,)
        if settings.health.port:
            # Only here: the Prometheus client costs memory that a station without monitors need not pay.
            from spotlessd.cluster import cluster_figures

            self._picture = cluster_figures.ClusterPicture(cluster.lost_seconds)
            self._link.errands += (self._picture.refresh,)
        self._link.start()

    def figures(self) -> "Iterable[Metric]":
        """Return the cluster's figures, as they were at the last beat."""
        return () if self._picture is None else self._picture.metrics()

    def change(self, settings: Settings) -> None:
        """Take over a new config; what the cluster is told holds from the next start on (service.py says so)."""
        self._settings = settings

    def crew(self, commons: Commons, copier: Copier) -> RemoteCrew:
        """Return the lanes of `commons`."""
        roots = frozenset(root.name for root in self._settings.roots)
        return RemoteCrew(self.engine, commons, copier, self._terms, self._card, roots)

    def close(self) -> None:
        """Send what is still to be sent, and end."""
        self._link.close()


def connector(settings: Settings, application: str) -> Callable[[], Awaitable[TicketQueue]]:
    """Return what opens a connection to the settings' PostgreSQL."""
    target = target_of(settings, application)
    return lambda: TicketQueue.connect(target)


def ledger_mark(board: Board) -> str:
    """Return what tells this ledger from one that was lost before it; made once."""
    mark = board.noted(MARK_KEY)
    if mark is None:
        mark = secrets.token_hex(MARK_BYTES)
        board.note(MARK_KEY, mark)
    return mark
