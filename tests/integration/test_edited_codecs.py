"""An edited mask over a version in a lossy codec: compressed blocks, transcoded and encoded anew."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from drawing_edits import (
    ADDED,
    FIRST,
    KEPT,
    OPTIONS,
    TAKEN_BACK,
    TELEA,
    WANTED,
    boxes_mask,
    colours,
    first_version,
    require_promises,
    restored,
    samples_of,
    write_kind,
)
from drawing_jpeg import coefficients, needs_library

from spotless_core.errors import PreservationError
from spotless_core.image_io.header_jpeg import check_jpeg
from spotless_core.image_io.jpeg_blocks import touched_blocks
from spotless_core.image_io.jpeg_kept import KeptBlocks
from spotless_core.options import DeviceChoice, DeviceOptions
from spotless_core.pipeline import Tools, load_tools


@pytest.fixture(scope="module")
def tools(bright_spot_models: Path) -> Tools:
    return load_tools(DeviceOptions(DeviceChoice.CPU), TELEA, bright_spot_models)


@needs_library
@pytest.mark.parametrize("kind", ["jpeg 444", "jpeg 420"])
def test_in_a_jpeg_kept_blocks_are_the_versions_and_taken_back_ones_the_scans(
    tmp_path: Path, tools: Tools, kind: str
) -> None:
    base = first_version(tmp_path, kind, tools)

    _, receipt = restored(tmp_path, "second", WANTED, tools, base)

    scan, old, new = (coefficients((tmp_path / name).read_bytes()) for name in ("scan", "first.image", "second.image"))
    header = check_jpeg((tmp_path / "scan").read_bytes(), 2000)
    same_as_old = same_as_scan = mixed = 0
    for index, component in enumerate(header.components):
        kept, taken, added = (touched_blocks(mask, component) for mask in (KEPT, TAKEN_BACK, ADDED))
        for row in range(len(kept)):
            whole, bare = kept[row] & ~taken[row] & ~added[row], ~kept[row] & ~added[row]
            assert np.array_equal(new[index, row][whole], old[index, row][whole])
            assert np.array_equal(new[index, row][bare], scan[index, row][bare])
            same_as_old += int((old[index, row][whole] != scan[index, row][whole]).any(axis=(1, 2)).sum())
            same_as_scan += int((old[index, row][bare] != scan[index, row][bare]).any(axis=(1, 2)).sum())
            mixed += int((kept[row] & ~whole).sum())
    assert same_as_old > 3
    assert same_as_scan > 1
    assert mixed > 0
    assert receipt.preservation == "block"
    assert any(f"{mixed} blocks of the JPEG hold kept and changed repairs" in note for note in receipt.notes)


@needs_library
def test_an_edit_of_an_edit_of_a_jpeg_takes_everything_back_to_the_scan(tmp_path: Path, tools: Tools) -> None:
    second, _ = restored(tmp_path, "second", WANTED, tools, first_version(tmp_path, "jpeg 420", tools))

    restored(tmp_path, "third", boxes_mask(), tools, second)

    assert (tmp_path / "third.image").read_bytes() == (tmp_path / "scan").read_bytes()


def test_in_a_transcoded_tiff_kept_samples_are_the_versions_and_the_rest_is_as_decoded(
    tmp_path: Path, tools: Tools
) -> None:
    samples = np.rint(colours() * 255).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "scan", samples, photometric="ycbcr", subsampling=(1, 1), compression="jpeg", metadata=None
    )
    allowed = replace(OPTIONS, allow_transcode=True)
    base, _ = restored(tmp_path, "first", FIRST, tools, options=allowed)

    _, receipt = restored(tmp_path, "second", WANTED, tools, base, options=allowed)
    restored(tmp_path, "third", boxes_mask(), tools, base, options=allowed)

    require_promises(tmp_path, "first", "second", FIRST, WANTED)
    assert receipt.preservation == "transcoded"
    assert (tmp_path / "third.image").read_bytes() == (tmp_path / "scan").read_bytes()


def test_in_a_jpeg_encoded_anew_kept_repairs_are_near_the_versions_and_the_receipt_says_so(
    tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spotless_core.image_io.jpeg.is_available", lambda: False)
    write_kind(tmp_path / "scan", "jpeg 444")
    allowed = replace(OPTIONS, allow_reencode=True)
    base, _ = restored(tmp_path, "first", FIRST, tools, options=allowed)

    _, receipt = restored(tmp_path, "second", WANTED, tools, base, options=allowed)

    old, new = (samples_of(tmp_path / f"{name}.image").astype(int) for name in ("first", "second"))
    assert np.abs(new - old)[KEPT].mean() < 3
    assert (receipt.preservation, receipt.outside_mask_identical) == ("reencoded", False)
    assert any("near the earlier version's, not equal" in note for note in receipt.notes)


@needs_library
def test_a_kept_block_that_was_not_written_is_found_before_anything_is_published(
    tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = first_version(tmp_path, "jpeg 420", tools)
    put = KeptBlocks.put_inplace
    monkeypatch.setattr(KeptBlocks, "put_inplace", lambda self, *place: put(self, *place[:2], place[2].copy()))

    with pytest.raises(PreservationError, match="kept repairs differ from the earlier version's"):
        restored(tmp_path, "second", FIRST, tools, base)
    assert not (tmp_path / "second.image").exists()
