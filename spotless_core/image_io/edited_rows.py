"""Edits by rows: what of a frame's rows the repairs change.

Comes in: the edits of one frame, and decoded rows of it. Goes out: the rows with the edits applied, and the mask of
samples that really got another value. Only colour under an edit's mask is ever written; later edits win.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from spotless_core.arrays.kinds import Mask, Samples
from spotless_core.errors import ArrayContractError
from spotless_core.photo import Edit, ScanInfo

BUCKET_ROWS = 64
"""Edits are filed by groups of rows, so that a frame with thousands of them is not searched for each row."""


class EditedRows:
    """The edits of one frame, found by row.

    Raises:
        ArrayContractError: an edit leaves the frame, or its samples or mask have another shape or dtype.
    """

    def __init__(self, edits: Sequence[Edit], info: ScanInfo) -> None:
        self._buckets: defaultdict[int, list[tuple[int, Edit]]] = defaultdict(list)
        for place, edit in enumerate(edits):
            _require_fits(edit, info)
            if not edit.mask.any():
                continue
            last_row = edit.top + edit.mask.shape[0] - 1
            for bucket in range(edit.top // BUCKET_ROWS, last_row // BUCKET_ROWS + 1):
                self._buckets[bucket].append((place, edit))

    def touch(self, top: int, bottom: int) -> bool:
        """Whether an edit's box meets the rows [top, bottom)."""
        return bool(self._in_rows(top, bottom))

    def apply_inplace(self, rows: Samples, top: int, left: int = 0) -> Mask:
        """Write the edits into `rows`, h×w×C stored samples that begin at row `top`; only the first channels change.

        `left`: the frame's column that `rows` begin with. Returns the h×w pixels whose value is now another one.
        """
        changed = np.zeros(rows.shape[:2], np.bool_)
        bottom, right = top + rows.shape[0], left + rows.shape[1]
        for edit in self._in_rows(top, bottom):
            height, width = edit.mask.shape
            first, last = max(top, edit.top), min(bottom, edit.top + height)
            start, stop = max(left, edit.left), min(right, edit.left + width)
            if start >= stop:
                continue
            inside = (slice(first - edit.top, last - edit.top), slice(start - edit.left, stop - edit.left))
            box = (slice(first - top, last - top), slice(start - left, stop - left))
            mask, samples = edit.mask[inside], edit.samples[inside]
            colors = samples.shape[2]
            target = rows[box][..., :colors]
            changed[box] |= mask & (target != samples).any(axis=2)
            np.copyto(target, samples, where=mask[..., None], casting="no")
        return changed

    def _in_rows(self, top: int, bottom: int) -> list[Edit]:
        """Return the edits that meet the rows, in the order in which they were given."""
        buckets = range(top // BUCKET_ROWS, (bottom - 1) // BUCKET_ROWS + 1)
        found = {
            place: edit
            for bucket in buckets
            for place, edit in self._buckets.get(bucket, ())
            if edit.top < bottom and edit.top + edit.mask.shape[0] > top
        }
        return [found[place] for place in sorted(found)]


def _require_fits(edit: Edit, info: ScanInfo) -> None:
    """Raise `ArrayContractError` unless the edit's arrays agree with each other and with the frame."""
    dtype = info.dtype
    if edit.mask.dtype != np.bool_ or edit.mask.ndim != 2:
        raise ArrayContractError(f"edit mask: {edit.mask.dtype} {edit.mask.shape}; bool with 2 dimensions expected.")
    height, width = edit.mask.shape
    if edit.samples.dtype != dtype or edit.samples.shape != (height, width, info.color_channels):
        raise ArrayContractError(
            f"edit samples: {edit.samples.dtype} {edit.samples.shape}; "
            f"{dtype} {(height, width, info.color_channels)} expected."
        )
    if edit.top < 0 or edit.left < 0 or edit.top + height > info.height or edit.left + width > info.width:
        raise ArrayContractError(
            f"edit box ({edit.top}, {edit.left}, {edit.top + height}, {edit.left + width}) leaves the frame "
            f"of {info.height}×{info.width}."
        )
