"""Repairs in the block domain: which 8×8 blocks a mask meets, and their new coefficients.

Comes in: the edits, the decoded frame, and the quantised blocks as the file has them. Goes out: blocks in which the
difference to the repair was added, with the file's own quantisation steps; what the mask does not meet is not written.
As the transform is linear, only the difference is quantised: pixels beside the mask in the same block move by rounding
alone. Sources: ITU-T T.81, annex A.3.3 (transform); ITU-T T.871, section 7 (colour); libjpeg, jdcolor.c (YCCK: Y, Cb
and Cr of 255 - C, 255 - M, 255 - Y).
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Mask, Samples
from spotless_core.errors import ScanError
from spotless_core.image_io.edited_rows import EditedRows
from spotless_core.image_io.header_jpeg import JpegHeader
from spotless_core.image_io.jpeg_frame import Component
from spotless_core.image_io.turbojpeg import Blocks

AnyArray: TypeAlias = NDArray[np.generic]
"""Stored pixels, as numpy's own functions return them."""
BLOCK = 8
LEVEL_SHIFT = 128.0
MAX_SAMPLE = np.float32(255)
BLACK = 3
"""The index of K: never part of a colour transform."""
MAX_COEFFICIENT = 1023
"""The largest magnitude that every 8-bit JPEG can code."""
LEAST_COEFFICIENT = -1024
"""Of a black block's mean, the one that is larger. Damaged data decodes to more, which no encoder can write again."""
YCC_WEIGHTS = np.array(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]], np.float32
)
YCC_OFFSETS = (0.0, 128.0, 128.0)


def _cosines() -> NDArray[np.float32]:
    frequency, place = np.mgrid[:BLOCK, :BLOCK]
    waves = np.cos((2 * place + 1) * frequency * np.pi / (2 * BLOCK)) * np.sqrt(2 / BLOCK)
    waves[0] /= np.sqrt(2)
    return waves.astype(np.float32)


COSINES = _cosines()
"""8×8 orthonormal: frequency by place. Coefficients = COSINES · samples · COSINESᵀ."""


def touched_blocks(mask: Mask, component: Component) -> Mask:
    """Return rows×columns of the component's blocks: True where the H×W `mask` meets the block's pixels."""
    high, wide = BLOCK * component.y_ratio, BLOCK * component.x_ratio
    height, width = mask.shape
    padded = np.pad(mask, ((0, -height % high), (0, -width % wide)))
    rows, columns = padded.shape[0] // high, padded.shape[1] // wide
    return np.logical_or.reduce(padded.reshape(rows, high, columns, wide), axis=(1, 3), dtype=np.bool_)


def reachable_pixels(mask: Mask, header: JpegHeader) -> Mask:
    """Return the H×W pixels that new blocks under `mask` may change.

    These are the pixels of the blocks, and one pixel around them in a direction in which the chroma has fewer samples,
    since decoders interpolate between those.
    """
    height, width = mask.shape
    reached = np.zeros_like(mask)
    for component in {(item.x_ratio, item.y_ratio): item for item in header.components}.values():
        grid = touched_blocks(mask, component)
        for axis, ratio in ((0, component.y_ratio), (1, component.x_ratio)):
            grid = np.repeat(grid, BLOCK * ratio, axis=axis)
        pixels = grid[:height, :width].copy()
        if component.y_ratio > 1:
            pixels[1:] |= grid[: height - 1, :width]
            pixels[:-1] |= grid[1:height, :width]
        if component.x_ratio > 1:
            tall = pixels.copy()
            pixels[:, 1:] |= tall[:, :-1]
            pixels[:, :-1] |= tall[:, 1:]
        reached |= pixels
    return reached


PutKept: TypeAlias = Callable[[int, int, Blocks], Mask]
"""Called with (component, row of blocks, blocks n×8×8) to write into; returns n bool."""


def _keep_nothing(_index: int, _row: int, blocks: Blocks) -> Mask:
    return np.zeros(len(blocks), np.bool_)


class BlockEditor:
    """Writes the edits into the blocks of a JPEG as they pass by.

    `frame`: the decoded H×W×C uint8 picture, read only. `put_kept`: writes the blocks that an earlier version has for a
    row into it and returns which of them stay so. After the pass `touched_mcus` counts the MCUs with a new block.
    """

    def __init__(
        self, header: JpegHeader, frame: Samples, edited: EditedRows, put_kept: PutKept = _keep_nothing
    ) -> None:
        self._header = header
        self._frame = frame
        self._edited = edited
        self._put_kept = put_kept
        self._steps = {
            number: np.array(steps, np.float32).reshape(BLOCK, BLOCK) for number, steps in header.tables.items()
        }
        self._mcus: set[tuple[int, int]] = set()

    @property
    def touched_mcus(self) -> int:
        """How many MCUs got at least one new block."""
        return len(self._mcus)

    def visit(self, index: int, row: int, blocks: Blocks) -> None:
        """Write into one row of `blocks` (n×8×8) of component `index` what the edits change there."""
        if blocks.min() < LEAST_COEFFICIENT or blocks.max() > MAX_COEFFICIENT:
            raise ScanError("the JPEG's compressed data is damaged: it holds values beyond 8 bits. Scan it again.")
        component = self._header.components[index]
        high = BLOCK * component.y_ratio
        top, bottom = row * high, min(self._header.height, (row + 1) * high)
        if not self._edited.touch(top, bottom):
            return
        before = blocks.copy()
        is_settled = self._put_kept(index, row, blocks)
        self._repair_inplace(index, row, blocks, is_settled)
        is_new = (blocks != before).any(axis=(1, 2))
        self._mcus.update((row // component.down, int(column) // component.across) for column in np.flatnonzero(is_new))

    def _repair_inplace(self, index: int, row: int, blocks: Blocks, is_settled: Mask) -> None:
        """Write the edits into one row of blocks but those that are settled (n bool)."""
        component = self._header.components[index]
        high, wide = BLOCK * component.y_ratio, BLOCK * component.x_ratio
        top = row * high
        band = self._frame[top : min(self._header.height, top + high)].copy()
        changed = self._edited.apply_inplace(band, top)
        if not changed.any():
            return
        # Beyond the frame's edge the last pixel is repeated, as encoders do.
        missing = ((0, high - band.shape[0]), (0, len(blocks) * wide - band.shape[1]))
        changed = np.pad(changed, missing, mode="edge").reshape(high, len(blocks), wide)
        pixels = np.pad(band, (*missing, (0, 0)), mode="edge").reshape(high, len(blocks), wide, -1)
        hit = np.flatnonzero(changed.any(axis=(0, 2)) & ~is_settled)
        pixels, changed = pixels[:, hit].swapaxes(0, 1), changed[:, hit].swapaxes(0, 1)
        blocks[hit] = self._repaired(component, index, blocks[hit], pixels, changed)

    def _repaired(
        self, component: Component, index: int, old: Blocks, pixels: AnyArray, changed: Mask
    ) -> NDArray[np.int16]:
        """Return the n×8×8 blocks `old` with `pixels` (n×high×wide×C) where `changed` (n×high×wide)."""
        shape = (len(old), BLOCK, component.y_ratio, BLOCK, component.x_ratio)
        wanted = np.where(changed, self._plane(pixels, index) - LEVEL_SHIFT, 0)
        wanted = wanted.reshape(shape).mean(axis=(2, 4), dtype=np.float32)
        share = changed.reshape(shape).mean(axis=(2, 4), dtype=np.float32)
        steps = self._steps[component.table]
        # The unclipped samples: where the decoder clipped an overshoot, its value would mislead.
        current = COSINES.T @ (old * steps) @ COSINES
        difference = COSINES @ (wanted - share * current) @ COSINES.T
        new = old + np.rint(difference / steps)
        return np.clip(new, -MAX_COEFFICIENT, MAX_COEFFICIENT).astype(np.int16)

    def _plane(self, pixels: AnyArray, index: int) -> NDArray[np.float32]:
        """Return component `index` of n×high×wide×C pixels as float32 in [0, 255]."""
        colors = self._header.colors
        if colors not in {"ycc", "ycck"} or index == BLACK:
            return pixels[..., index].astype(np.float32)
        rgb = pixels[..., :3].astype(np.float32)
        if colors == "ycck":
            rgb = MAX_SAMPLE - rgb
        plane: NDArray[np.float32] = rgb @ YCC_WEIGHTS[index] + np.float32(YCC_OFFSETS[index])
        return plane
