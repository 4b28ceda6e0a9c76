"""Tiles and thumbnails of one frame, pixel by pixel."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest
from drawing_review import draw_frame, marks_of, read_tile, shown, write_samples
from PIL import Image

from spotless_core.errors import SpotlessError
from spotlessd.review import film
from spotlessd.review.frame_files import FrameFiles
from spotlessd.review.mask_layer import any_of
from spotlessd.review.picture_source import PictureError
from spotlessd.review.pyramid import FramePictures

KINDS = ["tiff", "lzw", "one-strip", "png", "jpeg"]
CLOSE = 6
"""8-bit values that our own JPEG of a tile may be off, on average far less."""


Look = Callable[[FrameFiles], FramePictures]


def always() -> bool:
    return True


@pytest.fixture
def look(tmp_path: Path) -> Iterator[Look]:
    """Open the pictures of frames, all in one folder, and close them at the end."""
    with ExitStack() as opened:
        yield lambda files: opened.enter_context(closing(FramePictures(files, tmp_path / "cache")))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("col", "row"), [(0, 0), (2, 1)])
def test_a_tile_of_full_size_is_the_window_of_the_scan_in_the_previews_tones(
    tmp_path: Path, look: Look, kind: str, col: int, row: int
) -> None:
    files, before, _, _ = draw_frame(tmp_path, kind=kind)
    pictures = look(files)

    tile = read_tile(pictures.tile("before", 0, col, row, always))

    window = before[row * 512 : row * 512 + 512, col * 512 : col * 512 + 512]
    if kind != "jpeg":
        expected = shown(files.scan, window)
        assert tile.shape == expected.shape
        assert np.abs(tile - expected).mean() < 2
        assert np.abs(tile - expected).max() <= 4 * CLOSE
    else:
        assert np.abs(tile - window).mean() < 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", [0, 1])
def test_the_repaired_layer_shows_the_result_everywhere(tmp_path: Path, look: Look, kind: str, level: int) -> None:
    files, _, after, mask = draw_frame(tmp_path, kind=kind)
    pictures = look(files)
    step = 1 << level

    for col, row in [(col, row) for row in range(2 // step) for col in range(3 // step)]:
        tile = read_tile(pictures.tile("after", level, col, row, always))
        old = read_tile(pictures.tile("before", level, col, row, always))
        place = (slice(row * 512 * step, (row + 1) * 512 * step), slice(col * 512 * step, (col + 1) * 512 * step))
        expected = read_expected(files, after[place], level)[: tile.shape[0], : tile.shape[1]]
        assert np.abs(tile - expected).mean() < 3
        marked = any_of(mask[place], level)
        if level == 0 and marked.any():
            assert np.abs(tile - expected)[marked].mean() < CLOSE
            assert np.abs(old - expected)[marked].mean() > 3 * CLOSE  # the dust, which the fixture makes bright


def read_expected(files: FrameFiles, samples: np.ndarray, level: int) -> np.ndarray:
    if files.scan.suffix == ".jpeg":
        return film.shrink(samples, level).astype(np.int16)
    return shown(files.scan, film.shrink(samples, level)).astype(np.int16)


def test_a_tile_without_repairs_is_one_file_in_both_layers(tmp_path: Path, look: Look) -> None:
    files, _, _, mask = draw_frame(tmp_path, specks=1)
    row, col = (int(place[0]) // 512 for place in np.nonzero(mask))
    pictures = look(files)
    untouched = next((c, r) for r in range(2) for c in range(3) if (c, r) != (col, row))

    both = [pictures.tile(layer, 0, *untouched, always) for layer in ("before", "after")]

    assert both[0].samefile(both[1])
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith(".part-")]


def test_a_result_that_is_not_the_scan_outside_the_mask_is_shown_as_it_is(tmp_path: Path, look: Look) -> None:
    files, _, after, _ = draw_frame(tmp_path)
    assert files.result is not None
    write_samples(files.result, after // 2, "tiff")
    pictures = look(files)

    tile = read_tile(pictures.tile("after", 0, 0, 0, always))

    assert np.abs(tile - shown(files.scan, after[:512, :512] // 2)).mean() < 2


def test_coarse_levels_are_means_of_the_whole_frame(tmp_path: Path, look: Look) -> None:
    files, before, after, _ = draw_frame(tmp_path, 2100, 4200, kind="lzw", specks=40)
    pictures = look(files)
    assert pictures.layout().levels == 5

    for layer, samples in (("before", before), ("after", after)):
        for level in (2, 3, 4):
            side = 1 << level
            padded = np.pad(samples, ((0, -2100 % side), (0, -4200 % side), (0, 0)), mode="edge").astype(np.float64)
            means = padded.reshape(len(padded) // side, side, -1, side, 3).mean(axis=(1, 3))
            tile = read_tile(pictures.tile(layer, level, 0, 0, always))
            expected = shown(files.scan, means)[:512, :512]
            assert tile.shape == expected.shape
            assert np.abs(tile - expected).mean() < 2


def test_a_single_marked_pixel_shows_on_every_level_of_the_mask(tmp_path: Path, look: Look) -> None:
    files, _, _, _ = draw_frame(tmp_path, 2100, 4200)
    mask = np.zeros((2100, 4200), np.uint8)
    mask[1101, 2200] = 255
    assert files.mask is not None
    Image.fromarray(mask).save(files.mask)
    pictures = look(files)

    for level in range(5):
        step = 512 << level
        col, row = 2200 // step, 1101 // step
        marks = marks_of(pictures.tile("mask", level, col, row, always))
        y, x = (1101 >> level) - row * 512, (2200 >> level) - col * 512
        assert marks[y, x]
        wide = 3 if level else 1
        assert marks.sum() == wide * wide


def test_a_rim_that_starts_in_the_neighbouring_tile_goes_on_in_this_one(tmp_path: Path, look: Look) -> None:
    files, _, _, _ = draw_frame(tmp_path, 1100, 2200)
    mask = np.zeros((1100, 2200), np.uint8)
    mask[100:102, 1022:1024] = 255  # the last pixel of the left tile of level 1
    assert files.mask is not None
    Image.fromarray(mask).save(files.mask)
    pictures = look(files)

    marks = marks_of(pictures.tile("mask", 1, 1, 0, always))

    assert np.argwhere(marks).tolist() == [[49, 0], [50, 0], [51, 0]]


@pytest.mark.parametrize(("layer", "level", "col", "row"), [
    ("before", -1, 0, 0), ("before", 9, 0, 0), ("before", 0, 3, 0), ("before", 0, 0, -1), ("nothing", 0, 0, 0),
])  # fmt: skip
def test_there_is_no_tile_outside_the_frame(
    tmp_path: Path, look: Look, layer: str, level: int, col: int, row: int
) -> None:
    files, *_ = draw_frame(tmp_path)
    pictures = look(files)

    with pytest.raises(PictureError, match="there is no"):
        pictures.tile(layer, level, col, row, always)


def test_a_held_frame_has_no_repaired_layer(tmp_path: Path, look: Look) -> None:
    files, *_ = draw_frame(tmp_path)
    held = FrameFiles(files.job, files.key, files.scan, None, files.mask)

    assert look(held).layout().layers == ("before", "mask")


def test_a_scan_that_was_taken_away_leaves_the_result(tmp_path: Path, look: Look) -> None:
    files, _, after, _ = draw_frame(tmp_path)
    files.scan.unlink()
    pictures = look(files)

    assert pictures.layout().layers == ("after", "mask")
    assert files.result is not None
    tile = read_tile(pictures.tile("after", 0, 0, 0, always))
    assert np.abs(tile - shown(files.result, after[:512, :512])).mean() < 2


def test_a_damaged_tile_is_drawn_anew(tmp_path: Path, look: Look) -> None:
    files, *_ = draw_frame(tmp_path)
    path = look(files).tile("before", 0, 0, 0, always)
    whole = path.read_bytes()

    for damaged in (b"", whole[:-100], b"\0" * len(whole)):
        path.write_bytes(damaged)
        assert look(files).tile("before", 0, 0, 0, always).read_bytes() == whole


def test_pictures_of_a_file_that_changed_are_drawn_anew(tmp_path: Path, look: Look) -> None:
    files, before, _, _ = draw_frame(tmp_path)
    old = look(files).tile("before", 0, 0, 0, always).read_bytes()
    write_samples(files.scan, before[::-1], "tiff")

    assert look(files).tile("before", 0, 0, 0, always).read_bytes() != old


def test_the_thumbnail_is_the_repaired_panel_of_the_preview(tmp_path: Path, look: Look) -> None:
    files, *_ = draw_frame(tmp_path)
    panels = np.zeros((200, 3 * 300 + 16, 3), np.uint8)
    panels[:, 308:608] = (10, 200, 30)
    Image.fromarray(panels).save(tmp_path / "preview.jpg", quality=95)
    seen = FrameFiles(files.job, files.key, files.scan, files.result, files.mask, tmp_path / "preview.jpg")

    thumb = read_tile(look(seen).thumb(always))

    assert thumb.shape == (200, 300, 3)
    assert np.abs(thumb[:, 3:-3] - (10, 200, 30)).max() < 8


def test_a_damaged_preview_gives_a_thumbnail_of_the_result(tmp_path: Path, look: Look) -> None:
    files, _, after, _ = draw_frame(tmp_path)
    (tmp_path / "preview.jpg").write_bytes(b"\xff\xd8\xff no picture")
    seen = FrameFiles(files.job, files.key, files.scan, files.result, files.mask, tmp_path / "preview.jpg")

    thumb = read_tile(look(seen).thumb(always))

    assert max(thumb.shape) <= 480
    assert abs(thumb.mean() - shown(files.scan, after).mean()) < 2


def test_the_coarsest_level_comes_from_the_preview_where_that_is_finer(
    tmp_path: Path, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, *_ = draw_frame(tmp_path, 1100, 2200)
    monkeypatch.setattr("spotlessd.review.pyramid.SMALL_PX", 0)
    panels = np.zeros((300, 3 * 600 + 16, 3), np.uint8)
    panels[:, :600], panels[:, 608:1208] = (200, 10, 30), (10, 200, 30)
    Image.fromarray(panels).save(tmp_path / "preview.jpg", quality=95)
    seen = FrameFiles(files.job, files.key, files.scan, files.result, files.mask, tmp_path / "preview.jpg")
    pictures = look(seen)

    for layer, color in (("before", (200, 10, 30)), ("after", (10, 200, 30))):
        tile = read_tile(pictures.tile(layer, 3, 0, 0, always))
        assert tile.shape == (138, 275, 3)
        assert np.abs(tile[:, 3:-3] - color).max() < 8


@pytest.mark.parametrize("kind", ["tiff", "png", "jpeg"])
def test_a_truncated_scan_is_refused_with_its_name(tmp_path: Path, look: Look, kind: str) -> None:
    files, *_ = draw_frame(tmp_path, kind=kind)
    files.scan.write_bytes(files.scan.read_bytes()[:5000])
    alone = FrameFiles(1, "k", files.scan)

    with pytest.raises((PictureError, SpotlessError)):
        look(alone).tile("before", 0, 0, 0, always)


def test_who_no_longer_wants_a_picture_stops_its_drawing(tmp_path: Path, look: Look) -> None:
    files, *_ = draw_frame(tmp_path)

    with pytest.raises(film.NotWantedError):
        look(files).tile("before", 0, 0, 0, lambda: False)
