"""The detector's whole training loop: draw film, step, average, validate, save.

Every batch is a pure function of (seed, step) and every checkpoint holds model, average, optimiser and step, so a
killed run goes on at the next step as if nothing had happened. bfloat16 autocast and channels-last on every device.
Writes into the run's folder: `checkpoint.pt`, `curves.csv`, `curves.png`, `preview.png`.
"""

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from spotless_core.networks.unet import UNet, UNetShape
from spotless_core.training.checkpoint import load_checkpoint, save_checkpoint
from spotless_core.training.curves import draw_curves, draw_preview
from spotless_core.training.dataset import IGNORED, SpriteBank, draw_crop, load_photos, make_sprite_bank
from spotless_core.training.film import GrainBank
from spotless_core.training.losses import dice_bce_loss
from spotless_core.training.run_config import DetectorRun
from spotless_core.training.synthetic_dust import RealShape, load_real_shapes

BANK_STEPS = 150
"""A new bank of sprites is drawn every so many steps, so shapes do not repeat for long."""
VALIDATION_CROPS = 256
VALIDATION_SEED = 777


class FilmBatches(Dataset[tuple[Tensor, Tensor]]):
    """Item `step` → (grey, truth): N×1×side×side float32 in [0, 1] and uint8 (0, 1, 255 = counts neither way)."""

    def __init__(
        self, photos: list[NDArray[np.uint8]], real: dict[str, list[RealShape]], run: DetectorRun, seed: int, batch: int
    ) -> None:
        self.photos, self.real, self.seed, self.batch, self.side = photos, real, seed, batch, run.side
        self.grains = GrainBank(np.random.default_rng((seed, 0)))
        self._bank: tuple[int, SpriteBank] | None = None

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        cv2.setNumThreads(0)
        index = step // BANK_STEPS
        if self._bank is None or self._bank[0] != index:
            self._bank = index, make_sprite_bank(np.random.default_rng((self.seed, 1, index)), self.real)
        rng = np.random.default_rng((self.seed, 2, step))
        crops = [draw_crop(rng, self.photos, self._bank[1], self.grains, self.side) for _ in range(self.batch)]
        grey = torch.from_numpy(np.stack([crop.grey for crop in crops])[:, None])
        truth = torch.from_numpy(np.stack([crop.truth for crop in crops])[:, None])
        return grey, truth


def learning_rate(run: DetectorRun, step: int) -> float:
    """Linear rise over `warmup_steps`, constant, then half a cosine to zero over the last `decay_steps`."""
    rise = min(1.0, (step + 1) / run.warmup_steps)
    left = (run.steps - step) / run.decay_steps
    return run.learning_rate * rise * (0.5 - 0.5 * math.cos(math.pi * min(left, 1.0)))


def train_detector(run: DetectorRun, device: str) -> Path:
    """Train, or go on with, the run in `run.output`; returns its last checkpoint's path."""
    shape = UNetShape(run.width, run.depth, run.fold)
    torch.manual_seed(run.seed)
    network = UNet(shape).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    blend = torch.optim.swa_utils.get_ema_multi_avg_fn(run.ema_decay)  # type: ignore[no-untyped-call]
    average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=blend, use_buffers=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=run.learning_rate, weight_decay=run.weight_decay)
    path = run.output / "checkpoint.pt"
    start, best = 0, {}
    if (state := load_checkpoint(path)) is not None:
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        start, best = state["step"], state["best"]
    batches, validation = _data(run)
    progress = tqdm(total=run.steps, initial=start, unit="step", dynamic_ncols=True)
    recent: list[float] = []
    for step, (grey, truth) in zip(range(start, run.steps), _loader(batches, start, run.steps), strict=False):
        rate = learning_rate(run, step)
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = _step(network, grey.to(device), truth.to(device), optimiser, run)
        average.update_parameters(network)
        recent.append(loss)
        progress.update()
        done = step + 1
        if done % 20 == 0:
            progress.set_postfix(loss=f"{np.mean(recent[-100:]):.4f}", lr=f"{rate:.1e}", **best)
        if done % run.validate_every == 0 or done == run.steps:
            scores = validate(average.module, validation, device)
            best = {"F1": round(scores["f1"], 4)}
            _log(run.output / "curves.csv", {"step": done, "loss": float(np.mean(recent)), "lr": rate, **scores})
            draw_curves(run.output / "curves.csv", run.output / "curves.png")
            draw_preview(average.module, *validation[0], device, run.output / "preview.png")
            recent.clear()
        if done % run.checkpoint_every == 0 or done == run.steps:
            state = {
                "step": done,
                "best": best,
                "shape": [run.width, run.depth, run.fold],
                "optimiser": optimiser.state_dict(),
            }
            save_checkpoint(path, {**state, "network": network.state_dict(), "average": average.state_dict()})
    progress.close()
    return path


def _step(network: UNet, grey: Tensor, truth: Tensor, optimiser: torch.optim.Optimizer, run: DetectorRun) -> float:
    network.train()
    with torch.autocast(grey.device.type, torch.bfloat16):
        logits = network(grey.to(memory_format=torch.channels_last))  # N×1×side×side
    loss = dice_bce_loss(logits, (truth == 1).float(), (truth != IGNORED).float(), run.hard_weight)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), run.gradient_clip)
    optimiser.step()
    return float(loss.detach())


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


def real_by_kind(run: DetectorRun, scans: tuple[int, ...]) -> dict[str, list[RealShape]]:
    """Load the real shapes of `scans`, grouped by kind; empty where the run names no folder."""
    grouped: dict[str, list[RealShape]] = {}
    if run.real_shapes:
        for shape in load_real_shapes(Path(run.real_shapes), scans):
            grouped.setdefault(shape.kind, []).append(shape)
    return grouped


def _data(run: DetectorRun) -> tuple[FilmBatches, list[tuple[Tensor, Tensor]]]:
    batches = FilmBatches(load_photos(run.photos), real_by_kind(run, run.real_scans), run, run.seed, run.batch)
    held_out = load_photos(run.validation_photos)
    real = real_by_kind(run, run.validation_scans)
    count = max(VALIDATION_CROPS // run.batch, 1)
    validation_batches = FilmBatches(held_out, real, run, VALIDATION_SEED, run.batch)
    return batches, [validation_batches[i] for i in range(count)]


def _loader(batches: FilmBatches, start: int, stop: int) -> Iterator[tuple[Tensor, Tensor]]:
    loader = DataLoader(
        batches, batch_size=None, sampler=range(start, stop), num_workers=1, prefetch_factor=8, persistent_workers=False
    )
    return iter(loader)


def _log(path: Path, row: dict[str, float]) -> None:
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)
