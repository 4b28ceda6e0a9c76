from pathlib import Path

import numpy as np
import pytest
from drawing import draw_picture
from PIL import Image

from spotless_core.arrays.encoding import sense_encoding
from spotless_core.errors import MissingInputError, OutputError, ScanError
from spotless_core.image_io.mask_png import read_mask, write_mask
from spotless_core.image_io.preview import apply_edits_inplace, shrink, write_preview
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
    mask = np.zeros((400, 600), bool)
    mask[100:140, 300:340] = True
    encoding = sense_encoding(frame, 16, is_min_white=False)
    before = shrink(frame, 900)
    edit = Edit(100, 300, np.full((40, 40, 3), 65535, np.uint16), np.ones((40, 40), bool))

    apply_edits_inplace(frame, [edit])
    write_preview(tmp_path / "p.jpg", before, shrink(frame, 900), mask, encoding)

    with Image.open(tmp_path / "p.jpg") as picture:
        pixels = np.asarray(picture).astype(int)
    assert pixels.shape[1] <= 900
    panel = before.shape[1]
    row, column = round(120 / 400 * before.shape[0]), round(320 / 600 * panel)
    assert pixels[row, column].mean() < 200
    assert pixels[row, column + panel + 8].mean() > 235
    assert pixels[row, column + 2 * (panel + 8)].mean() > 235
    assert pixels[5, 2 * (panel + 8) + 5].mean() < 20


def test_an_edit_changes_only_what_its_mask_covers() -> None:
    frame = np.zeros((5, 5, 1), np.uint8)
    covers = np.array([[True, False], [False, True]])

    apply_edits_inplace(frame, [Edit(1, 2, np.full((2, 2, 1), 9, np.uint8), covers)])

    assert np.argwhere(frame[..., 0] == 9).tolist() == [[1, 2], [2, 3]]
