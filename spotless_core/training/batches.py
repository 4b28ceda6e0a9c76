"""What the runs of both networks share about data: sprite banks, real shapes, and loading ahead in a process.

A batch is a pure function of the run's seed and the step, so that a resumed run sees what it would have seen.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from spotless_core.errors import MissingInputError
from spotless_core.training.dataset import SpriteBank, load_photos, make_sprite_bank
from spotless_core.training.run_config import TrainingRun
from spotless_core.training.synthetic_dust import RealShape, load_real_shapes

HOLD_OUT_EVERY = 10
BANK_STEPS = 150
"""A new bank of sprites is drawn every so many steps, so shapes do not repeat for long."""

Batch = TypeVar("Batch")


class SpriteBanks:
    """The bank of sprites of each step; the last one is kept."""

    def __init__(self, real: dict[str, list[RealShape]], seed: int) -> None:
        self._real, self._seed = real, seed
        self._kept: tuple[int, SpriteBank] | None = None

    def at(self, step: int) -> SpriteBank:
        """Return the bank of `step`, drawn anew if it is another one than last time."""
        index = step // BANK_STEPS
        if self._kept is None or self._kept[0] != index:
            self._kept = index, make_sprite_bank(np.random.default_rng((self._seed, 1, index)), self._real)
        return self._kept[1]


def training_photos(run: TrainingRun, *, color: bool = False) -> list[NDArray[np.uint8]]:
    """Load the run's photographs (8-bit grey or RGB); without those held out, where one folder serves both."""
    photos = load_photos(run.photos, color=color)
    if _is_one_folder(run):
        photos = [photo for index, photo in enumerate(photos) if index % HOLD_OUT_EVERY]
    if not photos:
        raise MissingInputError(f"{run.photos}: one photograph; at least two are needed, one is held out.")
    return photos


def held_out_photos(run: TrainingRun, *, color: bool = False) -> list[NDArray[np.uint8]]:
    """Load the photographs that are never trained on: a folder of their own, or every tenth of the only one."""
    photos = load_photos(run.validation_photos, color=color)
    return photos[::HOLD_OUT_EVERY] if _is_one_folder(run) else photos


def _is_one_folder(run: TrainingRun) -> bool:
    return run.photos.resolve() == run.validation_photos.resolve()


def real_by_kind(run: TrainingRun, scans: tuple[int, ...]) -> dict[str, list[RealShape]]:
    """Load the real shapes of `scans`, grouped by kind; empty where the run names no folder."""
    grouped: dict[str, list[RealShape]] = {}
    if run.real_shapes:
        for shape in load_real_shapes(Path(run.real_shapes), scans):
            grouped.setdefault(shape.kind, []).append(shape)
    return grouped


def load_batches(batches: Dataset[Batch], start: int, stop: int) -> Iterator[Batch]:
    """Yield the batches of the steps [start, stop), drawn ahead by one other process."""
    loader: DataLoader[Batch] = DataLoader(
        batches, batch_size=None, sampler=range(start, stop), num_workers=1, prefetch_factor=8, persistent_workers=False
    )
    return iter(loader)
