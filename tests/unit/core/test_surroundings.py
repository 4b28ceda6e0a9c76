"""Film round a defect: grain alone is flat at any strength, an edge that runs into the hole is found, texture is."""

from typing import Literal

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Box, FloatImage, Mask
from spotless_core.arrays.surroundings import surroundings_of

SIDE = 96
Scene = Literal["even", "ramp", "edge", "edge beside", "texture"]


def _scene(kind: Scene, angle: float, amplitude: float, seed: int) -> NDArray[np.float32]:
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32) - SIDE / 2
    along = columns * np.cos(angle) + rows * np.sin(angle)
    if kind == "ramp":
        return np.asarray(0.5 + amplitude * along / SIDE, np.float32)
    if kind == "edge":
        return np.asarray(0.5 + amplitude * (1 / (1 + np.exp(-along)) - 0.5), np.float32)
    if kind == "edge beside":
        return np.asarray(0.5 + amplitude * (1 / (1 + np.exp(35 - along)) - 0.5), np.float32)
    if kind == "texture":
        noise = np.random.default_rng([seed, 9]).standard_normal((SIDE, SIDE)).astype(np.float32)
        soft = cv2.GaussianBlur(noise, (0, 0), 3)
        return np.asarray(0.5 + amplitude / 2 * soft / soft.std(), np.float32)
    return np.full((SIDE, SIDE), 0.5, np.float32)


def _grain(seed: int, size_px: float) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).standard_normal((SIDE, SIDE)).astype(np.float32)
    grain = cv2.GaussianBlur(noise, (0, 0), size_px)
    return np.asarray(grain / grain.std(), np.float32)


def _speck(radius: int) -> tuple[Mask, Box]:
    hole = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(hole, (SIDE // 2, SIDE // 2), radius, 1, -1)
    rows, columns = np.nonzero(hole)
    return hole > 0, (int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)


def _film(
    kind: Scene, *, seed: int, strength: float = 0.02, angle: float = 0.0, amplitude: float = 0.3, size_px: float = 0.8
) -> FloatImage:
    grey = np.clip(_scene(kind, angle, amplitude, seed) + strength * _grain(seed, size_px), 0, 1)
    return np.repeat(grey[..., None], 3, axis=2).astype(np.float32)


def _share(wanted: str, kind: Scene, radius: int, **how: float) -> float:
    """The share of 40 draws that are called `wanted`; dust is bright."""
    hole, box = _speck(radius)
    count = 0
    for seed in range(40):
        image = _film(kind, seed=seed, angle=seed * 0.16, **how)
        image[hole] = 0.97
        count += surroundings_of(image, hole, box) == wanted
    return count / 40


@pytest.mark.parametrize("radius", [2, 6, 14])
@pytest.mark.parametrize("size_px", [0.5, 0.9, 1.3])
@pytest.mark.parametrize("strength", [0.0, 0.004, 0.02, 0.06])
def test_film_with_nothing_but_grain_is_flat(radius: int, size_px: float, strength: float) -> None:
    assert _share("flat", "even", radius, strength=strength, size_px=size_px) >= 0.95


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**16), strength=st.floats(0, 0.06), radius=st.integers(5, 15), amplitude=st.floats(0, 0.3))
def test_a_soft_ramp_with_grain_of_any_strength_is_never_an_edge(
    seed: int, strength: float, radius: int, amplitude: float
) -> None:
    hole, box = _speck(radius)
    image = _film("ramp", seed=seed, strength=strength, angle=seed * 0.1, amplitude=amplitude)

    assert surroundings_of(image, hole, box) != "edge"


@pytest.mark.parametrize("radius", [3, 6, 14])
@pytest.mark.parametrize("strength", [0.004, 0.02])
def test_an_edge_through_the_hole_is_found_in_every_direction(radius: int, strength: float) -> None:
    assert _share("edge", "edge", radius, strength=strength) >= 0.95


@pytest.mark.parametrize("strength", [0.004, 0.02])
def test_an_edge_that_passes_far_from_the_hole_does_not_count(strength: float) -> None:
    assert _share("flat", "edge beside", 4, strength=strength) >= 0.95


def test_an_edge_that_passes_near_the_hole_without_entering_it_is_no_edge_of_the_hole() -> None:
    hole, (top, left, bottom, right) = _speck(4)
    away = np.roll(hole, -12, axis=1)  # the edge runs from top to bottom through the middle

    found = [
        surroundings_of(_film("edge", seed=seed), away, (top, left - 12, bottom, right - 12)) for seed in range(20)
    ]

    assert "edge" not in found


@pytest.mark.parametrize("radius", [3, 6, 14])
@pytest.mark.parametrize("strength", [0.004, 0.02])
def test_texture_beyond_the_grain_is_textured(radius: int, strength: float) -> None:
    assert _share("textured", "texture", radius, strength=strength) >= 0.9


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    kind=st.sampled_from(["even", "edge", "texture"]),
    radius=st.integers(2, 15),
    is_mirrored=st.booleans(),
    turns=st.integers(0, 3),
)
def test_the_mirrored_and_the_turned_image_agree(
    seed: int, kind: Scene, radius: int, is_mirrored: bool, turns: int
) -> None:
    hole, _ = _speck(radius)
    hole[SIDE // 2 : SIDE // 2 + 30, SIDE // 2 : SIDE // 2 + 3] = True  # a tail, so that the hole has no symmetry
    image = _film(kind, seed=seed, angle=seed * 0.1)

    def view(array: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.ascontiguousarray(np.rot90(array[:, ::-1] if is_mirrored else array, turns))

    def look(image: NDArray[np.generic], hole: NDArray[np.generic]) -> str:
        rows, columns = np.nonzero(hole)
        box = (int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)
        return surroundings_of(image, hole, box)  # type: ignore[arg-type]

    assert look(view(image), view(hole)) == look(image, hole)


def test_film_in_the_box_of_a_slanting_hair_but_far_from_the_hair_does_not_count() -> None:
    stencil = np.zeros((SIDE, SIDE), np.uint8)
    cv2.line(stencil, (10, 10), (85, 85), 1, 4)
    image = _film("even", seed=2)
    image[12:32, 64:84] = np.random.default_rng(4).random((5, 5, 1), dtype=np.float32).repeat(4, 0).repeat(4, 1)

    assert surroundings_of(image, stencil > 0, (9, 9, 88, 88)) == "flat"


def test_what_lies_under_the_holes_is_not_looked_at() -> None:
    hole, box = _speck(6)
    other = hole | np.roll(hole, 18, axis=1)
    clean = _film("even", seed=3)
    dusty = clean.copy()
    dusty[other] = np.random.default_rng(1).random((np.count_nonzero(other), 1), dtype=np.float32)

    assert surroundings_of(dusty, other, box) == surroundings_of(clean, other, box) == "flat"


def test_without_clean_film_near_the_film_counts_as_textured() -> None:
    hole = np.ones((SIDE, SIDE), np.bool_)
    hole[:, -3:] = False

    assert surroundings_of(_film("even", seed=1), hole, (10, 10, 20, 20)) == "textured"


def test_neither_image_nor_holes_are_written_to() -> None:
    hole, box = _speck(6)
    image = _film("edge", seed=1)
    image.setflags(write=False)
    hole.setflags(write=False)

    assert surroundings_of(image, hole, box) == "edge"
