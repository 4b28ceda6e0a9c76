from pathlib import Path

import numpy as np
import pytest
import tifffile
from drawing import draw_picture
from PIL import Image

from spotless_core.training.cli import main
from spotless_core.training.film_scan import make_film_scan, write_scanner_tiff


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    grey = np.rint(np.clip(draw_picture(120, 160, grain=0), 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def test_the_same_seed_gives_the_same_scan_and_another_gives_another(photo: np.ndarray) -> None:
    first, again, other = (make_film_scan(photo, 400, 600, seed) for seed in (1, 1, 2))

    assert (first.dusty == again.dusty).all()
    assert (first.truth == again.truth).all()
    assert (first.dusty != other.dusty).any()


def test_the_dusty_scan_differs_from_the_clean_one_only_near_its_elements(photo: np.ndarray) -> None:
    scan = make_film_scan(photo, 600, 900, 3)

    near = np.zeros(scan.truth.shape, bool)
    for element in scan.elements:
        top, left, bottom, right = element.box
        near[top:bottom, left:right] = True
    differs = (scan.dusty != scan.clean).any(axis=2)
    assert differs.any()
    assert not (differs & ~near).any()
    assert scan.truth.any()


def test_grain_is_as_strong_everywhere() -> None:
    scan = make_film_scan(np.full((120, 180, 3), 120, np.uint8), 1600, 2400, 3)

    squares = scan.clean[:1536, :2304].reshape(6, 256, 9, 256, 3).std(axis=(1, 3))

    assert squares.min() > 0.85 * squares.max()


def test_dust_on_a_negative_is_brighter_than_the_film_below(photo: np.ndarray) -> None:
    scan = make_film_scan(photo, 600, 900, 3)

    particles = np.zeros(scan.truth.shape, bool)
    for element in scan.elements:
        if element.kind != "scratch":
            top, left, bottom, right = element.box
            particles[top:bottom, left:right] = True
    change = scan.dusty.astype(int) - scan.clean
    assert np.median(change[scan.truth & particles]) > 1000


def test_the_file_is_written_as_scanners_write_it(tmp_path: Path, photo: np.ndarray) -> None:
    write_scanner_tiff(tmp_path / "s.tif", make_film_scan(photo, 200, 300, 1).dusty)

    with tifffile.TiffFile(tmp_path / "s.tif") as file:
        page = file.pages.first
        assert page.dtype == np.uint16
        assert page.compression.name == "LZW"
        assert page.tags["XResolution"].value[0] == 4000
        assert len(page.tags["InterColorProfile"].value) > 300
        assert page.dataoffsets[1] > page.dataoffsets[0]


def test_the_command_writes_scan_truth_and_clean(tmp_path: Path, photo: np.ndarray) -> None:
    Image.fromarray(photo).save(tmp_path / "photo.png")

    code = main(
        ["film-scan", str(tmp_path / "photo.png"), str(tmp_path / "s.tif"), "--truth", str(tmp_path / "t.png"),
         "--clean", str(tmp_path / "c.tif"), "--size", "300x200"]
    )  # fmt: skip

    assert code == 0
    assert tifffile.imread(tmp_path / "s.tif").shape == tifffile.imread(tmp_path / "c.tif").shape == (200, 300, 3)
    with Image.open(tmp_path / "t.png") as truth:
        assert truth.size == (300, 200)


def test_a_size_or_photograph_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    assert main(["film-scan", "astronaut", str(tmp_path / "s.tif"), "--size", "large"]) == 78
    assert main(["film-scan", "no such photo", str(tmp_path / "s.tif")]) == 66
