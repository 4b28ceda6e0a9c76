"""Crops that people's edits taught, from an export of `spotlessd feedback export`, mixed into a detector's batches.

What was taken back is known film however much it looks like dust (a hard negative), what was kept or added is known
dust (a positive). A mask is wider than its dust, and a brush wider still: the truth is where the mask's pixels differ
from the film around them, the rest of it counts neither way. Which crops a step gets, and how they are turned, is a
pure function of the run's seed and the step.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spotless_core.arrays.kinds import GreyImage, Mask
from spotless_core.errors import MissingInputError, OptionsError
from spotless_core.training.dataset import IGNORED, Crop
from spotless_core.training.film import Rng
from spotless_core.training.run_config import DetectorRun

BACKGROUND_PX = 31
"""Side of the window whose median is the film behind a defect: twice the width of the widest hair."""
CORE_SHARE = 0.35
"""A masked pixel is dust where it differs from the film by this share of what its piece's strongest pixels do."""
RIM_PX = 2
GAMMA_SPREAD = 0.08
"""Of the small change of tone: what people saw is already of a real scan's tone."""
STREAM = 3
"""Keeps these draws apart from those of the crops that are replaced."""


@dataclass(frozen=True, slots=True)
class FeedbackCrop:
    """`grey` uint16 h×w, 65535 = 1; `truth` uint8 h×w: 0 clean, 1 dust, 255 counts neither way.

    `centre`: (row, column) in the piece that was taken back or added. `is_positive`: it was added.
    """

    grey: NDArray[np.uint16]
    truth: NDArray[np.uint8]
    centre: tuple[int, int]
    is_positive: bool


def load_feedback(folder: Path) -> list[FeedbackCrop]:
    """Read every .npz in `folder`, sorted by name.

    Raises:
        MissingInputError: there is none.
        OptionsError: one is not a file of feedback.
    """
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise MissingInputError(f"{folder}: no feedback there. Type: spotlessd feedback export {folder}")
    crops = []
    for path in paths:
        try:
            with np.load(path, allow_pickle=False) as values:
                grey = values["grey"]
                width = grey.shape[2]
                pieces, masks = (
                    np.unpackbits(values[name], axis=2, count=width).view(np.bool_) for name in ("piece", "mask")
                )
                labels = [str(crop["label"]) for crop in json.loads(str(values["facts"]))["crops"]]
        except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError) as error:
            raise OptionsError(f"{path}: not a file of feedback ({error}). Remove it or export again.") from error
        for each, piece, mask, label in zip(grey, pieces, masks, labels, strict=True):
            crops.append(FeedbackCrop(each, truth_of(each, mask), _centre(piece), label == "added"))
    return crops


def truth_of(grey: NDArray[np.uint16], mask: Mask) -> NDArray[np.uint8]:
    """Return the truth of a crop (`grey` uint16 h×w) in which a person wants exactly `mask` (h×w bool) repaired."""
    eight = (grey >> 8).astype(np.uint8)
    film = cv2.medianBlur(eight, BACKGROUND_PX)
    difference = np.abs(grey.astype(np.float32) / 257 - film)
    kernel = np.ones((2 * RIM_PX + 1, 2 * RIM_PX + 1), np.uint8)
    truth = np.where(cv2.dilate(mask.astype(np.uint8), kernel) > 0, np.uint8(IGNORED), np.uint8(0))
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    for label in range(1, count):
        piece = labels == label
        strongest = float(np.percentile(difference[piece], 95))
        truth[piece & (difference >= max(CORE_SHARE * strongest, 1.0))] = 1
    return truth


def _centre(piece: Mask) -> tuple[int, int]:
    rows, columns = np.nonzero(piece)
    if not len(rows):
        return piece.shape[0] // 2, piece.shape[1] // 2
    middle = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
    return int(rows[middle]), int(columns[middle])


class FeedbackMix:
    """Replaces a share of each batch's crops by feedback: half of it what was taken back, half what was added."""

    def __init__(self, crops: list[FeedbackCrop], run: DetectorRun) -> None:
        self._kinds = [
            kind for kind in ([c for c in crops if not c.is_positive], [c for c in crops if c.is_positive]) if kind
        ]
        self._seed, self._side, self._share = run.seed, run.side, run.feedback_share

    def draw(self, rng: Rng) -> Crop:
        """Draw one crop, turned, and a little lighter or darker."""
        kind = self._kinds[int(rng.integers(len(self._kinds)))]
        chosen = kind[int(rng.integers(len(kind)))]
        grey, truth = _window(rng, chosen, self._side)
        turns = int(rng.integers(4))
        grey, truth = np.rot90(grey, turns), np.rot90(truth, turns)
        if rng.random() < 0.5:
            grey, truth = grey[:, ::-1], truth[:, ::-1]
        toned = np.power(grey, np.float32(np.exp(rng.normal(0, GAMMA_SPREAD))))
        return Crop(np.ascontiguousarray(toned, np.float32), np.ascontiguousarray(truth))

    def mixed(self, batches: Iterable[tuple[Tensor, Tensor]], start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of the steps from `start` on, (grey, truth) N×1×side×side on any device, with feedback."""
        for step, (grey, truth) in enumerate(batches, start):
            rng = np.random.default_rng((self._seed, STREAM, step))
            for number in np.flatnonzero(rng.random(len(grey)) < self._share):
                crop = self.draw(rng)
                grey[int(number), 0] = torch.from_numpy(crop.grey).to(grey.device)
                truth[int(number), 0] = torch.from_numpy(crop.truth).to(truth.device)
            yield grey, truth


def feedback_of(run: DetectorRun) -> FeedbackMix | None:
    """Return what the run's config wants mixed in; None for nothing.

    Raises:
        MissingInputError, OptionsError: see `load_feedback`; or the share is no share.
    """
    if not run.feedback:
        return None
    if not 0 <= run.feedback_share <= 1:
        raise OptionsError(f"feedback_share = {run.feedback_share}: a share of the crops, 0 to 1, expected.")
    return FeedbackMix(load_feedback(Path(run.feedback)), run)


def _window(rng: Rng, crop: FeedbackCrop, side: int) -> tuple[GreyImage, NDArray[np.uint8]]:
    """Cut a window of `side` pixels that has the piece's centre in its middle half; what is missing is mirrored."""
    height, width = crop.grey.shape
    starts = []
    for centre, length in zip(crop.centre, (height, width), strict=True):
        start = centre - side // 2 + int(rng.integers(-(side // 4), side // 4 + 1))
        starts.append(max(min(start, length - side), 0))
    top, left = starts
    grey = crop.grey[top : top + side, left : left + side].astype(np.float32) / np.float32(65535)
    truth = crop.truth[top : top + side, left : left + side]
    below, beside = side - grey.shape[0], side - grey.shape[1]
    if below or beside:
        grey = np.pad(grey, ((0, below), (0, beside)), "symmetric")
        truth = np.pad(truth, ((0, below), (0, beside)), constant_values=IGNORED)
    return grey, truth
