"""Can a machine find repairs again? A classifier learns it on some photographs and is asked on others.

In: repaired frames and their masks. Out: how often it is right on frames it has not seen (0.5 = it cannot tell), with
its interval. Every photograph is held out once (cross-validation, split by photograph: frames of one photograph share
its picture). Two judges are tried (blind_judges.py); which one speaks for a held-out photograph is decided on the
others alone. Such classifier two-sample tests: Lopez-Paz and Oquab, ICLR 2017.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spotless_core.errors import OptionsError
from spotless_core.training.blind_judges import FeatureJudge, Judge, NetworkJudge
from spotless_core.training.blind_patches import BlindPair, MatchedPatches, Place, draw_matched

FOLDS = 4
"""Parts the photographs are split into; each is held out once, and once used to choose the judge."""
LEAST_PHOTOGRAPHS = 3
"""One to learn from, one to choose the judge by, one to be asked on."""
NORMAL_95 = 1.96
JUDGES: tuple[Judge, ...] = (FeatureJudge(), NetworkJudge(steps=300))
AREAS_PX = (30, 120)
"""Limits of the classes of repairs by area."""
EASIEST = 24


@dataclass(frozen=True, slots=True)
class Share:
    """Share of `count` patches told right, and the 95 % confidence interval from `low` to `high`."""

    accuracy: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Recognised:
    """A repaired patch and the `log_odds` to be repaired that a judge who had not seen its photograph gave it."""

    place: Place
    log_odds: float


@dataclass(frozen=True, slots=True)
class BlindResult:
    """What the blind test found.

    `told`: over all held-out patches, half of them repaired. `area_under_curve`: under the ROC curve, the chance that
    a repaired patch looks more repaired than an untouched one. `by_film`, `by_area`: the same as `told` by film type
    and by the repairs' area. `by_judge`: accuracy of each judge on the photographs by which the better one was
    chosen; `chosen`: for how many photographs each one spoke.
    `easiest`: the repaired patches that were recognised best, best first. `left_out`: repairs that were not asked
    about, at the border or without film like that around them.
    """

    told: Share
    area_under_curve: float
    by_film: dict[str, Share]
    by_area: dict[str, Share]
    by_judge: dict[str, float]
    chosen: dict[str, int]
    easiest: list[Recognised]
    left_out: int


@dataclass(frozen=True, slots=True)
class _Answers:
    """Log-odds of pair i: of its repaired and of its untouched patch; n each, float64."""

    repaired: NDArray[np.float64]
    untouched: NDArray[np.float64]

    @property
    def right(self) -> NDArray[np.float64]:
        """How many of the pair's two patches were told right, n; one that is left open counts half."""
        return (np.sign(self.repaired) - np.sign(self.untouched)) / 2 + 1


def blind_accuracy(
    pairs: Iterable[BlindPair], *, judges: Sequence[Judge] = JUDGES, most_per_frame: int = 100, seed: int = 1
) -> BlindResult:
    """Train judges to tell repaired from untouched patches and ask them on photographs they have not seen.

    `pairs`: frames, read one at a time; of at least three photographs. `judges`: the best of them speaks.
    `most_per_frame`: repairs taken of a frame, at random. `seed`: of the places and of the training.

    Raises:
        OptionsError: `most_per_frame` is less than one, or there are too few photographs with repairs.
    """
    if most_per_frame < 1:
        raise OptionsError(f"most_per_frame = {most_per_frame}; at least 1 expected.")
    rng = np.random.default_rng(seed)
    parts = [draw_matched(pair, rng, most_per_frame) for pair in pairs]
    names, group = np.unique([place.photograph for part in parts for place in part.places], return_inverse=True)
    if len(names) < LEAST_PHOTOGRAPHS:
        message = f"Blind test: repairs of {len(names)} photographs; at least {LEAST_PHOTOGRAPHS} expected."
        raise OptionsError(message)
    patches = _joined(parts)
    fold = (rng.permutation(len(names)) % FOLDS)[group]
    prepared = [_Prepared(judge, judge.prepare(patches.repaired), judge.prepare(patches.untouched)) for judge in judges]
    spoken = _Answers(np.zeros(len(group)), np.zeros(len(group)))
    tried: list[list[float]] = []
    chosen = {each.judge.name: 0 for each in prepared}
    areas: list[float] = []
    for held_out in range(int(fold.max()) + 1):
        asked = fold == held_out
        tried.append(_tried(prepared, fold, held_out, seed))
        best = prepared[int(np.argmax(tried[-1]))]
        answers = best.asked(~asked, asked, seed)
        spoken.repaired[asked], spoken.untouched[asked] = answers.repaired, answers.untouched
        chosen[best.judge.name] += len(np.unique(group[asked]))
        areas.append(_area_under_curve(answers) * np.count_nonzero(asked) / len(group))
    return BlindResult(
        told=_share(spoken.right, group),
        area_under_curve=sum(areas),
        by_film=_by([place.film for place in patches.places], spoken.right, group),
        by_area=_by([_area_class(place.area_px) for place in patches.places], spoken.right, group),
        by_judge=dict(zip(chosen, np.mean(tried, axis=0).tolist(), strict=True)),
        chosen=chosen,
        easiest=[
            Recognised(patches.places[index], float(spoken.repaired[index]))
            for index in np.argsort(-spoken.repaired, kind="stable")[:EASIEST]
        ],
        left_out=patches.left_out,
    )


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A judge and what it looks at, of all pairs."""

    judge: Judge
    repaired: NDArray[np.float32]
    untouched: NDArray[np.float32]

    def asked(self, learned: NDArray[np.bool_], asked: NDArray[np.bool_], seed: int) -> _Answers:
        """Learn from the pairs `learned` (n bool) and answer for the pairs `asked`."""
        judgement = self.judge.fit(self.repaired[learned], self.untouched[learned], seed)
        return _Answers(judgement(self.repaired[asked]), judgement(self.untouched[asked]))


def _tried(prepared: Sequence[_Prepared], fold: NDArray[np.intp], held_out: int, seed: int) -> list[float]:
    """How often each judge is right on one fold after learning from the rest, none of it held out."""
    by = (held_out + 1) % (int(fold.max()) + 1)
    learned, asked = (fold != held_out) & (fold != by), fold == by
    return [float(each.asked(learned, asked, seed).right.mean()) / 2 for each in prepared]


def _joined(parts: Sequence[MatchedPatches]) -> MatchedPatches:
    return MatchedPatches(
        np.concatenate([part.repaired for part in parts]),
        np.concatenate([part.untouched for part in parts]),
        [place for part in parts for place in part.places],
        sum(part.left_out for part in parts),
    )


def _area_class(area_px: int) -> str:
    low, high = AREAS_PX
    return f"under {low} px" if area_px < low else f"{low} to {high} px" if area_px <= high else f"over {high} px"


def _by(classes: Sequence[str], right: NDArray[np.float64], group: NDArray[np.intp]) -> dict[str, Share]:
    labels = np.array(classes)
    return {str(name): _share(right[labels == name], group[labels == name]) for name in np.unique(labels)}


def _share(right: NDArray[np.float64], group: NDArray[np.intp]) -> Share:
    """The accuracy of pairs (`right` of two each) and its interval.

    Patches of one photograph are alike: Wilson's interval is taken of as many patches as the design effect leaves
    (Korn and Graubard, Survey Methodology 24, 1998), the effect estimated between the photographs `group`.
    """
    count = 2 * len(right)
    accuracy = float(right.sum()) / count
    sizes, sums = 2 * np.bincount(group), np.bincount(group, right)
    photographs = int(np.count_nonzero(sizes))
    between = float(np.sum((sums - accuracy * sizes) ** 2)) * photographs / max(photographs - 1, 1) / count**2
    single = max(accuracy * (1 - accuracy), 1e-9) / count
    effective = count / max(between / single, 1.0)
    spread = NORMAL_95**2 / effective
    middle = (accuracy + spread / 2) / (1 + spread)
    reach = NORMAL_95 * np.sqrt(accuracy * (1 - accuracy) / effective + spread / effective / 4) / (1 + spread)
    return Share(accuracy, float(max(middle - reach, 0.0)), float(min(middle + reach, 1.0)), count)


def _area_under_curve(answers: _Answers) -> float:
    """The share of all (repaired, untouched) pairs in which the repaired one has the higher odds; ties count half."""
    ordered = np.sort(answers.untouched)
    below = np.searchsorted(ordered, answers.repaired, "left") + np.searchsorted(ordered, answers.repaired, "right")
    return float(below.sum()) / (2 * ordered.size * answers.repaired.size)
