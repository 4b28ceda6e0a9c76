"""Evaluation frames of known truth, drawn without a detector."""

import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import GreyImage, Mask
from spotless_core.training.dataset import IGNORED, Element
from spotless_core.training.evaluation_frames import Frame


def dusty_frame(
    truth: NDArray[np.uint8],
    probability: NDArray[np.floating] | Mask,
    elements: list[Element],
    grey: GreyImage | None = None,
) -> Frame:
    half = probability.astype(np.float16)
    picture = np.zeros(truth.shape, np.float32) if grey is None else grey
    nothing = np.zeros(truth.shape, np.float16)
    return Frame("photo 0, slide, 4000 dpi", 0, "slide", 4000, picture, truth, elements, half, picture, nothing)


def two_elements() -> tuple[NDArray[np.uint8], list[Element]]:
    """A frame of 100×100 with a found-worthy element of each kind, and a piece that counts neither way."""
    truth = np.zeros((100, 100), np.uint8)
    truth[10:20, 10:20] = truth[50:60, 50:60] = 1
    truth[80:90, 80:90] = IGNORED
    dust = Element("dust", (10, 10, 20, 20), visible=True, change=0.3, sigma=0.02)
    dirt = Element("dirt", (50, 50, 60, 60), visible=True, change=0.1, sigma=0.02)
    unsure = Element("dust", (80, 80, 90, 90), visible=False, change=0.03, sigma=0.02)
    return truth, [dust, dirt, unsure]


def candidates_frame(seed: int, side: int = 1000) -> Frame:
    """Forty candidates, every second one dust: right ones are surer than wrong ones, with some overlap."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((side, side), np.uint8)
    probability = np.zeros(truth.shape, np.float32)
    elements = []
    for i in range(40):
        row, column, is_dust = 20 + 24 * i, int(rng.integers(20, side - 100)), i % 2 == 0
        place = np.s_[row : row + 6, column : column + 6]
        probability[place] = np.clip(rng.normal(0.9 if is_dust else 0.6, 0.08), 0, 0.99)
        if is_dust:
            truth[place] = 1
            elements.append(Element("dust", (row, column, row + 6, column + 6), visible=True, change=0.3, sigma=0.02))
    return dusty_frame(truth, probability, elements)
