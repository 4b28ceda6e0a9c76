"""The preview: before | after | mask side by side, a small JPEG to look at, never a source of pixels.

Linear scans are brightened for the eye; negatives stay negatives: the preview shows the file, not an interpretation.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spotless_core.arrays.encoding import Encoding
from spotless_core.arrays.kinds import FloatImage, Mask, Samples
from spotless_core.errors import OutputError
from spotless_core.photo import Edit

GAP_PX = 8
PANELS = 3


def apply_edits_inplace(frame: Samples, edits: Sequence[Edit]) -> None:
    """Write the edits' samples into `frame` (H×W×C) under their masks."""
    for edit in edits:
        height, width = edit.mask.shape
        place = frame[edit.top : edit.top + height, edit.left : edit.left + width]
        np.copyto(place, edit.samples, where=edit.mask[..., None])


def shrink(frame: Samples, long_side_px: int) -> FloatImage:
    """Reduce `frame` to one panel of a preview of `long_side_px`: h×w×C float32 in stored values."""
    size = _panel_size(frame.shape[0], frame.shape[1], long_side_px)
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32).reshape(size[1], size[0], -1)


def write_preview(path: Path, before: FloatImage, after: FloatImage, mask: Mask, encoding: Encoding) -> None:
    """Write the three panels to `path` as JPEG, fsynced. Raises `OutputError` if it cannot be written."""
    size = (before.shape[1], before.shape[0])
    reach = max(round(mask.shape[1] / size[0] / 2), 1)  # a speck of three pixels must still be seen
    thick = cv2.dilate(mask.view(np.uint8), np.ones((reach, reach), np.uint8))
    shown = cv2.resize(np.asarray(thick * np.uint8(255)), size, interpolation=cv2.INTER_AREA)
    gap = np.full((size[1], GAP_PX, 3), 128, np.uint8)
    mask_panel = np.repeat(np.asarray(shown, np.uint8)[..., None], 3, axis=2)
    panels = [_visible(before, encoding), gap, _visible(after, encoding), gap, mask_panel]
    try:
        with path.open("wb") as file:
            Image.fromarray(np.concatenate(panels, axis=1)).save(file, format="JPEG", quality=90)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(f"{path.name}: the preview cannot be written ({error.strerror or error}).") from error


def _panel_size(height: int, width: int, long_side_px: int) -> tuple[int, int]:
    """(width, height) of one panel, so that three of them side by side fit into a square of `long_side_px`."""
    room = (long_side_px - (PANELS - 1) * GAP_PX) / PANELS
    scale = min(room / width, long_side_px / height, 1.0)
    return max(int(width * scale), 1), max(int(height * scale), 1)


def _visible(values: FloatImage, encoding: Encoding) -> NDArray[np.uint8]:
    shown = np.clip(values / np.float32(encoding.value_max), 0, 1)
    if encoding.is_min_white:
        shown = 1 - shown
    shown = np.power(shown, np.float32(1 / encoding.gamma))
    if encoding.transfer == "linear":
        shown = np.clip((shown - encoding.black) / (encoding.white - encoding.black), 0, 1)
    eight: NDArray[np.uint8] = np.rint(shown * 255).astype(np.uint8)
    return np.repeat(eight, 3, axis=2) if eight.shape[2] == 1 else eight
