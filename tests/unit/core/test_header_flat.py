"""The plain-Python checks of BMP, PNM and PAM files: what is refused, with which class of error."""

import struct
import time
from pathlib import Path

import numpy as np
import pytest
from drawing_flat import bmp, grainy, pam, pnm

from spotless_core.errors import ScanError, SpotlessError, TruncatedScanError, UnsupportedScanError
from spotless_core.image_io.header_flat import FlatHeader, check_bmp, check_pnm
from spotless_core.image_io.positional_file import PositionalFile


def checked(tmp_path: Path, content: bytes, limit: float = 10.0) -> FlatHeader:
    (tmp_path / "scan").write_bytes(content)
    file = PositionalFile(tmp_path / "scan")
    try:
        return (check_bmp if content[:2] == b"BM" else check_pnm)(file, limit)
    finally:
        file.close()


def patched(content: bytes, offset: int, layout: str, value: int) -> bytes:
    changed = bytearray(content)
    struct.pack_into(layout, changed, offset, value)
    return bytes(changed)


RGB, GREY = bmp(grainy(3)), bmp(grainy(1))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (patched(RGB, 14, "<I", 12), "header of 12 bytes"),
        (patched(RGB, 28, "<H", 32), "32 bits per pixel"),
        (patched(GREY, 30, "<I", 1), "compression 1"),
        (patched(GREY, 46, "<I", 16), "palette of 16"),
        (patched(GREY, 14 + 40 + 4 * 7, "<B", 99), "colour palette"),
        (patched(RGB, 18, "<i", 900_000), "max_megapixels"),
        (b"P4\n8 8\n" + bytes(8), "bitmap"),
        (b"P2\n2 2\n255\n1 2 3 4", "plain grey"),
        (b"Pf\n2 2\n-1.0\n" + bytes(16), "float"),
        (b"P5\n2 2\n4095\n" + bytes(8), "largest value is 4095"),
        (b"P5\n60000 60000\n255\n", "max_megapixels"),
        (pnm(grainy(3)) + pnm(grainy(3)), "several pictures"),
        (pam(grainy(3)).replace(b"TUPLTYPE RGB", b"TUPLTYPE CMY"), "CMY"),
        (pam(grainy(3)).replace(b"DEPTH 3", b"DEPTH 5"), "5 channels"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_reason(tmp_path: Path, content: bytes, word: str) -> None:
    with pytest.raises(UnsupportedScanError, match=word):
        checked(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (patched(RGB, 26, "<H", 3), "3 planes"),
        (patched(RGB, 18, "<i", -5), "claims -5"),
        (patched(RGB, 22, "<i", 0), "claims 17×0"),
        (patched(RGB, 10, "<I", 20), "within its own header"),
        (patched(GREY, 10, "<I", 60), "within its own header"),
        (b"P5\n0 4\n255\n", "claims 0×4"),
        (b"P6 a b", "header is damaged"),
        (b"P6\n4 4\n255X" + bytes(48), "header is damaged"),
        (pam(grainy(3)).replace(b"HEIGHT", b"TALL"), "PAM's header"),
    ],
)
def test_a_damaged_header_is_refused_with_its_reason(tmp_path: Path, content: bytes, word: str) -> None:
    with pytest.raises(ScanError, match=word) as raised:
        checked(tmp_path, content)

    assert not raised.value.is_retryable


@pytest.mark.parametrize("content", [RGB, GREY, pnm(grainy(3, 16)), pam(grainy(4))], ids=["rgb", "grey", "pnm", "pam"])
def test_a_file_cut_anywhere_is_truncated_and_may_be_tried_again(tmp_path: Path, content: bytes) -> None:
    for kept in (3, 9, 16, 30, 50, len(content) // 2, len(content) - 40):
        with pytest.raises(TruncatedScanError):
            checked(tmp_path, content[:kept])


def test_a_profile_beyond_the_end_is_truncated(tmp_path: Path) -> None:
    content = bmp(grainy(3), info_size=124, profile=bytes(300))

    assert checked(tmp_path, content).has_icc_profile
    with pytest.raises(TruncatedScanError, match="profile"):
        checked(tmp_path, content[:-100])


def test_comments_may_stand_anywhere_in_a_pnm_header(tmp_path: Path) -> None:
    header = b"P6 # scanimage\n#x\n  17\t#width\n 23\n# depth\n255\n"

    found = checked(tmp_path, pnm(grainy(3), header))

    assert (found.width, found.height, found.data_start) == (17, 23, len(header))


@pytest.mark.parametrize("filling", [b" ", b"#", b"# 1 ", b"1 #\n"])
def test_a_header_that_never_ends_is_refused_quickly(tmp_path: Path, filling: bytes) -> None:
    started = time.process_time()

    with pytest.raises(ScanError):
        checked(tmp_path, b"P5" + filling * 60_000)

    assert time.process_time() - started < 1


@pytest.mark.parametrize("good", [RGB, GREY, pnm(grainy(1)), pam(grainy(3))], ids=["rgb", "grey", "pnm", "pam"])
def test_mutated_headers_raise_only_our_own_errors(tmp_path: Path, good: bytes) -> None:
    random, refused = np.random.default_rng(7), 0

    for _ in range(300):
        content = bytearray(good)
        for place in random.integers(2, 70, int(random.integers(1, 4))):
            content[place] = int(random.choice([0, 1, 10, 32, 35, 57, 127, 128, 255, int(random.integers(256))]))
        try:
            header = checked(tmp_path, bytes(content))
        except SpotlessError:
            refused += 1
        else:
            assert header.data_end <= len(content)

    assert refused > 50
