"""Write a run's averaged weights as safetensors in half precision, with their manifest entry."""

import hashlib
from pathlib import Path

import torch
from safetensors.torch import save as save_safetensors

from spotless_core.errors import ModelError
from spotless_core.networks.unet import UNet, UNetShape
from spotless_core.networks.weights import MANIFEST
from spotless_core.training.checkpoint import load_checkpoint
from spotless_core.training.run_config import DetectorRun

FILE = "detector.safetensors"
MAX_BYTES = 16 << 20
FIRST_THRESHOLDS = {"low": (0.9, 0.5), "normal": (0.7, 0.4), "high": (0.5, 0.3)}
"""Written until `evaluate --calibrate` has measured better ones."""


def export_detector(run: DetectorRun, models: Path) -> Path:
    """Export the run's average (EMA) into the folder `models`; returns the weights' path.

    Raises:
        ModelError: the run has no checkpoint yet, or the weights exceed 16 MiB.
    """
    state = load_checkpoint(run.output / "checkpoint.pt")
    if state is None:
        raise ModelError(f"{run.output}: no checkpoint there; train first.")
    width, depth, fold = state["shape"]
    network = UNet(UNetShape(width, depth, fold))
    average = {name.removeprefix("module."): value for name, value in state["average"].items() if name != "n_averaged"}
    network.load_state_dict(average)
    tensors = {name: tensor.to(torch.float16).contiguous() for name, tensor in network.state_dict().items()}
    data = save_safetensors({name: t for name, t in tensors.items() if not name.endswith("num_batches_tracked")})
    if len(data) > MAX_BYTES:
        raise ModelError(f"weights of {len(data) / 2**20:.1f} MiB; at most 16 MiB can ship. Train a smaller shape.")
    models.mkdir(parents=True, exist_ok=True)
    path = models / FILE
    path.write_bytes(data)
    write_manifest(models, hashlib.sha256(data).hexdigest(), (width, depth, fold), FIRST_THRESHOLDS, int(state["step"]))
    return path


def write_manifest(
    models: Path, sha256: str, shape: tuple[int, int, int], thresholds: dict[str, tuple[float, float]], steps: int
) -> None:
    """Write `manifest.toml` for the detector in `models`."""
    width, depth, fold = shape
    multiple = fold * 2**depth
    lines = [
        "# The weights that ship: checked by sha256 before they are loaded.",
        "[model.detector]",
        f'file = "{FILE}"',
        f'sha256 = "{sha256}"',
        f'source = "python -m spotless_core.training detector --config config/training/detector.toml, {steps} steps"',
        'licence = "MIT (credits of the training data: MODEL_CARD.md)"',
        f"shape = {{ width = {width}, depth = {depth}, fold = {fold} }}",
        f"input = {{ channels = 1, multiple = {multiple}, smallest_px = {multiple} }}",
        "# Probabilities: seed starts a defect, grow extends it; chosen by `evaluate --calibrate`.",
        "[model.detector.thresholds]",
        *(f"{name} = {{ seed = {seed}, grow = {grow} }}" for name, (seed, grow) in thresholds.items()),
    ]
    (models / MANIFEST).write_text("\n".join(lines) + "\n", encoding="utf-8")
