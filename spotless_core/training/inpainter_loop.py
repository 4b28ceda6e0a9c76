"""The inpainter's whole training loop: draw film with holes, fill, step, average, validate, save.

Every batch is a pure function of (seed, step) and every checkpoint holds model, average, optimiser and step, so a
killed run goes on at the next step as if nothing had happened. The loss is Charbonnier's on the holes and their rim, in
units of each crop's own contrast. bfloat16 autocast, but for the spectra. Writes into the run's folder:
`checkpoint.pt`, `curves.csv`, `curves.png`, `preview.png` (rows: film with holes, cheap fill, ours, what was there).
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from spotless_core.arrays.kinds import FloatImage, GreyImage, Mask
from spotless_core.arrays.metrics import STRUCTURE_SIGMA_PX, low_pass
from spotless_core.inpainting.lama_planes import cheap_fill
from spotless_core.networks.lama import LamaGenerator, LamaShape
from spotless_core.training.batches import held_out_photos, load_batches, real_by_kind, training_photos
from spotless_core.training.curves import append_row, draw_curves, film_sheet
from spotless_core.training.inpainter_dataset import HoleBatch, HoleBatches
from spotless_core.training.learner import Learner, learning_rate
from spotless_core.training.run_config import InpainterRun

RIM_PX = 3
"""The clean pixels this near a hole count in the loss too, so that the fill meets the film without a seam."""
CHARBONNIER = 0.05
"""Errors below this share of the contrast count by their square, larger ones by their size."""
VALIDATION_CROPS = 256
VALIDATION_SEED = 777
SCORES = ("psnr", "structure_psnr", "cheap_psnr", "cheap_structure_psnr")


def lama_shape(run: InpainterRun) -> LamaShape:
    """Return the shape of the network that `run` trains."""
    return LamaShape(
        run.width, run.downsamplings, run.blocks, run.global_ratio, channels=1, has_cheap_fill=run.cheap_fill
    )


def train_inpainter(run: InpainterRun, device: str) -> Path:
    """Train, or go on with, the run in `run.output`; returns its last checkpoint's path."""
    torch.manual_seed(run.seed)
    network = LamaGenerator(lama_shape(run)).to(device)
    learner = Learner(network, run, asdict(network.shape))
    path = run.output / "checkpoint.pt"
    learner.resume(path)
    batches = HoleBatches(training_photos(run), real_by_kind(run, run.real_scans), run, run.seed)
    validation = validation_batches(run)
    progress = tqdm(total=run.steps, initial=learner.step, unit="step", dynamic_ncols=True)
    recent: list[float] = []
    for batch in load_batches(batches, learner.step, run.steps):
        rate = learning_rate(run, learner.step)
        inputs, target = batch.inputs.to(device), batch.target.to(device)
        network.train()
        with torch.autocast(inputs.device.type, torch.bfloat16):
            output = network(inputs)  # N×1×side×side
        loss = hole_loss(output, target, inputs[:, 1:2], run.rim_weight)
        recent.append(learner.learn(loss, rate))
        progress.update()
        if learner.step % 20 == 0:
            progress.set_postfix({"loss": f"{np.mean(recent[-100:]):.4f}", "lr": f"{rate:.1e}", **learner.best})
        if learner.is_due(run.validate_every):
            scores = validate(learner.average.module, validation, device)
            learner.best = {"gain_db": round(scores["structure_psnr"] - scores["cheap_structure_psnr"], 2)}
            row = {"step": learner.step, "loss": float(np.mean(recent)), "lr": rate, **scores}
            append_row(run.output / "curves.csv", row)
            title = "validation, dB in the holes"
            draw_curves(run.output / "curves.csv", run.output / "curves.png", SCORES, title, limits=None)
            filled = _filled(learner.average.module, validation[0], device)
            write_hole_sheet(validation[0], filled, run.output / "preview.png")
            recent.clear()
        if learner.is_due(run.checkpoint_every):
            learner.save(path)
    progress.close()
    return path


def hole_loss(filled: Tensor, target: Tensor, mask: Tensor, rim_weight: float) -> Tensor:
    """Mean Charbonnier loss over the holes (weight 1) and their rim (`rim_weight`); all arguments N×1×H×W."""
    near = functional.max_pool2d(mask, 2 * RIM_PX + 1, stride=1, padding=RIM_PX)
    weight = mask + rim_weight * (near - mask)
    error = torch.sqrt((filled - target) ** 2 + CHARBONNIER**2) - CHARBONNIER
    return (weight * error).sum() / weight.sum().clamp(min=1)


def validation_batches(run: InpainterRun) -> list[HoleBatch]:
    """Draw the held-out crops: the same ones for every run of the same batch and side."""
    photos, real = held_out_photos(run), real_by_kind(run, run.validation_scans)
    batches = HoleBatches(photos, real, run, VALIDATION_SEED)
    return [batches[i] for i in range(max(VALIDATION_CROPS // run.batch, 1))]


def validate(network: nn.Module, batches: list[HoleBatch], device: str) -> dict[str, float]:
    """Return `SCORES`: PSNR in the holes against the picture without grain, plain and after a 1.5 px low-pass, of the
    network and of the cheap fill.
    """
    names = {"psnr": 0.0, "structure_psnr": 0.0, "cheap_psnr": 0.0, "cheap_structure_psnr": 0.0}
    pixels = 0
    for batch in batches:
        truth, holes = _on_film(batch, batch.target), batch.inputs[:, 1].numpy() > 0
        cheap = [cheap_fill(film, mask) for film, mask in zip(truth, holes, strict=True)]
        ours = _on_film(batch, _filled(network, batch, device))
        pixels += int(holes.sum())
        for film, mask, our_fill, cheap_one in zip(truth, holes, ours, cheap, strict=True):
            for prefix, fill in (("", our_fill), ("cheap_", cheap_one)):
                plain, structure = _squared_errors(fill, film, mask)
                names[f"{prefix}psnr"] += plain
                names[f"{prefix}structure_psnr"] += structure
    return {name: -10 * float(np.log10(max(names[name], 1e-12) / max(pixels, 1))) for name in SCORES}


def write_hole_sheet(batch: HoleBatch, filled: Tensor | None, target: Path) -> None:
    """Write a sheet of `batch`: film with holes, cheap fill, the network's fill if given, what belongs there."""
    truth, holes = _on_film(batch, batch.target), batch.inputs[:, 1].numpy() > 0
    cheap = np.stack([cheap_fill(film, mask) for film, mask in zip(truth, holes, strict=True)])
    ours = [] if filled is None else [np.where(holes, _on_film(batch, filled), truth)]
    film_sheet([np.where(holes, np.float32(1), truth), cheap, *ours, truth], target)


def _filled(network: nn.Module, batch: HoleBatch, device: str) -> Tensor:
    network.eval()
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16):
        filled: Tensor = network(batch.inputs.to(device)).cpu()
    return filled


def _on_film(batch: HoleBatch, values: Tensor) -> FloatImage:
    """N×1×H×W in the network's units → N×H×W on film."""
    film = values[:, 0] * batch.contrast[:, None, None] + batch.centre[:, None, None]
    return film.clamp(0, 1).numpy()


def _squared_errors(fill: GreyImage, truth: GreyImage, mask: Mask) -> tuple[float, float]:
    """Sum the squared errors in the holes, as they are and after the low-pass."""
    error = np.where(mask, fill - truth, np.float32(0))
    smooth = low_pass(error, STRUCTURE_SIGMA_PX)
    return float((error[mask] ** 2).sum(dtype=np.float64)), float((smooth[mask] ** 2).sum(dtype=np.float64))
