"""Strips and tiles of a TIFF: padding, blocks of large strips, the cache of decoded segments, damaged codes."""

import os
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from drawing_tiff import HEIGHT, WIDTH, grainy, patch, speck, write
from numpy.typing import NDArray

from spotless_core.errors import ScanError
from spotless_core.image_io import tiff_frame
from spotless_core.image_io.header_tiff import check_header
from spotless_core.image_io.positional_file import PositionalFile
from spotless_core.image_io.tiff import TiffScan
from spotless_core.image_io.tiff_rows import RowReader
from spotless_core.image_io.tiff_segments import SegmentCoder
from spotless_core.photo import Edit


def test_a_last_strip_padded_to_full_height_is_read_and_patched(tmp_path: Path) -> None:
    samples = grainy(40, WIDTH, 3)
    source = write(tmp_path / "scan.tif", samples, compression="lzw")
    padded = np.concatenate([samples[32:], grainy(8, WIDTH, 3, seed=4)])
    stored = imagecodecs.lzw_encode(padded.tobytes())
    with tifffile.TiffFile(source) as tiff:
        tables = [tiff.pages[0].tags[tag] for tag in (273, 279)]
    size = source.stat().st_size + source.stat().st_size % 2
    os.truncate(source, size)
    source.write_bytes(source.read_bytes() + stored)
    for table, value in zip(tables, (size, len(stored)), strict=True):
        code, width = {3: ("H", 2), 4: ("I", 4)}[table.dtype]
        patch(source, table.valueoffset + 2 * width, struct.pack(f"<{code}", value))
    edit = Edit(33, 0, grainy(4, 4, 3, seed=8), np.ones((4, 4), np.bool_))

    with TiffScan(source, 10) as scan:
        rows = scan.read_rows(0, 40)
        scan.write_restored(tmp_path / "out.tif", [edit])
    with TiffScan(tmp_path / "out.tif", 10) as result:
        after = result.read_rows(0, 40)

    assert np.array_equal(rows, samples)
    samples[33:37, :4] = edit.samples
    assert np.array_equal(after, samples)


@pytest.mark.parametrize("is_planar", [False, True])
@pytest.mark.parametrize("rows", [13, 16, HEIGHT])
def test_large_uncompressed_strips_are_read_and_patched_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, *, is_planar: bool
) -> None:
    monkeypatch.setattr(tiff_frame, "BLOCK_BYTES", 1500)
    samples = grainy(HEIGHT, WIDTH, 3)
    stored = samples.transpose(2, 0, 1) if is_planar else samples
    planes = "separate" if is_planar else "contig"
    source = write(tmp_path / "scan.tif", stored, rowsperstrip=rows, planarconfig=planes)
    edit, mask = speck()

    with TiffScan(source, 10) as scan:
        before = scan.read_rows(3, 50)
        scan.write_restored(tmp_path / "out.tif", [edit])
        scan.check_restored(tmp_path / "out.tif", mask)
    with TiffScan(tmp_path / "out.tif", 10) as result:
        after = result.read_rows(0, HEIGHT)

    assert np.array_equal(before, samples[3:50])
    samples[mask] = edit.samples[edit.mask]
    assert np.array_equal(after, samples)


class CountingCoder(SegmentCoder):
    """Counts how often each segment is decoded."""

    def decode(self, index: int) -> NDArray[np.generic]:
        self.counts = getattr(self, "counts", {})
        self.counts[index] = self.counts.get(index, 0) + 1
        return super().decode(index)


@pytest.mark.parametrize("rows_per_strip", [5, 16, HEIGHT])
@pytest.mark.parametrize("scratch_bytes", [1, 1 << 20])
def test_consecutive_bands_decode_each_strip_once(tmp_path: Path, rows_per_strip: int, scratch_bytes: int) -> None:
    samples = grainy(HEIGHT, WIDTH, 3)
    path = write(tmp_path / "scan.tif", samples, compression="lzw", rowsperstrip=rows_per_strip)
    file = PositionalFile(path)
    header = check_header(file, 10)
    coder = CountingCoder(file, header.frame, "<")
    reader = RowReader(coder, scratch_bytes)

    bands = [reader.read(top, min(top + 7, HEIGHT), range(3)) for top in range(0, HEIGHT, 7)]
    reader.forget()
    file.close()

    assert np.array_equal(np.concatenate(bands), samples)
    assert set(coder.counts.values()) == {1}


@pytest.mark.parametrize("code", [258, 300, 511])
def test_lzw_with_an_unknown_code_after_a_clear_code_is_damage(tmp_path: Path, code: int) -> None:
    """A decoder that trusts this code reads memory that is not its own."""
    source = write(tmp_path / "scan.tif", compression="lzw")
    with tifffile.TiffFile(source) as tiff:
        offset = tiff.pages[0].dataoffsets[0]
    # Two codes of 9 bits, then the rest of the strip as it was.
    bits = f"{256:09b}{code:09b}"
    patch(source, offset, bytes(int(bits[at : at + 8], 2) for at in (0, 8)))

    with TiffScan(source, 10) as scan, pytest.raises(ScanError, match="strip or tile 0 is damaged"):
        scan.read_rows(0, 1)


def test_damaged_deflate_is_a_scan_error(tmp_path: Path) -> None:
    source = write(tmp_path / "scan.tif", compression="adobe_deflate")
    with tifffile.TiffFile(source) as tiff:
        offset = tiff.pages[0].dataoffsets[0]
    patch(source, offset + 50, bytes(60))

    with TiffScan(source, 10) as scan, pytest.raises(ScanError, match="strip or tile 0 is damaged"):
        scan.read_rows(0, 1)


@pytest.mark.parametrize("codec", ["lzw", "zstd", "lzma", "packbits", "adobe_deflate"])
def test_damaged_segments_are_scan_errors_or_other_samples(tmp_path: Path, codec: str) -> None:
    source = write(tmp_path / "scan.tif", compression=codec, rowsperstrip=HEIGHT)
    with tifffile.TiffFile(source) as tiff:
        first, count = tiff.pages[0].dataoffsets[0], tiff.pages[0].databytecounts[0]
    content = source.read_bytes()
    random = np.random.default_rng(8)
    refused = 0

    for _ in range(150):
        data = bytearray(content)
        places = random.integers(first, first + (40 if random.random() < 0.5 else count), 5)
        for place in places:
            data[place] = random.integers(0, 256)
        source.write_bytes(data)
        try:
            with TiffScan(source, 10) as scan:
                assert scan.read_rows(0, HEIGHT).shape == (HEIGHT, WIDTH, 3)
        except ScanError:
            refused += 1

    assert refused > 5
