"""The conformance matrix of TIFF: every accepted layout reads exactly, and a copy differs only under the mask.

Every pair of two axes' values comes up in each test; the whole product runs under the marker `slow`.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile
from drawing_tiff_layouts import (
    HEIGHT,
    KINDS,
    WIDTH,
    Layout,
    all_layouts,
    apply_edits,
    draw,
    is_equal,
    make_edits,
    new_values,
    pairwise_layouts,
    read_with_other_reader,
    tags_of,
    write_layout,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spotless_core.arrays.kinds import Mask, Samples
from spotless_core.image_io.tiff import TiffScan
from spotless_core.photo import Edit

TABLES = frozenset({273, 279, 324, 325})
LAYOUTS = pairwise_layouts()
every_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=str)
# tiffcp garbles planar tiles of more than 8 bits, whoever wrote them.
layouts_for_tiffcp = pytest.mark.parametrize(
    "layout", [layout for layout in LAYOUTS if not (layout.is_planar and layout.shape == "tiles")], ids=str
)
infrared_layouts = pytest.mark.parametrize(
    "layout", [layout for layout in LAYOUTS if layout.kind in {"rgbi", "rgbai", "greyx", "lineari"}], ids=str
)
layouts_without_infrared = pytest.mark.parametrize(
    "layout", [Layout(), Layout(kind="rgba"), Layout(kind="grey"), Layout(kind="cmyk")], ids=str
)
libtiff = pytest.mark.skipif(
    shutil.which("tiffcp") is None or shutil.which("tiffinfo") is None, reason="libtiff's tools are not here"
)


def write_with_thumbnail(path: Path, layout: Layout, samples: Samples) -> Path:
    """A scan with tags of its own, and a reduced second page."""
    write_layout(path, layout, samples, resolution=(4000, 4000), iccprofile=bytes(range(200)), description="a scan")
    thumbnail = np.random.default_rng(4).integers(0, 256, (12, 10, 3)).astype("u1")
    tifffile.imwrite(path, thumbnail, append=True, photometric="rgb", subfiletype=1, metadata=None, software=False)
    return path


def restore(source: Path, target: Path, edits: list[Edit], mask: Mask) -> None:
    with TiffScan(source, 10) as scan:
        report = scan.write_restored(target, edits)
        scan.check_restored(target, mask)
    assert report.preservation == "exact"
    assert report.bytes_appended == target.stat().st_size - source.stat().st_size
    assert (report.segments_touched > 0) == bool(mask.any())


def require_only_edits(source: Path, target: Path, layout: Layout, expected: Samples) -> None:
    assert is_equal(read_with_other_reader(target, layout), expected)
    before, after = tags_of(source, without=TABLES), tags_of(target, without=TABLES)
    assert list(before) == list(after)
    assert np.array_equal(tifffile.imread(target, key=1), tifffile.imread(source, key=1))


def round_trip(folder: Path, layout: Layout) -> None:
    samples = draw(layout)
    source, target = write_with_thumbnail(folder / "scan.tif", layout, samples), folder / "restored.tif"
    before = source.read_bytes()
    edits, mask = make_edits(layout)

    restore(source, target, edits, mask)
    require_only_edits(source, target, layout, apply_edits(samples, edits, layout.colors))
    assert source.read_bytes() == before
    restore(source, target, [], np.zeros_like(mask))
    assert target.read_bytes() == before


@every_layout
def test_a_band_reads_the_stored_values(tmp_path: Path, layout: Layout) -> None:
    samples = draw(layout)
    write_layout(tmp_path / "scan.tif", layout, samples)

    with TiffScan(tmp_path / "scan.tif", 10) as scan:
        bands = [scan.read_rows(top, min(top + 10, HEIGHT)) for top in range(0, HEIGHT, 10)]
        info = scan.info

    assert is_equal(np.concatenate(bands), np.ascontiguousarray(samples[:, :, : layout.colors]))
    assert (info.dtype, info.is_float, info.is_cmyk) == (samples.dtype, layout.is_float, layout.kind == "cmyk")
    assert info.full_scale == (1.0 if layout.is_float else np.iinfo(layout.depth).max)


@every_layout
def test_a_copy_holds_the_edits_and_nothing_else_new_and_without_edits_it_is_the_scan(
    tmp_path: Path, layout: Layout
) -> None:
    round_trip(tmp_path, layout)


@libtiff
@layouts_for_tiffcp
def test_libtiff_reads_the_copy_as_we_meant_it(tmp_path: Path, layout: Layout) -> None:
    samples = draw(layout)
    source, target, plain = tmp_path / "scan.tif", tmp_path / "restored.tif", tmp_path / "plain.tif"
    write_layout(source, layout, samples)
    edits, mask = make_edits(layout)
    restore(source, target, edits, mask)

    copied = subprocess.run(["tiffcp", "-c", "none", target, plain], capture_output=True, text=True, check=False)
    if "not configured" in copied.stderr:
        pytest.skip(f"this libtiff has no {layout.codec}")
    listed = subprocess.run(["tiffinfo", target], capture_output=True, text=True, check=False)

    assert (copied.returncode, listed.returncode) == (0, 0)
    expected = apply_edits(samples, edits, layout.colors)
    assert is_equal(read_with_other_reader(plain, layout), expected)


@libtiff
@pytest.mark.parametrize("codec", ["lzw:2", "zip:2", "lzma:2", "zstd:2", "packbits", "none"])
@pytest.mark.parametrize("shape", [["-r", "16"], ["-t", "-w", "32", "-l", "16"]], ids=["strips", "tiles"])
def test_files_that_libtiff_wrote_go_through(tmp_path: Path, codec: str, shape: list[str]) -> None:
    layout = Layout()
    samples = draw(layout)
    plain, source = write_layout(tmp_path / "plain.tif", layout, samples), tmp_path / "scan.tif"
    written = subprocess.run(
        ["tiffcp", "-c", codec, *shape, plain, source], capture_output=True, text=True, check=False
    )
    if "not configured" in written.stderr:
        pytest.skip(f"this libtiff has no {codec}")
    edits, mask = make_edits(layout)

    restore(source, tmp_path / "restored.tif", edits, mask)

    after = read_with_other_reader(tmp_path / "restored.tif", layout)
    assert is_equal(after, apply_edits(samples, edits, layout.colors))


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not here")
def test_exiftool_finds_no_difference_but_offsets_and_sizes(tmp_path: Path) -> None:
    layout = Layout(codec="lzw", predictor=2)
    source = write_with_thumbnail(tmp_path / "scan.tif", layout, draw(layout))
    target = tmp_path / "restored.tif"
    restore(source, target, *make_edits(layout))

    listings = []
    for path in (source, target):
        command = ["exiftool", "-a", "-G1", "-u", "-s", "--System:all", path]
        listings.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())
    differing = {before.split(":")[0] for before, after in zip(*listings, strict=True) if before != after}

    assert {name.split()[-1] for name in differing} <= {"StripOffsets", "StripByteCounts"}
    assert len(listings[0]) > 20


@infrared_layouts
def test_the_infrared_plane_is_read_and_never_written(tmp_path: Path, layout: Layout) -> None:
    samples = draw(layout)
    source, target = tmp_path / "scan.tif", tmp_path / "restored.tif"
    write_layout(source, layout, samples)

    with TiffScan(source, 10) as scan:
        infrared = scan.read_infrared_rows(3, 40)
        scan.write_restored(target, make_edits(layout)[0])
    with TiffScan(target, 10) as result:
        after = result.read_infrared_rows(3, 40)

    assert infrared is not None and after is not None
    assert is_equal(np.ascontiguousarray(infrared), np.ascontiguousarray(samples[3:40, :, -1]))
    assert np.array_equal(after, infrared)


@layouts_without_infrared
def test_a_scan_without_infrared_has_none(tmp_path: Path, layout: Layout) -> None:
    write_layout(tmp_path / "scan.tif", layout, draw(layout))

    with TiffScan(tmp_path / "scan.tif", 10) as scan:
        infrared = scan.read_infrared_rows(3, 40)

    assert infrared is None
    assert scan.info.infrared is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    layout=st.sampled_from(all_layouts()),
    box=st.tuples(st.integers(0, HEIGHT - 1), st.integers(0, WIDTH - 1), st.integers(1, HEIGHT), st.integers(1, WIDTH)),
    density=st.floats(0, 1),
    seed=st.integers(0, 1 << 16),
)
def test_any_mask_in_any_layout_changes_only_what_it_covers(
    tmp_path: Path, layout: Layout, box: tuple[int, int, int, int], density: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    samples = draw(layout, seed)
    source, target = tmp_path / "scan.tif", tmp_path / "restored.tif"
    write_with_thumbnail(source, layout, samples)
    top, left = box[0], box[1]
    height, width = min(box[2], HEIGHT - top), min(box[3], WIDTH - left)
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[top : top + height, left : left + width] = random.random((height, width)) < density
    values = new_values(layout, (height, width, layout.colors), random)
    edits = [Edit(top, left, values, mask[top : top + height, left : left + width])]

    with TiffScan(source, 10) as scan:
        scan.write_restored(target, edits)
        scan.check_restored(target, mask)

    require_only_edits(source, target, layout, apply_edits(samples, edits, layout.colors))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_matrix_goes_through(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing written here must survive a power cut, and waiting for the disk takes most of the time.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    for layout in all_layouts():
        if layout.kind == kind:
            round_trip(tmp_path, layout)
