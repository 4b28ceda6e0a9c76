"""The whole state of a running daemon in one JSON file, for a person who looks for what is wrong (SIGUSR2).

It tells what `status` leaves out: each root's kind of file system and how it is watched, when each waiting file is
looked at next, whether watching is alive, the config in force. Nothing is changed by it.
"""

import json
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spotlessd.configuration.keeper import ConfigKeeper
from spotlessd.crew import Crew
from spotlessd.folders.roots import Root
from spotlessd.monitoring.status import WorkerFacts
from spotlessd.reconcile import Reconciler

STATE_NAME = "state.json"


def describe_state(
    roots: Sequence[Root],
    reconciler: Reconciler,
    crew: Crew,
    config: ConfigKeeper,
    now: float,
) -> dict[str, Any]:
    """Return it as JSON values; seconds count from `now`, monotonic seconds."""
    jobs = [{"id": job.id, "file": job.identity.rel, "attempt": job.attempt} for job in crew.jobs]
    workers = [_worker_values(worker) for worker in crew.workers()]
    return {
        "config": {
            "file": str(config.settings.config_path),
            "is_ok": not config.trouble,
            "trouble": config.trouble,
            "waits_to_be_applied": config.has_news,
        },
        "roots": [_root_values(root, reconciler, now) for root in roots],
        "waiting": [
            {"root": file.root, "file": file.rel, "reason": file.reason, "seconds": now - file.since}
            for file in reconciler.waiting
        ],
        "job": jobs[0] if jobs else None,
        "paused": crew.pause_reason,
        "worker": workers[0],
        "workers": workers,
        "threads": sorted(thread.name for thread in threading.enumerate()),
    }


def write_state(state: dict[str, Any], folder: Path) -> Path:
    """Write it into the station's state folder, over the one before, and return the path.

    Raises:
        OSError: it cannot be written.
    """
    path = folder / STATE_NAME
    path.write_text(json.dumps(state, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _worker_values(worker: WorkerFacts) -> dict[str, Any]:
    return {
        "name": worker.name,
        "state": worker.state,
        "pid": worker.pid,
        "device": worker.device,
        "memory_mb": worker.memory_mb,
        "restarts": worker.restarts,
        "job": None if worker.job is None else {"id": worker.job.id, "file": worker.job.file},
        "waits": worker.waits,
        "start_trouble": worker.trouble,
    }


def _root_values(root: Root, reconciler: Reconciler, now: float) -> dict[str, Any]:
    return {
        "name": root.name,
        "input": str(root.input),
        "output": str(root.output),
        "is_network": root.is_network,
        "is_polled": root.is_polled,
        "is_spooled": root.is_spooled,
        "away": reconciler.away.get(root.name, ""),
        "next_look_seconds": reconciler.due(root.name) - now,
        "left_out": root.left_out,
        "recipe": root.profile.recipe,
        "priority": root.profile.priority,
        "options": json.loads(json.dumps(asdict(root.profile.options), default=str)),
    }
