"""Things in pictures that look like dust and are not: stars, glints, rain, wires, text, frame edges, perforations.

Drawn into the clean photograph before it is softened, so they share the picture's sharpness and lie under its grain,
unlike dust, which lies on the film. They are never part of the truth.
"""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.training.film import Rng

Photo: TypeAlias = NDArray[np.uint8]

LETTERS = "ABCDEFGHKLMNPRSTUVWXYZabcdefghiklmnoprstuvwxyz0123456789.,-:!"


def add_lookalikes(rng: Rng, grey: Photo) -> Photo:
    """Return a copy of `grey` (uint8 H×W) with one random kind of lookalike drawn in."""
    grey = grey.copy()
    draw = LOOKALIKES[int(rng.choice(len(LOOKALIKES), p=SHARES))]
    draw(rng, grey)
    return grey


def _ink(rng: Rng) -> int:
    return int(255 * rng.choice([rng.uniform(0, 0.25), rng.uniform(0.75, 1)]))


def _blend(grey: Photo, layer: Photo, value: int) -> None:
    """Mix `value` into `grey` in place by the weights `layer` / 255."""
    weight = layer.astype(np.float32) / 255
    np.copyto(grey, np.rint(grey + weight * (np.float32(value) - grey)).astype(np.uint8))


def _points(rng: Rng, grey: Photo) -> None:
    value = int(255 * (rng.uniform(0.6, 1) if rng.random() < 0.75 else rng.uniform(0, 0.2)))
    layer = np.zeros_like(grey)
    for _ in range(int(rng.integers(5, 90))):
        centre = (int(rng.integers(grey.shape[1]) * 16), int(rng.integers(grey.shape[0]) * 16))
        radius = int(16 * min(float(rng.exponential(0.9)) + 0.5, 4))
        cv2.circle(layer, centre, radius, int(rng.uniform(80, 255)), -1, cv2.LINE_AA, 4)
    layer = cv2.GaussianBlur(layer, (0, 0), float(rng.uniform(0.5, 1.3)))
    _blend(grey, layer, value)


def _wires(rng: Rng, grey: Photo) -> None:
    height, width = grey.shape
    for _ in range(int(rng.integers(1, 7))):
        ends = rng.uniform(-0.2, 1.2, (3, 2)) * (width, height)
        t = np.linspace(0, 1, 30)[:, None]
        ends[1] = (ends[0] + ends[2]) / 2 + rng.normal(0, 12, 2)
        curve = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * ends[1] + t**2 * ends[2]
        cv2.polylines(
            grey, [np.rint(curve * 16).astype(np.int32)], False, _ink(rng), int(rng.integers(1, 5)), cv2.LINE_AA, 4
        )


def _text(rng: Rng, grey: Photo) -> None:
    ink, size = _ink(rng), float(rng.uniform(0.35, 1.8))
    for line in range(int(rng.integers(1, 6))):
        words = "".join(rng.choice(list(LETTERS + "    "), int(rng.integers(6, 30))))
        origin = (int(rng.integers(-20, 120)), int(30 + line * 26 * size + rng.integers(0, 20)))
        font = int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX]))
        cv2.putText(grey, words, origin, font, size, ink, int(rng.integers(1, 4)), cv2.LINE_AA)


def _rain(rng: Rng, grey: Photo) -> None:
    angle, length = rng.normal(np.pi / 2, 0.3), float(rng.uniform(4, 30))
    step = np.array([np.cos(angle), np.sin(angle)]) * length
    layer = np.zeros_like(grey)
    for _ in range(int(rng.integers(20, 120))):
        start = rng.uniform(0, 1, 2) * grey.shape[::-1]
        end = np.rint((start + step) * 16).astype(int)
        cv2.line(
            layer, np.rint(start * 16).astype(int).tolist(), end.tolist(), int(rng.uniform(25, 150)), 1, cv2.LINE_AA, 4
        )
    _blend(grey, layer, 230)


def _border(rng: Rng, grey: Photo) -> None:
    height, width = grey.shape
    ink, side = _ink(rng), int(rng.integers(4))
    depth = int(rng.uniform(0.05, 0.5) * (height if side < 2 else width))
    (grey[:depth], grey[-depth:], grey[:, :depth], grey[:, -depth:])[side][:] = ink
    if rng.random() < 0.5:  # edge print on the rebate
        words = "".join(rng.choice(list(LETTERS), 9))
        cv2.putText(
            grey,
            words,
            (int(rng.integers(0, 80)), max(depth - 6, 20)),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.7,
            255 - ink,
            1,
            cv2.LINE_AA,
        )


def _perforations(rng: Rng, grey: Photo) -> None:
    ink, hole = _ink(rng), _ink(rng)
    depth = int(rng.uniform(0.2, 0.5) * grey.shape[0])
    grey[:depth] = ink
    size, pitch = int(rng.integers(16, 60)), int(rng.integers(40, 120))
    for left in range(int(rng.integers(-40, 40)), grey.shape[1], max(pitch, size + 12)):
        cv2.rectangle(grey, (left, depth // 4), (left + size, depth // 4 + size), hole, -1, cv2.LINE_AA)


def _blobs(rng: Rng, grey: Photo) -> None:
    """Buttons, pebbles, lamps, holes: round things of the picture, as soft as the picture."""
    layer = np.zeros_like(grey)
    for _ in range(int(rng.integers(3, 20))):
        centre = (int(rng.integers(grey.shape[1])), int(rng.integers(grey.shape[0])))
        axes = (int(rng.integers(2, 14)), int(rng.integers(2, 9)))
        value = int(rng.uniform(70, 255))
        cv2.ellipse(layer, centre, axes, float(rng.uniform(0, 180)), 0, 360, value, -1, cv2.LINE_AA)
    layer = np.asarray(cv2.GaussianBlur(layer, (0, 0), float(rng.uniform(0.5, 1.6))), np.uint8)
    _blend(grey, layer, _ink(rng))


LOOKALIKES = (_points, _blobs, _wires, _text, _rain, _border, _perforations)
SHARES = (0.2, 0.25, 0.2, 0.12, 0.06, 0.11, 0.06)
