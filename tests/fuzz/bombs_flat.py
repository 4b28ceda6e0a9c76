"""JPEG, PNG, BMP and PNM files made to exhaust or confuse a reader, drawn at test time; see `bombs_tiff`."""

import struct
import zlib

import cv2
import numpy as np
from fuzz.bombs_tiff import RESTORED, SCAN, SHORTENED, TIFF_BOMBS, UNSUPPORTED, Bomb, zeros_deflated
from fuzz.seeds import grainy, png_chunk

SIDE = 16


def jpeg(*options: int, channels: int = 3) -> bytes:
    """A sound JPEG of 16×16 pixels."""
    samples = cv2.GaussianBlur(grainy(SIDE, SIDE, channels, dtype="u1"), (0, 0), 1.0)
    is_made, data = cv2.imencode(".jpg", samples, list(options))
    assert is_made
    return data.tobytes()


def _claiming(data: bytes, width: int, height: int) -> bytes:
    """The JPEG with other sizes in its frame header."""
    place = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def _huge_progressive() -> bytes:
    return _claiming(jpeg(cv2.IMWRITE_JPEG_PROGRESSIVE, 1), 65500, 65500)


def _million_restarts() -> bytes:
    data = jpeg(cv2.IMWRITE_JPEG_RST_INTERVAL, 1)
    return data[:-2] + b"".join(b"\xff%c" % (0xD0 + index % 8) for index in range(10**6)) + data[-2:]


def _many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes `count` times."""
    data = jpeg(cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + data[-2:]


def _many_segments() -> bytes:
    data = jpeg()
    return data[:2] + b"\xff\xfe\0\x02" * 10**6 + data[2:]


def _exif_of_nonsense() -> bytes:
    data = jpeg()
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" * 5000
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


def png(*between: bytes, size: int = SIDE, data: bytes | None = None, bits: int = 8) -> bytes:
    """A grey PNG with these chunks before its picture, `data` as its compressed picture."""
    rows = np.zeros((SIDE, 1 + SIDE), np.uint8).tobytes() if data is None else b""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, bits, 0, 0, 0, 0))
    picture = png_chunk(b"IDAT", zlib.compress(rows) if data is None else data)
    return b"".join((b"\x89PNG\r\n\x1a\n", head, *between, picture, png_chunk(b"IEND", b"")))


def _million_data_chunks() -> bytes:
    whole = png()
    start = whole.index(b"IDAT") - 4
    return whole[:start] + png_chunk(b"IDAT", b"") * 10**6 + whole[start:]


def bmp(width: int, height: int, *, data_at: int = 54, bits: int = 24) -> bytes:
    """A BMP of 1 KiB of samples that claims these sizes."""
    samples = bytes(1024)
    head = struct.pack("<2sIHHI", b"BM", 54 + len(samples), 0, 0, data_at)
    return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, 0, 0, 0, 0, 0) + samples


def pnm(head: bytes) -> bytes:
    """A PNM of 1 KiB of samples behind this head."""
    return head + bytes(1024)


FLAT_BOMBS: dict[str, Bomb] = {
    "jpeg-65500-squared-progressive": Bomb(_huge_progressive, UNSUPPORTED, "max_megapixels"),
    "jpeg-million-restart-markers": Bomb(_million_restarts, RESTORED),
    "jpeg-10000-scans": Bomb(lambda: _many_scans(10_000), UNSUPPORTED, "scans"),
    "jpeg-million-segments": Bomb(_many_segments, UNSUPPORTED, "segments"),
    "jpeg-exif-of-65535-tags": Bomb(_exif_of_nonsense, RESTORED),
    "jpeg-of-0-columns": Bomb(lambda: _claiming(jpeg(), 0, SIDE), SCAN, "0×16"),
    "jpeg-of-0-rows": Bomb(lambda: _claiming(jpeg(), SIDE, 0), SCAN, "16×0"),
    "png-50000-squared": Bomb(lambda: png(size=50_000, data=zeros_deflated(2385)), UNSUPPORTED, "max_megapixels"),
    "png-2-gi-squared": Bomb(lambda: png(size=0x7FFFFFFF), SCAN, "1 to"),
    "png-of-0-pixels": Bomb(lambda: png(size=0), SCAN, "0×0"),
    "png-1-gib-of-picture-data": Bomb(lambda: png(data=zeros_deflated(1024)), SCAN, "picture data"),
    "png-512-mb-profile": Bomb(lambda: png(png_chunk(b"iCCP", b"name\0\0" + zeros_deflated(512))), RESTORED),
    "png-512-mb-text": Bomb(lambda: png(png_chunk(b"zTXt", b"Comment\0\0" + zeros_deflated(512))), RESTORED),
    "png-512-mb-international-text": Bomb(
        lambda: png(png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + zeros_deflated(512))), RESTORED
    ),
    "png-million-chunks": Bomb(lambda: png(png_chunk(b"tEXt", b"a\0b") * 10**6), UNSUPPORTED, "chunks"),
    "png-million-empty-data-chunks": Bomb(_million_data_chunks, UNSUPPORTED, "chunks"),
    "png-chunk-of-2-gib": Bomb(lambda: png(b"\x7f\xff\xff\xfftEXt"), SHORTENED, "tEXt"),
    "bmp-2-gi-squared": Bomb(lambda: bmp(0x7FFFFFFF, 0x7FFFFFFF), SCAN, "1 to"),
    "bmp-40000-squared": Bomb(lambda: bmp(40_000, 40_000), SHORTENED, "4800000054 bytes"),
    "bmp-of-least-height": Bomb(lambda: bmp(16, -0x80000000), SCAN, "1 to"),
    "bmp-of-0-columns": Bomb(lambda: bmp(0, 16), SCAN, "0×16"),
    "bmp-samples-in-its-header": Bomb(lambda: bmp(4, 4, data_at=2), SCAN, "own header"),
    "pnm-width-of-a-million-digits": Bomb(lambda: pnm(b"P6 " + b"9" * 10**6 + b" 4 255\n"), SCAN, "header is damaged"),
    "pnm-remark-without-end": Bomb(lambda: pnm(b"P6 #" + b"x" * 10**7), SCAN, "header is damaged"),
    "pnm-blanks-without-end": Bomb(lambda: pnm(b"P6" + b" " * 10**7), SCAN, "header is damaged"),
    "pnm-million-remarks": Bomb(lambda: pnm(b"P6\n" + b"#\n" * 10**6 + b"4 4 255\n"), SCAN, "header is damaged"),
    "pnm-40000-squared": Bomb(lambda: pnm(b"P5 40000 40000 65535\n"), SHORTENED, "3200000021 bytes"),
    "pnm-of-0-columns": Bomb(lambda: pnm(b"P6 0 16 255\n"), SCAN, "0×16"),
}
BOMBS = {**TIFF_BOMBS, **FLAT_BOMBS}
