"""Decode an encoded result again and compare it with its scan, before anything is published.

Comes in: the open scan, the result's path, the mask and the edits. Goes out: nothing, or a `PreservationError`.
The promise: what passes has the scan's own header facts, equal samples wherever the format may not change them, the
edits' samples under their masks, and an equal infrared plane. Works in bands of rows, so memory is bounded.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from spotless_core.arrays.kinds import Mask, Samples
from spotless_core.errors import PreservationError, SpotlessError
from spotless_core.image_io.scan_file import ScanFile
from spotless_core.image_io.scratch import scratch_folders
from spotless_core.photo import Edit, ScanInfo

BAND_ROWS = 512
KEPT_FACTS = (
    "container",
    "width",
    "height",
    "channels",
    "color_channels",
    "bits",
    "compression",
    "dpi",
    "orientation",
    "is_float",
    "is_cmyk",
    "is_min_white",
    "has_icc_profile",
    "infrared",
)
"""Fields of `ScanInfo` that must be the same in the result; a transcoded one has another compression."""
EXACT_REPAIRS = {"exact", "transcoded"}
"""Where the result holds the edits' very samples."""


def _ignore_rows(bottom: int) -> None:
    """Take no notice of the progress."""


def verify_restored(
    source: ScanFile,
    target: Path,
    mask: Mask,
    edits: Sequence[Edit],
    on_rows: Callable[[int], None] = _ignore_rows,
    *,
    open_target: Callable[[Path], ScanFile] | None = None,
) -> None:
    """Prove that `target` is `source` with `edits`, changed nowhere outside `mask` (H×W bool).

    `on_rows` is called with the number of rows compared so far. `open_target` opens the result; None = by its content.

    Raises:
        PreservationError: the result differs where it must not, or cannot be read.
    """
    may_change = source.may_change(mask)
    try:
        result = (open_target or _open_by_content)(target)
    except SpotlessError as error:
        raise PreservationError(f"the result cannot be opened: {error}") from error
    with result:
        _compare_facts(source.info, result.info)
        height = source.info.height
        for top in range(0, height, BAND_ROWS):
            bottom = min(top + BAND_ROWS, height)
            before = source.read_rows(top, bottom)
            after, infrared = _read_result(result, top, bottom)
            _require_equal(before, after, may_change[top:bottom], top)
            if source.info.preservation in EXACT_REPAIRS:
                _require_edits(before, after, edits, top, bottom)
            _compare_infrared(source.read_infrared_rows(top, bottom), infrared, top)
            on_rows(bottom)
    source.check_restored(target, mask)


def _open_by_content(path: Path) -> ScanFile:
    # Imported here: opening.py knows every format, and the formats may use this module.
    from spotless_core.image_io.opening import open_scan

    # A result without a repair is the scan itself, in whatever codec.
    return open_scan(path, float("inf"), allow_transcode=True, folders=scratch_folders(path.parent))


def _compare_facts(before: ScanInfo, after: ScanInfo) -> None:
    for name in KEPT_FACTS:
        old, new = getattr(before, name), getattr(after, name)
        if old != new and not (name == "compression" and before.preservation == "transcoded"):
            raise PreservationError(f"{name} of the result is {new}; {old}, as in the scan, expected.")


def _read_result(result: ScanFile, top: int, bottom: int) -> tuple[Samples, Samples | None]:
    try:
        return result.read_rows(top, bottom), result.read_infrared_rows(top, bottom)
    except SpotlessError as error:
        raise PreservationError(f"the result cannot be decoded: {error}") from error


def _require_equal(before: Samples, after: Samples, may_change: Mask, top: int) -> None:
    if before.shape != after.shape or before.dtype != after.dtype:
        raise PreservationError(
            f"rows of the result are {after.dtype} {after.shape}; {before.dtype} {before.shape} expected."
        )
    differs = (before != after).any(axis=2) & ~may_change
    if differs.any():
        row, column = (int(places[0]) for places in np.nonzero(differs))
        raise PreservationError(
            f"the pixel in row {top + row}, column {column} changed outside the mask: "
            f"{before[row, column].tolist()} became {after[row, column].tolist()}."
        )


def _require_edits(before: Samples, after: Samples, edits: Sequence[Edit], top: int, bottom: int) -> None:
    """Raise unless rows [top, bottom) are the scan's with the edits applied in their order."""
    expected = before.copy()
    for edit in edits:
        first, last = max(top, edit.top), min(bottom, edit.top + len(edit.mask))
        if first < last:
            rows = slice(first - edit.top, last - edit.top)
            mask = edit.mask[rows]
            place = expected[first - top : last - top, edit.left : edit.left + mask.shape[1]]
            place[mask] = edit.samples[rows][mask]
    differs = (expected != after).any(axis=2)
    if differs.any():
        row, column = (int(places[0]) for places in np.nonzero(differs))
        raise PreservationError(
            f"the pixel in row {top + row}, column {column} of the result is {after[row, column].tolist()}; "
            f"{expected[row, column].tolist()}, as repaired, expected."
        )


def _compare_infrared(before: Samples | None, after: Samples | None, top: int) -> None:
    if before is None and after is None:
        return
    if before is None or after is None or not np.array_equal(before, after):
        raise PreservationError(f"the infrared plane changed in the rows from {top}.")
