"""The manifest of shipped weights, and the only place where weights are loaded.

Comes in: the folder with `manifest.toml` and the files it names. Goes out: tensors whose sha256 was checked first.
Weights are safetensors (no code can run on loading) stored in half precision and returned in float32.
"""

import hashlib
import pickle
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from spotless_core.errors import ModelError

MANIFEST = "manifest.toml"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One network of the manifest. `shape`: its constructor's arguments, numbers and booleans. `input`: limits as data
    (multiple, smallest size). `thresholds`: per sensitivity {seed, grow, evidence}. `evidence`: weights of the score
    of a candidate. `calibration`: slope and offset that turn the detector's logits into honest ones.
    """

    name: str
    path: Path
    sha256: str
    licence: str
    shape: Mapping[str, Any]
    input: Mapping[str, int]
    thresholds: Mapping[str, Mapping[str, float]]
    evidence: Mapping[str, float] = field(default_factory=dict)
    calibration: Mapping[str, float] = field(default_factory=dict)


def default_models_folder() -> Path:
    """Find the shipped models: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "data" / "models", package.parent / "models"):
        if (folder / MANIFEST).is_file():
            return folder
    raise ModelError(f"no {MANIFEST} in the package or beside it; reinstall spotlessd.")


def read_manifest(folder: Path) -> dict[str, ModelEntry]:
    """Read `manifest.toml` in `folder` into entries by name; raises `ModelError` if it is missing or malformed."""
    path = folder / MANIFEST
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        return {
            name: ModelEntry(
                name=name,
                path=folder / entry["file"],
                sha256=entry["sha256"],
                licence=entry["licence"],
                shape=entry["shape"],
                input=entry["input"],
                thresholds=entry.get("thresholds", {}),
                evidence=entry.get("evidence", {}),
                calibration=entry.get("calibration", {}),
            )
            for name, entry in document["model"].items()
        }
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); reinstall spotlessd.") from error
    except (tomllib.TOMLDecodeError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{path}: not a model manifest ({error}).") from error


def load_weights(entry: ModelEntry) -> dict[str, Tensor]:
    """Return the entry's tensors in float32, after its sha256 was found right.

    Raises:
        ModelError: the file is missing, its checksum differs, or it is not safetensors.
    """
    try:
        data = entry.path.read_bytes()
    except OSError as error:
        raise ModelError(f"{entry.path}: weights cannot be read ({error.strerror}); reinstall spotlessd.") from error
    found = hashlib.sha256(data).hexdigest()
    if found != entry.sha256:
        raise ModelError(
            f"{entry.path}: sha256 {found[:12]}…, the manifest says {entry.sha256[:12]}…; the file is damaged or was "
            "exchanged. Reinstall spotlessd, or export the weights again."
        )
    try:
        return {name: tensor.float() for name, tensor in load_safetensors(data).items()}
    except SafetensorError as error:
        raise ModelError(f"{entry.path}: not a safetensors file ({error}).") from error


def load_checkpoint_file(path: Path) -> Any:  # noqa: ANN401 - a training state of any shape, checked by the caller
    """Load a training checkpoint, tensors and plain values only (`weights_only`)."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(f"{path}: cannot be loaded as a checkpoint ({error}).") from error
