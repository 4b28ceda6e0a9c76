"""Checkpoints of a training run: everything needed to go on at the next step, written atomically.

A kill while saving leaves the previous checkpoint intact: the new one is complete on disk before it takes the name.
"""

import os
from pathlib import Path
from typing import Any

import torch

from spotless_core.errors import ModelError
from spotless_core.networks.weights import load_checkpoint_file


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, containers) to `path` through a temporary file and a rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return the saved state, or None where no checkpoint is; tensors only, no code is run.

    Raises:
        ModelError: the file is not a checkpoint of ours.
    """
    if not path.exists():
        return None
    state = load_checkpoint_file(path)
    if not isinstance(state, dict) or "step" not in state:
        raise ModelError(f"{path}: not a checkpoint of this program. Delete it to start the run anew.")
    return state
