"""The preview: before | after | mask side by side, a small JPEG to look at, never a source of pixels.

Linear scans are brightened for the eye; negatives stay negatives: the preview shows the file, not an interpretation.
The frame is read once, in bands, and the edits are put into a copy of the band, so that nothing of its size is held.
"""

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spotless_core.arrays.encoding import CMYK, Encoding, cmyk_to_rgb
from spotless_core.arrays.kinds import FloatImage, Mask, Samples
from spotless_core.arrays.windows import SampleWindows, bands
from spotless_core.errors import OutputError
from spotless_core.image_io.edited_rows import EditedRows

GAP_PX = 8
PANELS = 3


def write_preview(
    path: Path,
    frame: SampleWindows,
    edits: EditedRows,
    mask: Mask,
    encoding: Encoding,
    long_side_px: int,
    on_progress: Callable[[float], None] = lambda _fraction: None,
) -> None:
    """Write the three panels, together within `long_side_px`, to `path` as JPEG, fsynced.

    `frame`: windows of H×W×C stored samples, without the edits. `mask`: H×W bool. `on_progress` gets the fraction done.

    Raises:
        OutputError: the file cannot be written.
    """
    height, width = mask.shape
    panels = [_Panel(height, width, frame.shape[2], long_side_px) for _ in range(2)]
    mask_panel = _Panel(height, width, 1, long_side_px)
    reach = max(round(width / mask_panel.width / 2), 1)  # a speck of three pixels must still be seen
    for top, bottom in bands(height, width):
        rows = frame[top:bottom, 0:width]
        before = panels[0].add(top, panels[0].narrowed(rows))
        panels[1].add(top, panels[1].narrowed(_edited(rows, edits, top)) if edits.touch(top, bottom) else before)
        mask_panel.add(top, mask_panel.narrowed(_thickened(mask, top, bottom, reach)))
        on_progress(bottom / height)
    shown = np.rint(mask_panel.values).astype(np.uint8)
    gap = np.full((mask_panel.height, GAP_PX, 3), 128, np.uint8)
    before_panel, after_panel = (visible(panel.values, encoding) for panel in panels)
    picture = np.concatenate([before_panel, gap, after_panel, gap, np.repeat(shown, 3, axis=2)], axis=1)
    try:
        with path.open("wb") as file:
            Image.fromarray(picture).save(file, format="JPEG", quality=90)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(
            f"{path.parent}: the preview cannot be written ({error.strerror or error}). "
            "Free space or fix the permission."
        ) from error


class _Panel:
    """A frame shrunk to one panel by area means, band by band; `values`: height×width×C float32, stored values."""

    def __init__(self, height: int, width: int, channels: int, long_side_px: int) -> None:
        self.height, self.width = _panel_size(height, width, long_side_px)
        self.values: FloatImage = np.zeros((self.height, self.width, channels), np.float32)
        self._scale = height / self.height

    def narrowed(self, rows: Samples) -> FloatImage:
        """Shrink rows (n×W×C) along their width."""
        size = (self.width, len(rows))
        small = cv2.resize(rows.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.float32).reshape(len(rows), self.width, -1)

    def add(self, top: int, rows: FloatImage) -> FloatImage:
        """Add narrowed rows from row `top` of the frame on, each by what it covers of a row here; return them."""
        first = int(top / self._scale)
        last = min(int(np.ceil((top + len(rows)) / self._scale)), self.height)
        edges = np.arange(first, last + 1)[:, None] * self._scale
        places = np.arange(top, top + len(rows))
        shares = np.clip(np.minimum(edges[1:], places + 1) - np.maximum(edges[:-1], places), 0, 1) / self._scale
        self.values[first:last] += np.tensordot(shares.astype(np.float32), rows, 1)
        return rows


def _edited(rows: Samples, edits: EditedRows, top: int) -> Samples:
    copy = rows.copy()
    edits.apply_inplace(copy, top)
    return copy


def _thickened(mask: Mask, top: int, bottom: int, reach: int) -> NDArray[np.uint8]:
    """Return rows of the mask, 0 or 255, n×W×1, in which each pixel is `reach` wide."""
    above = min(top, reach)
    wide = mask[top - above : bottom + reach].view(np.uint8) * np.uint8(255)
    thick = np.asarray(cv2.dilate(wide, np.ones((reach, reach), np.uint8)), np.uint8)
    return thick[above : above + bottom - top, :, None]


def _panel_size(height: int, width: int, long_side_px: int) -> tuple[int, int]:
    """(height, width) of one panel, so that three of them side by side fit into a square of `long_side_px`."""
    room = (long_side_px - (PANELS - 1) * GAP_PX) / PANELS
    scale = min(room / width, long_side_px / height, 1.0)
    return max(int(height * scale), 1), max(int(width * scale), 1)


def visible(values: FloatImage, encoding: Encoding) -> NDArray[np.uint8]:
    """Return stored `values`, h×w×C float32, as the eye is to see them: h×w×3 RGB."""
    shown = np.clip(values / np.float32(encoding.value_max), 0, 1)
    if encoding.is_min_white:
        shown = 1 - shown
    shown = np.power(shown, np.float32(1 / encoding.gamma))
    if encoding.transfer == "linear":
        shown = np.clip((shown - encoding.black) / (encoding.white - encoding.black), 0, 1)
    if shown.shape[2] == CMYK:
        shown = cmyk_to_rgb(shown)
    eight: NDArray[np.uint8] = np.rint(shown * 255).astype(np.uint8)
    return np.repeat(eight, 3, axis=2) if eight.shape[2] == 1 else eight
