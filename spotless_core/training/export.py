"""Write a run's averaged weights as safetensors in half precision, with their manifest entry."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import save as save_safetensors
from torch import nn

from spotless_core.errors import ModelError
from spotless_core.inpainting.lama_fill import LAMA
from spotless_core.networks.lama import LamaGenerator, LamaShape
from spotless_core.networks.unet import UNet, UNetShape
from spotless_core.training.batches import real_by_kind, training_photos
from spotless_core.training.checkpoint import load_checkpoint
from spotless_core.training.inpainter_dataset import HoleBatches
from spotless_core.training.manifest import put_entry
from spotless_core.training.run_config import DetectorRun, InpainterRun, TrainingRun
from spotless_core.training.settled_norms import settle_norms

DETECTOR = "detector"
FILE = "detector.safetensors"
LAMA_FILE = "lama.safetensors"
LICENCE = "MIT (credits of the training data: MODEL_CARD.md)"
MAX_BYTES = 16 << 20
SETTLING_SEED, SETTLING_BATCHES = 99, 60
FIRST_THRESHOLDS = {"low": (0.9, 0.5), "normal": (0.7, 0.4), "high": (0.5, 0.3)}
"""Written until `evaluate --calibrate` has measured better ones."""


def export_detector(run: DetectorRun, models: Path) -> Path:
    """Export the run's average (EMA) into the folder `models`; returns the weights' path.

    Raises:
        ModelError: the run has no checkpoint yet, or the weights exceed 16 MiB.
    """
    state = _trained(run)
    path = models / FILE
    sha256 = _write_weights(path, UNet(UNetShape.from_numbers(state["shape"])), state["average"])
    write_manifest(models, sha256, state["shape"], FIRST_THRESHOLDS, int(state["step"]))
    return path


def export_inpainter(run: InpainterRun, models: Path) -> Path:
    """Export the inpainter run's average into the folder `models`, its batch norms settled on the run's own crops.

    Raises as `export_detector`, and `MissingInputError` if the run's photographs are gone.
    """
    state = _trained(run)
    network = LamaGenerator(LamaShape.from_manifest(state["shape"]))
    path = models / LAMA_FILE
    sha256 = _write_weights(path, network, state["average"], lambda: settle_norms(network, _crops(run)))
    command = "python -m spotless_core.training inpainter --config config/training/inpainter.toml"
    limits = {"channels": network.shape.channels, "multiple": network.multiple, "smallest_px": network.smallest_px}
    put_entry(
        models,
        LAMA,
        {
            "file": LAMA_FILE,
            "sha256": sha256,
            "source": f"{command}, {state['step']} steps",
            "licence": LICENCE,
            "shape": state["shape"],
            "input": limits,
        },
    )
    return path


def write_manifest(
    models: Path,
    sha256: str,
    shape: Sequence[int],
    thresholds: Mapping[str, tuple[float, ...]],
    steps: int,
    evidence: Mapping[str, float] = MappingProxyType({}),
    calibration: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """Write the detector's entry of `manifest.toml` in `models`; other networks' entries stay.

    `shape`: the U-Net's, as `UNetShape.numbers` returns it. `thresholds`: per sensitivity (seed, grow) or (seed, grow,
    evidence), the latter with the weights `evidence`. `calibration`: slope and offset of the logits.
    """
    unet = UNetShape.from_numbers(shape)
    sizes = {"width": unet.width, "depth": unet.depth, "fold": unet.fold}
    command = "python -m spotless_core.training detector --config config/training/detector.toml"
    put_entry(
        models,
        DETECTOR,
        {
            "file": FILE,
            "sha256": sha256,
            "source": f"{command}, {steps} steps",
            "licence": LICENCE,
            "shape": {**sizes, "separable": True} if unet.separable else sizes,
            "input": {"channels": 1, "multiple": unet.multiple, "smallest_px": unet.multiple},
            **({"calibration": calibration} if calibration else {}),
            **({"evidence": evidence} if evidence else {}),
            "thresholds": {
                name: dict(zip(("seed", "grow", "evidence"), values, strict=False))
                for name, values in thresholds.items()
            },
        },
    )


def _crops(run: InpainterRun) -> Iterator[torch.Tensor]:
    """Batches of a seed of their own, as the run trains on."""
    photos, real = training_photos(run, color=True), real_by_kind(run, run.real_scans)
    batches = HoleBatches(photos, real, run, SETTLING_SEED)
    return (batches[step].inputs for step in range(SETTLING_BATCHES))


def _trained(run: TrainingRun) -> dict[str, Any]:
    state = load_checkpoint(run.output / "checkpoint.pt")
    if state is None:
        raise ModelError(f"{run.output}: no checkpoint there; train first.")
    return state


def _write_weights(
    path: Path, network: nn.Module, average: Mapping[str, torch.Tensor], settle: Callable[[], None] = lambda: None
) -> str:
    """Write the averaged weights, checked against `network` and settled, in half precision; returns the sha256."""
    values = {name.removeprefix("module."): value for name, value in average.items() if name != "n_averaged"}
    try:
        network.load_state_dict(values)
    except RuntimeError as error:
        raise ModelError(f"{path.name}: the checkpoint is of another kind of network or shape.") from error
    settle()
    tensors = {
        name: tensor.to(torch.float32 if "running_" in name else torch.float16).contiguous()  # variances may be large
        for name, tensor in network.state_dict().items()
    }
    data = save_safetensors({name: t for name, t in tensors.items() if not name.endswith("num_batches_tracked")})
    if len(data) > MAX_BYTES:
        raise ModelError(f"weights of {len(data) / 2**20:.1f} MiB; at most 16 MiB can ship. Train a smaller shape.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()
