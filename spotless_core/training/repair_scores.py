"""Scores of repairs against the film that was there: sums per defect, from which the figures of any group follow.

Comes in: a frame and its repairs. Goes out: one `DefectScore` per defect and method, and `quality_of` any group of
them. Structure is what a 1.5 px low-pass of the whole frame keeps. It is compared with the film and its grain: only
there a perfect repair has no error, and one that recovers what shines through is paid for it; beside it stands the
comparison with the picture without grain, the one a network is trained on. The grain of a repair is compared with that
of the clean scan at the same place, on calm film: where the picture has detail of its own, both measures see that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import FloatImage
from spotless_core.arrays.metrics import (
    STRUCTURE_SIGMA_PX,
    grain_of,
    low_pass,
    spectral_distance,
    window_corner,
    window_spectra,
)
from spotless_core.training.repair_frames import FULL_SCALE, RepairFrame
from spotless_core.training.repair_groups import groups_of

CALM_SHARE = 0.25
"""Film is calm where the picture's own detail has less than this share of the energy that passes for grain."""
LEAST_ERROR = 1e-10
"""Squared error that is as good as none: 100 dB."""
LEAST_DEFECT_ERROR = 1e-8
"""The same of one defect: 80 dB, so that one veil recovered to the last level does not make the mean."""

Spectrum = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DefectFacts:
    """What is known of one defect whatever repairs it.

    `groups`: the group it belongs to, by axis. `pixels`: of its mask. `grain`: C, mean square of what passes for grain
    under its mask on the clean scan; `spectrum`: bins×C, of the window round it, None at the border. `is_calm`,
    `is_window_calm`: whether that is grain indeed.
    """

    groups: dict[str, str]
    pixels: int
    grain: NDArray[np.float64]
    spectrum: Spectrum | None
    is_calm: bool
    is_window_calm: bool


@dataclass(frozen=True, slots=True)
class DefectScore:
    """Sums over one defect's mask of squared errors (mean of the channels): `error` of the samples, `structure` after
    the low-pass, `picture` after the low-pass against the picture without grain. `grain`, `spectrum`: as the facts'.
    """

    error: float
    structure: float
    picture: float
    grain: NDArray[np.float64]
    spectrum: Spectrum | None


@dataclass(frozen=True, slots=True)
class Grain:
    """The grain of `defects` repairs (`windows` with a window) over that of the film: ratio of standard deviations and
    log-spectral distance in dB, mean over the channels and the worst of them; None where nothing could be measured.
    """

    defects: int
    windows: int
    ratio: float | None
    worst_ratio: float | None
    distance_db: float | None
    worst_distance_db: float | None


@dataclass(frozen=True, slots=True)
class Quality:
    """The figures of one group of defects, pooled over pixels.

    `psnr`, `structure_psnr`: against the film with its grain, dB; `picture_psnr`: structure against the picture without
    grain. `gain_db`: of the structure PSNR over Telea's. `defect_gain_db`: the mean of each defect's gain.
    `grain`: on calm film; `grain_and_detail`: on all.
    """

    defects: int
    pixels: int
    psnr: float
    structure_psnr: float
    picture_psnr: float
    gain_db: float
    defect_gain_db: float
    grain: Grain
    grain_and_detail: Grain


@dataclass(slots=True)
class Touched:
    """Pixels that a method changed: in the defects' penumbra, in the rest of the mask, and outside of it."""

    in_penumbra: int = 0
    in_growth: int = 0
    outside_mask: int = 0

    @property
    def over_repair(self) -> float:
        """Area changed where no visible dust lies, over the area changed where it does."""
        return (self.in_growth + self.outside_mask) / max(self.in_penumbra, 1)


class FrameJudge:
    """One frame with what all its repairs are compared with; `facts`: of its defects, in their order."""

    def __init__(self, frame: RepairFrame) -> None:
        self._frame, self._mask = frame, frame.mask
        self._clean = _image(frame.clean)
        self._smooth = low_pass(self._clean, STRUCTURE_SIGMA_PX)
        self._smooth_picture = low_pass(frame.picture, STRUCTURE_SIGMA_PX)
        centres = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in (each.box for each in frame.defects)]
        self._corners = [window_corner(row, column, self._mask.shape) for row, column in centres]
        self.facts = self._describe()

    def score(self, repaired: NDArray[np.uint16], touched: Touched) -> list[DefectScore]:
        """Score `repaired` (H×W×C uint16, read only), one score per defect; what it changed is added to `touched`."""
        frame = self._frame
        changed = (repaired != frame.dusty).any(axis=2)
        touched.in_penumbra += int((changed & frame.penumbra).sum())
        touched.in_growth += int((changed & self._mask & ~frame.penumbra).sum())
        touched.outside_mask += int((changed & ~self._mask).sum())
        result = _image(repaired)
        smooth = low_pass(result, STRUCTURE_SIGMA_PX)
        squares = [
            ((one - other) ** 2).mean(axis=2)
            for one, other in ((result, self._clean), (smooth, self._smooth), (smooth, self._smooth_picture))
        ]
        energies, spectra = self._grain(result)
        scores = []
        for defect, energy, spectrum in zip(frame.defects, energies, spectra, strict=True):
            error, structure, picture = (
                float(square[defect.place][defect.mask].sum(dtype=np.float64)) for square in squares
            )
            scores.append(DefectScore(error, structure, picture, energy, spectrum))
        return scores

    def _describe(self) -> list[DefectFacts]:
        frame = self._frame
        dusty = _image(frame.dusty)
        grain, detail = self._grain(self._clean), self._grain(frame.picture)
        facts = []
        for index, defect in enumerate(frame.defects):
            pixels = int(defect.mask.sum())
            groups = groups_of(frame, defect, dusty, self._clean, self._mask)
            energy, spectrum = grain[0][index], grain[1][index]
            of_detail = detail[1][index]
            is_calm = bool(detail[0][index].mean() < CALM_SHARE * energy.mean())
            is_window_calm = (
                spectrum is not None
                and of_detail is not None
                and bool(of_detail.mean() < CALM_SHARE * float(spectrum.mean()))
            )
            facts.append(DefectFacts(groups, pixels, energy, spectrum, is_calm, is_window_calm))
        return facts

    def _grain(self, image: FloatImage) -> tuple[list[NDArray[np.float64]], list[Spectrum | None]]:
        """Mean square under each defect's mask, and spectrum round it, of what passes for grain in `image`."""
        grain = grain_of(image)
        energies = [
            np.asarray((grain[each.place][each.mask] ** 2).mean(axis=0, dtype=np.float64))
            for each in self._frame.defects
        ]
        spectra = iter(window_spectra(grain, [corner for corner in self._corners if corner is not None]))
        return energies, [None if corner is None else next(spectra) for corner in self._corners]


def quality_of(facts: Sequence[DefectFacts], scores: Sequence[DefectScore], cheap: Sequence[DefectScore]) -> Quality:
    """Return the figures of at least one defect: `scores` of a method, `cheap` of Telea on the same defects."""
    pixels = np.array([fact.pixels for fact in facts], np.float64)
    errors = np.array([(score.error, score.structure, score.picture) for score in scores])
    cheap_structure = np.array([score.structure for score in cheap])
    psnr, structure_psnr, picture_psnr = (_decibels(total / pixels.sum()) for total in errors.sum(axis=0))
    floor = LEAST_DEFECT_ERROR * pixels
    gains = 10 * np.log10((cheap_structure + floor) / (errors[:, 1] + floor))
    pairs = list(zip(facts, scores, strict=True))
    return Quality(
        defects=len(facts),
        pixels=int(pixels.sum()),
        psnr=psnr,
        structure_psnr=structure_psnr,
        picture_psnr=picture_psnr,
        gain_db=structure_psnr - _decibels(float(cheap_structure.sum() / pixels.sum())),
        defect_gain_db=float(gains.mean()),
        grain=_grain_quality(
            [pair for pair in pairs if pair[0].is_calm], [pair for pair in pairs if pair[0].is_window_calm]
        ),
        grain_and_detail=_grain_quality(pairs, pairs),
    )


def _grain_quality(
    under_masks: Sequence[tuple[DefectFacts, DefectScore]], in_windows: Sequence[tuple[DefectFacts, DefectScore]]
) -> Grain:
    """Pool energies and spectra over defects; the channels of colour and of black-and-white film count as four."""
    ratios: list[float] = []
    distances: list[float] = []
    windows = 0
    for channels in (1, 3):
        pairs = [pair for pair in under_masks if pair[0].grain.size == channels]
        if pairs:
            ours, film = (
                np.sum([fact.pixels * each for fact, each in energies], axis=0)
                for energies in (
                    [(fact, score.grain) for fact, score in pairs],
                    [(fact, fact.grain) for fact, _ in pairs],
                )
            )
            ratios += np.sqrt(ours / np.maximum(film, LEAST_ERROR)).tolist()
        spectra = [
            (score.spectrum, fact.spectrum)
            for fact, score in in_windows
            if fact.spectrum is not None and score.spectrum is not None and fact.grain.size == channels
        ]
        if spectra:
            mean_ours, mean_film = (
                np.mean([ours for ours, _ in spectra], axis=0),
                np.mean([f for _, f in spectra], axis=0),
            )
            distances += spectral_distance(mean_ours, mean_film).tolist()
            windows += len(spectra)
    return Grain(
        defects=len(under_masks),
        windows=windows,
        ratio=float(np.mean(ratios)) if ratios else None,
        worst_ratio=max(ratios, key=lambda ratio: abs(np.log(max(ratio, LEAST_ERROR)))) if ratios else None,
        distance_db=float(np.mean(distances)) if distances else None,
        worst_distance_db=max(distances) if distances else None,
    )


def _image(samples: NDArray[np.uint16]) -> FloatImage:
    return samples.astype(np.float32) / FULL_SCALE


def _decibels(mean_square: float) -> float:
    return -10 * float(np.log10(max(mean_square, LEAST_ERROR)))
