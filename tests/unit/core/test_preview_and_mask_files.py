from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawing import draw_picture
from PIL import Image

from spotless_core.arrays import windows
from spotless_core.arrays.encoding import Encoding, sense_encoding
from spotless_core.errors import MissingInputError, OutputError, ScanError
from spotless_core.image_io.edited_rows import EditedRows
from spotless_core.image_io.mask_file import read_mask, write_mask
from spotless_core.image_io.preview import write_preview
from spotless_core.photo import Edit, ScanInfo

INFO = ScanInfo("tiff", 60, 40, 3, 3, 16, "none", "exact", dpi=4000.0)


def test_a_mask_comes_back_as_it_was_written_with_the_scans_resolution(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((40, 60)) > 0.9

    write_mask(tmp_path / "m.part", mask, INFO)

    assert (read_mask(tmp_path / "m.part", (40, 60)) == mask).all()
    with Image.open(tmp_path / "m.part") as picture:
        assert (picture.format, picture.mode) == ("PNG", "L")
        assert picture.info["dpi"][0] == pytest.approx(4000, rel=1e-3)


def test_a_painted_mask_counts_from_half_grey(tmp_path: Path) -> None:
    painted = np.array([[0, 127, 128, 255]], np.uint8)
    Image.fromarray(painted).convert("RGB").save(tmp_path / "m.png")

    assert read_mask(tmp_path / "m.png", (1, 4)).tolist() == [[False, False, True, True]]


def test_a_mask_that_is_no_png_or_is_missing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.png").write_text("no")

    with pytest.raises(ScanError, match="not a readable PNG"):
        read_mask(tmp_path / "m.png", (1, 4))
    with pytest.raises(MissingInputError):
        read_mask(tmp_path / "none.png", (1, 4))


def test_a_mask_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        write_mask(tmp_path / "no folder" / "m.png", np.zeros((2, 2), bool), INFO)


def test_the_preview_shows_before_after_and_mask_within_its_long_side(tmp_path: Path) -> None:
    grey = draw_picture(400, 600)
    frame = np.rint(np.repeat(grey[..., None], 3, axis=2) * 65535).astype(np.uint16)
    untouched = frame.copy()
    mask = np.zeros((400, 600), bool)
    mask[100:140, 300:340] = True
    encoding = sense_encoding(frame, 16, is_min_white=False)
    edit = Edit(100, 300, np.full((40, 40, 3), 65535, np.uint16), np.ones((40, 40), bool))
    edits = EditedRows([edit], replace(INFO, width=600, height=400))

    write_preview(tmp_path / "p.jpg", frame, edits, mask, encoding, 900)

    pixels = read_pixels(tmp_path / "p.jpg")
    assert (frame == untouched).all()
    assert pixels.shape[1] <= 900
    panel = (pixels.shape[1] - 16) // 3
    row, column = round(120 / 400 * pixels.shape[0]), round(320 / 600 * panel)
    assert pixels[row, column].mean() < 200
    assert pixels[row, column + panel + 8].mean() > 235
    assert pixels[row, column + 2 * (panel + 8)].mean() > 235
    assert pixels[5, 2 * (panel + 8) + 5].mean() < 20


def read_pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture).astype(int)


@pytest.mark.parametrize("shape", [(400, 600, 1), (333, 517, 3), (37, 2000, 3), (2000, 37, 1), (60, 90, 3)])
def test_a_panel_made_of_bands_is_the_area_mean_of_the_frame(
    tmp_path: Path, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "LEAST_BAND_ROWS", 6)
    monkeypatch.setattr(windows, "BAND_PX", 1)
    frame = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    frame[..., :] = cv2.GaussianBlur(frame, (0, 0), 5).reshape(shape)
    encoding = Encoding(255, "gamma", "positive", 1.0, 0.0, 1.0, (1.0,), False)
    info = replace(INFO, height=shape[0], width=shape[1], bits=8, color_channels=shape[2])

    write_preview(tmp_path / "p.jpg", frame, EditedRows([], info), np.zeros(shape[:2], bool), encoding, 300)

    pixels = read_pixels(tmp_path / "p.jpg")
    panel = (pixels.shape[1] - 16) // 3
    whole = cv2.resize(frame, (panel, pixels.shape[0]), interpolation=cv2.INTER_AREA).reshape(-1, panel, shape[2])
    assert np.abs(pixels[:, :panel].mean(axis=2) - whole.mean(axis=2)).mean() < 1.5
    assert np.abs(pixels[:, panel + 8 : 2 * panel + 8].mean(axis=2) - whole.mean(axis=2)).mean() < 1.5


def test_inks_are_shown_as_the_light_they_let_through(tmp_path: Path) -> None:
    inks = np.zeros((60, 60, 4), np.uint8)
    inks[:, 30:, 0] = 255  # cyan
    encoding = Encoding(255, "gamma", "positive", 1.0, 0.0, 1.0, (1.0,) * 4, True)
    info = replace(INFO, height=60, width=60, bits=8, color_channels=4)

    write_preview(tmp_path / "p.jpg", inks, EditedRows([], info), np.zeros((60, 60), bool), encoding, 400)

    pixels = read_pixels(tmp_path / "p.jpg")
    assert pixels[30, 10].min() > 250
    assert np.abs(pixels[30, 50] - [0, 255, 255]).max() < 5


def test_a_preview_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    frame, encoding = np.zeros((9, 9, 1), np.uint8), Encoding(255, "gamma", "positive", 1.0, 0.0, 1.0, (1.0,), False)
    info = replace(INFO, height=9, width=9, bits=8, color_channels=1)

    with pytest.raises(OutputError, match="preview"):
        write_preview(tmp_path / "no/p.jpg", frame, EditedRows([], info), np.zeros((9, 9), bool), encoding, 300)
