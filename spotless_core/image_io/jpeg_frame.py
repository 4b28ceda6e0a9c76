"""What a JPEG's frame header and quantisation tables say: components, their sampling, and the steps.

Comes in: the contents of SOF and DQT segments. Goes out: checked values. Source: ITU-T T.81, annex B.2.
"""

import struct
from dataclasses import dataclass

from spotless_core.errors import ScanError, UnsupportedScanError

CHROMA_RATIOS = {(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)}
"""Pixels per chroma sample across and down: 4:4:4, 4:2:2, 4:4:0, 4:2:0, 4:1:1."""

MAX_PICTURE_BYTES = 1_800_000_000
"""A JPEG has no parts: libjpeg holds all coefficients (2 bytes each) beside the decoded frame. The networks need the
rest of the 3 GB that a worker may take."""
COEFFICIENT_BYTES, BLOCK_PX = 2, 8


def _diagonal_order(place: int) -> tuple[int, int]:
    row, column = divmod(place, 8)
    diagonal = row + column
    return diagonal, row if diagonal % 2 else column


ZIGZAG = tuple(sorted(range(64), key=_diagonal_order))
"""Place in the file → place in natural order (rows of 8)."""


@dataclass(frozen=True, slots=True)
class Component:
    """One colour component. `across`, `down`: its blocks per MCU. `x_ratio`, `y_ratio`: pixels per sample."""

    identifier: int
    across: int
    down: int
    x_ratio: int
    y_ratio: int
    table: int


def read_components(content: bytes) -> tuple[Component, ...]:
    """Read the frame's components and check their sampling."""
    parts = [tuple(content[at : at + 3]) for at in range(0, len(content), 3)]
    factors = [(sampling >> 4, sampling & 15) for _, sampling, _ in parts]
    if any(not 1 <= value <= 4 for factor in factors for value in factor):
        raise ScanError("the JPEG's sampling factors are damaged. Scan it again.")
    if len(parts) == 1:
        return (Component(parts[0][0], 1, 1, 1, 1, parts[0][2]),)  # an only component has an MCU of one block
    # Black is sampled as finely as luminance.
    if factors[0] not in CHROMA_RATIOS or factors[1:] != [(1, 1), (1, 1), factors[0]][: len(parts) - 1]:
        raise UnsupportedScanError(f"a JPEG of unusual sampling {factors}; 4:4:4 to 4:1:1 expected. Export it as TIFF.")
    across, down = factors[0]
    return tuple(
        Component(identifier, h, v, across // h, down // v, table)
        for (identifier, _, table), (h, v) in zip(parts, factors, strict=True)
    )


def require_bounded(width: int, height: int, components: tuple[Component, ...]) -> None:
    """Raise `UnsupportedScanError` if the picture takes more than `MAX_PICTURE_BYTES` to restore."""
    blocks = sum(
        -(-width // (BLOCK_PX * component.x_ratio)) * -(-height // (BLOCK_PX * component.y_ratio))
        for component in components
    )
    needed = blocks * BLOCK_PX**2 * COEFFICIENT_BYTES + width * height * len(components)
    if needed > MAX_PICTURE_BYTES:
        most = MAX_PICTURE_BYTES / needed * width * height / 1e6
        raise UnsupportedScanError(
            f"a JPEG of {width}×{height} pixels, which takes {needed / 1e6:.0f} MB of memory to restore; at most "
            f"{MAX_PICTURE_BYTES / 1e6:.0f} MB, {most:.0f} megapixels of this kind, accepted. Export the scan as TIFF."
        )


def read_tables(content: bytes) -> dict[int, tuple[int, ...]]:
    """Return the tables of one DQT segment: number → 64 steps in natural order."""
    tables: dict[int, tuple[int, ...]] = {}
    position = 0
    while position < len(content):
        wide, number = content[position] >> 4, content[position] & 15
        size = 128 if wide else 64
        steps = content[position + 1 : position + 1 + size]
        if wide > 1 or number > 3 or len(steps) < size:
            raise ScanError("a quantisation table of the JPEG is damaged. Scan it again.")
        values = struct.unpack(">64H", steps) if wide else tuple(steps)
        if 0 in values:
            raise ScanError("a quantisation table of the JPEG holds a zero. Scan it again.")
        natural = [0] * 64
        for value, place in zip(values, ZIGZAG, strict=True):
            natural[place] = value
        tables[number] = tuple(natural)
        position += 1 + size
    return tables
