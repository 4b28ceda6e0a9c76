"""Masks: connected pieces, hysteresis, growth, shape of a piece.

`find_pieces` and `seed_and_grow` take four more bytes for every pixel; pieces.py finds the same in a frame of any size.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Box, Mask, Probability


@dataclass(frozen=True, slots=True)
class LabelledPieces:
    """8-connected pieces of a mask. `labels`: H×W int32, 0 = none, piece i has label i + 1. `boxes`, `areas`: by
    piece.
    """

    labels: NDArray[np.int32]
    boxes: list[Box]
    areas: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Shape:
    """A piece's form in pixels: `length` and `width` of its minimum-area rectangle, `stroke` = area / length."""

    length: float
    width: float
    stroke: float


def find_pieces(mask: Mask) -> LabelledPieces:
    """Split `mask` (bool H×W, read only) into 8-connected pieces."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    table = np.asarray(stats)[1:count]
    boxes = [
        (int(top), int(left), int(top + height), int(left + width))
        for left, top, width, height in table[:, :4].tolist()
    ]
    return LabelledPieces(np.asarray(labels), boxes, table[:, cv2.CC_STAT_AREA].astype(np.int64))


def measure_shape(piece: Mask) -> Shape:
    """Measure one piece given as its box's mask (bool h×w, the piece alone)."""
    rows, columns = np.nonzero(piece)
    return shape_of(np.stack([columns, rows], axis=1).astype(np.float32), len(rows))


def shape_of(points: NDArray[np.float32], area: int) -> Shape:
    """Measure a piece of `area` pixels whose outermost pixels are among `points`, n×2 (column, row) near the origin."""
    (_, (side_a, side_b), _) = cv2.minAreaRect(points)
    length, width = max(side_a, side_b) + 1, min(side_a, side_b) + 1
    return Shape(float(length), float(width), float(area / length))


def seed_and_grow(probability: Probability, seed: float, grow: float) -> Mask:
    """Keep the pieces of `probability >= grow` that hold a pixel `>= seed` (hysteresis; Canny 1986, section VIII)."""
    pieces = find_pieces(probability >= grow)
    kept = np.zeros(len(pieces.boxes) + 1, bool)
    kept[np.unique(pieces.labels[probability >= seed])] = True
    kept[0] = False
    result: Mask = kept[pieces.labels]
    return result


def grow_mask(mask: Mask, radius_px: float) -> Mask:
    """Dilate by a disc of `radius_px` (0 or more); a new array."""
    if radius_px < 0.5:
        return mask.copy()
    reach = int(np.ceil(radius_px))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = (rows**2 + columns**2 <= (radius_px + 0.25) ** 2).astype(np.uint8)
    return np.asarray(cv2.dilate(mask.view(np.uint8), disc), np.uint8).view(np.bool_)
