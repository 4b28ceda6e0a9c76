"""Dust, hairs and scratches as sprites: soft alpha maps whose sizes are micrometres on the film.

Three procedural families (elliptical blobs, linear scratches, squiggly hairs), each parameter varied by ±20 % around
values drawn from the measured statistics of real 35 mm frames, each element with its own blur (its distance from the
film plane), mixed with polygons of real artefacts where a folder of them is given. Alpha is the fraction of the
element's density; opacity and polarity are chosen when it falls on the film (dataset.py).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.training.film import Rng

REAL_UM_PER_PX = 7.03
"""Scale of the annotated real polygons (FilmDamageSimulator, 35 mm at 4976 px)."""
KIND_WEIGHTS = {
    "dust": 0.45,
    "dirt": 0.20,
    "short_hair": 0.14,
    "long_hair": 0.08,
    "lint": 0.02,
    "scratch": 0.09,
    "transport_line": 0.01,
    "drying_mark": 0.01,
}
"""Share of each kind in training: rare kinds are drawn more often than they fall on film, to be learned."""
MAX_SPRITE_PX = 360
OVERSAMPLE = 4


@dataclass(frozen=True, slots=True)
class Sprite:
    """One element: `kind`, and `alpha` h×w float32 in [0, 1], its largest value 1."""

    kind: str
    alpha: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RealShape:
    """One annotated artefact: `kind`, polygon n×2 float32 (x, y) in micrometres, centred on its box."""

    kind: str
    polygon_um: NDArray[np.float32]


def load_real_shapes(folder: Path, scans: Sequence[int]) -> list[RealShape]:
    """Read `scanNN.jsonl` (one artefact a line: `cls`, `poly` in pixels of 7.03 µm) of the given scan numbers."""
    shapes = []
    for scan in scans:
        for line in (folder / f"scan{scan:02d}.jsonl").read_text().splitlines():
            if line.strip():
                record = json.loads(line)
                polygon = np.asarray(record["poly"], np.float32)
                centred = polygon - (polygon.max(axis=0) + polygon.min(axis=0)) / 2
                shapes.append(RealShape(record["cls"], centred * REAL_UM_PER_PX))
    return shapes


def vary(rng: Rng, value: float) -> float:
    """`value` ±20 %."""
    return value * float(rng.uniform(0.8, 1.2))


def draw_sprite(
    rng: Rng, um_per_px: float, real: dict[str, list[RealShape]], kind: str | None = None, real_share: float = 0.5
) -> Sprite:
    """Draw one element of a random (or the given) `kind` at `um_per_px`, `real_share` of them from `real` shapes."""
    chosen = kind or str(rng.choice(list(KIND_WEIGHTS), p=list(KIND_WEIGHTS.values())))
    candidates = real.get(chosen, [])
    if candidates and chosen != "scratch" and rng.random() < real_share:
        shape = candidates[int(rng.integers(len(candidates)))]
        alpha = _rasterise(_turned(rng, shape.polygon_um * float(rng.uniform(0.55, 1.05))) / um_per_px)
    elif chosen in {"dust", "dirt"}:
        alpha = _blob(rng, um_per_px, chosen)
    elif chosen == "scratch":
        alpha = _scratch(rng, um_per_px)
    elif chosen == "transport_line":
        alpha = _transport_line(rng, um_per_px)
    elif chosen == "drying_mark":
        alpha = _drying_mark(rng, um_per_px)
    elif chosen == "lint":
        alpha = _lint(rng, um_per_px)
    else:
        alpha = _hair(rng, um_per_px, chosen)
    alpha = _textured(rng, _defocused(rng, alpha, um_per_px))
    return Sprite(chosen, (alpha / max(float(alpha.max()), 1e-3)).astype(np.float32))


def _blob(rng: Rng, um_per_px: float, kind: str) -> NDArray[np.float32]:
    median_um, spread = (40.0, 0.5) if kind == "dust" else (95.0, 0.55)
    long_um = vary(rng, median_um * float(np.exp(rng.normal(0, spread))))
    elongation = 1 + abs(float(rng.normal(0, 0.35 if kind == "dust" else 0.6)))
    angles = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    roughness = float(rng.uniform(0.02, 0.12 if kind == "dust" else 0.3))
    radius = np.ones_like(angles)
    for harmonic in range(2, 6):
        radius += roughness * rng.normal() / harmonic * 2 * np.cos(harmonic * angles + rng.uniform(0, 6.3))
    radius = np.clip(radius, 0.3, 2)
    outline = np.stack([np.cos(angles) * radius * long_um / 2, np.sin(angles) * radius * long_um / 2 / elongation], 1)
    return _rasterise(_turned(rng, outline.astype(np.float32)) / um_per_px)


def _hair(rng: Rng, um_per_px: float, kind: str) -> NDArray[np.float32]:
    median_um = 270.0 if kind == "short_hair" else 900.0
    length_um = vary(rng, median_um * float(np.exp(rng.normal(0, 0.5))))
    width_um = float(rng.uniform(10, 55)) if rng.random() < 0.7 else vary(rng, 45)
    steps = int(np.clip(length_um / 25, 8, 160))
    bend = float(rng.uniform(0.0, 0.30)) if rng.random() < 0.8 else 0.5
    turns = np.convolve(rng.normal(0, 1, steps + 12), np.ones(6) / 6, "same")[:steps] * bend + rng.normal(0, 0.03)
    heading = float(rng.uniform(0, 2 * np.pi)) + np.cumsum(turns)
    step_px = length_um / steps / um_per_px
    return _stroke(np.stack([np.cos(heading), np.sin(heading)], 1).cumsum(axis=0) * step_px, width_um / um_per_px)


def _scratch(rng: Rng, um_per_px: float) -> NDArray[np.float32]:
    length_um = float(np.exp(rng.normal(np.log(1300), 0.8)))
    width_um = float(np.exp(rng.normal(np.log(18), 0.5)))
    steps = 24
    along = np.linspace(0, length_um / um_per_px, steps)
    wobble = np.cumsum(rng.normal(0, 0.25 * float(rng.random()), steps))
    angle = (
        float(rng.uniform(0, np.pi)) if rng.random() < 0.6 else float(rng.choice([0, np.pi / 2])) + rng.normal(0, 0.02)
    )
    x, y = along * np.cos(angle) - wobble * np.sin(angle), along * np.sin(angle) + wobble * np.cos(angle)
    return _stroke(np.stack([x, y], 1), max(width_um / um_per_px, 0.7), broken=rng.random() < 0.35, rng=rng)


def _transport_line(rng: Rng, um_per_px: float) -> NDArray[np.float32]:
    """A line along the film (either axis of the frame, within 1.5°), longer than a crop, of uneven depth."""
    length_px = MAX_SPRITE_PX - 24
    width_px = max(float(np.exp(rng.normal(np.log(14), 0.5))) / um_per_px, 0.7)
    angle = float(rng.choice([0, np.pi / 2])) + float(np.clip(rng.normal(0, 0.012), -0.026, 0.026))
    along = np.linspace(0, length_px, 48)
    points = np.stack([along * np.cos(angle), along * np.sin(angle)], 1)
    return _stroke(points, width_px, broken=rng.random() < 0.25, rng=rng)


def _drying_mark(rng: Rng, um_per_px: float) -> NDArray[np.float32]:
    """The rim a drying drop leaves, 0.2–2 mm across: a closed thin line round an almost clean middle."""
    radius_px = min(float(np.exp(rng.uniform(np.log(100), np.log(1000)))) / um_per_px, MAX_SPRITE_PX / 2 - 24)
    angles = np.linspace(0, 2 * np.pi, 60)
    radius = np.full_like(angles, radius_px)
    for harmonic in range(2, 5):
        radius *= 1 + 0.1 * rng.normal() / harmonic * np.cos(harmonic * angles + rng.uniform(0, 6.3))
    width_px = max(float(rng.uniform(10, 40)) / um_per_px, 0.8)
    stretch = float(rng.uniform(0.6, 1))
    return _stroke(np.stack([np.cos(angles) * radius, np.sin(angles) * radius * stretch], 1), width_px)


def _lint(rng: Rng, um_per_px: float) -> NDArray[np.float32]:
    """Two to five hairs in a tangle."""
    kinds = rng.choice(["short_hair", "long_hair"], int(rng.integers(2, 6)), p=[0.6, 0.4])
    hairs = [_hair(rng, um_per_px, str(kind)) for kind in kinds]
    height, width = (max(hair.shape[axis] for hair in hairs) for axis in (0, 1))
    tangle = np.zeros((height, width), np.float32)
    for hair in hairs:
        top, left = (int(rng.integers(0, room + 1)) for room in (height - hair.shape[0], width - hair.shape[1]))
        place = tangle[top : top + hair.shape[0], left : left + hair.shape[1]]
        np.maximum(place, hair, out=place)
    return tangle


def _stroke(
    points: NDArray[np.float64], width_px: float, *, broken: bool = False, rng: Rng | None = None
) -> NDArray[np.float32]:
    points = points - (points.max(axis=0) + points.min(axis=0)) / 2
    points = points[np.abs(points).max(axis=1) < MAX_SPRITE_PX / 2 - width_px - 4]
    if len(points) < 2:
        points = np.array([[-1.0, 0.0], [1.0, 0.0]])
    size = np.ceil(points.max(axis=0) - points.min(axis=0) + width_px + 4).astype(int)
    origin = points.min(axis=0) - width_px / 2 - 2
    over = OVERSAMPLE if max(size) < 120 else 2
    canvas = np.zeros((int(size[1]) * over, int(size[0]) * over), np.uint8)
    path = np.rint((points - origin) * over * 16).astype(np.int32)
    thickness = max(round(width_px * over), 1)
    for start, end in pairwise(path):
        value = 255
        if broken and rng is not None:
            value = int(rng.choice([0, 90, 180, 255], p=[0.2, 0.2, 0.2, 0.4]))
        cv2.line(canvas, start.tolist(), end.tolist(), value, thickness, cv2.LINE_AA, 4)
    small = cv2.resize(canvas, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255


def _rasterise(polygon_px: NDArray[np.float32]) -> NDArray[np.float32]:
    extent = np.abs(polygon_px).max()
    if extent > MAX_SPRITE_PX / 2:
        polygon_px = polygon_px * (MAX_SPRITE_PX / 2 / extent)
    low = polygon_px.min(axis=0) - 2
    size = np.ceil(polygon_px.max(axis=0) - low + 2).astype(int)
    over = OVERSAMPLE if max(size) < 120 else 2
    canvas = np.zeros((int(size[1]) * over, int(size[0]) * over), np.uint8)
    cv2.fillPoly(canvas, [np.rint((polygon_px - low) * over * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    small = cv2.resize(canvas, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255


def _turned(rng: Rng, points: NDArray[np.float32]) -> NDArray[np.float32]:
    angle = rng.uniform(0, 2 * np.pi)
    flip = 1 if rng.random() < 0.5 else -1
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle) * flip, np.cos(angle) * flip]], np.float32)
    turned: NDArray[np.float32] = points @ turn
    return turned


def _defocused(rng: Rng, alpha: NDArray[np.float32], um_per_px: float) -> NDArray[np.float32]:
    """Blur by the element's distance from the film plane; most lie on it, some on the glass or a lifted edge."""
    blur_um = float(rng.uniform(2, 6)) if rng.random() < 0.92 else float(rng.uniform(6, 20))
    sigma_px = max(blur_um / um_per_px, 0.35)
    margin = int(np.ceil(2.5 * sigma_px))
    return cv2.GaussianBlur(np.pad(alpha, margin), (0, 0), sigma_px)


def _textured(rng: Rng, alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """Let some elements be uneven: flakes, crystals, hairs that shine through."""
    if rng.random() < 0.6 or min(alpha.shape) < 6:
        return alpha
    coarse = rng.uniform(0.35, 1, (max(alpha.shape[0] // 5, 2), max(alpha.shape[1] // 5, 2))).astype(np.float32)
    return alpha * cv2.resize(coarse, (alpha.shape[1], alpha.shape[0]), interpolation=cv2.INTER_LINEAR)
