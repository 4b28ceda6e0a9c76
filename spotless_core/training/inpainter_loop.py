"""The inpainter's whole training loop: draw dusty film with holes, fill, step, average, validate, save.

Every batch is a pure function of (seed, step) and every checkpoint holds model, average, critic, optimisers and step,
so a killed run goes on at the next step as if nothing had happened. bfloat16 autocast, but for the spectra. Writes into
the run's folder: `checkpoint.pt`, `curves.csv`, `curves.png`, `preview.png` (rows: film, cheap fill, ours, what was
there).
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from spotless_core.arrays.kinds import FloatImage, Mask
from spotless_core.arrays.metrics import STRUCTURE_SIGMA_PX, low_pass
from spotless_core.inpainting.lama_input import CHANNELS, input_planes
from spotless_core.networks.lama import LamaGenerator, LamaShape
from spotless_core.training.batches import held_out_photos, load_batches, real_by_kind, training_photos
from spotless_core.training.curves import append_row, draw_curves, film_sheet
from spotless_core.training.inpainter_dataset import HoleBatch, HoleBatches
from spotless_core.training.inpainter_losses import FillWeights, PatchCritic, critic_loss, critic_opinion, fill_loss
from spotless_core.training.learner import Learner, learning_rate, load_learners, save_learners
from spotless_core.training.run_config import InpainterRun

VALIDATION_CROPS = 256
VALIDATION_SEED = 777
SCORES = ("structure_psnr", "blind_structure_psnr", "cheap_structure_psnr", "psnr", "cheap_psnr")
CRITIC_RATE = 0.5
"""The critic's learning rate over the network's."""


def lama_shape(run: InpainterRun) -> LamaShape:
    """Return the shape of the network that `run` trains."""
    return LamaShape(
        width=run.width,
        fold=run.fold,
        downsamplings=run.downsamplings,
        level_blocks=run.level_blocks,
        blocks=run.blocks,
        global_ratio=run.global_ratio,
        channels=CHANNELS,
        has_cheap_fill=run.cheap_fill,
        sees_veil=run.veil,
        has_skips=run.skips,
    )


def train_inpainter(run: InpainterRun, device: str) -> Path:
    """Train, or go on with, the run in `run.output`; returns its last checkpoint's path."""
    torch.manual_seed(run.seed)
    network = LamaGenerator(lama_shape(run)).to(device)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    critic = PatchCritic(CHANNELS, run.discriminator_width).to(device)
    learner = Learner(network, run, asdict(network.shape))
    judge = Learner(critic, run, {"width": run.discriminator_width})
    path = run.output / "checkpoint.pt"
    load_learners(path, learner, {"critic": judge})
    validation = validation_batches(run)
    progress = tqdm(total=run.steps, initial=learner.step, unit="step", dynamic_ncols=True)
    recent: list[float] = []
    for batch in _draw(run, learner.step):
        rate = learning_rate(run, learner.step)
        recent.append(_step(learner, judge, critic, batch, run, rate, device))
        progress.update()
        if learner.step % 20 == 0:
            progress.set_postfix({"loss": f"{np.mean(recent[-100:]):.4f}", "lr": f"{rate:.1e}", **learner.best})
        if learner.is_due(run.validate_every):
            scores = validate(learner.average.module, validation, device)
            learner.best = {"gain_db": round(scores["structure_psnr"] - scores["cheap_structure_psnr"], 2)}
            row = {"step": learner.step, "loss": float(np.mean(recent)), "lr": rate, **scores}
            append_row(run.output / "curves.csv", row)
            title = "validation, dB in the holes"
            draw_curves(run.output / "curves.csv", run.output / "curves.png", SCORES[:3], title, limits=None)
            filled = _filled(learner.average.module, validation[0], device)
            write_hole_sheet(validation[0], filled, run.output / "preview.png")
            recent.clear()
        if learner.is_due(run.checkpoint_every):
            save_learners(path, learner, {"critic": judge})
    progress.close()
    return path


def _draw(run: InpainterRun, start: int) -> Iterator[HoleBatch]:
    photos = training_photos(run, color=True)
    return load_batches(HoleBatches(photos, real_by_kind(run, run.real_scans), run, run.seed), start, run.steps)


def _step(
    learner: Learner, judge: Learner, critic: PatchCritic, batch: HoleBatch, run: InpainterRun, rate: float, device: str
) -> float:
    """Take one step with the network and, from `adversarial_from` on, one with the critic; returns the fill's loss."""
    inputs = batch.inputs.to(device, memory_format=torch.channels_last)
    target, holes = batch.target.to(device), batch.holes.to(device)
    learner.network.train()
    with torch.autocast(inputs.device.type, torch.bfloat16):
        filled = learner.network(inputs)  # N×3×side×side
    errors = fill_loss(filled, target, holes, FillWeights(run.rim_weight, run.scale_weight, run.frequency_weight))
    if not 0 < run.adversarial_from <= learner.step:
        return learner.learn(errors, rate)
    film, repaired = (each + batch.grain.to(device) for each in (target, filled))  # as they come before a person
    judge.learn(critic_loss(critic, repaired, film, holes), CRITIC_RATE * rate)
    critic.requires_grad_(requires_grad=False)  # now it is asked, not taught
    looks_fake, apart = critic_opinion(critic, repaired, film, holes)
    learner.learn(errors + run.adversarial_weight * looks_fake + run.matching_weight * apart, rate)
    critic.requires_grad_(requires_grad=True)
    return float(errors.detach())


def validation_batches(run: InpainterRun) -> list[HoleBatch]:
    """Draw the held-out crops, which all show what lies under the mask: the same for every run of a batch and side."""
    photos, real = held_out_photos(run, color=True), real_by_kind(run, run.validation_scans)
    batches = HoleBatches(photos, real, run, VALIDATION_SEED, veil_share=1.0)
    return [batches[i] for i in range(max(VALIDATION_CROPS // run.batch, 1))]


def validate(network: nn.Module, batches: list[HoleBatch], device: str) -> dict[str, float]:
    """Return `SCORES`: PSNR in the holes against the picture without grain, plain and after a 1.5 px low-pass.

    Of the network as it is, of the network that is not shown what lies under the mask ("blind"), and of the cheap fill.
    """
    errors = dict.fromkeys(SCORES, 0.0)
    values = 0
    for batch in batches:
        holes = batch.holes[:, 0].numpy() > 0
        truth, cheap = _on_film(batch, batch.target), _on_film(batch, batch.cheap)
        ours, blind = (_on_film(batch, _filled(network, each, device)) for each in (batch, blinded(batch)))
        values += int(holes.sum()) * CHANNELS
        for i, mask in enumerate(holes):
            for fill, plain, structure in (
                (ours[i], "psnr", "structure_psnr"),
                (blind[i], "", "blind_structure_psnr"),
                (cheap[i], "cheap_psnr", "cheap_structure_psnr"),
            ):
                found = _squared_errors(fill, truth[i], mask)
                errors[structure] += found[1]
                if plain:
                    errors[plain] += found[0]
    return {name: -10 * float(np.log10(max(errors[name], 1e-12) / max(values, 1))) for name in SCORES}


def blinded(batch: HoleBatch) -> HoleBatch:
    """Return `batch` with nothing shown of what lies under the mask."""
    first = len(input_planes(has_cheap_fill=True, sees_veil=False))
    known = batch.inputs.clone()
    known[:, first:] = 0
    return batch._replace(inputs=known)


def write_hole_sheet(batch: HoleBatch, filled: Tensor | None, target: Path) -> None:
    """Write a sheet of `batch`: film with its holes dark, cheap fill, the network's if given, what belongs there."""
    holes = batch.holes[:, 0].numpy()[..., None] > 0
    truth, cheap = _on_film(batch, batch.target), _on_film(batch, batch.cheap)
    ours = [] if filled is None else [np.where(holes, _on_film(batch, filled), cheap)]
    film_sheet([np.where(holes, np.float32(0), cheap), cheap, *ours, truth], target)


def _filled(network: nn.Module, batch: HoleBatch, device: str) -> Tensor:
    network.eval()
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16):
        filled: Tensor = network(batch.inputs.to(device, memory_format=torch.channels_last)).cpu()
    return filled


def _on_film(batch: HoleBatch, values: Tensor) -> FloatImage:
    """N×3×H×W in the network's units → N×H×W×3 on film."""
    film = values * batch.contrast + batch.centre
    return film.clamp(0, 1).permute(0, 2, 3, 1).numpy()


def _squared_errors(fill: FloatImage, truth: FloatImage, mask: Mask) -> tuple[float, float]:
    """Sum the squared errors in the holes, as they are and after the low-pass."""
    error = np.where(mask[..., None], fill - truth, np.float32(0))
    smooth = low_pass(error, STRUCTURE_SIGMA_PX)
    return float((error[mask] ** 2).sum(dtype=np.float64)), float((smooth[mask] ** 2).sum(dtype=np.float64))
