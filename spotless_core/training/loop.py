"""The detector's whole training loop: draw film, step, average, validate, save.

Every batch is a pure function of (seed, step) and every checkpoint holds model, average, optimiser and step, so a
killed run goes on at the next step as if nothing had happened. bfloat16 autocast and channels-last on every device.
Writes into the run's folder: `checkpoint.pt`, `curves.csv`, `curves.png`, `preview.png`.
"""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from spotless_core.networks.unet import UNet, UNetShape
from spotless_core.training.batches import SpriteBanks, held_out_photos, load_batches, real_by_kind, training_photos
from spotless_core.training.curves import append_row, draw_curves, draw_preview
from spotless_core.training.dataset import IGNORED, draw_crop
from spotless_core.training.feedback_crops import feedback_of
from spotless_core.training.film import GrainBank
from spotless_core.training.film_torch import DeviceFilmBatches
from spotless_core.training.learner import Learner, learning_rate
from spotless_core.training.losses import dice_bce_loss
from spotless_core.training.run_config import DetectorRun
from spotless_core.training.synthetic_dust import RealShape

VALIDATION_CROPS = 256
VALIDATION_SEED = 777


class FilmBatches(Dataset[tuple[Tensor, Tensor]]):
    """Item `step` → (grey, truth): N×1×side×side float32 in [0, 1] and uint8 (0, 1, 255 = counts neither way)."""

    def __init__(
        self, photos: list[NDArray[np.uint8]], real: dict[str, list[RealShape]], run: DetectorRun, seed: int, batch: int
    ) -> None:
        self.photos, self.seed, self.batch, self.side = photos, seed, batch, run.side
        self.grains = GrainBank(np.random.default_rng((seed, 0)))
        self.banks = SpriteBanks(real, seed)

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        cv2.setNumThreads(0)
        bank = self.banks.at(step)
        rng = np.random.default_rng((self.seed, 2, step))
        crops = [draw_crop(rng, self.photos, bank, self.grains, self.side) for _ in range(self.batch)]
        grey = torch.from_numpy(np.stack([crop.grey for crop in crops])[:, None])
        truth = torch.from_numpy(np.stack([crop.truth for crop in crops])[:, None])
        return grey, truth


def unet_shape(run: DetectorRun) -> UNetShape:
    """Return the shape of the network that `run` trains."""
    return UNetShape(run.width, run.depth, run.fold, run.separable)


def train_detector(run: DetectorRun, device: str) -> Path:
    """Train, or go on with, the run in `run.output`; returns its last checkpoint's path."""
    torch.manual_seed(run.seed)
    network = UNet(unet_shape(run)).to(device)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learner = Learner(network, run, network.shape.numbers())
    path = run.output / "checkpoint.pt"
    learner.resume(path)
    validation = validation_batches(run)
    progress = tqdm(total=run.steps, initial=learner.step, unit="step", dynamic_ncols=True)
    recent: list[float] = []
    for grey, truth in _draw(run, learner.step, device):
        rate = learning_rate(run, learner.step)
        loss = _loss(network, grey.to(device), truth.to(device), run)
        recent.append(learner.learn(loss, rate))
        progress.update()
        if learner.step % 20 == 0:
            progress.set_postfix({"loss": f"{np.mean(recent[-100:]):.4f}", "lr": f"{rate:.1e}", **learner.best})
        if learner.is_due(run.validate_every):
            scores = validate(learner.average.module, validation, device)
            learner.best = {"F1": round(scores["f1"], 4)}
            row = {"step": learner.step, "loss": float(np.mean(recent)), "lr": rate, **scores}
            append_row(run.output / "curves.csv", row)
            draw_curves(run.output / "curves.csv", run.output / "curves.png")
            draw_preview(learner.average.module, *validation[0], device, run.output / "preview.png")
            recent.clear()
        if learner.is_due(run.checkpoint_every):
            learner.save(path)
    progress.close()
    return path


def _draw(run: DetectorRun, start: int, device: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches from step `start` on: drawn by a process of their own, on CUDA developed on the GPU."""
    data = (training_photos(run), real_by_kind(run, run.real_scans), run, run.seed, run.batch)
    if device == "cuda":
        batches = DeviceFilmBatches(*data, device).ahead(start, run.steps)
    else:
        batches = load_batches(FilmBatches(*data), start, run.steps)
    feedback = feedback_of(run)
    return batches if feedback is None else feedback.mixed(batches, start)


def _loss(network: UNet, grey: Tensor, truth: Tensor, run: DetectorRun) -> Tensor:
    network.train()
    with torch.autocast(grey.device.type, torch.bfloat16):
        logits = network(grey.to(memory_format=torch.channels_last))  # N×1×side×side
    dust, counts = (truth == 1).float(), (truth != IGNORED).float()
    return dice_bce_loss(logits, dust, counts, run.hard_weight, run.entropy_weight)


def validate(network: torch.nn.Module, batches: list[tuple[Tensor, Tensor]], device: str) -> dict[str, float]:
    """Pixel F1 at the best of nine thresholds over all batches, with its precision, recall and threshold."""
    network.eval()
    levels = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    hits, marked, dust = torch.zeros(9), torch.zeros(9), 0.0
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16):
        for grey, truth in batches:
            probability = torch.sigmoid(network(grey.to(device, memory_format=torch.channels_last)).float()).cpu()
            counts, target = truth != IGNORED, truth == 1
            dust += float(target.sum())
            for i, level in enumerate(levels):
                found = (probability >= level) & counts
                hits[i] += (found & target).sum()
                marked[i] += found.sum()
    f1 = 2 * hits / (marked + dust).clamp(min=1)
    i = int(f1.argmax())
    precision, recall = float(hits[i] / marked[i].clamp(min=1)), float(hits[i] / max(dust, 1))
    return {"f1": float(f1[i]), "precision": precision, "recall": recall, "threshold": float(levels[i])}


def validation_batches(run: DetectorRun) -> list[tuple[Tensor, Tensor]]:
    """Draw the held-out crops: the same ones for every run of the same batch and side."""
    photos, real = held_out_photos(run), real_by_kind(run, run.validation_scans)
    batches = FilmBatches(photos, real, run, VALIDATION_SEED, run.batch)
    return [batches[i] for i in range(max(VALIDATION_CROPS // run.batch, 1))]
