"""Writing a result tells how far it is, in every format, so that a long one is not taken for a hanging one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawing_flat import bmp, pnm
from drawing_flat import grainy as flat_grainy
from drawing_jpeg import KINDS, needs_library
from drawing_png import encoded, grainy_frame
from drawing_tiff import write

from spotless_core.image_io import file_copy, flat, jpeg, png, tiff_patch, tiff_segments
from spotless_core.image_io.opening import open_scan
from spotless_core.photo import Edit


def told(source: Path, target: Path, *, allow_reencode: bool = False) -> list[float]:
    """The fractions that writing a repair over the whole height tells."""
    with open_scan(source, allow_reencode=allow_reencode) as scan:
        rows = scan.read_rows(0, scan.info.height)
        mask = np.zeros(rows.shape[:2], np.bool_)
        mask[::5, 3] = True
        fractions: list[float] = []
        report = scan.write_restored(target, [Edit(0, 0, rows.max() - rows, mask)], fractions.append)
    assert report.segments_touched
    return fractions


def require_steady(fractions: list[float], least: int) -> None:
    assert len(fractions) >= least
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] <= 0.5
    assert max(np.diff(fractions)) <= 0.6
    assert fractions[-1] == 1


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_tells_of_each_strip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str | None) -> None:
    monkeypatch.setattr(file_copy, "KERNEL_CHUNK_BYTES", 4000)
    source = write(tmp_path / "scan.tif", compression=compression, rowsperstrip=8)

    require_steady(told(source, tmp_path / "out.tif"), least=9)


def test_a_single_large_strip_is_told_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_segments, "LARGE_SEGMENT_BYTES", {"deflate": 1})
    monkeypatch.setattr(tiff_segments, "PIECE_BYTES", 2000)
    source = write(tmp_path / "scan.tif", compression="zlib", rowsperstrip=64)

    require_steady(told(source, tmp_path / "out.tif"), least=9)


def test_measuring_whether_four_gigabytes_are_enough_is_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "scan.tif", compression="zlib", rowsperstrip=8)
    plain = told(source, tmp_path / "out.tif")
    monkeypatch.setattr(tiff_patch, "CLASSIC_LIMIT", source.stat().st_size + 20_000)

    measured = told(source, tmp_path / "out.tif")

    require_steady(measured, least=len(plain) + 8)


def test_a_png_tells_of_each_band(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "BAND_BYTES", 4000)
    (tmp_path / "scan.png").write_bytes(encoded(grainy_frame(3, np.uint16)))

    require_steady(told(tmp_path / "scan.png", tmp_path / "out.png"), least=4)


@pytest.mark.parametrize("content", [bmp(flat_grainy(3)), pnm(flat_grainy(3))], ids=["bmp", "pnm"])
def test_bmp_and_pnm_tell_of_each_band(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(flat, "BAND_BYTES", 200)
    monkeypatch.setattr(file_copy, "KERNEL_CHUNK_BYTES", 500)
    (tmp_path / "scan").write_bytes(content)

    require_steady(told(tmp_path / "scan", tmp_path / "out"), least=8)


@needs_library
@pytest.mark.parametrize("kind", ["444", "420", "progressive"])
def test_a_jpeg_tells_of_each_row_of_blocks(tmp_path: Path, kind: str) -> None:
    (tmp_path / "scan.jpg").write_bytes(KINDS[kind])

    require_steady(told(tmp_path / "scan.jpg", tmp_path / "out.jpg"), least=5)


def test_a_jpeg_encoded_anew_tells_before_and_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "is_available", lambda: False)
    (tmp_path / "scan.jpg").write_bytes(KINDS["420"])

    assert told(tmp_path / "scan.jpg", tmp_path / "out.jpg", allow_reencode=True) == [0.5, 1]


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_a_copy_without_a_repair_ends_with_one(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / f"scan.{suffix}"
    source.write_bytes(encoded(grainy_frame(3, np.uint16))) if suffix == "png" else write(source)
    fractions: list[float] = []

    with open_scan(source) as scan:
        scan.write_restored(tmp_path / "out", [], fractions.append)

    assert fractions[-1] == 1
    assert (tmp_path / "out").read_bytes() == source.read_bytes()


def not_offered(*_: object) -> int:
    return 0


@pytest.mark.parametrize("spoil", [None, not_offered], ids=["by the kernel", "by hand"])
def test_a_large_copy_is_told_and_flushed_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[..., int] | None
) -> None:
    content = np.random.default_rng(1).bytes(10_000)
    (tmp_path / "a").write_bytes(content)
    flushes: list[int] = []
    monkeypatch.setattr(file_copy, "_clone", lambda *_: False)
    monkeypatch.setattr(file_copy, "KERNEL_CHUNK_BYTES", 1000)
    monkeypatch.setattr(file_copy, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(file_copy, "FLUSH_BYTES", 4000)
    monkeypatch.setattr(file_copy.os, "fsync", flushes.append)
    if spoil is not None:
        monkeypatch.setattr(file_copy, "_copy_in_kernel", spoil)
    parts: list[int] = []

    with (tmp_path / "a").open("rb") as source, (tmp_path / "b").open("wb") as target:
        file_copy.copy_content(source.fileno(), target.fileno(), len(content), parts.append)

    assert (tmp_path / "b").read_bytes() == content
    assert parts == [1000] * 10
    assert len(flushes) == 2


def test_a_source_that_became_shorter_is_an_error_of_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"short")
    monkeypatch.setattr(file_copy, "_clone", lambda *_: False)

    with (
        (tmp_path / "a").open("rb") as source,
        (tmp_path / "b").open("wb") as target,
        pytest.raises(OSError, match="shorter"),
    ):
        file_copy.copy_content(source.fileno(), target.fileno(), 6)
