"""Lossless JPEG inside TIFF and DNG: kept exactly, read by another decoder (liblj92), other kinds refused."""

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from drawing_tiff import HEIGHT, WIDTH, grainy, speck
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spotless_core.errors import PreservationError, ScanError, UnsupportedScanError
from spotless_core.image_io import tiff_lossless_jpeg
from spotless_core.image_io.tiff import TiffScan
from spotless_core.image_io.tiff_lossless_jpeg import decode_lossless_jpeg, encode_lossless_jpeg
from spotless_core.image_io.verify import verify_restored

ROWS, TILE = 16, 32
PHOTOMETRICS = {1: "minisblack", 2: "minisblack", 3: "rgb", 4: "rgb"}


def packed(samples: NDArray, predictor: int = 1, bits: int | None = None) -> bytes:
    plain = np.ascontiguousarray(samples[:, :, 0] if samples.shape[2] == 1 else samples)
    return imagecodecs.jpeg8_encode(
        plain, lossless=True, predictor=predictor, bitspersample=bits or 8 * samples.itemsize,
        colorspace="UNKNOWN", outcolorspace="UNKNOWN",
    )  # fmt: skip


def write_packed(path: Path, samples: NDArray, *, tiled: bool = False, linear: bool = False, **packing: int) -> Path:
    """A TIFF of lossless JPEG strips, or tiles with the padding of the right ones."""
    height, width, channels = samples.shape
    padded = np.pad(samples, ((0, 0), (0, -width % TILE), (0, 0)), mode="edge")
    parts = (
        [padded[y : y + TILE, x : x + TILE] for y in range(0, height, TILE) for x in range(0, width, TILE)]
        if tiled
        else [samples[y : y + ROWS] for y in range(0, height, ROWS)]
    )
    extra: dict[str, Any] = {"tile": (TILE, TILE)} if tiled else {"rowsperstrip": ROWS}
    if channels > 1:
        extra["planarconfig"] = "contig"
    if channels in {2, 4}:
        extra["extrasamples"] = ["unspecified"]
    shape = samples.shape[:2] if channels == 1 else samples.shape
    tifffile.imwrite(
        path, iter([packed(part, **packing) for part in parts]), shape=shape, dtype=samples.dtype, compression=7,
        photometric="linear_raw" if linear else PHOTOMETRICS[channels], metadata=None, software=False, **extra,
    )  # fmt: skip
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        # tifffile takes all JPEG of more than 8 bits for one of 12, and of three channels for YCbCr.
        tags = tiff.pages[0].tags
        tags[258].overwrite((8 * samples.itemsize,) * channels if channels > 1 else 8 * samples.itemsize)
        if channels == 3 and not linear:
            tags[262].overwrite(2)
    return path


def read_by_another_decoder(path: Path) -> NDArray:
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        height, width, channels = page.imagelength, page.imagewidth, page.samplesperpixel
        whole = np.zeros((height + TILE, width + TILE, channels), page.dtype)
        places = [(y, x) for y in range(0, height, TILE) for x in range(0, width, TILE)] if page.is_tiled else None
        for index, (offset, count) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
            tiff.filehandle.seek(offset)
            part = imagecodecs.ljpeg_decode(tiff.filehandle.read(count))
            y, x = places[index] if places else (index * ROWS, 0)
            whole[y : y + len(part), x : x + part.shape[1]] = part.reshape(*part.shape[:2], channels)
    return whole[:height, :width]


@pytest.mark.parametrize("tiled", [False, True], ids=["strips", "tiles"])
@pytest.mark.parametrize(
    ("channels", "dtype", "linear", "packing"),
    [
        (1, "u2", False, {}),
        (2, "u2", False, {"predictor": 6}),
        (3, "u2", False, {"predictor": 7}),
        (3, "u2", True, {"bits": 14}),
        (4, "u2", True, {}),
        (3, "u1", True, {"predictor": 4}),
    ],
    ids=str,
)
def test_only_the_masked_samples_differ(
    tmp_path: Path, channels: int, dtype: str, linear: bool, packing: dict[str, int], tiled: bool
) -> None:
    samples = grainy(HEIGHT, WIDTH, channels, dtype=dtype)
    samples >>= 8 * samples.itemsize - packing.get("bits", 8 * samples.itemsize)
    source = write_packed(tmp_path / "scan.tif", samples, tiled=tiled, linear=linear, **packing)
    colors = 3 if channels >= 3 else 1
    edit, mask = speck(colors, dtype)

    with TiffScan(source, 10) as scan:
        assert np.array_equal(scan.read_rows(0, HEIGHT), samples[:, :, :colors])
        assert (scan.info.compression, scan.info.preservation) == ("lossless jpeg", "exact")
        report = scan.write_restored(tmp_path / "out.tif", [edit])
        verify_restored(scan, tmp_path / "out.tif", mask, [edit])

    expected = samples.copy()
    box = expected[edit.top : edit.top + len(edit.mask), edit.left : edit.left + edit.mask.shape[1], :colors]
    box[edit.mask] = edit.samples[edit.mask]
    assert np.array_equal(read_by_another_decoder(tmp_path / "out.tif"), expected)
    assert report.segments_touched == 1


def test_without_a_repair_the_file_is_byte_identical(tmp_path: Path) -> None:
    source = write_packed(tmp_path / "scan.tif", grainy(HEIGHT, WIDTH, 3))

    with TiffScan(source, 10) as scan:
        scan.write_restored(tmp_path / "out.tif", [])
        scan.check_restored(tmp_path / "out.tif", np.zeros((HEIGHT, WIDTH), np.bool_))

    assert (tmp_path / "out.tif").read_bytes() == source.read_bytes()


def test_a_last_strip_padded_to_full_height_is_read(tmp_path: Path) -> None:
    samples = grainy(HEIGHT, WIDTH, 3)
    source = write_packed(tmp_path / "scan.tif", samples)
    with tifffile.TiffFile(source, mode="r+b") as tiff:
        tiff.pages[0].tags[257].overwrite(HEIGHT - 5)

    with TiffScan(source, 10) as scan:
        assert np.array_equal(scan.read_rows(0, HEIGHT - 5), samples[: HEIGHT - 5])


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.sampled_from(["u1", "u2"]),
    st.sampled_from(["noise", "extremes", "flat"]), st.integers(0, 99),
)  # fmt: skip
def test_any_samples_come_back(rows: int, width: int, count: int, dtype: str, kind: str, seed: int) -> None:
    full = np.iinfo(dtype).max
    random = np.random.default_rng(seed)
    values = {"noise": range(full + 1), "extremes": (0, full // 2, full // 2 + 1, full), "flat": (full,)}[kind]
    samples = random.choice(np.array(values, dtype), (rows, width, count))

    data = encode_lossless_jpeg(samples)

    assert np.array_equal(decode_lossless_jpeg(data, (rows, width), rows, count, 8 * samples.itemsize), samples)
    assert np.array_equal(imagecodecs.ljpeg_decode(data).reshape(samples.shape), samples)


SAMPLES = grainy(20, 30, 3)
GOOD = packed(SAMPLES)
SOF, SOS = GOOD.index(b"\xff\xc3"), GOOD.index(b"\xff\xda")


def changed(position: int, value: bytes) -> bytes:
    return GOOD[:position] + value + GOOD[position + len(value) :]


@pytest.mark.parametrize(
    ("data", "error", "sentence"),
    [
        (imagecodecs.jpeg8_encode(grainy(20, 30, 3, dtype="u1")), UnsupportedScanError, "lossy kind"),
        (changed(SOS + 13, b"\x01"), UnsupportedScanError, "point transform"),
        (changed(SOF + 4, b"\x08"), ScanError, "of 8 bits"),
        (changed(SOF + 7, b"\0\x3c"), ScanError, "60×20"),
        (changed(SOF + 5, b"\0\x02"), ScanError, "30×2"),
        (changed(SOF + 9, b"\x02"), ScanError, "2 components"),
        (packed(grainy(20, 60, 1)), ScanError, "arranged otherwise"),
        (GOOD[:SOF] + GOOD[SOS:], ScanError, "without its headers"),
        (GOOD[: SOF + 4], ScanError, "without its headers"),
        (b"no JPEG at all", ScanError, "no JPEG"),
        (GOOD[:-200], ScanError, "without its end"),
    ],
)
def test_what_is_no_such_jpeg_is_refused_with_its_reason(data: bytes, error: type[ScanError], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        decode_lossless_jpeg(data, (20, 30), 20, 3, 16)


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255), st.one_of(st.none(), st.integers(0, len(GOOD))))
def test_damaged_data_are_a_scan_error_or_samples_of_the_right_shape(place: int, flip: int, cut: int | None) -> None:
    data = changed(place, bytes([GOOD[place] ^ flip]))[:cut]

    try:
        found = decode_lossless_jpeg(data, (20, 30), 20, 3, 16)
    except ScanError:
        return
    assert (found.shape, found.dtype) == (SAMPLES.shape, SAMPLES.dtype)


def test_an_encoder_that_errs_is_found_before_anything_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = packed(SAMPLES ^ 1)
    monkeypatch.setattr(tiff_lossless_jpeg.imagecodecs, "jpeg8_encode", lambda *_, **__: wrong)

    with pytest.raises(PreservationError, match="does not decode to its samples"):
        encode_lossless_jpeg(SAMPLES)


@pytest.mark.parametrize(
    ("channels", "dtype", "sentence"), [(5, "u2", "5 samples per pixel"), (3, "f4", "JPEG of float samples")]
)
def test_kinds_without_a_lossless_jpeg_are_refused(tmp_path: Path, channels: int, dtype: str, sentence: str) -> None:
    samples = np.ones((HEIGHT, WIDTH, channels), dtype)
    extra = {"extrasamples": ["unassalpha", "unspecified"]} if channels == 5 else {}
    tifffile.imwrite(tmp_path / "scan.tif", samples, photometric="rgb", rowsperstrip=HEIGHT, metadata=None, **extra)
    with tifffile.TiffFile(tmp_path / "scan.tif", mode="r+b") as tiff:
        tiff.pages[0].tags[259].overwrite(7)

    with pytest.raises(UnsupportedScanError, match=sentence):
        TiffScan(tmp_path / "scan.tif", 10)
