"""The judges of the blind test: they learn to tell repaired patches from untouched ones.

In: patches n×32×32×3 float32 in [0, 1] and what they are. Out: a function that gives the log-odds of a patch to be
repaired. One judge is a small network that looks at the picture and at its high-pass residuals, in which fills differ
most from film (Li and Huang, "Localization of Deep Inpainting Using High-Pass Fully Convolutional Network", ICCV 2019,
section 3). The other is a logistic regression on the strengths of grain in the middle against the surroundings, as
noise inconsistencies are looked for in forgeries (Mahdian and Saic, Image and Vision Computing 27, 2009). Neither sees
a mask. The same seed on the same number of threads gives the same judge.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from spotless_core.arrays.kinds import FloatImage
from spotless_core.training.blind_patches import PATCH_PX
from spotless_core.training.logistic import fit_logistic

Judgement: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""What a judge has made of patches (n×…, prepared) → log-odds of each to be repaired, n."""

BAND_SIGMAS_PX = (0.7, 1.5, 4.0)
"""Gaussians between which detail is looked at: grain, its clumps, and picture."""
MIDDLE_RADII_PX = (3.0, 6.0, 10.0)
"""Where a repair may lie; what is farther out than the last is surroundings."""
TINY = np.float32(1e-4)
"""No contrast is divided by less; below a level of 12 bits."""
CHANNELS = 128
"""OpenCV filters no more at once."""
WIDTHS = (16, 24, 32)
BATCH_PAIRS = 32
LEARNING_RATE, WEIGHT_DECAY, DROPOUT = 3e-3, 1e-2, 0.3
PENALTY = 3.0


class Judge(Protocol):
    """`prepare` patches once, then `fit` to some of them and use what that returns on others."""

    @property
    def name(self) -> str:
        """What reports call the judge."""
        ...

    def prepare(self, patches: FloatImage) -> NDArray[np.float32]:
        """Return what this judge looks at, n×…, a row per patch."""
        ...

    def fit(self, repaired: NDArray[np.float32], untouched: NDArray[np.float32], seed: int) -> Judgement:
        """Learn from prepared pairs: row i of `repaired` belongs to row i of `untouched`."""
        ...


class FeatureJudge:
    """Logistic regression on how grain and brightness of the middle compare with the surroundings."""

    name = "features"

    def prepare(self, patches: FloatImage) -> NDArray[np.float32]:
        """Return n×k float32: per middle radius and band the log ratio of strengths, kurtosis, colour, brightness."""
        bands = [_as_patches(band) for band in _bands(patches)]
        offset = np.arange(PATCH_PX) - PATCH_PX // 2
        radius = np.hypot(offset[:, None], offset[None, :])
        around = radius > MIDDLE_RADII_PX[-1]
        columns: list[NDArray[np.floating]] = []
        outer = [_strength(band[:, around]) for band in bands]
        for reach in MIDDLE_RADII_PX:
            middle = radius <= reach
            inner = [_strength(band[:, middle]) for band in bands]
            columns += [mine - theirs for mine, theirs in zip(inner, outer, strict=True)]
            columns += [_kurtosis(bands[0][:, middle]) - _kurtosis(bands[0][:, around])]
            columns += [_color_share(bands[0][:, middle]) - _color_share(bands[0][:, around])]
            step = patches[:, middle].mean(axis=(1, 2)) - patches[:, around].mean(axis=(1, 2))
            columns += [step / np.exp(outer[-1])]
        columns += [outer[0], outer[0] - outer[-1]]
        plain = np.stack(columns, axis=1)
        return np.asarray(np.concatenate([plain, np.abs(plain)], axis=1), np.float32)

    def fit(self, repaired: NDArray[np.float32], untouched: NDArray[np.float32], seed: int) -> Judgement:
        """Fit the regression; it needs no `seed`."""
        rows = np.concatenate([repaired, untouched]).astype(np.float64)
        mean, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-9

        def terms(values: NDArray[np.float32]) -> NDArray[np.float64]:
            return np.pad(np.clip((values - mean) / scale, -4, 4), ((0, 0), (0, 1)), constant_values=1.0)

        weights = fit_logistic(terms(rows.astype(np.float32)), np.arange(len(rows)) < len(repaired), penalty=PENALTY)
        return lambda values: terms(values) @ weights


@dataclass(frozen=True, slots=True)
class NetworkJudge:
    """A network of three convolutions, trained for `steps` (1 or more) of 32 pairs, flipped and turned at random."""

    steps: int
    name: str = "network"

    def prepare(self, patches: FloatImage) -> NDArray[np.float32]:
        """Return n×9×32×32 float32: the picture and its two finer bands, each in units of its own contrast."""
        picture = patches.transpose(0, 3, 1, 2)
        centred = picture - picture.mean(axis=(2, 3), keepdims=True)
        planes = [_in_own_units(plane) for plane in (centred, *_bands(patches)[:2])]
        return np.concatenate(planes, axis=1)

    def fit(self, repaired: NDArray[np.float32], untouched: NDArray[np.float32], seed: int) -> Judgement:
        """Train on the CPU; no other random state is used or changed."""
        pairs = torch.from_numpy(np.stack([repaired, untouched], axis=1))
        rng = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _network(pairs.shape[2]).train()
            optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
            rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=self.steps)
            for _ in range(self.steps):
                batch = pairs[rng.integers(len(pairs), size=min(BATCH_PAIRS, len(pairs)))]
                seen = _turned(batch.flatten(0, 1), int(rng.integers(8)))
                is_repaired = torch.tensor([1.0, 0.0]).repeat(len(batch))
                loss = functional.binary_cross_entropy_with_logits(network(seen)[:, 0], is_repaired)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                rates.step()
        network.eval()

        @torch.inference_mode()
        def judge(prepared: NDArray[np.float32]) -> NDArray[np.float64]:
            logits = [
                torch.stack([network(_turned(part, turn))[:, 0] for turn in range(4)]).mean(dim=0)
                for part in torch.split(torch.from_numpy(prepared), 256)
            ]
            return torch.cat(logits).double().numpy()

        return judge


def _network(planes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for stride, (before, after) in zip((2, 1, 1), pairwise((planes, *WIDTHS)), strict=True):
        layers += [nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.AvgPool2d(2)] if stride == 1 else []
    features = WIDTHS[-1] * (PATCH_PX >> len(WIDTHS)) ** 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(DROPOUT), nn.Linear(features, 1))


def _turned(patches: Tensor, turn: int) -> Tensor:
    """One of the eight positions of n×C×side×side: bit 0 mirrors, bit 1 turns upside down, bit 2 transposes."""
    axes = [axis for bit, axis in ((1, 3), (2, 2)) if turn & bit]
    flipped = patches.flip(axes) if axes else patches
    return flipped.transpose(2, 3) if turn & 4 else flipped


def _bands(patches: FloatImage) -> list[FloatImage]:
    """Differences of the patches (n×side×side×3) and ever softer copies, finest first; n×3×side×side each."""
    count, side = patches.shape[:2]
    planes = patches.transpose(1, 2, 0, 3).reshape(side, side, -1)  # OpenCV filters many channels at once
    levels = [planes]
    for sigma in BAND_SIGMAS_PX:
        parts = [
            np.ascontiguousarray(planes[..., start : start + CHANNELS]) for start in range(0, planes.shape[2], CHANNELS)
        ]
        soft = [cv2.GaussianBlur(part, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101) for part in parts]
        levels.append(np.concatenate([part.reshape(side, side, -1) for part in soft], axis=2))
    return [(fine - coarse).reshape(side, side, count, 3).transpose(2, 3, 0, 1) for fine, coarse in pairwise(levels)]


def _as_patches(planes: FloatImage) -> FloatImage:
    return planes.transpose(0, 2, 3, 1)


def _in_own_units(planes: FloatImage) -> FloatImage:
    """Divide n×3×side×side by each patch's own contrast: the mean over absolute values, which few edges outweigh."""
    contrast = np.abs(planes).mean(axis=(1, 2, 3), keepdims=True)
    return np.asarray(np.clip(planes / (contrast + TINY), -8, 8), np.float32)


def _strength(samples: FloatImage) -> NDArray[np.float32]:
    """Logarithm of the standard deviation of n×pixels×3 samples, n."""
    return np.log(np.sqrt(np.mean(samples**2, axis=(1, 2))) + TINY)


def _kurtosis(samples: FloatImage) -> NDArray[np.float32]:
    """Logarithm of the fourth moment over the squared second one."""
    second = np.mean(samples**2, axis=(1, 2)) + TINY**2
    return np.log(np.mean(samples**4, axis=(1, 2)) / second**2 + np.float32(0.1))


def _color_share(samples: FloatImage) -> NDArray[np.float32]:
    """Share of the variance that the three channels have in common: 1 in grey."""
    shared = np.mean(samples.mean(axis=2) ** 2, axis=1)
    return shared / (np.mean(samples**2, axis=(1, 2)) + TINY**2)
