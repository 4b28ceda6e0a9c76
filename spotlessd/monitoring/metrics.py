"""The station's figures in Prometheus' text format, made anew for each request.

Comes in: the status as read from the ledger now, the loop's vitals, and the folders whose disks are told. Goes out:
bytes. Nothing here waits for the main loop, so figures are fresh when it is idle and told when it hangs.
"""

import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from spotlessd import __version__
from spotlessd.monitoring.notices import Vitals
from spotlessd.monitoring.status import UP_STATES, Snapshot, StationStatus

CONTENT_TYPE = CONTENT_TYPE_LATEST


class DiskGauge:
    """Free bytes of some folders. A share that hangs is left out from then on until it answers."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = {name: (folder, threading.Lock()) for name, folder in folders.items()}

    def read(self) -> dict[str, int]:
        """Return the free bytes by the folder's name; one that cannot be told is not in it."""
        found = {}
        for name, (folder, busy) in self._folders.items():
            if not busy.acquire(blocking=False):
                continue
            try:
                found[name] = shutil.disk_usage(folder).free
            except OSError:
                continue
            finally:
                busy.release()
        return found


def render(status: StationStatus, vitals: Vitals, disk_free: Mapping[str, int], more: Iterable[Metric] = ()) -> bytes:
    """Return all figures as Prometheus reads them; `more`: what this module does not know, a cluster's for example."""
    return render_figures(chain(_Figures(status, vitals, disk_free).collect(), more))


def render_figures(figures: Iterable[Metric]) -> bytes:
    """Return these figures as Prometheus reads them: for a program without a station's status."""
    registry = CollectorRegistry()
    registry.register(_Given(tuple(figures)))
    return generate_latest(registry)


class _Given(Collector):
    def __init__(self, figures: tuple[Metric, ...]) -> None:
        self._given = figures

    def collect(self) -> Iterator[Metric]:
        yield from self._given


class _Figures:
    def __init__(self, status: StationStatus, vitals: Vitals, disk_free: Mapping[str, int]) -> None:
        self._status = status
        self._vitals = vitals
        self._disk_free = disk_free

    def collect(self) -> Iterator[Metric]:
        yield from self._queue()
        yield from self._work()
        yield from self._daemon()

    def _queue(self) -> Iterator[Metric]:
        status = self._status
        jobs = GaugeMetricFamily("spotlessd_jobs", "Jobs by state", labels=["state"])
        for state, number in status.counts.items():
            jobs.add_metric([str(state)], number)
        yield jobs
        yield _gauge("oldest_queued_age_seconds", "Age of the oldest queued job", status.oldest_queued_seconds or 0.0)
        yield _gauge("waiting_files", "Files that are not complete yet", len(status.waiting))
        yield _gauge("queued_bytes", "Bytes of all queued scans", status.queue.size)
        yield _gauge("paused", "1 while no job is started", bool(status.paused))
        if status.eta_seconds is not None:
            yield _gauge("eta_seconds", "Until the queue is done, as the last jobs went", status.eta_seconds)

    def _work(self) -> Iterator[Metric]:
        totals = self._vitals.totals
        finished = CounterMetricFamily("spotlessd_finished", "Jobs that ended, by state", labels=["state"])
        for state, number in sorted(totals.finished.items()):
            finished.add_metric([state], number)
        yield finished
        yield CounterMetricFamily("spotlessd_attempts", "Attempts that were started", value=totals.attempts)
        yield SummaryMetricFamily(
            "spotlessd_job_seconds",
            "Seconds from start to end of a job",
            count_value=sum(totals.finished.values()),
            sum_value=totals.finished_seconds,
        )
        steps = SummaryMetricFamily("spotlessd_step_seconds", "Seconds of each step of a job", labels=["step"])
        for step, (number, seconds) in sorted(totals.steps.items()):
            steps.add_metric([step], number, seconds)
        yield steps

    def _daemon(self) -> Iterator[Metric]:
        status, snapshot = self._status, self._status.snapshot
        yield _gauge("loop_age_seconds", "Since the main loop last went round", self._vitals.loop_age)
        yield _gauge("degraded", "Number of things that are wrong", len(status.degraded))
        free = GaugeMetricFamily("spotlessd_disk_free_bytes", "Free space where it is written", labels=["folder"])
        for name, size in sorted(self._disk_free.items()):
            free.add_metric([name], size)
        yield free
        info = {"version": __version__}
        if snapshot is not None:
            info |= {"device": snapshot.device, "precision": snapshot.precision}
            if snapshot.last_look:
                yield _gauge(
                    "last_look_age_seconds", "Since all folders were looked at", status.at - snapshot.last_look
                )
            yield CounterMetricFamily("spotlessd_event_overflows", "Lost event queues", value=snapshot.overflows)
            yield CounterMetricFamily("spotlessd_worker_restarts", "New workers", value=snapshot.worker_restarts)
            yield _gauge("worker_up", "1 while a worker is loaded", snapshot.worker in UP_STATES)
            yield from _workers(snapshot)
            yield _gauge("config_ok", "0 while the config file is wrong and an older one holds", snapshot.config_ok)
            memory = GaugeMetricFamily("spotlessd_memory_bytes", "Resident memory", labels=["process"])
            memory.add_metric(["parent"], snapshot.memory_mb * 1e6)
            memory.add_metric(["worker"], snapshot.worker_memory_mb * 1e6)
            yield memory
        yield InfoMetricFamily("spotlessd", "What runs", value=info)


def _workers(snapshot: Snapshot) -> Iterator[Metric]:
    """Each worker by itself."""
    ready = GaugeMetricFamily("spotlessd_worker_ready", "1 while this worker is loaded", labels=["worker"])
    job = GaugeMetricFamily("spotlessd_worker_job", "Number of the job in hand, 0 without one", labels=["worker"])
    device = GaugeMetricFamily("spotlessd_worker_device", "What it runs on", labels=["worker", "device"])
    for worker in snapshot.workers:
        ready.add_metric([worker.name], float(worker.is_up))
        job.add_metric([worker.name], float(worker.job.id if worker.job is not None else 0))
        if worker.device:
            device.add_metric([worker.name, worker.device], 1.0)
    yield from (ready, job, device)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"spotlessd_{name}", text, value=float(value))
