"""Strips too large for memory: decoded, written and compared in pieces, with the same result as whole."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from drawing_tiff_layouts import (
    WRITER_CODECS,
    Layout,
    all_layouts,
    apply_edits,
    draw,
    is_equal,
    make_edits,
    write_layout,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spotless_core.errors import ScanError, UnsupportedScanError
from spotless_core.image_io import tiff_frame, tiff_rows, tiff_segments, tiff_streams
from spotless_core.image_io.tiff import TiffScan
from spotless_core.image_io.tiff_lzw import decompress_lzw, join_lzw
from spotless_core.image_io.tiff_streams import compress_pieces, decompress_pieces
from spotless_core.photo import Edit

STREAMED = ("deflate", "lzma", "packbits", "lzw")
SINGLE_STRIPS = [
    layout
    for layout in all_layouts()
    if layout.shape == "single" and layout.codec in STREAMED and layout.kind in {"rgb", "rgbi"} and not layout.is_big
]


@pytest.fixture
def tiny_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything counts as large, and a piece is a few rows."""
    monkeypatch.setattr(tiff_segments, "LARGE_SEGMENT_BYTES", dict.fromkeys(STREAMED, 1))
    monkeypatch.setattr(tiff_segments, "PIECE_BYTES", 2000)
    monkeypatch.setattr(tiff_segments, "CHUNK_BYTES", 777)


@pytest.mark.usefixtures("tiny_pieces")
@pytest.mark.parametrize("layout", SINGLE_STRIPS[::3], ids=str)
def test_a_strip_in_pieces_is_read_and_patched_as_a_whole_one(tmp_path: Path, layout: Layout) -> None:
    samples = draw(layout)
    source, target = write_layout(tmp_path / "scan.tif", layout, samples), tmp_path / "restored.tif"
    edits, mask = make_edits(layout)

    with TiffScan(source, 10) as scan:
        rows = scan.read_rows(0, len(samples))
        scan.write_restored(target, edits)
        scan.check_restored(target, mask)

    assert is_equal(rows, np.ascontiguousarray(samples[:, :, : layout.colors]))
    after = tifffile.imread(target)
    after = after.transpose(1, 2, 0) if layout.is_planar else after
    assert is_equal(np.ascontiguousarray(after), apply_edits(samples, edits, layout.colors))


@pytest.mark.usefixtures("tiny_pieces")
@pytest.mark.parametrize("codec", STREAMED)
def test_edits_equal_to_the_scan_leave_a_large_strip_alone(tmp_path: Path, codec: str) -> None:
    layout = Layout(codec=codec, shape="single")
    samples = draw(layout)
    source, target = write_layout(tmp_path / "scan.tif", layout, samples), tmp_path / "restored.tif"

    with TiffScan(source, 10) as scan:
        scan.write_restored(target, [Edit(5, 5, samples[5:9, 5:9], np.ones((4, 4), np.bool_))])

    assert target.read_bytes() == source.read_bytes()


@pytest.mark.usefixtures("tiny_pieces")
@pytest.mark.parametrize("codec", STREAMED)
def test_a_damaged_large_strip_is_a_scan_error_or_other_samples(tmp_path: Path, codec: str) -> None:
    layout = Layout(codec=codec, shape="single")
    source = write_layout(tmp_path / "scan.tif", layout, draw(layout))
    with tifffile.TiffFile(source) as tiff:
        first, count = tiff.pages[0].dataoffsets[0], tiff.pages[0].databytecounts[0]
    content = source.read_bytes()
    random = np.random.default_rng(5)
    refused = 0

    for _ in range(60):
        data = bytearray(content)
        for place in random.integers(first, first + count, 6):
            data[place] = random.integers(0, 256)
        source.write_bytes(data)
        try:
            with TiffScan(source, 10) as scan:
                scan.read_rows(0, 1)
        except ScanError:
            refused += 1

    assert refused > 2


def runs(random: np.random.Generator, length: int) -> bytes:
    """Noise, long runs and repeated patterns: short and long strings, full tables."""
    parts: list[NDArray[np.uint8]] = []
    while sum(map(len, parts)) < length:
        kind, size = random.integers(0, 3), int(random.integers(1, 9000))
        if kind == 0:
            parts.append(random.integers(0, 256, size).astype("u1"))
        elif kind == 1:
            parts.append(np.full(size, random.integers(0, 256), "u1"))
        else:
            parts.append(np.resize(random.integers(0, 256, 7).astype("u1"), size))
    return np.concatenate(parts)[:length].tobytes()


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@settings(max_examples=40, deadline=None)
@given(
    codec=st.sampled_from(STREAMED),
    seed=st.integers(0, 1 << 16),
    rows=st.integers(1, 400),
    chunk=st.integers(1, 5000),
    piece=st.integers(1, 50),
)
def test_pieces_joined_are_the_whole(codec: str, seed: int, rows: int, chunk: int, piece: int) -> None:
    row_bytes = 97
    data = runs(np.random.default_rng(seed), rows * row_bytes)
    values = np.frombuffer(data, np.uint8).reshape(rows, row_bytes)

    stored = b"".join(compress_pieces(codec, (values[at : at + piece] for at in range(0, rows, piece))))
    back = b"".join(decompress_pieces(codec, cut(stored, chunk), 3000))

    assert back == data


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1 << 16), length=st.integers(1, 60_000), part=st.integers(1, 20_000))
def test_joined_lzw_is_read_by_another_decoder(seed: int, length: int, part: int) -> None:
    data = runs(np.random.default_rng(seed), length)

    joined = b"".join(join_lzw(imagecodecs.lzw_encode(one) for one in cut(data, part)))

    assert bytes(imagecodecs.lzw_decode(joined, out=length)) == data
    assert b"".join(decompress_lzw([imagecodecs.lzw_encode(data)], 1000)) == data


def test_a_codec_that_cannot_be_cut_is_refused_where_its_strip_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff_frame, "MAX_WHOLE_BYTES", 1000)
    layout = Layout(codec="zstd", shape="single")
    source = write_layout(tmp_path / "scan.tif", layout, draw(layout))

    with pytest.raises(UnsupportedScanError, match="compressed with zstd"):
        TiffScan(source, 10)


@pytest.mark.parametrize("codec", STREAMED)
def test_a_single_strip_never_lies_in_memory_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str) -> None:
    monkeypatch.setattr(tiff_segments, "LARGE_SEGMENT_BYTES", dict.fromkeys(STREAMED, 1 << 20))
    monkeypatch.setattr(tiff_segments, "PIECE_BYTES", 1 << 18)
    monkeypatch.setattr(tiff_segments, "CHUNK_BYTES", 1 << 16)
    monkeypatch.setattr(tiff_streams, "LZMA_PRESET", 0)  # the encoder of preset 6 alone takes 94 MB
    monkeypatch.setattr(tiff_rows, "SCRATCH_BYTES", 1 << 20)
    source, target = tmp_path / "scan.tif", tmp_path / "restored.tif"
    size = 1200
    grain = np.random.default_rng(1).normal(30000, 400, (480, 240, 3)).astype("u2")
    frame = np.tile(grain, (size // 480 + 1, size // 240, 1))[:size]
    arguments = {"level": 1} if codec in {"deflate", "lzma"} else None
    tifffile.imwrite(
        source, frame, photometric="rgb", rowsperstrip=size, metadata=None,
        compression=WRITER_CODECS[codec], compressionargs=arguments,
    )  # fmt: skip
    frame_bytes = frame.nbytes
    del frame
    mask = np.zeros((size, size), np.bool_)
    mask[1000, :50] = True
    edit = Edit(1000, 0, np.full((1, 50, 3), 7, np.uint16), np.ones((1, 50), np.bool_))

    tracemalloc.start()
    with TiffScan(source, 100) as scan:
        for top in range(0, size, 64):
            scan.read_rows(top, min(top + 64, size))
        scan.write_restored(target, [edit])
        scan.check_restored(target, mask)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert tifffile.imread(target)[1000, 10].tolist() == [7, 7, 7]
    assert peak_bytes < 0.75 * frame_bytes
