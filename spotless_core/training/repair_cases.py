"""The cases of an evaluation of repairs worth looking at: the worst of each class, and some drawn by lot.

Comes in: one frame after another with its repairs and their scores. Goes out: galleries of a fixed number of cases, no
more than a few of one frame. A case is four crops of one place: before, Telea, ours, truth. Only the crops are kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spotless_core.training.repair_frames import Defect, RepairFrame
from spotless_core.training.repair_scores import LEAST_ERROR, DefectFacts, DefectScore

WORST_CASES, RANDOM_CASES = 12, 24
CASES_PER_FRAME = 2
CROP_PX = 80
ROOM_PX = 20
"""A defect that fills more of a crop than leaves this is shown where its repair is worst."""
LOT_SEED = 5
RANDOM = "random"


@dataclass(frozen=True, slots=True)
class RepairCase:
    """One case: `rank` (lower comes first), two lines of caption, and four crops of one shape, h×w×3 uint8."""

    rank: float
    caption: tuple[str, str]
    crops: tuple[NDArray[np.uint8], ...]


class RepairCases:
    """The cases of all frames added so far, by gallery: "random", "worst_" and the name of a class."""

    def __init__(self) -> None:
        self.galleries: dict[str, list[RepairCase]] = {}
        self._random = np.random.default_rng(LOT_SEED)

    def add(
        self,
        frame: RepairFrame,
        facts: Sequence[DefectFacts],
        scores: Sequence[DefectScore],
        repaired: Mapping[str, NDArray[np.uint16]],
    ) -> None:
        """Add a frame: facts and our scores by defect, and the frames "telea" and "ours"."""
        shown = (frame.dusty, repaired["telea"], repaired["ours"], frame.clean)
        lots = self._random.random(len(facts))
        errors = np.array([score.structure / fact.pixels for fact, score in zip(facts, scores, strict=True)])
        self._keep(RANDOM, _cases(frame, facts, errors, lots, shown), RANDOM_CASES)
        for axis in ("surroundings", "kind"):
            for name in sorted({fact.groups[axis] for fact in facts}):
                is_one = np.array([fact.groups[axis] == name for fact in facts])
                ranks = np.where(is_one, -errors, np.inf)
                self._keep(f"worst_{name}", _cases(frame, facts, errors, ranks, shown), WORST_CASES)

    def _keep(self, name: str, cases: Iterable[RepairCase], count: int) -> None:
        kept = [*self.galleries.get(name, ()), *cases]
        self.galleries[name] = sorted(kept, key=lambda case: case.rank)[:count]


def _cases(
    frame: RepairFrame,
    facts: Sequence[DefectFacts],
    errors: NDArray[np.float64],
    ranks: NDArray[np.float64],
    shown: Sequence[NDArray[np.uint16]],
) -> Iterable[RepairCase]:
    for index in np.argsort(ranks, kind="stable")[:CASES_PER_FRAME]:
        if np.isinf(ranks[index]):
            return
        place = _window(frame.defects[index], shown)
        groups, error = facts[index].groups, -10 * np.log10(max(float(errors[index]), LEAST_ERROR))
        caption = (
            f"{groups['kind']}, {frame.name}".replace("_", " "),
            f"{groups['surroundings']}, {groups['density']}, {facts[index].pixels} px, {error:.1f} dB",
        )
        yield RepairCase(float(ranks[index]), caption, tuple(_shown(picture[place]) for picture in shown))


def _window(defect: Defect, shown: Sequence[NDArray[np.uint16]]) -> tuple[slice, slice]:
    """A square window round the defect, inside the frame; round the worst of its repair if it is too long."""
    top, left, bottom, right = defect.box
    row, column = (top + bottom) // 2, (left + right) // 2
    if max(bottom - top, right - left) > CROP_PX - ROOM_PX:
        ours, truth = (picture[defect.place].astype(np.float32).mean(axis=2) for picture in shown[2:])
        worst = int(np.argmax(np.where(defect.mask, np.abs(ours - truth), -1)))
        row, column = top + worst // defect.mask.shape[1], left + worst % defect.mask.shape[1]
    height, width = shown[0].shape[:2]
    side = min(CROP_PX, height, width)
    first = int(np.clip(row - side // 2, 0, height - side)), int(np.clip(column - side // 2, 0, width - side))
    return np.s_[first[0] : first[0] + side, first[1] : first[1] + side]


def _shown(crop: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """H×W×3, 8 bit."""
    eight_bit = np.rint(crop / np.float32(257)).astype(np.uint8)
    return np.repeat(eight_bit, 3, axis=2) if crop.shape[2] == 1 else eight_bit
