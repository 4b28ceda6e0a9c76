"""A worker with fake children: `fake_cluster_worker.py CONFIG [LOADER] [WEIGHTS]`. Loaders: those of fake_workers.py.

WEIGHTS: what it says its weights are, as a worker of another version would.
"""

import sys
from pathlib import Path

import fake_workers

from spotlessd.cluster import tickets
from spotlessd.cluster.worker_service import ClusterWorker
from spotlessd.configuration.settings import load_settings
from spotlessd.errors import DaemonError
from spotlessd.log import set_up_log


def main() -> int:
    settings = load_settings(Path(sys.argv[1]))
    set_up_log(settings.log)
    if len(sys.argv) > 3:
        tickets.weights_fingerprint = lambda: sys.argv[3]
    loader = getattr(fake_workers, sys.argv[2] if len(sys.argv) > 2 else "load_fake")
    try:
        return ClusterWorker(settings, loader=loader).run()
    except DaemonError as error:
        print(f"spotlessd: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
