"""Keeps one worker child alive and says what happened to the job in its hand.

Comes in: orders. Goes out: events. A child that dies or stops moving is killed, its job gets the blame, and a new child
is started; children that die one after the other, or cannot start, are started less and less often. The child is
replaced between jobs after a number of jobs or above a memory limit; one that grows beyond it within a job is killed
before it takes the machine down. Time is an argument: monotonic seconds.
"""

import multiprocessing
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import psutil
from loguru import logger

from spotlessd.errors import (
    WorkerDiedError,
    WorkerError,
    WorkerLateError,
    WorkerStalledError,
    WorkerStartError,
    WorkerTooLargeError,
)
from spotlessd.messages import Failed, Farewell, Finished, Heartbeat, Ready, StartFailed, WorkerSetup, WorkOrder
from spotlessd.worker import Loader, run_worker

START_SECONDS = 900.0
"""Longest loading of models and compiling of kernels that is still waited for."""
FAREWELL_SECONDS = 5.0
"""How long an idle child may take to end before it is killed."""
FIRST_RESTART_SECONDS = 1.0
LONGEST_RESTART_SECONDS = 60.0
MEMORY_FRACTION = 0.9
"""Part of the machine's memory that one job may take where no limit is set; the rest keeps the system alive."""
MEMORY_LOOK_SECONDS = 0.25
"""How often a busy child's memory is measured at most."""


class WorkerState(StrEnum):
    """What the child is doing; DOWN: there is none, and `start` may make one once its time has come."""

    DOWN = "down"
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """The child is gone and this order with it; `error` says how."""

    order: WorkOrder
    error: WorkerError


@dataclass(frozen=True, slots=True)
class StartTrouble:
    """The child could not start; it is tried again later. `is_told`: it said so itself; else it just ended."""

    reason: str
    exit_code: int
    is_told: bool = True


Event = Ready | Finished | Failed | WorkerLost | StartTrouble


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds without progress until a child is killed; jobs until it is replaced (0 = no limit); megabytes.

    `max_memory_mb`: above it an idle child is replaced and a busy one killed; 0 = `MEMORY_FRACTION` of the machine's.
    """

    stall_seconds: float = 300.0
    recycle_jobs: int = 500
    max_memory_mb: float = 0.0


class Supervisor:
    """Owns at most one child process. Call it from one thread only; Linux ties the child's life to that thread."""

    def __init__(self, setup: WorkerSetup, loader: Loader, limits: Limits) -> None:
        self._setup = setup
        self._loader = loader
        self._limits = limits
        self._context = multiprocessing.get_context("spawn")
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._order: WorkOrder | None = None
        self._moved = 0.0
        self._handed_over = 0.0
        self._bad_ends = 0
        self._start_after = 0.0
        self._jobs_done = 0
        self.max_memory_mb = limits.max_memory_mb or MEMORY_FRACTION * psutil.virtual_memory().total / 1e6
        self._measured = 0.0
        self.state = WorkerState.DOWN
        self.ready: Ready | None = None
        self.heartbeat: Heartbeat | None = None
        self.memory_mb = 0.0
        self.restarts = -1
        self.bad_starts = 0

    @property
    def pid(self) -> int | None:
        """The child's process id, or None without one."""
        return None if self._process is None else self._process.pid

    @property
    def order(self) -> WorkOrder | None:
        """The order in the child's hand."""
        return self._order

    def start(self, now: float) -> bool:
        """Start a child if there is none and its time has come. Returns True if there is one afterwards."""
        if self.state is not WorkerState.DOWN:
            return True
        if now < self._start_after:
            return False
        ours, theirs = self._context.Pipe(duplex=True)
        process = self._context.Process(
            target=run_worker,
            args=(theirs, self._setup, self._loader, os.getpid()),
            name="spotlessd-worker",
            daemon=True,
        )
        process.start()
        theirs.close()
        self._process, self._connection = process, ours
        self.state = WorkerState.STARTING
        self._moved = now
        self._jobs_done = 0
        self.restarts += 1
        logger.debug("worker {} started", process.pid)
        return True

    def seconds_to_start(self, now: float) -> float:
        """Return how long the back-off still lasts."""
        return max(self._start_after - now, 0.0) if self.state is WorkerState.DOWN else 0.0

    def submit(self, order: WorkOrder, now: float) -> None:
        """Hand an order to the idle child. A child that dies at this moment is reported by the next `poll`."""
        assert self.state is WorkerState.IDLE and self._connection is not None, self.state  # noqa: S101 - our own logic
        self._order = order
        self._moved = self._handed_over = now
        self.heartbeat = None
        self.state = WorkerState.BUSY
        try:
            self._connection.send(order)
        except OSError as error:
            logger.debug("worker {}: the order could not be sent ({})", self.pid, error)

    def settle(self) -> None:
        """The ledger knows what became of the last order: nothing to do, the child has forgotten it."""

    def wait_handles(self) -> list[Connection | int]:
        """Return what to wait on for news: the pipe, and the child's end."""
        if self._process is None or self._connection is None:
            return []
        return [self._connection, self._process.sentinel]

    def poll(self, now: float) -> list[Event]:
        """Return what has happened since the last call, without waiting."""
        events = self._read(now)
        step = f" in step {self.heartbeat.step}" if self.heartbeat else ""
        error: WorkerError | None = None
        if self._process is not None and not self._process.is_alive():
            events += self._read(now)  # what it said before it died counts
            error = WorkerDiedError(f"the worker process ended ({_how_it_ended(self._process)}).")
        elif self._is_stalled(now):
            error = WorkerStalledError(
                f"the worker made no progress for {now - self._moved:.0f} s{step} and was killed."
            )
        elif self._is_late(now):
            error = WorkerLateError(
                f"the worker was not done after {now - self._handed_over:.0f} s{step} and was killed. "
                "If this machine is that slow, raise queue.seconds_per_megapixel."
            )
        elif self._is_too_large(now):
            error = WorkerTooLargeError(
                f"the worker took {self.memory_mb:.0f} MB of memory{step}, more than the "
                f"{self.max_memory_mb:.0f} MB it may, and was killed. "
                "If the scan is meant to be that large, raise queue.max_worker_mb."
            )
        return events if error is None else [*events, *self._lost(now, error)]

    def recycle_if_worn(self, now: float) -> bool:
        """Replace an idle child that has done its share of jobs or grown too large. Returns True if it did."""
        if self.state is not WorkerState.IDLE:
            return False
        is_worn = 0 < self._limits.recycle_jobs <= self._jobs_done
        is_large = self.memory_mb > self.max_memory_mb
        if not (is_worn or is_large):
            return False
        logger.debug("worker {} is replaced after {} jobs, {:.0f} MB", self.pid, self._jobs_done, self.memory_mb)
        self.stop()
        return self.start(now)

    def distrust(self, reason: str, exit_code: int, now: float) -> StartTrouble:
        """Replace a child whose device or models failed under it, after a back-off."""
        return self._start_failed(StartTrouble(reason, exit_code), now)

    def drop(self) -> None:
        """Kill the child at once, with whatever it has in hand; nobody is blamed."""
        self._end(is_gentle=False)

    def ask_to_end(self) -> None:
        """Ask an idle child to end, without waiting for it; `stop` does."""
        if self.state is WorkerState.IDLE and self._connection is not None:
            with suppress(OSError):  # it is gone already
                self._connection.send(Farewell())

    def stop(self) -> None:
        """End the child: an idle one is asked to, a busy or starting one is killed."""
        self._end(is_gentle=self.state is WorkerState.IDLE)

    def _read(self, now: float) -> list[Event]:
        events: list[Event] = []
        while self._connection is not None:
            try:
                if not self._connection.poll():
                    break
                message = self._connection.recv()
            except (EOFError, OSError):
                break
            event = self._take(message, now)
            if event is not None:
                events.append(event)
        return events

    def _take(self, message: object, now: float) -> Event | None:
        if isinstance(message, Ready):
            if message.memory_mb > self.max_memory_mb:
                # Every scan would be blamed for it, or the child replaced for ever.
                reason = (
                    f"the worker takes {message.memory_mb:.0f} MB of memory before its first scan; at most "
                    f"{self.max_memory_mb:.0f} MB allowed. Raise queue.max_worker_mb."
                )
                return self._start_failed(StartTrouble(reason, WorkerStartError.exit_code), now)
            self.state = WorkerState.IDLE
            self.ready = message
            self.memory_mb = message.memory_mb
            self.bad_starts = 0
            return message
        if isinstance(message, StartFailed):
            return self._start_failed(StartTrouble(message.reason, message.exit_code), now)
        if not isinstance(message, Heartbeat | Finished | Failed):
            return None
        self.memory_mb = message.memory_mb
        order = self._order
        if order is None or (message.job_id, message.attempt) != (order.job_id, order.attempt):
            return None
        if isinstance(message, Heartbeat):
            self.heartbeat = message
            self._moved = now - message.idle_seconds
            return None
        self._order = None
        self.heartbeat = None
        self.state = WorkerState.IDLE
        self._jobs_done += 1
        self._bad_ends = 0
        return message

    def _is_stalled(self, now: float) -> bool:
        if self.state is WorkerState.BUSY:
            return now - self._moved > self._limits.stall_seconds
        return self.state is WorkerState.STARTING and now - self._moved > START_SECONDS

    def _is_late(self, now: float) -> bool:
        """Whether the order took longer than its frame may, although it moves: a loop without end moves too."""
        limit = 0.0 if self._order is None else self._order.deadline_seconds
        return 0 < limit < now - self._handed_over

    def _is_too_large(self, now: float) -> bool:
        """Measure a busy child. What it says itself may come too late, or not at all from within a decoder."""
        if self.state is not WorkerState.BUSY or now - self._measured < MEMORY_LOOK_SECONDS:
            return False
        self._measured = now
        self.memory_mb = _memory_mb(self.pid) or self.memory_mb
        return self.memory_mb > self.max_memory_mb

    def _start_failed(self, trouble: StartTrouble, now: float) -> StartTrouble:
        self.bad_starts += 1
        self._end(is_gentle=False)
        self._back_off(now)
        return trouble

    def _lost(self, now: float, error: WorkerError) -> list[Event]:
        order, was_starting = self._order, self.state is WorkerState.STARTING
        if was_starting:
            return [self._start_failed(StartTrouble(str(error), WorkerStartError.exit_code, is_told=False), now)]
        self._end(is_gentle=False)
        self._back_off(now)
        return [] if order is None else [WorkerLost(order, error)]

    def _back_off(self, now: float) -> None:
        """The first bad end is followed at once by a new child, or a second later if it could not even start."""
        self._bad_ends += 1
        if self._bad_ends == 1 and not self.bad_starts:
            self._start_after = now
            return
        delay = FIRST_RESTART_SECONDS * 2.0 ** min(self._bad_ends - 1, 10)
        self._start_after = now + min(delay, LONGEST_RESTART_SECONDS)

    def _end(self, *, is_gentle: bool) -> None:
        if is_gentle:
            self.ask_to_end()
        process, connection = self._process, self._connection
        self._process = self._connection = self._order = self.heartbeat = self.ready = None
        self.state = WorkerState.DOWN
        self.memory_mb = 0.0
        if process is None or connection is None:
            return
        if is_gentle:
            wait([process.sentinel], FAREWELL_SECONDS)
        if process.is_alive():
            process.kill()
        process.join()
        process.close()
        connection.close()


def _memory_mb(pid: int | None) -> float:
    """Return what a process has in memory, or 0 where it cannot be told because it is gone."""
    try:
        return float(psutil.Process(pid).memory_info().rss) / 1e6
    except psutil.Error:
        return 0.0


def _how_it_ended(process: SpawnProcess) -> str:
    """Word a child's exit code: the signal's name, or the status."""
    code = process.exitcode
    if code is not None and code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"exit status {code}"
