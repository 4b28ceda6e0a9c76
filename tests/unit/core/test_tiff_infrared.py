"""Where the infrared plane of a TIFF is found, how sure that is, and that its hash is that of the plane alone."""

import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from drawing_tiff import HEIGHT, WIDTH, grainy, patch, speck, write
from drawing_tiff_layouts import Layout, draw, write_layout
from numpy.typing import NDArray

from spotless_core.errors import UnsupportedScanError
from spotless_core.image_io.hashing import hash_infrared
from spotless_core.image_io.tiff import TiffScan

REDUCED, MARKED, UNMARKED = 1, 4, 0
PREVIEW = (grainy(16, 12, 3, seed=2), REDUCED)
COLOR = (grainy(HEIGHT, WIDTH, 3), UNMARKED)
GREY = (grainy(HEIGHT, WIDTH), UNMARKED)
INFRARED = grainy(HEIGHT, WIDTH, seed=3)


def write_pages(path: Path, *pages: tuple[NDArray[Any], int]) -> Path:
    """One page each; the last number is NewSubfileType, which the writer itself would not write as 4."""
    with tifffile.TiffWriter(path) as tiff:
        for samples, _ in pages:
            tiff.write(
                samples, photometric="rgb" if samples.ndim == 3 else "minisblack", subfiletype=1, metadata=None,
                software=False,
            )  # fmt: skip
    with tifffile.TiffFile(path) as tiff:
        places = [page.tags[254].valueoffset for page in tiff.pages]
    for place, (_, kind) in zip(places, pages, strict=True):
        patch(path, place, struct.pack("<I", kind))
    return path


@pytest.mark.parametrize(
    ("pages", "index", "is_sure"),
    [
        ([COLOR, (INFRARED, MARKED)], 1, True),
        ([COLOR, PREVIEW, (INFRARED, MARKED)], 2, True),
        ([PREVIEW, COLOR, (INFRARED, MARKED)], 2, True),
        ([GREY, PREVIEW, (INFRARED, MARKED)], 2, True),
        ([COLOR, (INFRARED[:32], MARKED), (INFRARED, MARKED)], 2, True),
        ([COLOR, PREVIEW, (INFRARED, UNMARKED)], 2, False),
    ],
    ids=["HDRi", "preview between", "preview first", "grey", "another mask first", "unmarked"],
)
def test_an_infrared_page_is_found(
    tmp_path: Path, pages: list[tuple[NDArray[Any], int]], index: int, *, is_sure: bool
) -> None:
    with TiffScan(write_pages(tmp_path / "scan.tif", *pages), 10) as scan:
        found, rows = scan.info.infrared, scan.read_infrared_rows(0, HEIGHT)

    assert found is not None
    assert (found.source, found.index, found.is_sure) == ("page", index, is_sure)
    assert np.array_equal(rows, INFRARED)


@pytest.mark.parametrize(
    "pages",
    [[COLOR, PREVIEW], [COLOR, (INFRARED[:32], MARKED)], [COLOR, (INFRARED, REDUCED)]],
    ids=["preview only", "other size", "reduced"],
)
def test_no_other_page_is_taken_for_infrared(tmp_path: Path, pages: list[tuple[NDArray[Any], int]]) -> None:
    with TiffScan(write_pages(tmp_path / "scan.tif", *pages), 10) as scan:
        assert scan.info.infrared is None


@pytest.mark.parametrize(
    "second",
    [(grainy(HEIGHT, WIDTH, dtype="u1"), UNMARKED), (grainy(HEIGHT, WIDTH, 3, seed=5), UNMARKED)],
    ids=["8-bit grey", "color"],
)
def test_a_second_full_size_picture_is_refused(tmp_path: Path, second: tuple[NDArray[Any], int]) -> None:
    with pytest.raises(UnsupportedScanError, match="2 full-size images"):
        TiffScan(write_pages(tmp_path / "scan.tif", COLOR, second), 10)


def test_a_spot_colour_beside_cmyk_is_no_infrared(tmp_path: Path) -> None:
    samples = grainy(HEIGHT, WIDTH, 5)
    path = write(tmp_path / "scan.tif", samples, photometric="separated", extrasamples=["unspecified"])

    with TiffScan(path, 10) as scan:
        assert scan.info.infrared is None
        assert scan.info.color_channels == 4


@pytest.mark.parametrize("layout", [Layout(kind="rgbi"), Layout(kind="rgbi", codec="lzw", byte_order=">")], ids=str)
def test_the_hash_is_that_of_the_samples_whatever_the_file_and_the_same_after_a_repair(
    tmp_path: Path, layout: Layout
) -> None:
    samples = draw(layout)
    source = write_layout(tmp_path / "scan.tif", layout, samples)
    edit, _ = speck()

    with TiffScan(source, 10) as scan:
        before = hash_infrared(scan)
        scan.write_restored(tmp_path / "out.tif", [edit])
    with TiffScan(tmp_path / "out.tif", 10) as result:
        after = hash_infrared(result)

    assert before == hashlib.sha256(samples[:, :, 3].astype("<u2").tobytes()).hexdigest()
    assert after == before


def test_a_scan_without_infrared_has_no_hash(tmp_path: Path) -> None:
    with TiffScan(write(tmp_path / "scan.tif"), 10) as scan:
        assert hash_infrared(scan) == ""
