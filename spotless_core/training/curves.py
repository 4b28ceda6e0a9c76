"""Pictures of a training run: learning curves from its CSV, reliability curves, a sheet of crops with prediction."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from spotless_core.training.reliability import Reliability

mpl.use("Agg")
from matplotlib import pyplot as plt


def append_row(path: Path, row: dict[str, float]) -> None:
    """Append `row` to the CSV at `path`; a new file begins with the names of its columns."""
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def draw_curves(
    source: Path,
    target: Path,
    scores: Sequence[str] = ("f1", "precision", "recall"),
    title: str = "validation, pixels",
    limits: tuple[float, float] | None = (0, 1),
) -> None:
    """Draw the loss and the columns `scores` over the steps in the CSV `source` to the PNG `target`."""
    with source.open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps = [float(row["step"]) for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    left.plot(steps, [float(row["loss"]) for row in rows], color="black")
    left.set(title="training loss", xlabel="step", yscale="log")
    for name, color in zip(scores, ("black", "tab:blue", "tab:orange", "tab:green"), strict=False):
        right.plot(steps, [float(row[name]) for row in rows], label=name, color=color)
    right.set(title=title, xlabel="step", ylim=limits)
    right.legend()
    figure.savefig(target, dpi=100)
    plt.close(figure)


def draw_reliability(curves: Mapping[str, Reliability], target: Path) -> None:
    """Draw each curve of `curves` (title: curve) to the PNG `target`: observed share over probability, and counts."""
    figure, columns = plt.subplots(
        2,
        len(curves),
        figsize=(5.5 * len(curves), 6),
        height_ratios=(3, 1),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for (title, curve), upper, lower in zip(curves.items(), *columns, strict=True):
        upper.plot((0, 1), (0, 1), color="grey", linestyle=":", label="calibrated")
        upper.plot(
            [each.mean_probability for each in curve.bins],
            [each.observed_share for each in curve.bins],
            "o-",
            color="tab:blue",
            label=f"measured, error {curve.error:.3f}",
        )
        upper.set(title=f"{title} ({curve.count:,})", ylabel="observed share", xlim=(0, 1), ylim=(0, 1))
        upper.legend()
        widths = [each.end - each.start for each in curve.bins]
        lower.minorticks_off()
        lower.bar([each.start for each in curve.bins], [each.count for each in curve.bins], widths, align="edge")
        lower.set(xlabel="probability", ylabel="count", yscale="log" if curve.bins else "linear")
    figure.savefig(target, dpi=100)
    plt.close(figure)


def draw_preview(network: torch.nn.Module, grey: Tensor, truth: Tensor, device: str, target: Path) -> None:
    """Write a sheet: one column per crop, rows grey, truth (grey = counts neither way), probability."""
    network.eval()
    with torch.inference_mode():
        probability = torch.sigmoid(network(grey.to(device)).float()).cpu()
    sheet(grey.numpy()[:, 0], truth.numpy()[:, 0], probability.numpy()[:, 0], target)


def sheet(
    grey: NDArray[np.float32], truth: NDArray[np.uint8], probability: NDArray[np.float32] | None, target: Path
) -> None:
    """Write N crops as columns (at most 8 a band) with grey, truth and, if given, probability below each other."""
    shown = np.where(truth == 1, 255, np.where(truth == 255, 90, 0)).astype(np.uint8)
    rows = [np.rint(grey * 255).astype(np.uint8), shown]
    if probability is not None:
        rows.append(np.rint(probability * 255).astype(np.uint8))
    _write_bands(rows, target)


def film_sheet(rows: Sequence[NDArray[np.float32]], target: Path) -> None:
    """Write N crops as columns (at most 8 a band); `rows`: N×h×w each, in [0, 1], shown below each other."""
    _write_bands([np.rint(np.clip(row, 0, 1) * 255).astype(np.uint8) for row in rows], target)


def _write_bands(rows: Sequence[NDArray[np.uint8]], target: Path) -> None:
    count = len(rows[0])
    bands = [np.vstack([np.hstack(list(row[i : i + 8])) for row in rows]) for i in range(0, count - count % 8 or 1, 8)]
    Image.fromarray(np.vstack(bands)).save(target)
