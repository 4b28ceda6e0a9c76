"""The TIFF header check: what is refused, with which class and sentence, and that hostile files raise nothing else."""

import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from spotless_core.errors import MissingInputError, ScanError, TruncatedScanError, UnsupportedScanError
from spotless_core.image_io.header_tiff import check_header
from spotless_core.image_io.positional_file import PositionalFile
from spotless_core.image_io.tiff import TiffScan

HEIGHT, WIDTH = 48, 64


def grainy(shape: tuple[int, ...], dtype: str = "u2", seed: int = 1) -> NDArray[np.generic]:
    full = np.iinfo(dtype).max
    return np.random.default_rng(seed).normal(full / 2, full / 40, shape).clip(0, full).astype(dtype)


RGB = grainy((HEIGHT, WIDTH, 3))


def write(path: Path, samples: NDArray[np.generic] = RGB, **options: object) -> Path:
    settings = {"photometric": "rgb", "metadata": None, "rowsperstrip": 16, "software": False, **options}
    if "tile" in settings:
        del settings["rowsperstrip"]
    tifffile.imwrite(path, samples, **settings)
    return path


def entry_position(path: Path, tag: int) -> int:
    with tifffile.TiffFile(path) as tiff:
        return int(tiff.pages[0].tags[tag].offset)


def patch(path: Path, position: int, data: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[position : position + len(data)] = data
    path.write_bytes(content)


def set_short(path: Path, tag: int, value: int) -> Path:
    """Overwrite the inline value of a little-endian classic tag with one SHORT."""
    patch(path, entry_position(path, tag) + 2, struct.pack("<HIHH", 3, 1, value, 0))
    return path


def set_bits(path: Path, bits: int) -> Path:
    with tifffile.TiffFile(path) as tiff:
        position = tiff.pages[0].tags[258].valueoffset
    patch(path, position, struct.pack("<3H", bits, bits, bits))
    return path


def set_long(path: Path, tag: int, value: int) -> Path:
    patch(path, entry_position(path, tag) + 2, struct.pack("<HII", 4, 1, value))
    return path


def add_tag(path: Path, tag: int, kind: str, value: int) -> Path:
    """Write a scan with one more tag, also one the writer refuses to write."""
    write(path, extratags=[(65010, {"SHORT": 3, "LONG": 4}[kind], 1, value, True)])
    patch(path, entry_position(path, 65010), struct.pack("<H", tag))
    return path


def check(path: Path, max_megapixels: float = 100) -> None:
    file = PositionalFile(path)
    try:
        check_header(file, max_megapixels)
    finally:
        file.close()


UNSUPPORTED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "JPEG inside": (lambda p: write(p, RGB.astype("u1"), compression="jpeg"), "allow_transcode"),
    "JPEG of the old kind": (lambda p: set_short(write(p), 259, 6), "JPEG of the old kind"),
    "JPEG of float": (lambda p: set_short(write(p, RGB.astype("f4")), 259, 7), "JPEG of float samples"),
    "LERC": (lambda p: set_short(write(p), 259, 34887), "LERC"),
    "unknown codec": (lambda p: set_short(write(p), 259, 4711), "codec 4711"),
    "double": (lambda p: write(p, grainy((HEIGHT, WIDTH, 3)).astype("f8")), "64/64/64 bits"),
    "float of 24 bits": (lambda p: set_bits(write(p, RGB.astype("f4")), 24), "24/24/24 bits"),
    "signed": (lambda p: write(p, RGB.astype("i2")), "signed"),
    "32 bit": (lambda p: write(p, RGB.astype("u4")), "32/32/32 bits"),
    "1 bit": (lambda p: write(p, RGB[:, :, 0] > 30000, photometric="minisblack"), "1 bits"),
    "inks other than CMYK": (
        lambda p: write(p, grainy((HEIGHT, WIDTH, 4), "u1"), photometric="separated", extratags=[(332, 3, 1, 2, True)]),
        "inks other than CMYK",
    ),
    "sensor data": (lambda p: set_short(write(p, RGB[:, :, 0], photometric="minisblack"), 262, 32803), "raw sensor"),
    "YCbCr": (lambda p: set_short(write(p, RGB.astype("u1")), 262, 6), "YCbCr"),
    "palette": (
        lambda p: write(p, RGB[:, :, 0].astype("u1"), photometric="palette", colormap=np.zeros((3, 256), "u2")),
        "palette",
    ),
    "six samples": (lambda p: write(p, grainy((HEIGHT, WIDTH, 6)), extrasamples=[0, 0, 0]), "6 samples"),
    "predictor 3": (lambda p: set_short(write(p, compression="lzw", predictor=2), 317, 3), "predictor 3"),
    "two scans": (
        lambda p: write(p, np.stack([RGB, RGB]), photometric="rgb"),
        "2 full-size images",
    ),
    "too large": (lambda p: set_long(write(p), 256, 3_000_000), "megapixels"),
    "contradicting tables": (lambda p: set_long(write(p), 278, 7), "tables contradict"),
    "only a preview": (lambda p: write(p, subfiletype=1), "no full-size image"),
    "predictor 3 of whole numbers": (lambda p: set_short(write(p, compression="lzw", predictor=2), 317, 3), "whole"),
    "predictor with PackBits": (
        lambda p: set_short(write(p, compression="lzw", predictor=2), 259, 32773),
        "predictor 2 with packbits",
    ),
    "bits reversed": (lambda p: add_tag(p, 266, "SHORT", 2), "FillOrder"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_cannot_be_kept_exactly_is_refused_with_a_sentence(tmp_path: Path, name: str) -> None:
    make, words = UNSUPPORTED[name]
    path = make(tmp_path / "scan.tif")

    with pytest.raises(UnsupportedScanError, match=words):
        check(path)


def test_strips_that_share_bytes_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.tif", compression="lzw")
    with tifffile.TiffFile(path) as tiff:
        table = tiff.pages[0].tags[273]
        first = tiff.pages[0].dataoffsets[0]
    patch(path, table.valueoffset + 4, struct.pack("<I", first))

    with pytest.raises(UnsupportedScanError, match="overlap"):
        check(path)


def test_a_strip_that_lies_in_the_directory_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.tif", compression="lzw")
    with tifffile.TiffFile(path) as tiff:
        table = tiff.pages[0].tags[273]
        directory = tiff.pages[0].offset
    patch(path, table.valueoffset, struct.pack("<I", directory))

    with pytest.raises(UnsupportedScanError, match="overlap"):
        check(path)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("options", [{}, {"compression": "lzw"}, {"bigtiff": True}, {"tile": (16, 16)}], ids=str)
def test_a_file_cut_short_is_truncated(tmp_path: Path, kept: float, options: dict[str, object]) -> None:
    path = write(tmp_path / "scan.tif", **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])

    with pytest.raises(TruncatedScanError):
        check(path)


def test_a_header_without_directory_is_still_being_written(tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    path.write_bytes(b"II*\0\0\0\0\0" + bytes(5000))

    with pytest.raises(TruncatedScanError, match="no directory yet"):
        check(path)


def test_a_missing_exif_directory_is_truncation(tmp_path: Path) -> None:
    path = add_tag(tmp_path / "scan.tif", 34665, "LONG", 10_000_000)

    with pytest.raises(TruncatedScanError):
        check(path)


def test_directories_in_a_loop_are_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.tif")
    with tifffile.TiffFile(path) as tiff:
        directory, count = tiff.pages[0].offset, len(tiff.pages[0].tags)
    patch(path, directory + 2 + 12 * count, struct.pack("<I", directory))

    with pytest.raises(ScanError, match="loop"):
        check(path)


def test_a_tag_that_comes_twice_is_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.tif")
    patch(path, entry_position(path, 257), struct.pack("<H", 256))

    with pytest.raises(ScanError, match="twice"):
        check(path)


def test_a_bomb_is_refused_before_a_decoder_sees_it(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.tif", np.zeros((HEIGHT, WIDTH), "u1"), photometric="minisblack", compression="lzw")
    for tag, value in ((256, 40_000), (257, 48), (278, 16)):
        set_long(path, tag, value)

    with pytest.raises(ScanError, match="cannot hold"):
        check(path)


def test_planar_rows_that_are_not_there_are_not_read_as_zeros(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.tif", RGB.transpose(2, 0, 1), planarconfig="separate")
    set_long(path, 257, 9_502_768)

    with pytest.raises(ScanError):
        check(path, max_megapixels=10_000)


def test_a_missing_file_is_a_missing_input(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        TiffScan(tmp_path / "none.tif", 10)


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [((4000, 1), 2, 4000.0), ((2000, 1), 3, 5080.0), ((1, 1), 2, None), ((72_000, 1), 2, None), ((300, 1), 1, None)],
)
def test_dots_per_inch(tmp_path: Path, resolution: tuple[int, int], unit: int, expected: float | None) -> None:
    path = write(tmp_path / "scan.tif", resolution=(resolution, resolution), resolutionunit=unit)

    with TiffScan(path, 10) as scan:
        assert scan.info.dpi == expected


def test_facts_of_the_header(tmp_path: Path) -> None:
    path = write(
        tmp_path / "scan.tif", RGB[:, :, 0], photometric="miniswhite", compression="lzw", bigtiff=True,
        extratags=[(274, 3, 1, 6, True)], iccprofile=bytes(200),
    )  # fmt: skip

    with TiffScan(path, 10) as scan:
        info = scan.info

    assert (info.container, info.width, info.height, info.channels, info.bits) == ("bigtiff", WIDTH, HEIGHT, 1, 16)
    assert (info.compression, info.orientation, info.is_min_white, info.has_icc_profile) == ("lzw", 6, True, True)


def mutate(content: bytes, random: np.random.Generator) -> bytes:
    """Flip bytes, overwrite header bytes, put extreme numbers into the directory, or cut."""
    data = bytearray(content)
    kind = random.integers(0, 4)
    if kind == 0:
        for position in random.integers(0, len(data), int(random.integers(1, 8))):
            data[position] = int(random.integers(0, 256))
    elif kind == 1:
        directory = struct.unpack_from("<I", content, 4)[0] if content[:4] == b"II*\0" else len(content) - 400
        for position in random.integers(directory, min(directory + 300, len(data)), int(random.integers(1, 4))):
            data[position] = int(random.integers(0, 256))
    elif kind == 2:
        extremes = (0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 65535, len(data), len(data) - 1)
        position = int(random.integers(0, len(data) - 4) & ~1)
        struct.pack_into("<I", data, position, int(random.choice(extremes)))
    else:
        del data[int(random.integers(0, len(data))) :]
    return bytes(data)


SEEDS: list[dict[str, object]] = [
    {},
    {"compression": "lzw", "predictor": 2},
    {"compression": "adobe_deflate", "predictor": 2, "tile": (16, 16)},
    {"bigtiff": True, "byteorder": ">", "compression": "lzw"},
    {"extratags": [(700, 1, 40, bytes(40), True)], "iccprofile": bytes(100), "compression": "adobe_deflate"},
    {"compression": "zstd", "predictor": 2},
    {"compression": "lzma"},
    {"compression": "packbits"},
    {"compression": "jpeg", "rowsperstrip": 8},
]


@pytest.mark.parametrize("seed", range(len(SEEDS)))
def test_a_mutated_file_opens_or_raises_a_scan_error(tmp_path: Path, seed: int) -> None:
    dtype = "u1" if SEEDS[seed].get("compression") == "jpeg" else "u2"
    path = write(tmp_path / "scan.tif", grainy((24, 32, 3), dtype), **SEEDS[seed])
    content = path.read_bytes()
    random = np.random.default_rng(seed)
    slowest, refused = 0.0, 0
    tracemalloc.start()

    for _ in range(150):
        path.write_bytes(mutate(content, random))
        began = time.process_time()
        try:
            with TiffScan(path, 100, allow_transcode=True) as scan:
                for top in range(0, scan.info.height, 64):
                    scan.read_rows(top, min(top + 64, scan.info.height))
                    scan.read_infrared_rows(top, min(top + 64, scan.info.height))
        except ScanError:
            refused += 1
        slowest = max(slowest, time.process_time() - began)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert refused > 20
    assert slowest < 2
    assert peak_bytes < 50_000_000
