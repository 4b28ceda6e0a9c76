"""The cluster's figures for /metrics, made of a picture that a link read; nothing here waits for PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from spotlessd.cluster.overview import read_overview_async
from spotlessd.cluster.overview_views import ClusterOverview, StationView, WorkerView

if TYPE_CHECKING:
    import psycopg


def cluster_metrics(overview: ClusterOverview | None, now: float) -> Iterable[Metric]:
    """Yield the figures. `overview`: the last one read, None before the first. `now`: seconds since the epoch.

    The picture's age is told too: while PostgreSQL is away the other figures stand still.
    """
    yield _gauge("up", "1 once the cluster was read", float(overview is not None))
    if overview is None:
        return
    yield _gauge("picture_age_seconds", "Since the cluster was last read", max(now - overview.at, 0.0))
    yield _gauge("warnings", "Number of things that are wrong in the cluster", len(overview.warnings))
    yield _gauge("dead_letters", "Scans that were given up, of all stations", overview.dead_letters)
    yield _gauge("oldest_seconds", "Age of the oldest ticket that waits for a worker", overview.oldest_seconds)
    tickets = GaugeMetricFamily("spotlessd_cluster_tickets", "Tickets by state", labels=["state"])
    for state in ("asked", "doing", "publishing", "answered"):
        tickets.add_metric([state], overview.count(state))
    yield tickets
    yield from _queues(overview)
    yield from _workers(overview.workers)
    yield from _stations(overview.stations)


LONG_SECONDS = 0.1
REST_SECONDS = 30.0
"""A picture that took `LONG_SECONDS`, of a hundred thousand tickets for example, is not read again before this."""


class ClusterPicture:
    """Keeps the last picture of the cluster for /metrics. A link's errand refreshes it; any thread may read it."""

    def __init__(self, lost_seconds: float, clock: Callable[[], float] = time.time) -> None:
        self._lost_seconds = lost_seconds
        self._clock = clock
        self._rest_until = 0.0
        self.overview: ClusterOverview | None = None

    async def refresh(self, connection: psycopg.AsyncConnection) -> None:
        """Read it anew, unless it took long a short while ago; for `Link.errands`.

        Raises:
            psycopg.Error: PostgreSQL went away.
        """
        from psycopg.errors import QueryCanceled

        begun = time.monotonic()
        if begun < self._rest_until:
            return
        # Too slow for once: the old picture stays, and its age tells.
        with suppress(QueryCanceled):
            self.overview = await read_overview_async(connection, self._clock(), lost_seconds=self._lost_seconds)
        ended = time.monotonic()
        if ended - begun >= LONG_SECONDS:
            self._rest_until = ended + REST_SECONDS

    def metrics(self) -> Iterable[Metric]:
        """Return the figures; for `HealthPages(more=…)`."""
        return tuple(cluster_metrics(self.overview, self._clock()))


def _queues(overview: ClusterOverview) -> Iterator[Metric]:
    waiting = GaugeMetricFamily("spotlessd_cluster_queue", "Tickets that wait for a worker", labels=["size", "weights"])
    for queue in overview.queues:
        waiting.add_metric(["large" if queue.is_large else "small", queue.weights], queue.waiting)
    yield waiting


def _workers(workers: Iterable[WorkerView]) -> Iterator[Metric]:
    numbers = dict.fromkeys(("alive", "draining", "silent"), 0)
    rate = _by("worker_rate", "Frames that a worker restores in an hour", "worker")
    silent = _by("worker_silent_seconds", "Since a worker last told something", "worker")
    skew = _by("worker_skew_seconds", "A worker's clock minus PostgreSQL's", "worker")
    held = _by("worker_jobs", "Tickets in a worker's hand", "worker")
    for worker in workers:
        numbers["silent" if not worker.is_alive else "draining" if worker.is_draining else "alive"] += 1
        rate.add_metric([worker.key], worker.facts.frames_per_hour if worker.is_alive else 0.0)
        silent.add_metric([worker.key], worker.silent_seconds)
        skew.add_metric([worker.key], worker.facts.skew_seconds)
        held.add_metric([worker.key], worker.in_hand)
    states = GaugeMetricFamily("spotlessd_cluster_workers", "Workers by state", labels=["state"])
    for state, number in numbers.items():
        states.add_metric([state], number)
    yield from (states, rate, silent, skew, held)


def _stations(stations: Iterable[StationView]) -> Iterator[Metric]:
    alive = _by("station_up", "1 while a station is not silent", "station")
    queued = _by("station_queued", "Jobs in a station's own queue", "station")
    quarantined = _by("station_quarantined", "Dead letters of a station", "station")
    answers = _by("station_answers", "Answers that a station has not fetched yet", "station")
    oldest = _by("station_oldest_seconds", "Age of a station's oldest queued job", "station")
    for station in stations:
        # The key, not the name: two stations of one name would be one series twice, which Prometheus refuses.
        alive.add_metric([station.key], float(station.is_alive))
        queued.add_metric([station.key], station.facts.queued)
        quarantined.add_metric([station.key], station.facts.quarantined)
        answers.add_metric([station.key], station.answers)
        oldest.add_metric([station.key], station.facts.oldest_seconds)
    yield from (alive, queued, quarantined, answers, oldest)


def _by(name: str, text: str, label: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"spotlessd_cluster_{name}", text, labels=[label])


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"spotlessd_cluster_{name}", text, value=float(value))
