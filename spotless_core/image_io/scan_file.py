"""What every file format offers: read rows, write a patched copy, prove the copy.

The promise: a copy written by `write_restored` differs from the scan only in
samples under the edits' masks (JPEG: only in the compressed blocks those masks touch), everything else in the file is
carried byte for byte, and an empty list of edits gives a byte-identical file. Every error is a `ScanError` or an
`OutputError`. Headers are checked in plain Python before any decoder sees the file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from spotless_core.arrays.kinds import Mask, Samples
from spotless_core.image_io.progress import OnFraction, ignore_fraction
from spotless_core.photo import Edit, Preservation, ScanInfo


@dataclass(frozen=True, slots=True)
class WriteReport:
    """What writing did: preservation level, segments (strips, tiles, MCUs) touched, bytes appended to the file.

    `notes`: what could not be carried as it was, in sentences for the receipt.
    """

    preservation: Preservation
    segments_touched: int
    bytes_appended: int
    notes: tuple[str, ...] = ()


class ScanFile(Protocol):
    """One open scan. Rows are read in stored orientation, by position, never through a memory map."""

    info: ScanInfo

    def read_rows(self, top: int, bottom: int) -> Samples:
        """Decode rows [top, bottom) as a new (bottom-top)×width×color_channels array, stored values, native dtype."""
        ...

    def read_infrared_rows(self, top: int, bottom: int) -> Samples | None:
        """Decode rows of the infrared plane as (bottom-top)×width, or None where the scan has none."""
        ...

    def may_change(self, mask: Mask) -> Mask:
        """Return the H×W samples that writing under `mask` may change: `mask` itself, or for JPEG its blocks."""
        ...

    def keep_from(self, base: "ScanFile", mask: Mask, base_mask: Mask) -> tuple[str, ...]:
        """Prepare for keeping repairs of an earlier version beyond their samples, where the format has blocks.

        `base`: the version's open image, which was made with `base_mask`. `mask`: what will be repaired now, so what
        both have is kept. H×W bool, read only. Returns what cannot be kept, in sentences for the receipt.

        Raises:
            ScanError: `base` is damaged.
        """
        ...

    def write_restored(
        self, target: Path, edits: Sequence[Edit], on_progress: OnFraction = ignore_fraction
    ) -> WriteReport:
        """Write a copy of the scan to `target` (overwritten) with the edits applied; fsync it before returning.

        `on_progress` hears often of the part that is done, in (0, 1], and of 1 at the end.
        """
        ...

    def check_restored(self, target: Path, mask: Mask) -> None:
        """Prove what decoding cannot show (metadata, other pages, untouched segments byte for byte, untouched
        JPEG coefficients) by comparing the two files; raise `PreservationError` on the first difference.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
