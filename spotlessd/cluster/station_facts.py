"""What a station tells the cluster of itself, from its ledger."""

import os
import socket
from dataclasses import dataclass

from spotlessd import __version__
from spotlessd.cluster.machines import StationMachine
from spotlessd.engine_procrastinate import ProcrastinateEngine
from spotlessd.job import JobState


@dataclass(frozen=True, slots=True)
class StationCard:
    """What does not change while a station runs. `weights`: SHA-256 as in its tickets; `started`: epoch seconds.

    `lost_seconds`: silence after which a worker counts as lost.
    """

    name: str
    weights: str
    shares: tuple[str, ...]
    started: float
    is_batch: bool = False
    lost_seconds: float = 30.0


def station_facts(
    engine: ProcrastinateEngine, card: StationCard, now: float, *, is_paused: bool, trouble: str
) -> StationMachine:
    """Return the station as it is at `now`, seconds since the epoch.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    counts, oldest = engine.counts(), engine.oldest_queued()
    return StationMachine(
        name=card.name,
        host=socket.gethostname(),
        version=__version__,
        weights=card.weights,
        pid=os.getpid(),
        window=engine.window,
        given=engine.given,
        queued=counts[JobState.QUEUED],
        running=counts[JobState.RUNNING],
        done=counts[JobState.DONE],
        held=counts[JobState.HELD],
        quarantined=counts[JobState.QUARANTINED],
        oldest_seconds=0.0 if oldest is None else max(now - oldest, 0.0),
        is_paused=is_paused,
        skew_seconds=engine.link.view.skew_seconds,
        shares=card.shares,
        trouble=trouble,
        started=card.started,
        is_batch=card.is_batch,
    )
