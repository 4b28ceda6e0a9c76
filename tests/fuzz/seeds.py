"""Small sound files of every format, drawn at test time: what the mutants are made of.

Each list holds layouts that scanners and editors write, so that a mutation meets every path of the readers. Files of a
kind that a reader refuses today are among them: they must be refused as well when they are damaged.
"""

import io
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

HEIGHT, WIDTH = 34, 21
"""Odd, several strips and 8×8 blocks high, and small: a mutant costs a millisecond."""
DNG_TAGS = [(50706, 1, 4, b"\1\4\0\0", True), (51111, 1, 16, bytes(range(16)), True)]
EXIF = struct.pack("<2sHI H HHIHH HHII I II", b"II", 42, 8, 2, 274, 3, 1, 1, 0, 282, 5, 1, 38, 0, 4000, 1)


def draw_seeds(kind: str) -> list[bytes]:
    """Return the seeds of one kind of file."""
    return SEEDS[kind]()


def grainy(*shape: int, dtype: str = "u2", seed: int = 1) -> NDArray[np.generic]:
    """Mid grey with grain."""
    full = 1.0 if dtype == "f4" else float(np.iinfo(dtype).max)
    noise = np.random.default_rng(seed).normal(full / 2, full / 30, shape)
    return noise.clip(0, full).astype(dtype)


def _tiff_seeds(*, is_big: bool = False) -> list[bytes]:
    colors, grey = grainy(HEIGHT, WIDTH, 3), grainy(HEIGHT, WIDTH)
    with_infrared = grainy(HEIGHT, WIDTH, 4)
    eight = grainy(HEIGHT, WIDTH, 3, dtype="u1")
    return [
        _tiff(is_big, colors),
        _tiff(is_big, colors, compression="lzw", predictor=True),
        _tiff(is_big, colors, compression="lzw"),
        _tiff(is_big, colors, compression="zlib", predictor=True),
        _tiff(is_big, eight, compression="zlib", iccprofile=b"\0" * 130),
        _tiff(is_big, colors, byteorder=">", compression="lzw", predictor=True, resolution=(4000, 4000)),
        _tiff(is_big, eight, tile=(16, 16), rowsperstrip=None, compression="zlib"),
        _tiff(is_big, np.moveaxis(colors, 2, 0), planarconfig="separate", compression="lzw"),
        _tiff(is_big, grey, photometric="minisblack"),
        _tiff(is_big, grey, photometric="miniswhite", compression="zlib", predictor=True),
        _tiff(is_big, with_infrared, extrasamples=["unspecified"], compression="lzw"),
        _tiff(is_big, with_infrared, extrasamples=["unassalpha"]),
        _tiff(is_big, with_infrared, photometric="separated", compression="lzw"),
        _tiff(is_big, grainy(HEIGHT, WIDTH, 3, dtype="f4"), compression="zlib", predictor=True),
        _tiff(is_big, colors, compression="zstd"),
        _tiff(is_big, colors, compression="packbits"),
        _tiff(is_big, colors, compression="lzma"),
        _tiff(is_big, eight, compression="jpeg"),
        _tiff(is_big, eight, compression="jpeg", photometric="ycbcr", tile=(16, 16), rowsperstrip=None),
        _pages(is_big, colors, grey),
        _pages(is_big, colors, grey, is_marked=True),
        _tiff(is_big, colors, photometric="linear_raw", compression="zlib", extratags=DNG_TAGS),
        _with_preview(is_big, colors),
    ]


def _tiff(is_big: bool, samples: NDArray[np.generic], **options: object) -> bytes:
    file = io.BytesIO()
    settings = {"photometric": "rgb", "metadata": None, "software": False, "rowsperstrip": 8, **options}
    tifffile.imwrite(file, samples, bigtiff=is_big, **settings)
    return file.getvalue()


def _pages(
    is_big: bool, colors: NDArray[np.generic], infrared: NDArray[np.generic], *, is_marked: bool = False
) -> bytes:
    """A colour page and a grey page of the same size; `is_marked`: with NewSubfileType 4, as infrared is."""
    file = io.BytesIO()
    plain = {"metadata": None, "software": False, "rowsperstrip": 8}
    with tifffile.TiffWriter(file, bigtiff=is_big) as writer:
        writer.write(colors, photometric="rgb", compression="lzw", **plain)
        writer.write(infrared, photometric="minisblack", subfiletype=int(is_marked), **plain)
    if is_marked:
        with tifffile.TiffFile(io.BytesIO(file.getvalue())) as tiff:
            file.seek(tiff.pages[1].tags[254].valueoffset)
        file.write(struct.pack("<I", 4))
    return file.getvalue()


def _with_preview(is_big: bool, colors: NDArray[np.generic]) -> bytes:
    """A page with a reduced picture in a SubIFD."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file, bigtiff=is_big) as writer:
        plain = {"photometric": "rgb", "metadata": None, "software": False, "rowsperstrip": 8}
        writer.write(colors, subifds=1, compression="zlib", **plain)
        writer.write(np.ascontiguousarray(colors[::2, ::2]), subfiletype=1, **plain)
    return file.getvalue()


def _jpeg_seeds() -> list[bytes]:
    colors = cv2.GaussianBlur(grainy(HEIGHT, WIDTH, 3, dtype="u1"), (0, 0), 1.0)
    samplings = (
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
    )
    seeds = [_jpeg(colors, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]) for factor in samplings]
    seeds += [
        _jpeg(colors, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        _jpeg(colors, [cv2.IMWRITE_JPEG_RST_INTERVAL, 1]),
        _jpeg(colors[:, :, 0], []),
        _jpeg(colors[:, :, 0], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    ]
    exif = b"\xff\xe1" + struct.pack(">H", 8 + len(EXIF)) + b"Exif\0\0" + EXIF
    return [*seeds, seeds[0][:2] + exif + seeds[0][2:] + b"after the end"]


def _jpeg(samples: NDArray[np.generic], options: list[int]) -> bytes:
    is_made, data = cv2.imencode(".jpg", samples, [cv2.IMWRITE_JPEG_QUALITY, 90, *options])
    assert is_made
    return data.tobytes()


def _png_seeds() -> list[bytes]:
    seeds = []
    for dtype in ("u1", "u2"):
        for channels in (1, 3, 4):
            is_made, data = cv2.imencode(".png", grainy(HEIGHT, WIDTH, channels, dtype=dtype))
            assert is_made
            seeds.append(data.tobytes())
    rich = b"".join(
        (
            png_chunk(b"gAMA", struct.pack(">I", 45455)),
            png_chunk(b"pHYs", struct.pack(">IIB", 157480, 157480, 1)),
            png_chunk(b"eXIf", EXIF),
            png_chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(200))),
            png_chunk(b"iDOT", struct.pack(">7I", 2, 0, 17, 40, 17, 17, 400)),
            png_chunk(b"tEXt", b"Comment\0a frame"),
        )
    )
    plain = seeds[4]
    return [*seeds, plain[:33] + rich + plain[33:], plain + b"after the end"]


def png_chunk(name: bytes, content: bytes) -> bytes:
    """Frame `content` as one PNG chunk."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _bmp_seeds() -> list[bytes]:
    seeds = []
    for channels in (3, 1):
        is_made, data = cv2.imencode(".bmp", grainy(HEIGHT, WIDTH, channels, dtype="u1"))
        assert is_made
        seeds.append(data.tobytes())
    upside_down = bytearray(seeds[0])
    upside_down[22:26] = struct.pack("<i", -HEIGHT)
    return [*seeds, bytes(upside_down)]


def _pnm_seeds() -> list[bytes]:
    seeds = []
    for letter, channels in ((b"P5", 1), (b"P6", 3)):
        for dtype, largest in ((">u2", b"65535"), ("u1", b"255")):
            samples = grainy(HEIGHT, WIDTH, channels, dtype=dtype)
            head = b"%s\n# a remark\n%d %d\n%s\n" % (letter, WIDTH, HEIGHT, largest)
            seeds.append(head + samples.tobytes())
    return seeds


SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "tiff": _tiff_seeds,
    "bigtiff": lambda: _tiff_seeds(is_big=True),
    "jpeg": _jpeg_seeds,
    "png": _png_seeds,
    "bmp": _bmp_seeds,
    "pnm": _pnm_seeds,
}
