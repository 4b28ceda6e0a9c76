"""What monitors ask a worker over HTTP: /healthz, /readyz and /metrics, as a station answers them (monitoring.health).

Only with `health.port`: the Prometheus client costs memory. Every answer comes from memory, also while PostgreSQL is
away; the cluster's figures then stand still, and their age tells.
"""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from loguru import logger
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from spotlessd.cluster.cluster_figures import ClusterPicture
from spotlessd.cluster.machines import WorkerMachine
from spotlessd.configuration.settings import Settings
from spotlessd.monitoring.health import HealthPages, HealthServer, Page
from spotlessd.monitoring.metrics import CONTENT_TYPE, render_figures
from spotlessd.monitoring.notices import Totals, Vitals
from spotlessd.monitoring.status import SILENT_SECONDS

if TYPE_CHECKING:
    from spotlessd.cluster.link import Link


class WorkerMonitor:
    """Serves a worker's pages from `start` to `close`. `link`: the one whose beats read the cluster for them."""

    def __init__(self, settings: Settings, link: "Link") -> None:
        self._port = settings.health.port
        self._picture = ClusterPicture(settings.cluster.lost_seconds)
        link.errands += (self._picture.refresh,)
        self._pages = WorkerPages(settings, self._picture)
        self._server: HealthServer | None = None

    def start(self) -> None:
        """Serve; a port that is taken harms nothing but the pages."""
        try:
            self._server = HealthServer(self._port, self._pages)
        except OSError as error:
            reason = error.strerror
            logger.error("health.port = {}: cannot be served ({}). Choose another port.", self._port, reason)
        else:
            logger.info("health: http://127.0.0.1:{}/metrics", self._port)

    def tell(self, facts: WorkerMachine) -> None:
        """Show these facts from now on."""
        self._pages.facts = facts

    def beat(self, problem: str) -> None:
        """The main loop went round. `problem`: why this worker computes less than it should, "" if it does not."""
        self._pages.problem, self._pages.turned = problem, time.monotonic()

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.close()


class WorkerPages(HealthPages):
    """Makes the answers for one worker."""

    def __init__(self, settings: Settings, picture: ClusterPicture) -> None:
        self.facts = WorkerMachine()
        self.problem = "it has just been started"
        self.turned = time.monotonic()
        super().__init__(
            settings.state_dir,
            {"state": settings.state_dir},
            lambda: Vitals(time.monotonic() - self.turned, Totals()),
            picture.metrics,
        )

    def readyz(self) -> Page:
        """Whether a frame that is asked for now may be computed here."""
        reasons = [self.problem] if self.problem else []
        if self.facts.is_draining:
            reasons.append("it drains: it takes no more frames")
        if self._vitals().loop_age > SILENT_SECONDS:
            reasons.append("the main loop hangs")
        return Page(503, "\n".join([*reasons, ""]).encode()) if reasons else Page(200, b"ok\n")

    def metrics(self) -> Page:
        """The worker's own figures and the cluster's."""
        return Page(200, render_figures([*self._own(), *self._more()]), CONTENT_TYPE)

    def _own(self) -> Iterator[Metric]:
        facts = self.facts
        yield _gauge("ready", "1 while nothing is wrong with this worker", float(not self.problem))
        yield _gauge("loop_age_seconds", "Since the main loop last went round", self._vitals().loop_age)
        yield CounterMetricFamily("spotlessd_worker_frames_done", "Frames restored since the start", value=facts.done)
        yield CounterMetricFamily("spotlessd_worker_frames_failed", "Attempts that failed", value=facts.failed)
        states = GaugeMetricFamily("spotlessd_worker_seats", "Seats of this worker by state", labels=["state"])
        for state in dict.fromkeys(("idle", "busy", *(seat.state for seat in facts.seats))):
            states.add_metric([state], sum(seat.state == state for seat in facts.seats))
        yield states
        free = GaugeMetricFamily("spotlessd_disk_free_bytes", "Free space, by folder", labels=["folder"])
        for folder, number in self._disk.read().items():
            free.add_metric([folder], number)
        yield free


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"spotlessd_worker_{name}", text, value=value)
