"""What the scans of all formats have in common: they own one open file, and are walked through in bands of rows.

The formats add the rest of the `ScanFile` protocol.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from spotless_core.arrays.kinds import Mask, Samples, require_mask
from spotless_core.image_io.positional_file import PositionalFile
from spotless_core.image_io.scan_file import ScanFile
from spotless_core.photo import ScanInfo

Header = TypeVar("Header")


class ScanBase(Generic[Header]):
    """Opens a file, checks its header, and closes it; on an error nothing stays open."""

    info: ScanInfo

    def __init__(self, path: Path, check: Callable[[PositionalFile], Header]) -> None:
        self._file = PositionalFile(path)
        try:
            self._header = check(self._file)
        except BaseException:
            self._file.close()
            raise

    def keep_from(self, base: ScanFile, mask: Mask, base_mask: Mask) -> tuple[str, ...]:
        """Return no note: samples are kept as they are; nothing has to be prepared for it."""
        del base, mask, base_mask
        return ()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class PlainScan(ScanBase[Header]):
    """A scan without infrared, of which every sample outside the mask is kept, written in bands of rows."""

    def read_infrared_rows(self, top: int, bottom: int) -> Samples | None:
        """Return None: the format has no infrared plane."""
        del top, bottom
        return None

    def may_change(self, mask: Mask) -> Mask:
        """Return `mask`: every other sample is kept."""
        require_mask(mask, (self.info.height, self.info.width))
        return mask

    def _bands(self, row_bytes: int, band_bytes: int) -> Iterator[tuple[int, int]]:
        """Yield (first row, row behind the last) of bands of about `band_bytes`, from the top down."""
        step = max(1, band_bytes // row_bytes)
        for top in range(0, self.info.height, step):
            yield top, min(self.info.height, top + step)
