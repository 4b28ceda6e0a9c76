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
from spotlessd.dispatch import Dispatcher
from spotlessd.folders.roots import Root
from spotlessd.reconcile import Reconciler
from spotlessd.supervisor import Supervisor

STATE_NAME = "state.json"


def describe_state(
    roots: Sequence[Root],
    reconciler: Reconciler,
    dispatcher: Dispatcher,
    supervisor: Supervisor,
    config: ConfigKeeper,
    now: float,
) -> dict[str, Any]:
    """Return it as JSON values; seconds count from `now`, monotonic seconds."""
    job = dispatcher.job
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
        "job": None if job is None else {"id": job.id, "file": job.identity.rel, "attempt": job.attempt},
        "paused": dispatcher.pause_reason,
        "worker": {
            "state": str(supervisor.state),
            "pid": supervisor.pid,
            "memory_mb": supervisor.memory_mb,
            "restarts": max(supervisor.restarts, 0),
            "start_trouble": "" if dispatcher.start_trouble is None else dispatcher.start_trouble.reason,
        },
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
