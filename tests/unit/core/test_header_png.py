"""The plain-Python checks of a PNG file: what is refused, with which class of error."""

import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from spotless_core.errors import ScanError, SpotlessError, TruncatedScanError, UnsupportedScanError
from spotless_core.image_io.header_png import SIGNATURE
from spotless_core.image_io.png import PngScan

LIMIT = 2000.0


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def ihdr(width: int = 9, height: int = 7, bits: int = 8, color: int = 2, interlaced: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, interlaced))


def grainy_png() -> bytes:
    frame = np.random.default_rng(1).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    return bytes(imagecodecs.png_encode(frame))


def opened(tmp_path: Path, content: bytes, limit: float = LIMIT) -> PngScan:
    path = tmp_path / "scan.png"
    path.write_bytes(content)
    return PngScan(path, limit)


IDAT = chunk(b"IDAT", zlib.compress(bytes(7 * 28)))
IEND = chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("header", "word"),
    [
        (ihdr(color=3), "palette"),
        (ihdr(bits=4, color=0), "4 bits"),
        (ihdr(bits=1, color=0), "1 bits"),
        (ihdr(interlaced=1), "Adam7"),
        (ihdr() + chunk(b"acTL", bytes(8)), "animated"),
        (ihdr() + chunk(b"NEWS", b""), "NEWS"),
        (ihdr(width=60000, height=60000), "max_megapixels"),
    ],
)
def test_a_png_that_cannot_be_kept_exactly_is_refused_with_its_reason(tmp_path: Path, header: bytes, word: str) -> None:
    with pytest.raises(UnsupportedScanError, match=word):
        opened(tmp_path, SIGNATURE + header + IDAT + IEND)


def test_picture_data_interrupted_by_another_chunk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedScanError, match="interrupted"):
        opened(tmp_path, SIGNATURE + ihdr() + IDAT + chunk(b"tEXt", b"a\0b") + IDAT + IEND)


@pytest.mark.parametrize("kept", [4, 8, 20, 60, -30, -12, -1])
def test_a_png_cut_anywhere_is_truncated_and_may_be_tried_again(tmp_path: Path, kept: int) -> None:
    with pytest.raises(TruncatedScanError):
        opened(tmp_path, grainy_png()[:kept])


def test_a_png_without_its_end_chunk_is_truncated(tmp_path: Path) -> None:
    with pytest.raises(TruncatedScanError):
        opened(tmp_path, SIGNATURE + ihdr() + IDAT)


def test_a_flipped_bit_in_the_picture_data_is_found_by_its_checksum(tmp_path: Path) -> None:
    content = bytearray(grainy_png())
    content[len(content) // 2] ^= 4

    with pytest.raises(ScanError, match="checksum"):
        opened(tmp_path, bytes(content))


def test_a_header_that_claims_more_pixels_than_its_data_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="cannot hold"):
        opened(tmp_path, SIGNATURE + ihdr(width=20000, height=20000) + IDAT + IEND)


def test_the_resolution_comes_from_the_phys_chunk_and_the_orientation_from_exif(tmp_path: Path) -> None:
    exif = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 274, 3, 1, 6, 0, 0)
    extra = chunk(b"pHYs", struct.pack(">IIB", 157480, 157480, 1)) + chunk(b"eXIf", exif) + chunk(b"iCCP", b"x")

    with opened(tmp_path, SIGNATURE + ihdr() + extra + IDAT + IEND) as scan:
        assert (scan.info.dpi, scan.info.orientation, scan.info.has_icc_profile) == (4000.0, 6, True)


def test_an_aspect_ratio_is_not_taken_for_a_resolution(tmp_path: Path) -> None:
    with opened(tmp_path, SIGNATURE + ihdr() + chunk(b"pHYs", struct.pack(">IIB", 1, 1, 0)) + IDAT + IEND) as scan:
        assert scan.info.dpi is None


def test_mutated_png_files_raise_only_our_own_errors(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    good = grainy_png()
    refused = 0

    for _ in range(400):
        content = bytearray(good)
        for _ in range(int(random.integers(1, 4))):
            place = int(random.integers(0, len(content) if random.random() < 0.5 else 60))
            content[place] = int(random.choice([0, 1, 127, 128, 255, int(random.integers(256))]))
        if random.random() < 0.2:
            content = content[: int(random.integers(len(content)))]
        if random.random() < 0.5:
            content = _with_right_checksums(bytes(content))
        try:
            with opened(tmp_path, bytes(content)) as scan:
                scan.read_rows(0, scan.info.height)
        except SpotlessError:
            refused += 1

    assert refused > 100


def _with_right_checksums(content: bytes) -> bytearray:
    """Repair the checksums after a mutation, so that the decoder gets to see the damage."""
    repaired = bytearray(content)
    position = 8
    while position + 12 <= len(repaired):
        length = int.from_bytes(repaired[position : position + 4], "big")
        end = position + 8 + length
        if end + 4 > len(repaired):
            break
        repaired[end : end + 4] = zlib.crc32(repaired[position + 4 : end]).to_bytes(4, "big")
        position = end + 4
    return repaired
