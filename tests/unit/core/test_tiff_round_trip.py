"""Every accepted TIFF layout: reads exactly, and a patched copy differs only under the mask."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile

from spotless_core.arrays.kinds import Mask, Samples
from spotless_core.image_io.tiff import TiffScan
from spotless_core.photo import Edit

HEIGHT, WIDTH = 67, 53


@dataclass(frozen=True)
class Layout:
    """One way to store a scan."""

    bits: int = 16
    kind: str = "rgb"  # grey, white, rgb, rgba, rgbi, greyx, rgbai
    codec: str = "none"  # none, lzw, deflate, old-deflate; "+p" adds predictor 2
    shape: str = "strips"  # strips, single, tiles
    is_planar: bool = False
    byte_order: str = "<"
    is_big: bool = False

    def __str__(self) -> str:
        names = [f"{self.bits}bit", self.kind, self.codec, self.shape]
        names += ["planar"] * self.is_planar + ["MM"] * (self.byte_order == ">") + ["big"] * self.is_big
        return "-".join(names)

    @property
    def colors(self) -> int:
        return 3 if self.kind.startswith("rgb") else 1

    @property
    def channels(self) -> int:
        return {"grey": 1, "white": 1, "rgb": 3, "rgba": 4, "rgbi": 4, "greyx": 2, "rgbai": 5}[self.kind]


CODECS = ("none", "lzw", "lzw+p", "deflate", "deflate+p", "old-deflate")
LAYOUTS = sorted(
    {
        *(
            Layout(bits=bits, kind=kind, codec=codec)
            for bits, kind, codec in itertools.product(
                (8, 16), ("grey", "white", "rgb", "rgba", "rgbi", "greyx"), CODECS
            )
        ),
        *(
            Layout(kind=kind, codec=codec, shape=shape, is_planar=is_planar)
            for kind, codec, shape, is_planar in itertools.product(
                ("rgb", "rgbi"), CODECS, ("strips", "single", "tiles"), (False, True)
            )
        ),
        *(
            Layout(bits=bits, codec=codec, shape=shape, byte_order=order, is_big=is_big)
            for bits, codec, shape, order, is_big in itertools.product(
                (8, 16), ("none", "lzw+p", "deflate+p"), ("strips", "tiles"), ("<", ">"), (False, True)
            )
        ),
        Layout(kind="rgbai", codec="lzw+p"),
        Layout(kind="grey", codec="lzw", shape="tiles", byte_order=">", is_big=True),
    },
    key=str,
)
every_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=str)
some_layouts = pytest.mark.parametrize("layout", LAYOUTS[::6], ids=str)
infrared_layouts = pytest.mark.parametrize(
    "layout", [layout for layout in LAYOUTS if layout.kind in {"rgbi", "rgbai", "greyx"}], ids=str
)
layouts_without_infrared = pytest.mark.parametrize(
    "layout", [Layout(), Layout(kind="rgba"), Layout(kind="grey")], ids=str
)


def draw(layout: Layout, seed: int = 7) -> Samples:
    """A soft scene with grain, H×W×channels; the last bits are used."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    scene = 0.5 + 0.3 * np.sin(rows / 17)[..., None] * np.cos(
        columns / 11 + np.arange(layout.channels)[:, None, None]
    ).transpose(1, 2, 0)
    grain = random.normal(0, 0.02, (HEIGHT, WIDTH, layout.channels))
    full = (1 << layout.bits) - 1
    return np.clip(np.rint((scene + grain) * full), 0, full).astype(f"u{layout.bits // 8}")


def write(path: Path, layout: Layout, samples: Samples) -> None:
    codec, _, predictor = layout.codec.partition("+")
    extra = {"rgba": ["unassalpha"], "rgbi": ["unspecified"], "greyx": ["unspecified"]}.get(layout.kind)
    if layout.kind == "rgbai":
        extra = ["unassalpha", "unspecified"]
    stored = samples.transpose(2, 0, 1) if layout.is_planar else samples
    photometric = {"white": "miniswhite", "grey": "minisblack", "greyx": "minisblack"}.get(layout.kind, "rgb")
    tifffile.imwrite(
        path,
        stored if layout.channels > 1 else samples[:, :, 0],
        photometric=photometric,
        planarconfig=("separate" if layout.is_planar else "contig") if layout.channels > 1 else None,
        extrasamples=extra,
        compression={"none": None, "lzw": "lzw", "deflate": "adobe_deflate", "old-deflate": "deflate"}[codec],
        predictor=2 if predictor else None,
        rowsperstrip={"strips": 16, "single": HEIGHT}.get(layout.shape),
        tile=(32, 16) if layout.shape == "tiles" else None,
        byteorder=layout.byte_order,
        bigtiff=layout.is_big,
        metadata=None,
        software=False,
    )


def read_with_other_reader(path: Path, layout: Layout) -> Samples:
    samples = tifffile.imread(path, is_shaped=False)
    if layout.is_planar:
        samples = samples.transpose(1, 2, 0)
    return samples.reshape(HEIGHT, WIDTH, layout.channels)


def make_edits(layout: Layout) -> tuple[list[Edit], Mask]:
    """Three specks: over a corner, over strip and tile borders, and one pixel; their boxes are full of other values."""
    random = np.random.default_rng(3)
    edits, whole = [], np.zeros((HEIGHT, WIDTH), np.bool_)
    for top, left, height, width in ((0, 0, 5, 6), (28, 12, 9, 8), (HEIGHT - 1, WIDTH - 1, 1, 1)):
        mask = random.random((height, width)) < 0.6
        mask[-1, -1] = True
        samples = random.integers(0, 1 << layout.bits, (height, width, layout.colors)).astype(f"u{layout.bits // 8}")
        edits.append(Edit(top, left, samples, mask))
        whole[top : top + height, left : left + width] |= mask
    return edits, whole


def apply(samples: Samples, edits: list[Edit], colors: int) -> Samples:
    expected = samples.copy()
    for edit in edits:
        height, width = edit.mask.shape
        place = expected[edit.top : edit.top + height, edit.left : edit.left + width, :colors]
        place[edit.mask] = edit.samples[edit.mask]
    return expected


@every_layout
def test_a_band_reads_the_stored_values(tmp_path: Path, layout: Layout) -> None:
    samples = draw(layout)
    write(tmp_path / "scan.tif", layout, samples)

    with TiffScan(tmp_path / "scan.tif", 10) as scan:
        bands = [scan.read_rows(top, min(top + 10, HEIGHT)) for top in range(0, HEIGHT, 10)]

    assert np.array_equal(np.concatenate(bands), samples[:, :, : layout.colors])
    assert bands[0].dtype == samples.dtype


@every_layout
def test_a_patched_copy_holds_the_edits_and_nothing_else_new(tmp_path: Path, layout: Layout) -> None:
    samples = draw(layout)
    source, target = tmp_path / "scan.tif", tmp_path / "restored.tif"
    write(source, layout, samples)
    before = source.read_bytes()
    edits, mask = make_edits(layout)

    with TiffScan(source, 10) as scan:
        report = scan.write_restored(target, edits)
        scan.check_restored(target, mask)

    assert np.array_equal(read_with_other_reader(target, layout), apply(samples, edits, layout.colors))
    assert source.read_bytes() == before
    assert report.preservation == "exact"
    assert report.segments_touched > 0
    assert report.bytes_appended == target.stat().st_size - len(before)


@some_layouts
def test_no_edits_give_a_byte_identical_file(tmp_path: Path, layout: Layout) -> None:
    source, target = tmp_path / "scan.tif", tmp_path / "restored.tif"
    write(source, layout, draw(layout))

    with TiffScan(source, 10) as scan:
        report = scan.write_restored(target, [])
        scan.check_restored(target, np.zeros((HEIGHT, WIDTH), np.bool_))

    assert target.read_bytes() == source.read_bytes()
    assert (report.segments_touched, report.bytes_appended) == (0, 0)


@infrared_layouts
def test_the_infrared_plane_is_read_and_never_written(tmp_path: Path, layout: Layout) -> None:
    samples = draw(layout)
    source, target = tmp_path / "scan.tif", tmp_path / "restored.tif"
    write(source, layout, samples)

    with TiffScan(source, 10) as scan:
        infrared = scan.read_infrared_rows(3, 40)
        scan.write_restored(target, make_edits(layout)[0])
    with TiffScan(target, 10) as result:
        after = result.read_infrared_rows(3, 40)

    assert np.array_equal(infrared, samples[3:40, :, -1])
    assert np.array_equal(after, infrared)


@layouts_without_infrared
def test_a_scan_without_infrared_has_none(tmp_path: Path, layout: Layout) -> None:
    write(tmp_path / "scan.tif", layout, draw(layout))

    with TiffScan(tmp_path / "scan.tif", 10) as scan:
        infrared = scan.read_infrared_rows(3, 40)

    assert infrared is None
    assert scan.info.infrared is None
