"""A station's daemon whose worker runs the core's pipeline on a device with too little memory, as far as it can tell.

`short_memory_daemon.py CONFIG LOADER [--once]`; the models' folder and the largest tile that finds memory (pixels) are
in the environment. The device is the CPU under the name of CUDA: tiles above the limit raise what torch raises there.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_workers

from spotlessd.folders.headers import check_header
from spotlessd.messages import WorkerSetup
from spotlessd.worker import Restorer, load_pipeline

MODELS_VARIABLE = "TEST_MODELS_FOLDER"
LIMIT_VARIABLE = "TEST_LARGEST_TILE_PX"


def load_short_of_memory(setup: WorkerSetup) -> Restorer:
    restorer: Any = load_pipeline(replace(setup, models_folder=Path(os.environ[MODELS_VARIABLE])))
    for tools in restorer._sets.values():
        tools.detector.network.register_forward_pre_hook(_refuse_above(int(os.environ[LIMIT_VARIABLE])))
    restorer._sets = {filling: replace(tools, device="cuda") for filling, tools in restorer._sets.items()}
    restorer.device = "cuda"
    return restorer  # type: ignore[no-any-return]


def _refuse_above(limit_px: int) -> Callable[..., None]:
    import torch

    def refuse(_: Any, given: tuple[Any, ...]) -> None:
        if max(given[0].shape[-2:]) > limit_px:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    return refuse


if __name__ == "__main__":
    # The child must find the loader under its module's name, not under __main__.
    from faults import short_memory_daemon

    sys.exit(fake_workers.main(check_header, vars(short_memory_daemon)))
