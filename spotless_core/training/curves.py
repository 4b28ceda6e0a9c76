"""Pictures of a training run: learning curves from its CSV, and a sheet of crops with truth and prediction."""

import csv
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

mpl.use("Agg")
from matplotlib import pyplot as plt


def draw_curves(source: Path, target: Path) -> None:
    """Draw loss, F1, precision and recall over the steps in the CSV `source` to the PNG `target`."""
    with source.open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps = [float(row["step"]) for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    left.plot(steps, [float(row["loss"]) for row in rows], color="black")
    left.set(title="training loss", xlabel="step", yscale="log")
    for name, color in (("f1", "black"), ("precision", "tab:blue"), ("recall", "tab:orange")):
        right.plot(steps, [float(row[name]) for row in rows], label=name, color=color)
    right.set(title="validation, pixels", xlabel="step", ylim=(0, 1))
    right.legend()
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
    bands = [
        np.vstack([np.hstack(list(row[i : i + 8])) for row in rows])
        for i in range(0, len(grey) - len(grey) % 8 or 1, 8)
    ]
    Image.fromarray(np.vstack(bands)).save(target)
