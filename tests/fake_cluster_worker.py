"""A worker with fake children: `fake_cluster_worker.py CONFIG [LOADER] [WEIGHTS]`. Loaders: those of fake_workers.py.

WEIGHTS: what it says its weights are, as a worker of another version would. LAB_ANSWER_SECONDS in the environment: how
long it waits for an answer of PostgreSQL before it takes the connection for dead; LAB_CRASH_AT: the crash point at
which it ends; LAB_STOP_AT: the one of publishing at which it is stopped, once, as a machine that sleeps.
"""

import os
import signal
import sys
from pathlib import Path

import fake_workers

from spotlessd import publish
from spotlessd.cluster import tickets, wire, worker_publishing
from spotlessd.cluster.worker_service import ClusterWorker
from spotlessd.configuration.settings import load_settings
from spotlessd.crash_points import VARIABLE
from spotlessd.errors import DaemonError
from spotlessd.log import set_up_log


def stop_at(name: str) -> None:
    """Stop this process at the crash point that the environment names."""
    if os.environ.get("LAB_STOP_AT") == name:
        del os.environ["LAB_STOP_AT"]
        os.kill(os.getpid(), signal.SIGSTOP)


def main() -> int:
    settings = load_settings(Path(sys.argv[1]))
    set_up_log(settings.log)
    if len(sys.argv) > 3:
        tickets.weights_fingerprint = lambda: sys.argv[3]
    loader = getattr(fake_workers, sys.argv[2] if len(sys.argv) > 2 else "load_fake")
    wire.ANSWER_SECONDS = float(os.environ.get("LAB_ANSWER_SECONDS", wire.ANSWER_SECONDS))
    if "LAB_CRASH_AT" in os.environ:
        os.environ[VARIABLE] = os.environ["LAB_CRASH_AT"]
    if "LAB_STOP_AT" in os.environ:
        publish.crash_point = worker_publishing.crash_point = stop_at
    try:
        return ClusterWorker(settings, loader=loader).run()
    except DaemonError as error:
        print(f"spotlessd: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
