"""Things in pictures that look like dust and are not: stars, glints, eyes, snow, rain, wires, rails, text, foliage,
fabric, lamps, frame edges, perforations, the edge of the scanner's glass.

Drawn into the clean photograph before it is softened, so they share the picture's sharpness and lie under its grain,
unlike dust, which lies on the film. They are never part of the truth.
"""

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.training.film import Rng

Photo: TypeAlias = NDArray[np.uint8]
Lookalike: TypeAlias = Callable[[Rng, Photo], None]

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


def _eyes(rng: Rng, grey: Photo) -> None:
    """Dark discs with a bright glint: eyes, berries, beads, buttons."""
    for _ in range(int(rng.integers(1, 7))):
        x, y = int(rng.integers(grey.shape[1])), int(rng.integers(grey.shape[0]))
        radius = int(rng.integers(3, 16))
        cv2.circle(grey, (x, y), radius, int(rng.uniform(5, 70)), -1, cv2.LINE_AA)
        offset = rng.normal(0, 0.3 * radius, 2)
        glint = (round(16 * (x + offset[0])), round(16 * (y + offset[1])))
        cv2.circle(grey, glint, int(16 * rng.uniform(0.5, 0.25 * radius + 0.6)), int(rng.uniform(180, 255)), -1, 16, 4)


def _snow(rng: Rng, grey: Photo) -> None:
    """Flakes, spray or bokeh: bright discs of all sizes and degrees of sharpness over the whole picture."""
    for _ in range(3):
        layer = np.zeros_like(grey)
        for _ in range(int(rng.integers(3, 40))):
            centre = (int(rng.integers(grey.shape[1]) * 16), int(rng.integers(grey.shape[0]) * 16))
            radius = int(16 * float(np.exp(rng.uniform(np.log(0.7), np.log(7)))))
            cv2.circle(layer, centre, radius, int(rng.uniform(40, 230)), -1, cv2.LINE_AA, 4)
        layer = np.asarray(cv2.GaussianBlur(layer, (0, 0), float(rng.uniform(0.5, 3))), np.uint8)
        _blend(grey, layer, 245)


def _foliage(rng: Rng, grey: Photo) -> None:
    """Leaves and gaps between them: many small bright and dark pieces of all directions."""
    height, width = grey.shape
    base, spread = float(rng.uniform(40, 180)), float(rng.uniform(15, 70))
    for _ in range(int(rng.integers(60, 400))):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(1, 9)), int(rng.integers(1, 4)))
        tone = int(np.clip(rng.normal(base, spread), 0, 255))
        cv2.ellipse(grey, centre, axes, float(rng.uniform(0, 180)), 0, 360, tone, -1, cv2.LINE_AA)


def _fabric(rng: Rng, grey: Photo) -> None:
    """A weave, or a net: two families of parallel threads, some of them thicker or brighter."""
    height, width = grey.shape
    slant, pitch = float(rng.uniform(0, np.pi)), float(rng.uniform(3, 14))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    pattern = np.zeros(grey.shape, np.float32)
    for turn in (slant, slant + np.pi / 2):
        across = x * np.float32(np.cos(turn)) + y * np.float32(np.sin(turn))
        strengths = rng.uniform(0.4, 1.4, 4096).astype(np.float32)
        thread = np.floor(across / pitch).astype(np.int32) % 4096
        pattern += strengths[thread] * np.cos(2 * np.pi * across / np.float32(pitch))
    depth = np.float32(rng.uniform(5, 30))
    np.copyto(grey, np.clip(grey + depth * pattern, 0, 255).astype(np.uint8))


def _rails(rng: Rng, grey: Photo) -> None:
    """Rails, blinds, masts: straight lines, a few of them, near an axis of the frame as often as not."""
    height, width = grey.shape
    angle = float(rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])) + float(rng.normal(0, 0.02))
    direction = np.array([np.cos(angle), np.sin(angle)])
    middle = rng.uniform(0.2, 0.8, 2) * (width, height)
    gap, ink = float(rng.uniform(6, 60)), _ink(rng)
    thickness = int(rng.integers(1, 5))
    reach = direction * float(rng.uniform(0.2, 1.5)) * max(height, width)
    for i in range(int(rng.integers(1, 7))):
        at = middle + i * gap * np.array([-direction[1], direction[0]])
        ends = [np.rint(16 * end).astype(int).tolist() for end in (at - reach, at + reach)]
        cv2.line(grey, ends[0], ends[1], ink, thickness, cv2.LINE_AA, 4)


def _city(rng: Rng, grey: Photo) -> None:
    """Lamps at night: bright points with glows on a dark ground, often in rows."""
    np.copyto(grey, (grey * np.float32(rng.uniform(0.1, 0.5))).astype(np.uint8))
    layer, glow = np.zeros_like(grey), np.zeros_like(grey)
    for _ in range(int(rng.integers(1, 8))):
        start, step = rng.uniform(0, 1, 2) * grey.shape[::-1], rng.normal(0, 14, 2)
        radius = float(rng.uniform(0.6, 2.5))
        for i in range(int(rng.integers(1, 10))):
            centre = np.rint(16 * (start + i * step)).astype(int).tolist()
            cv2.circle(layer, centre, int(16 * radius), int(rng.uniform(120, 255)), -1, cv2.LINE_AA, 4)
            cv2.circle(glow, centre, int(64 * radius), int(rng.uniform(0, 130)), -1, cv2.LINE_AA, 4)
    _blend(grey, np.asarray(cv2.GaussianBlur(glow, (0, 0), 4.0), np.uint8), 235)
    _blend(grey, layer, 255)


def _glass_edge(rng: Rng, grey: Photo) -> None:
    """The edge of a scanner's glass, a holder or a lifted frame: a soft step or line right across."""
    height, width = grey.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = np.float32(rng.choice([0, np.pi / 2]) + rng.normal(0, 0.03))
    across = (x - rng.uniform(0, width)) * np.cos(angle) + (y - rng.uniform(0, height)) * np.sin(angle)
    softness = np.float32(np.exp(rng.uniform(np.log(0.7), np.log(12))))
    step = 1 / (1 + np.exp(np.clip(-across / softness, -30, 30)))
    shape = step if rng.random() < 0.5 else 4 * step * (1 - step)
    change = np.float32(rng.choice([-1, 1]) * rng.uniform(10, 120))
    np.copyto(grey, np.clip(grey + change * shape, 0, 255).astype(np.uint8))


DRAWN: dict[Lookalike, float] = {
    _points: 0.14,
    _blobs: 0.17,
    _wires: 0.13,
    _text: 0.07,
    _rain: 0.04,
    _border: 0.08,
    _perforations: 0.04,
    _eyes: 0.07,
    _snow: 0.05,
    _foliage: 0.03,
    _fabric: 0.04,
    _rails: 0.09,
    _city: 0.03,
    _glass_edge: 0.02,
}
LOOKALIKES, SHARES = tuple(DRAWN), tuple(DRAWN.values())
"""What is drawn, and its share of the crops that have a lookalike."""
