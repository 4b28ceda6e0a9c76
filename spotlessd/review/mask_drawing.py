"""Draws a person's edits into a frame's mask, exactly: no soft edges, and every pixel decided by its own centre.

First the pieces taken back, then the strokes, then the boxes. A piece is one connected part of the mask (8 neighbours),
as the receipt's defects were found, so taking it back takes nothing else.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Box, Mask
from spotless_core.arrays.pieces import trace_mask
from spotless_core.errors import SpotlessError
from spotless_core.image_io.looking import open_to_look
from spotless_core.image_io.mask_file import read_mask, write_mask
from spotlessd.publishing.given_masks import keep_content
from spotlessd.review.edits import Choice, Edits, Mode, Stroke
from spotlessd.review.frame_files import FrameFiles
from spotlessd.review.picture_source import PictureError

Point = tuple[float, float]
Floats = NDArray[np.float64]


def draw_mask(files: FrameFiles, edits: Edits, defect_boxes: Sequence[Box], state_dir: Path) -> Path:
    """Write the frame's mask with `edits` into the state folder, and return its path.

    `defect_boxes`: of all the receipt's defects in their order. PROPOSED gives the mask as it is, ORIGINAL none.

    Raises:
        PictureError: the decision has no mask, or a piece that is taken back is not in the mask.
        SpotlessError: the scan or the mask cannot be read.
        PublishError: the state folder cannot be written.
    """
    if edits.choice is Choice.AGAIN:
        raise PictureError("detecting anew makes its own mask; none can be drawn for it.")
    with open_to_look(_source(files)) as scan:
        info = scan.info
    if edits.choice is Choice.ORIGINAL or files.mask is None:
        mask: Mask = np.zeros((info.height, info.width), np.bool_)
    else:
        mask = read_mask(files.mask, (info.height, info.width))
    if edits.choice is Choice.EDITED:
        apply_edits_inplace(mask, edits, defect_boxes)
    with tempfile.TemporaryDirectory(prefix="spotless-") as folder:
        drawn = Path(folder) / "mask.png"
        write_mask(drawn, mask, info)
        return keep_content(drawn.read_bytes(), drawn.suffix, state_dir)


def apply_edits_inplace(mask: Mask, edits: Edits, defect_boxes: Sequence[Box]) -> None:
    """Change `mask` (H×W bool) as `edits` say.

    Raises:
        PictureError: a piece that is taken back is not in the mask.
    """
    _take_back(mask, [*dict.fromkeys(edits.take_back)], defect_boxes)
    for stroke in edits.strokes:
        _draw_stroke(mask, stroke)
    for edit in edits.boxes:
        top, left, bottom, right = edit.box
        mask[top:bottom, left:right] = edit.mode is Mode.ADD


def _take_back(mask: Mask, indexes: Sequence[int], boxes: Sequence[Box]) -> None:
    """Remove the pieces of the mask that the numbered defects are. All are found before the first is removed."""
    found = [(boxes[index], _piece(mask, boxes[index])) for index in indexes]
    for (top, left, bottom, right), piece in found:
        mask[top:bottom, left:right] &= ~piece


def _piece(mask: Mask, box: Box) -> Mask:
    """Return the pixels of the piece whose box is exactly `box`; no two have the same, as they would have to cross."""
    top, left, bottom, right = box
    # With one pixel around it: what goes on outside has another box.
    first, start = max(top - 1, 0), max(left - 1, 0)
    pieces = trace_mask(np.ascontiguousarray(mask[first : bottom + 1, start : right + 1]))
    wanted = (top - first, left - start, bottom - first, right - start)
    if wanted not in pieces.boxes:
        raise PictureError("a piece to take back is not in the mask any more; load the page again.")
    return pieces.cut([pieces.boxes.index(wanted)], wanted)


def _draw_stroke(mask: Mask, stroke: Stroke) -> None:
    """Set or clear every pixel whose centre is at most `radius` from the line, and those that hold its points."""
    value = stroke.mode is Mode.ADD
    ends = stroke.points[1:] or stroke.points
    for one, other in zip(stroke.points, ends, strict=False):
        _draw_capsule(mask, one, other, stroke.radius, value=value)
    height, width = mask.shape
    for x, y in stroke.points:
        column, row = int(np.floor(x)), int(np.floor(y))
        if 0 <= row < height and 0 <= column < width:
            # The finest brush between four centres would leave no mark.
            mask[row, column] = value


def _draw_capsule(mask: Mask, one: Point, other: Point, radius: float, *, value: bool) -> None:
    """Paint one straight piece of a stroke, row by row: a convex shape meets each row in one run."""
    (x1, y1), (x2, y2) = one, other
    first = max(int(np.ceil(min(y1, y2) - radius - 0.5)), 0)
    last = min(int(np.floor(max(y1, y2) + radius - 0.5)), mask.shape[0] - 1)
    if first > last:
        return
    centres = np.arange(first, last + 1) + 0.5
    lows, highs = np.full(len(centres), np.inf), np.full(len(centres), -np.inf)
    for x, y in (one, other):
        rest = radius**2 - (centres - y) ** 2
        reach = np.sqrt(np.maximum(rest, 0))
        lows = np.where(rest >= 0, np.minimum(lows, x - reach), lows)
        highs = np.where(rest >= 0, np.maximum(highs, x + reach), highs)
    length = float(np.hypot(x2 - x1, y2 - y1))
    if length > 0:
        aside = (-(y2 - y1) / length * radius, (x2 - x1) / length * radius)
        corners = [(x1 + aside[0], y1 + aside[1]), (x2 + aside[0], y2 + aside[1])]
        corners += [(x2 - aside[0], y2 - aside[1]), (x1 - aside[0], y1 - aside[1])]
        for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
            if ay == by:
                continue
            crossing = ax + (centres - ay) * ((bx - ax) / (by - ay))
            meets = (centres >= min(ay, by)) & (centres <= max(ay, by))
            lows = np.where(meets, np.minimum(lows, crossing), lows)
            highs = np.where(meets, np.maximum(highs, crossing), highs)
    is_met = lows <= highs
    starts = np.maximum(np.ceil(lows[is_met] - 0.5), 0).astype(int)
    stops = np.minimum(np.floor(highs[is_met] - 0.5) + 1, mask.shape[1]).astype(int)
    for row, start, stop in zip(
        (np.flatnonzero(is_met) + first).tolist(), starts.tolist(), stops.tolist(), strict=True
    ):
        mask[row, start : max(stop, start)] = value


def _source(files: FrameFiles) -> Path:
    """Return the file that tells the frame's size."""
    for path in (files.scan, files.result):
        if path is not None and path.is_file():
            return path
    raise SpotlessError("neither the scan nor its result is where it was.")
