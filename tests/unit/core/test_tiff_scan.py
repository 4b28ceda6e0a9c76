"""TIFF scans beyond the plain matrix: pages, metadata, growth, limits, write errors, and the guards of the promise."""

import os
import resource
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from drawing_tiff import HEIGHT, WIDTH, grainy, patch, speck, write

from spotless_core.errors import (
    ArrayContractError,
    OutputError,
    PreservationError,
    TruncatedScanError,
    UnsupportedScanError,
)
from spotless_core.image_io.tiff import TiffScan
from spotless_core.photo import Edit


def write_pages(path: Path, *, infrared_type: int = 4, compression: str | None = None) -> None:
    """A scan as SilverFast writes it: RGB, a reduced preview, and a grey infrared page."""
    with tifffile.TiffWriter(path) as tiff:
        for samples, photometric, kind in (
            (grainy(HEIGHT, WIDTH, 3), "rgb", 0),
            (grainy(16, 12, 3, seed=2), "rgb", 1),
            (grainy(HEIGHT, WIDTH, seed=3), "minisblack", 0),
        ):
            tiff.write(
                samples, photometric=photometric, subfiletype=kind, metadata=None, software=False,
                compression=compression, rowsperstrip=16,
            )  # fmt: skip
    with tifffile.TiffFile(path) as tiff:
        position = tiff.pages[2].tags[254].valueoffset
    patch(path, position, struct.pack("<I", infrared_type))


@pytest.mark.parametrize("compression", [None, "lzw", "adobe_deflate"])
def test_an_infrared_page_and_a_preview_are_carried_untouched(tmp_path: Path, compression: str | None) -> None:
    source, target = tmp_path / "scan.tif", tmp_path / "out.tif"
    write_pages(source, compression=compression)
    edit, mask = speck()

    with TiffScan(source, 10) as scan:
        infrared = scan.read_infrared_rows(0, HEIGHT)
        scan.write_restored(target, [edit])
        scan.check_restored(target, mask)

    assert scan.info.infrared is not None
    assert (scan.info.infrared.source, scan.info.infrared.index, scan.info.infrared.is_sure) == ("page", 2, True)
    assert np.array_equal(infrared, grainy(HEIGHT, WIDTH, seed=3))
    for page in (1, 2):
        assert np.array_equal(tifffile.imread(target, key=page), tifffile.imread(source, key=page))


def test_an_unmarked_grey_page_of_the_same_size_is_infrared_but_not_sure(tmp_path: Path) -> None:
    write_pages(tmp_path / "scan.tif", infrared_type=0)

    with TiffScan(tmp_path / "scan.tif", 10) as scan:
        infrared = scan.info.infrared

    assert infrared is not None
    assert infrared.is_sure is False


@pytest.mark.parametrize(("bits", "is_sure"), [(8, False), (16, True)])
def test_an_undeclared_fourth_sample_is_infrared(tmp_path: Path, bits: int, *, is_sure: bool) -> None:
    samples = grainy(HEIGHT, WIDTH, 4, dtype=f"u{bits // 8}")
    path = write(tmp_path / "scan.tif", samples, extrasamples=["unspecified"])
    with tifffile.TiffFile(path) as tiff:
        position = tiff.pages[0].tags[338].offset
    patch(path, position, struct.pack("<H", 337))

    with TiffScan(path, 10) as scan:
        infrared = scan.info.infrared
        rows = scan.read_infrared_rows(0, HEIGHT)

    assert infrared is not None
    assert (infrared.source, infrared.index, infrared.is_sure) == ("sample", 3, is_sure)
    assert np.array_equal(rows, samples[:, :, 3])


@pytest.mark.parametrize(
    "options", [{}, {"compression": "lzw"}, {"compression": "adobe_deflate", "bigtiff": True}], ids=str
)
def test_metadata_and_private_tags_stay(tmp_path: Path, options: dict[str, object]) -> None:
    extra = [
        (700, 1, 300, bytes(range(100)) * 3, True),
        (33723, 7, 40, b"iptc" * 10, True),
        (65001, 7, 33, b"x" * 33, True),
        (65010, 4, 1, 0, True),
        (274, 3, 1, 8, True),
        (306, 2, 20, "2020:01:02 03:04:05", True),
    ]
    source = write(tmp_path / "scan.tif", extratags=extra, iccprofile=b"icc " * 99, resolution=(4000, 4000), **options)
    if "bigtiff" not in options:
        with tifffile.TiffFile(source) as tiff:
            position = tiff.pages[0].tags[65010].offset
        exif = struct.pack("<HHHI4sI", 1, 36864, 7, 4, b"0232", 0)
        patch(source, position, struct.pack("<HHII", 34665, 4, 1, source.stat().st_size))
        source.write_bytes(source.read_bytes() + exif)
    edit, mask = speck()

    with TiffScan(source, 10) as scan:
        scan.write_restored(tmp_path / "out.tif", [edit])
        scan.check_restored(tmp_path / "out.tif", mask)

    with tifffile.TiffFile(source) as before, tifffile.TiffFile(tmp_path / "out.tif") as after:
        tags = [{tag.code: tag.value for tag in tiff.pages[0].tags} for tiff in (before, after)]
    moving = {273, 279}
    assert {code: value for code, value in tags[0].items() if code not in moving} == {
        code: value for code, value in tags[1].items() if code not in moving
    }


@pytest.mark.parametrize("strips", [1, 4])
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_sizes_stored_in_16_bits_grow_into_a_wider_table(tmp_path: Path, strips: int, byte_order: str) -> None:
    source, target = tmp_path / "scan.tif", tmp_path / "out.tif"
    height, width = 400, 200
    flat = np.full((height, width, 3), 1000, "u2")
    write(source, flat, compression="lzw", rowsperstrip=height // strips, byteorder=byte_order)
    with tifffile.TiffFile(source) as tiff:
        tag = tiff.pages[0].tags[279]
        counts = tiff.pages[0].databytecounts
    packed = struct.pack(f"{byte_order}{strips}H", *counts)
    patch(source, tag.offset + 2, struct.pack(f"{byte_order}H", 3))
    patch(source, tag.valueoffset, packed.ljust(4, b"\0"))
    assert np.array_equal(tifffile.imread(source), flat)
    noise = np.random.default_rng(1).integers(0, 65536, (90, width, 3)).astype("u2")
    mask = np.ones((90, width), np.bool_)
    whole = np.zeros((height, width), np.bool_)
    whole[:90] = True

    with TiffScan(source, 10) as scan:
        report = scan.write_restored(target, [Edit(0, 0, noise, mask)])
        scan.check_restored(target, whole)

    flat[:90] = noise
    assert np.array_equal(tifffile.imread(target), flat)
    with tifffile.TiffFile(target) as tiff:
        assert tiff.pages[0].tags[279].dtype == 4
    assert report.segments_touched == 1


@pytest.mark.parametrize("compression", ["lzw", "zstd", "packbits"])
def test_a_classic_file_near_four_gigabytes_is_refused_before_anything_is_written(
    tmp_path: Path, compression: str
) -> None:
    source = write(tmp_path / "scan.tif", np.full((HEIGHT, WIDTH, 3), 0x0707, "u2"), compression=compression)
    os.truncate(source, (1 << 32) - 100)
    edit, _ = speck()

    with TiffScan(source, 10) as scan, pytest.raises(UnsupportedScanError, match="BigTIFF"):
        scan.write_restored(tmp_path / "out.tif", [edit])

    assert not (tmp_path / "out.tif").exists()


def test_an_edit_equal_to_the_scan_leaves_the_file_byte_identical(tmp_path: Path) -> None:
    samples = grainy(HEIGHT, WIDTH, 3)
    source = write(tmp_path / "scan.tif", samples, compression="lzw")
    edit = Edit(5, 5, samples[5:9, 5:9], np.ones((4, 4), np.bool_))

    with TiffScan(source, 10) as scan:
        scan.write_restored(tmp_path / "out.tif", [edit])

    assert (tmp_path / "out.tif").read_bytes() == source.read_bytes()


def test_a_full_disk_is_an_output_error_and_leaves_nothing(tmp_path: Path) -> None:
    source = write(tmp_path / "scan.tif", compression="lzw")
    edit, _ = speck()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    with TiffScan(source, 10) as scan:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
        try:
            with pytest.raises(OutputError):
                scan.write_restored(tmp_path / "out.tif", [edit])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert not (tmp_path / "out.tif").exists()


def test_a_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    with TiffScan(write(tmp_path / "scan.tif"), 10) as scan, pytest.raises(OutputError):
        scan.write_restored(tmp_path / "none" / "out.tif", [])


def test_the_scan_itself_is_never_written_to(tmp_path: Path) -> None:
    source = write(tmp_path / "scan.tif")
    before = source.read_bytes()
    (tmp_path / "other-name.tif").symlink_to(source)

    with TiffScan(source, 10) as scan, pytest.raises(OutputError, match="scan itself"):
        scan.write_restored(tmp_path / "other-name.tif", [])

    assert source.read_bytes() == before


def test_a_scan_that_changed_since_it_was_opened_is_not_patched(tmp_path: Path) -> None:
    source = write(tmp_path / "scan.tif")

    with TiffScan(source, 10) as scan:
        source.write_bytes(source.read_bytes() + b"more")
        with pytest.raises(TruncatedScanError, match="changed"):
            scan.write_restored(tmp_path / "out.tif", [])

    assert not (tmp_path / "out.tif").exists()


@pytest.mark.parametrize(
    "edit",
    [
        Edit(0, 0, grainy(3, 3, 4), np.ones((3, 3), np.bool_)),
        Edit(0, 0, grainy(3, 3, 3, dtype="u1"), np.ones((3, 3), np.bool_)),
        Edit(62, 0, grainy(3, 3, 3), np.ones((3, 3), np.bool_)),
        Edit(-1, 0, grainy(3, 3, 3), np.ones((3, 3), np.bool_)),
        Edit(0, 0, grainy(3, 3, 3), np.ones((3, 2), np.bool_)),
    ],
    ids=["alpha", "8 bit", "outside", "before", "other mask"],
)
def test_an_edit_that_does_not_fit_is_our_own_mistake(tmp_path: Path, edit: Edit) -> None:
    with TiffScan(write(tmp_path / "scan.tif"), 10) as scan, pytest.raises(ArrayContractError):
        scan.write_restored(tmp_path / "out.tif", [edit])


@pytest.mark.parametrize("options", [{}, {"compression": "lzw", "predictor": 2}], ids=str)
def test_a_sample_changed_outside_the_mask_is_found(tmp_path: Path, options: dict[str, object]) -> None:
    source = write(tmp_path / "scan.tif", **options)
    edit, mask = speck()

    with TiffScan(source, 10) as scan:
        scan.write_restored(tmp_path / "out.tif", [edit])
        row, column = (int(places[0]) for places in np.nonzero(mask))
        mask[row, column] = False
        with pytest.raises(PreservationError, match=f"row {row}, column {column} changed"):
            scan.check_restored(tmp_path / "out.tif", mask)


def test_a_changed_infrared_sample_under_the_mask_is_found(tmp_path: Path) -> None:
    samples = grainy(HEIGHT, WIDTH, 4)
    source = write(tmp_path / "scan.tif", samples, extrasamples=["unspecified"])
    _, mask = speck()
    row, column = (int(places[0]) for places in np.nonzero(mask))
    samples[row, column, 3] += 1
    target = write(tmp_path / "out.tif", samples, extrasamples=["unspecified"])

    with TiffScan(source, 10) as scan, pytest.raises(PreservationError, match="sample 3"):
        scan.check_restored(target, mask)


@pytest.mark.parametrize("compression", [None, "lzw"])
def test_every_single_changed_byte_outside_touched_strips_is_found(tmp_path: Path, compression: str | None) -> None:
    source, target = tmp_path / "scan.tif", tmp_path / "out.tif"
    write_pages(source, compression=compression)
    edit, mask = speck()

    with TiffScan(source, 10) as scan:
        scan.write_restored(target, [edit])
        scan.check_restored(target, mask)
        good = target.read_bytes()
        size = source.stat().st_size
        with tifffile.TiffFile(source) as tiff:
            page = tiff.pages[0]
            touched = range(page.dataoffsets[1], page.dataoffsets[1] + page.databytecounts[1])
            tables = [page.tags[273].valueoffset, page.tags[279].valueoffset]
        positions = [*np.random.default_rng(0).integers(0, size, 60).tolist(), *tables]
        for position in positions:
            if position in touched:
                continue
            data = bytearray(good)
            data[position] ^= 1
            target.write_bytes(data)
            with pytest.raises(PreservationError):
                scan.check_restored(target, mask)


@pytest.mark.parametrize("compression", ["zstd", "lzw", "zlib", "packbits"])
@pytest.mark.parametrize("repair", ["longer", "shorter"])
def test_a_changed_byte_of_what_a_repair_left_behind_is_found(tmp_path: Path, compression: str, repair: str) -> None:
    samples = np.full((HEIGHT, WIDTH, 3), 0x0707, "u2") if repair == "longer" else grainy(HEIGHT, WIDTH, 3)
    source, target = write(tmp_path / "scan.tif", samples, compression=compression), tmp_path / "out.tif"
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[16:32] = True
    noise = np.random.default_rng(3).integers(0, 65536, (16, WIDTH, 3)).astype("u2")
    wanted = noise if repair == "longer" else np.full_like(noise, 0x0707)
    with tifffile.TiffFile(source) as tiff:
        old_start, old_end = (tiff.pages[0].dataoffsets[1] + size for size in (0, tiff.pages[0].databytecounts[1]))

    with TiffScan(source, 10) as scan:
        scan.write_restored(target, [Edit(16, 0, wanted, mask[16:32])])
        scan.check_restored(target, mask)
        with tifffile.TiffFile(target) as tiff:
            new_start, new_size = tiff.pages[0].dataoffsets[1], tiff.pages[0].databytecounts[1]
        left_behind = range(old_start, old_end) if new_start >= old_end else range(new_start + new_size, old_end)
        good = target.read_bytes()
        for position in left_behind[:: max(1, len(left_behind) // 20)]:
            data = bytearray(good)
            data[position] ^= 1
            target.write_bytes(data)
            with pytest.raises(PreservationError, match="which no repair may touch"):
                scan.check_restored(target, mask)

    assert (new_start >= old_end) == (repair == "longer")
    assert len(left_behind) > 10


def test_a_result_cut_short_is_found(tmp_path: Path) -> None:
    source, target = write(tmp_path / "scan.tif", compression="lzw"), tmp_path / "out.tif"
    edit, mask = speck()

    with TiffScan(source, 10) as scan:
        scan.write_restored(target, [edit])
        target.write_bytes(target.read_bytes()[:-1])
        with pytest.raises(PreservationError):
            scan.check_restored(target, mask)
