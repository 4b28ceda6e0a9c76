"""Feedback in a detector's training: what is mixed in, where it is true, and that it is learned."""

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from spotless_core.errors import MissingInputError, OptionsError
from spotless_core.networks.unet import UNet, UNetShape
from spotless_core.training.dataset import IGNORED
from spotless_core.training.feedback_crops import FeedbackMix, feedback_of, load_feedback
from spotless_core.training.losses import dice_bce_loss
from spotless_core.training.run_config import DetectorRun

SIDE = 64
GREY = 30000


def film(seed: int, size: int = SIDE) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(GREY, 900, (size, size)).astype(np.float32)


def disc(row: int, column: int, radius: float, size: int = SIDE) -> NDArray[np.bool_]:
    y, x = np.mgrid[:size, :size]
    return np.hypot(y - row, x - column) <= radius


def write_feedback_file(
    path: Path, greys: list[NDArray[np.float32]], pieces: list[NDArray[np.bool_]], labels: list[str]
) -> None:
    masks = [piece & (label == "added") for piece, label in zip(pieces, labels, strict=True)]
    np.savez_compressed(
        path,
        grey=np.stack(greys).clip(0, 65535).astype(np.uint16),
        piece=np.stack([np.packbits(piece, axis=1) for piece in pieces]),
        mask=np.stack([np.packbits(mask, axis=1) for mask in masks]),
        facts=np.array(json.dumps({"crops": [{"label": label} for label in labels]})),
    )


def run_on(folder: Path, share: float = 0.5) -> DetectorRun:
    return DetectorRun(folder, folder, folder, batch=4, side=SIDE, feedback=str(folder), feedback_share=share)


def lookalike(seed: int, *, bright: bool = True) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Film with one disc on it, and where it lies."""
    place = disc(32, 30, 4)
    return np.where(place, film(seed) + (20000 if bright else -20000), film(seed)).astype(np.float32), place


def test_an_added_piece_is_dust_at_its_core_and_counts_neither_way_where_the_brush_was_wider(tmp_path: Path) -> None:
    grey, dust = lookalike(1)
    brush = disc(32, 30, 9)
    write_feedback_file(tmp_path / "a.npz", [grey], [brush], ["added"])

    crop = load_feedback(tmp_path)[0]

    assert crop.is_positive
    assert (crop.truth[dust] == 1).mean() > 0.95
    assert (crop.truth[brush & ~dust] == IGNORED).mean() > 0.9
    assert (crop.truth[~disc(32, 30, 13)] == 0).all()


def test_a_piece_taken_back_is_film(tmp_path: Path) -> None:
    grey, place = lookalike(1)
    write_feedback_file(tmp_path / "a.npz", [grey], [place], ["taken back"])

    crop = load_feedback(tmp_path)[0]

    assert not crop.is_positive
    assert (crop.truth == 0).all()


def test_a_batch_gets_its_share_of_feedback_and_the_same_again(tmp_path: Path) -> None:
    grey, place = lookalike(1)
    write_feedback_file(tmp_path / "a.npz", [grey, grey], [place, place], ["taken back", "added"])
    run = run_on(tmp_path)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        return (
            (torch.zeros(4, 1, SIDE, SIDE), torch.full((4, 1, SIDE, SIDE), 9, dtype=torch.uint8)) for _ in range(50)
        )

    mix = feedback_of(run)
    assert mix is not None
    first = list(mix.mixed(batches(), 7))
    again = list(FeedbackMix(load_feedback(tmp_path), run).mixed(batches(), 7))

    replaced = [bool(truth[number].max() != 9) for _, truth in first for number in range(4)]
    assert 0.4 < np.mean(replaced) < 0.6
    dusty = [bool((truth[number] == 1).any()) for _, truth in first for number in range(4)]
    assert 0.15 < np.mean(dusty) < 0.35
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])


def test_a_crop_smaller_than_the_trainings_side_is_mirrored_and_does_not_count_there(tmp_path: Path) -> None:
    grey, place = lookalike(1)
    write_feedback_file(tmp_path / "a.npz", [grey[:40]], [place[:40]], ["taken back"])
    mix = feedback_of(run_on(tmp_path))
    assert mix is not None

    crop = mix.draw(np.random.default_rng(1))

    assert crop.grey.shape == crop.truth.shape == (SIDE, SIDE)
    assert (crop.truth == IGNORED).sum() == 24 * SIDE


def test_without_a_folder_nothing_is_mixed_in(tmp_path: Path) -> None:
    assert feedback_of(replace(run_on(tmp_path), feedback="")) is None


def test_an_empty_folder_a_wrong_share_and_a_foreign_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="spotlessd feedback export"):
        feedback_of(run_on(tmp_path))
    with pytest.raises(OptionsError, match="feedback_share"):
        feedback_of(run_on(tmp_path, 1.5))
    (tmp_path / "a.npz").write_bytes(b"not an archive")
    with pytest.raises(OptionsError, match="not a file of feedback"):
        feedback_of(run_on(tmp_path))


def test_a_lookalike_that_was_taken_back_lowers_the_detectors_probability_there(tmp_path: Path) -> None:
    torch.manual_seed(1)
    torch.set_num_threads(1)
    knowing = UNet(UNetShape(width=8, depth=2))
    (dust, place), (shadow, _) = lookalike(1), lookalike(2, bright=False)
    write_feedback_file(tmp_path / "a.npz", [shadow], [place], ["taken back"])

    def dirty_film(*signs: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Film with specks of dust, bright (1) or dark (-1)."""
        rng = np.random.default_rng(3)
        while True:
            grey, truth = np.empty((4, 1, SIDE, SIDE), np.float32), np.zeros((4, 1, SIDE, SIDE), np.uint8)
            for number in range(4):
                picture = film(int(rng.integers(1 << 30)))
                for _ in range(3):
                    speck = disc(*rng.integers(8, SIDE - 8, 2), radius=4)
                    picture[speck] += 20000 * rng.choice(signs)
                    truth[number, 0][speck] = 1
                grey[number, 0] = picture / 65535
            yield torch.from_numpy(grey), torch.from_numpy(truth)

    def learn(network: UNet, batches: Iterator[tuple[Tensor, Tensor]], steps: int) -> None:
        optimiser = torch.optim.Adam(network.parameters(), 4e-3)
        network.train()
        for _, (grey, truth) in zip(range(steps), batches, strict=False):
            optimiser.zero_grad()
            counts = (truth != IGNORED).float()
            dice_bce_loss(network(grey), (truth == 1).float(), counts, 0.1, 0.0).backward()
            optimiser.step()

    def probability(network: UNet, picture: NDArray[np.float32]) -> float:
        network.eval()
        with torch.inference_mode():
            seen = torch.sigmoid(network(torch.from_numpy(picture / 65535)[None, None]))[0, 0].numpy()
        return float(seen[place].mean())

    learn(knowing, dirty_film(1, -1), 60)
    assert probability(knowing, shadow) > 0.5, "it takes the lookalike for dust"
    corrected, uncorrected = deepcopy(knowing), deepcopy(knowing)
    mix = feedback_of(run_on(tmp_path))
    assert mix is not None

    learn(corrected, mix.mixed(dirty_film(1), 0), 60)
    learn(uncorrected, dirty_film(1), 60)

    assert probability(corrected, shadow) < 0.3
    assert probability(corrected, shadow) < probability(uncorrected, shadow) - 0.2
    assert probability(corrected, dust) > 0.5
