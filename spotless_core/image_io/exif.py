"""The two facts we use of an EXIF block: orientation and resolution.

Comes in: the bytes of the block, a small TIFF as JPEG and PNG carry it. Goes out: plain values. A damaged block is not
an error, as it changes no pixel and is carried byte for byte: what it does not say soundly is not known.
"""

import struct
from dataclasses import dataclass

ORIENTATION_TAG = 274
X_RESOLUTION_TAG = 282
RESOLUTION_UNIT_TAG = 296
SHORT, RATIONAL = 3, 5
CENTIMETRE = 3
MAX_ENTRIES = 1000
DPI_RANGE = (1.0, 50000.0)
"""A resolution outside is nonsense; drum scanners end near 12,000."""


@dataclass(frozen=True, slots=True)
class ExifFacts:
    """`orientation`: 1–8, 1 where it is not given. `dpi`: along the width, None where it is not given."""

    orientation: int = 1
    dpi: float | None = None


def read_exif(block: bytes) -> ExifFacts:
    """Read the first directory of an EXIF block, beginning at its byte order mark."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < 8:
        return ExifFacts()
    orientation, resolution, unit = 1, 0.0, 2
    (offset,) = struct.unpack_from(order + "I", block, 4)
    if offset + 2 > len(block):
        return ExifFacts()
    (count,) = struct.unpack_from(order + "H", block, offset)
    for index in range(min(count, MAX_ENTRIES)):
        start = offset + 2 + 12 * index
        if start + 12 > len(block):
            break
        tag, kind, values = struct.unpack_from(order + "HHI", block, start)
        if values != 1:
            continue
        (short,) = struct.unpack_from(order + "H", block, start + 8)
        if tag == ORIENTATION_TAG and kind == SHORT:
            orientation = short if 1 <= short <= 8 else 1
        elif tag == RESOLUTION_UNIT_TAG and kind == SHORT:
            unit = short
        elif tag == X_RESOLUTION_TAG and kind == RATIONAL:
            resolution = _rational(block, order, start + 8)
    if unit not in {2, CENTIMETRE}:
        return ExifFacts(orientation)
    return ExifFacts(orientation, plausible_dpi(resolution * (2.54 if unit == CENTIMETRE else 1.0)))


def plausible_dpi(dpi: float) -> float | None:
    """Return `dpi` rounded to a tenth (metric units do not hold 4000 dpi exactly), or None if it is nonsense."""
    return round(dpi, 1) if DPI_RANGE[0] < dpi <= DPI_RANGE[1] else None


def _rational(block: bytes, order: str, start: int) -> float:
    (offset,) = struct.unpack_from(order + "I", block, start)
    if offset + 8 > len(block):
        return 0.0
    above, below = struct.unpack_from(order + "II", block, offset)
    return float(above / below) if below else 0.0
