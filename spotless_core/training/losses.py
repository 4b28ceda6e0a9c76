"""Losses of the detector: soft Dice plus binary cross-entropy, with the hardest clean pixels counted again."""

import torch
from torch import Tensor
from torch.nn import functional

HARD_FRACTION = 0.005
"""Share of clean pixels taken as hard negatives: the few textures that look like dust decide the false alarms."""


def dice_bce_loss(
    logits: Tensor, truth: Tensor, counts: Tensor, hard_weight: float = 0.1, entropy_weight: float = 10.0
) -> Tensor:
    """Return a scalar loss for N×1×H×W `logits`.

    `truth`: 1 = dust, 0 = clean. `counts`: 1 where a pixel counts, 0 where truth is unsure. Dice is taken over the
    whole batch (Milletari et al., V-Net, 2016), so crops without dust do not divide by zero; cross-entropy is the mean
    over counted pixels times `entropy_weight`, plus `hard_weight` times the mean over the hardest `HARD_FRACTION` of
    clean pixels. With one weight each, Dice would outweigh the cross-entropy thirtyfold (three pixels in a hundred are
    dust) and push every doubtful speck to 0: the entropy keeps doubtful ones in order, and probabilities honest.
    """
    logits = logits.float()
    probability = torch.sigmoid(logits) * counts
    target = truth * counts
    overlap = (probability * target).sum()
    dice = 1 - (2 * overlap + 1) / (probability.sum() + target.sum() + 1)
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none") * counts
    mean = entropy.sum() / counts.sum().clamp(min=1)
    clean = (entropy * (1 - truth)).flatten()
    hardest = clean.topk(max(int(clean.numel() * HARD_FRACTION), 1)).values.mean()
    return dice + entropy_weight * mean + hard_weight * hardest
