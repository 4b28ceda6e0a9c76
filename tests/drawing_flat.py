"""BMP and PNM files of every kind, written here by hand, and by Pillow where it can."""

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 23, 17
PAM_KINDS = {1: "GRAYSCALE", 2: "GRAYSCALE_ALPHA", 3: "RGB", 4: "RGB_ALPHA"}
Frame = NDArray[np.generic]


def grainy(channels: int, bits: int = 8, height: int = HEIGHT, width: int = WIDTH) -> Frame:
    return np.random.default_rng(channels).integers(0, 1 << bits, (height, width, channels)).astype(f"u{bits // 8}")


def bmp(
    frame: Frame,
    *,
    info_size: int = 40,
    top_down: bool = False,
    dpi: float = 4000,
    profile: bytes = b"",
    gap: bytes = b"",
    tail: bytes = b"",
    filling: bytes = b"\xaa",
) -> bytes:
    """Encode h×w×1 or h×w×3 uint8; rows are filled up with `filling`, `gap` lies between header and picture."""
    height, width, channels = frame.shape
    palette = b"".join(bytes((grey, grey, grey, 0)) for grey in range(256)) if channels == 1 else b""
    start = 14 + info_size + len(palette) + len(gap)
    stored = frame if top_down else frame[::-1]
    rows = [row[:, ::-1].tobytes() for row in stored]
    data = b"".join(row + filling * (-len(row) % 4) for row in rows)
    metre = round(dpi / 0.0254)
    info = struct.pack(
        "<IiiHHIIiiII", info_size, width, -height if top_down else height, 1, 8 * channels, 0, len(data), metre, metre,
        256 if channels == 1 else 0, 0,
    )  # fmt: skip
    extra = bytearray(info_size - 40)
    if profile:
        extra[16:20] = b"DEBM"
        struct.pack_into("<II", extra, 72, start - 14 + len(data), len(profile))
    size = start + len(data) + len(profile) + len(tail)
    return b"".join(
        (b"BM", struct.pack("<IHHI", size, 0, 0, start), info, bytes(extra), palette, gap, data, profile, tail)
    )


def pnm(frame: Frame, header: bytes = b"", tail: bytes = b"") -> bytes:
    """Encode h×w×1 (P5) or h×w×3 (P6)."""
    height, width, channels = frame.shape
    largest = np.iinfo(frame.dtype).max
    kind = b"P6" if channels == 3 else b"P5"
    header = header or kind + b"\n# a scan\n%d %d\n%d\n" % (width, height, largest)
    return header + frame.astype(frame.dtype.newbyteorder(">")).tobytes() + tail


def pam(frame: Frame) -> bytes:
    height, width, channels = frame.shape
    header = f"P7\n# roll 7\nWIDTH {width}\nHEIGHT {height}\nDEPTH {channels}\nMAXVAL {np.iinfo(frame.dtype).max}\n"
    header += f"TUPLTYPE {PAM_KINDS[channels]}\nENDHDR\n"
    return header.encode() + frame.astype(frame.dtype.newbyteorder(">")).tobytes()


def by_pillow(frame: Frame, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame.squeeze(2) if frame.shape[2] == 1 else frame).save(file, kind)
    return file.getvalue()


FRAMES: dict[str, Frame] = {}
FILES: dict[str, bytes] = {}


def _add(name: str, frame: Frame, content: bytes) -> None:
    FRAMES[name], FILES[name] = frame, content


for _channels in (1, 3):
    for _size in (40, 108, 124):
        for _top_down in (False, True):
            _frame = grainy(_channels)
            _name = f"bmp {_channels} {_size} {'top-down' if _top_down else 'bottom-up'}"
            _add(_name, _frame, bmp(_frame, info_size=_size, top_down=_top_down))
    _add(f"bmp {_channels} by Pillow", grainy(_channels), by_pillow(grainy(_channels), "BMP"))
    _add(f"pnm {_channels} by Pillow", grainy(_channels), by_pillow(grainy(_channels), "PPM"))
    for _bits in (8, 16):
        _add(f"pnm {_channels} {_bits}", grainy(_channels, _bits), pnm(grainy(_channels, _bits)))
for _channels in PAM_KINDS:
    for _bits in (8, 16):
        _add(f"pam {_channels} {_bits}", grainy(_channels, _bits), pam(grainy(_channels, _bits)))
_add("bmp with all", grainy(3), bmp(grainy(3), info_size=124, profile=bytes(200), gap=b"gap!", tail=b"tail"))
_add("bmp without the last filling", grainy(1), bmp(grainy(1))[:-3])
_add("bmp of one pixel", grainy(3, 8, 1, 1), bmp(grainy(3, 8, 1, 1)))
_add("pnm with a tail", grainy(3), pnm(grainy(3), tail=b"tail of the scanner"))
