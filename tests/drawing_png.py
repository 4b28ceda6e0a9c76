"""PNG files written by hand: every colour type and depth that holds photographs, with any chunks around the picture."""

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spotless_core.image_io.header_png import SIGNATURE
from spotless_core.image_io.png import PngScan
from spotless_core.image_io.png_stream import chunk
from spotless_core.photo import Edit

HEIGHT, WIDTH = 61, 47
COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
ALL_KINDS = [(channels, dtype) for channels in (1, 2, 3, 4) for dtype in (np.uint8, np.uint16)]


def grainy_frame(channels: int, dtype: type) -> NDArray:
    """Draw a slope with grain in all values of the depth, h×w×channels."""
    random = np.random.default_rng(channels)
    scale = np.iinfo(dtype).max
    slope = np.linspace(0.1, 0.9, WIDTH)[None, :, None] * np.linspace(1, 0.8, channels)
    return ((slope + random.normal(0, 0.05, (HEIGHT, WIDTH, channels))).clip(0, 1) * scale).astype(dtype)


def encoded(
    frame: NDArray, extra: bytes = b"", between: bytes = b"", tail: bytes = b"", idat_bytes: int = 700
) -> bytes:
    """Write a PNG by hand: `extra` chunks before, `between` after the picture, `tail` after IEND, many IDAT chunks."""
    height, width, channels = frame.shape
    header = struct.pack(">IIBBBBB", width, height, frame.itemsize * 8, COLOR_TYPES[channels], 0, 0, 0)
    rows = frame.astype(frame.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows), 9)
    idats = b"".join(chunk(b"IDAT", data[at : at + idat_bytes]) for at in range(0, len(data), idat_bytes))
    return SIGNATURE + chunk(b"IHDR", header) + extra + idats + between + chunk(b"IEND", b"") + tail


def speck(frame: NDArray, top: int = 20, left: int = 10, size: int = 6, colors: int | None = None) -> Edit:
    """A round repair whose samples differ from the frame also outside its mask."""
    dtype = frame.dtype
    colors = colors or (3 if frame.shape[2] >= 3 else 1)
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    samples = np.full((size, size, colors), np.iinfo(dtype).max // 3, dtype)
    return Edit(top, left, samples, rows**2 + columns**2 <= (size / 2) ** 2)


def frame_mask(edit: Edit) -> NDArray[np.bool_]:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[edit.top : edit.top + edit.mask.shape[0], edit.left : edit.left + edit.mask.shape[1]] = edit.mask
    return mask


def chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    found, position = [], 8
    while position < len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        found.append((content[position + 4 : position + 8], content[position : position + 12 + length]))
        position += 12 + length
        if found[-1][0] == b"IEND":
            break
    return found


def opened(tmp_path: Path, content: bytes) -> PngScan:
    path = tmp_path / "scan.png"
    path.write_bytes(content)
    return PngScan(path, 2000.0)
