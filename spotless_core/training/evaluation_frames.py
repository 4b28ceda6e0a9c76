"""Evaluation frames: held-out photographs as dusty film of known truth, each looked at by the detector.

Every photograph × colour negative, slide, black and white × 2400 and 4000 dpi, enlarged and softened as film is, with
dust of held-out real shapes (and drawn scratches, which the real frames hardly have), scanned to 16 bit, and the same
scan without its dust. A frame is a pure function of `SEED`, its photograph, film and resolution, so two detectors see
the same frames whatever else was made before. Frames come one at a time: the caller decides which it keeps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from spotless_core.arrays.encoding import detector_grey, sense_encoding
from spotless_core.arrays.kinds import GreyImage, Probability
from spotless_core.detection.detector import Detector
from spotless_core.errors import OptionsError
from spotless_core.options import DetectOptions
from spotless_core.training import film
from spotless_core.training.batches import held_out_photos, real_by_kind
from spotless_core.training.dataset import Element, drop_elements, scatter
from spotless_core.training.film import FILM_TYPES, FilmType, GrainBank, Rng
from spotless_core.training.run_config import DetectorRun
from spotless_core.training.synthetic_dust import RealShape, draw_sprite

SEED = 20260
SIDE = 1024
ENLARGE = {2400: 1.2, 4000: 2.0}
"""Photograph pixels become this many scan pixels: film is softer than a web photograph."""
ELEMENTS_PER_MM2 = 1.54
"""As many as the held-out real frame carries: 1,334 artefacts on 24×36 mm, uncleaned."""
SCRATCH_SHARE = 0.06
RESOLUTIONS = (0.125, 4.0)
"""Legal range of the resolution of detection: outside it nothing of a speck or of the memory is left."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """How a frame is looked at: `tiles`, and `resolution`, the factor it is scaled by before detection.

    Raises:
        OptionsError: `resolution` lies outside `RESOLUTIONS`.
    """

    tiles: DetectOptions = field(default_factory=DetectOptions)
    resolution: float = 1.0

    def __post_init__(self) -> None:
        if not RESOLUTIONS[0] <= self.resolution <= RESOLUTIONS[1]:
            raise OptionsError(
                f"resolution = {self.resolution}; between {RESOLUTIONS[0]} and {RESOLUTIONS[1]} expected."
            )

    def detect(self, detector: Detector, grey: GreyImage) -> Probability:
        """Return the probability of `grey` (H×W float32 in [0, 1], read only) at its own size, float32 in [0, 1].

        Shrinking averages over areas, so nothing between two pixels is lost; enlarging is bilinear, both ways.
        """
        if self.resolution == 1.0:
            return detector.detect(grey, self.tiles)
        height, width = grey.shape
        small = (max(round(height * self.resolution), 1), max(round(width * self.resolution), 1))
        return _resized(detector.detect(_resized(grey, small), self.tiles), (height, width))


@dataclass(frozen=True, slots=True)
class Frame:
    """One evaluation frame: `grey` as the detector sees it, `truth` 0/1/255, `elements`, and its `probability`.

    `clean_grey`, `clean_probability`: the same scan without dust. `photo`: number of the photograph in its folder's
    sorted order. `seconds`: what the detector took for both.
    """

    name: str
    photo: int
    film: str
    dpi: int
    grey: GreyImage
    truth: NDArray[np.uint8]
    elements: list[Element]
    probability: NDArray[np.float16]
    clean_grey: GreyImage
    clean_probability: NDArray[np.float16]
    seconds: float = 0.0

    @property
    def um_per_px(self) -> float:
        """Micrometres on the film per pixel."""
        return 25400 / self.dpi


@dataclass(frozen=True, slots=True)
class Materials:
    """What frames are made of: 8-bit grey `photos`, `real` shapes by kind, fields of grain."""

    photos: list[NDArray[np.uint8]]
    real: dict[str, list[RealShape]]
    grains: GrainBank


def load_materials(run: DetectorRun, photos: int | None = None) -> Materials:
    """Load the run's held-out photographs (the first `photos` of them, None = all) and shapes.

    Raises:
        OptionsError: `photos` is less than one.
        MissingInputError: the folder holds none.
    """
    if photos is not None and photos < 1:
        raise OptionsError(f"photos = {photos}; at least 1 expected.")
    loaded = held_out_photos(run)[:photos]
    return Materials(loaded, real_by_kind(run, run.validation_scans), GrainBank(np.random.default_rng(SEED)))


def make_frames(
    materials: Materials, detector: Detector, inspection: Inspection, numbers: Sequence[int] | None = None
) -> Iterator[Frame]:
    """Make the frames of the photographs `numbers` (None = all); the detector looks at each with and without dust."""
    numbers = range(len(materials.photos)) if numbers is None else numbers
    jobs = [(number, film_type, dpi) for number in numbers for film_type in FILM_TYPES for dpi in ENLARGE]
    for number, film_type, dpi in tqdm(jobs, unit="frame", dynamic_ncols=True):
        rng = np.random.default_rng((SEED, number, FILM_TYPES.index(film_type), dpi))
        clean = _clean_frame(rng, materials.photos[number], film_type, dpi, materials.grains)
        dusty, truth, elements = _dusty_frame(rng, clean, film_type, dpi, materials.real)
        scan_seed = int(rng.integers(1 << 30))
        grey, clean_grey = (_scanned(scan_seed, picture) for picture in (dusty, clean))
        start = perf_counter()
        probability, clean_probability = (
            inspection.detect(detector, picture).astype(np.float16) for picture in (grey, clean_grey)
        )
        yield Frame(
            name=f"photo {number}, {film_type.name}, {dpi} dpi",
            photo=number,
            film=film_type.name,
            dpi=dpi,
            grey=grey,
            truth=truth,
            elements=elements,
            probability=probability,
            clean_grey=clean_grey,
            clean_probability=clean_probability,
            seconds=perf_counter() - start,
        )


def _resized(plane: GreyImage, shape: tuple[int, int]) -> GreyImage:
    method = cv2.INTER_AREA if shape[0] < plane.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(plane, (shape[1], shape[0]), interpolation=method), np.float32)


def _scanned(seed: int, grey: GreyImage) -> GreyImage:
    """Scan to 16 bit and read as the pipeline does; one seed gives both of a pair the same noise and sharpening."""
    scanned = film.digitise(np.random.default_rng(seed), grey)
    samples = np.rint(scanned * 65535).astype(np.uint16)[..., None]
    return detector_grey(samples, sense_encoding(samples, 16, is_min_white=False))


def _clean_frame(rng: Rng, photo: NDArray[np.uint8], film_type: FilmType, dpi: int, grains: GrainBank) -> GreyImage:
    scale = ENLARGE[dpi]
    source = min(int(SIDE / scale), *photo.shape)
    top, left = ((length - source) // 2 for length in photo.shape)
    window = photo[top : top + source, left : left + source].astype(np.float32) / np.float32(255)
    side = min(SIDE, round(source * scale))
    grey = film.random_tone(rng, film.enlarge(window, (side, side), scale, 0.5 * scale))
    grain = np.zeros((side, side), np.float32)
    for y in range(0, side, film.GRAIN_FIELD_PX):  # a frame is larger than a field of grain
        for x in range(0, side, film.GRAIN_FIELD_PX):
            part = grain[y : y + film.GRAIN_FIELD_PX, x : x + film.GRAIN_FIELD_PX]
            part[:] = grains.draw(rng, part.shape, float(np.mean(film_type.grain_px)))
    return film.add_grain(grey, grain, float(np.sqrt(film_type.grain[0] * film_type.grain[1])))


def _dusty_frame(
    rng: Rng, clean: GreyImage, film_type: FilmType, dpi: int, real: dict[str, list[RealShape]]
) -> tuple[GreyImage, NDArray[np.uint8], list[Element]]:
    um_per_px = 25400 / dpi
    count = int(rng.poisson(ELEMENTS_PER_MM2 * clean.size * (um_per_px / 1000) ** 2))
    weights = {kind: len(shapes) for kind, shapes in real.items() if kind != "scratch"} or {"dust": 1}
    total = sum(weights.values())
    sprites = []
    for _ in range(count):
        kind = "scratch"
        if rng.random() >= SCRATCH_SHARE:
            kind = str(rng.choice(list(weights), p=[weight / total for weight in weights.values()]))
        sprites.append(draw_sprite(rng, um_per_px, real, kind, real_share=1.0))
    return drop_elements(rng, clean, film_type, sprites, scatter(rng, count, *clean.shape))
