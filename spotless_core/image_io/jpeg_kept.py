"""The compressed blocks of an earlier version's JPEG that a person keeps, put into the new one as they are.

Comes in: the open JPEG of that version, the mask of the repairs to be made now and the one it was made with. Goes out:
its blocks for one row at a time. A block that only kept repairs meet is the earlier version's, coefficient by
coefficient. One that a taken-back repair meets as well is made anew from the scan's; one that a new repair meets too is
the earlier version's with the difference added.
"""

import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Mask
from spotless_core.errors import PreservationError
from spotless_core.image_io.header_jpeg import JpegHeader
from spotless_core.image_io.jpeg_blocks import touched_blocks
from spotless_core.image_io.turbojpeg import Blocks, visit_blocks

Place = tuple[int, int]
"""(component, row of blocks)."""


class KeptBlocks:
    """Blocks of the earlier version's `picture` (a whole JPEG of the geometry in `header`).

    `mask`, `base_mask`: H×W bool, the repairs of the new and of the earlier version. `mixed`: how many blocks hold kept
    and changed repairs, so that they are not the earlier version's.
    """

    def __init__(self, picture: bytes, header: JpegHeader, mask: Mask, base_mask: Mask) -> None:
        self._blocks: dict[Place, Blocks] = {}
        self._columns: dict[Place, NDArray[np.intp]] = {}
        self._is_whole: dict[Place, NDArray[np.bool_]] = {}
        self.mixed = 0
        kept, taken_back, added = mask & base_mask, base_mask & ~mask, mask & ~base_mask
        for index, component in enumerate(header.components):
            held = touched_blocks(kept, component)
            usable = held & ~touched_blocks(taken_back, component)
            whole = usable & ~touched_blocks(added, component)
            self.mixed += int(np.count_nonzero(held & ~whole))
            for row in np.flatnonzero(usable.any(axis=1)).tolist():
                self._columns[index, row] = np.flatnonzero(usable[row])
                self._is_whole[index, row] = whole[row]
        if self._columns:
            visit_blocks(picture, self._take)

    def _take(self, index: int, row: int, blocks: Blocks) -> None:
        columns = self._columns.get((index, row))
        if columns is not None:
            self._blocks[index, row] = blocks[columns].copy()

    def put_inplace(self, index: int, row: int, blocks: Blocks) -> Mask:
        """Write the kept blocks of one row of component `index` into `blocks`, n×8×8; return which n must stay so."""
        place = (index, row)
        if place not in self._columns:
            return np.zeros(len(blocks), np.bool_)
        blocks[self._columns[place]] = self._blocks[place]
        return self._is_whole[place]

    def require_in(self, picture: bytes) -> None:
        """Prove that every block of `picture` which only kept repairs meet is the earlier version's.

        Raises:
            PreservationError: one is not.
            ScanError: `picture` is damaged.
        """
        differing: list[Place] = []

        def compare(index: int, row: int, blocks: Blocks) -> None:
            place = (index, row)
            if place in self._columns:
                expected = self._blocks[place][self._is_whole[place][self._columns[place]]]
                if not np.array_equal(blocks[self._is_whole[place]], expected):
                    differing.append(place)

        visit_blocks(picture, compare)
        if differing:
            raise PreservationError(
                f"kept repairs differ from the earlier version's in {len(differing)} rows of blocks."
            )
