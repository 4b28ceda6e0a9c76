"""Rows of a PNG by stream: any rows, in any order, with bounded memory, and no damage unseen."""

import struct
import tracemalloc
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spotless_core.errors import ScanError
from spotless_core.image_io import png_rows
from spotless_core.image_io.header_png import SIGNATURE
from spotless_core.image_io.png import PngScan
from spotless_core.image_io.png_stream import chunk

COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def ihdr(height: int, width: int, channels: int, bits: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, COLOR_TYPES[channels], 0, 0, 0))


def filtered_png(height: int, width: int, channels: int, bits: int, seed: int, idat_bytes: int) -> bytes:
    """A PNG of random bytes under random filters, some of its IDAT chunks empty: any bytes are a valid picture."""
    random = np.random.default_rng(seed)
    rows = random.integers(0, 256, (height, 1 + width * channels * bits // 8)).astype(np.uint8)
    rows[:, 0] = random.integers(0, 5, height)
    data = zlib.compress(rows.tobytes(), 1)
    idats = b"".join(chunk(b"IDAT", data[at : at + idat_bytes]) for at in range(0, len(data), idat_bytes))
    empty = chunk(b"IDAT", b"")
    return SIGNATURE + ihdr(height, width, channels, bits) + empty + idats + empty + chunk(b"IEND", b"")


def opened(tmp_path: Path, content: bytes) -> PngScan:
    (tmp_path / "scan.png").write_bytes(content)
    return PngScan(tmp_path / "scan.png", 2000)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 30)),
    channels=st.sampled_from([1, 2, 3, 4]),
    bits=st.sampled_from([8, 16]),
    seed=st.integers(0, 2**32 - 1),
    idat_bytes=st.integers(2, 500),  # more than 10,000 chunks are refused
    band_bytes=st.integers(1, 2000),
    reads=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=6),
)
def test_any_rows_in_any_order_are_what_libpng_reads(
    tmp_path: Path,
    size: tuple[int, int],
    channels: int,
    bits: int,
    seed: int,
    idat_bytes: int,
    band_bytes: int,
    reads: list[tuple[int, int]],
) -> None:
    height, width = size
    content = filtered_png(height, width, channels, bits, seed, idat_bytes)
    whole = imagecodecs.png_decode(content).reshape(height, width, channels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png_rows, "BAND_BYTES", band_bytes)
        patch.setattr(png_rows, "CHECKPOINT_BYTES", 3 * band_bytes)
        patch.setattr(png_rows, "PAYLOAD_BYTES", 77)
        with opened(tmp_path, content) as scan:
            for one, other in reads:
                top, bottom = sorted((min(one, height), min(other, height)))
                expected = whole[top:bottom, :, : scan.info.color_channels]
                assert np.array_equal(scan.read_rows(top, bottom), expected)


def test_a_frame_is_never_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png_rows, "BAND_BYTES", 100_000)
    monkeypatch.setattr(png_rows, "PAYLOAD_BYTES", 100_000)
    height, width = 4000, 500

    with opened(tmp_path, filtered_png(height, width, 3, 16, 1, 1 << 20)) as scan:
        tracemalloc.start()
        for top in range(0, height, 50):
            scan.read_rows(top, top + 50)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert peak < height * width * 6 / 8


def raw_png(data: bytes) -> bytes:
    return SIGNATURE + ihdr(8, 5, 1, 8) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


ROWS = bytes(8 * 6)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (zlib.compress(ROWS[:-6]), "before its last row"),
        (zlib.compress(ROWS + b"\0"), "more picture data"),
        (zlib.compress(ROWS)[:-4] + b"abcd", "damaged"),
        (zlib.compress(ROWS)[:-4], "no checksum"),
        (zlib.compress(ROWS)[:-6] + bytes(6), "damaged"),
        (zlib.compress(b"\5" + ROWS[1:]), "damaged"),
        (b"not deflate data at all", "damaged"),
    ],
)
def test_damaged_picture_data_is_refused(tmp_path: Path, data: bytes, word: str) -> None:
    with opened(tmp_path, raw_png(data)) as scan:
        for _ in range(2):
            with pytest.raises(ScanError, match=word):
                scan.read_rows(0, 8)


def test_rows_read_after_a_damaged_one_are_still_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png_rows, "BAND_BYTES", 6)
    rows = bytearray(np.random.default_rng(1).integers(0, 256, 48).astype(np.uint8).tobytes())
    rows[::6] = bytes(8)
    rows[36] = 9  # a filter that does not exist, in row 6
    expected = np.frombuffer(bytes(rows), np.uint8).reshape(8, 6)[:, 1:]

    with opened(tmp_path, raw_png(zlib.compress(bytes(rows)))) as scan:
        with pytest.raises(ScanError):
            scan.read_rows(2, 8)

        assert np.array_equal(scan.read_rows(3, 6)[..., 0], expected[3:6])
