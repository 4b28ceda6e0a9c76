"""Every way to store a scan as TIFF that the program accepts: drawn, written and read back by other programs' code."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from spotless_core.arrays.kinds import Mask, Samples
from spotless_core.photo import Edit

HEIGHT, WIDTH = 67, 53

DEPTHS = ("u1", "u2", "f2", "f4")
KINDS = ("grey", "white", "rgb", "rgba", "rgbi", "greyx", "rgbai", "cmyk", "linear", "lineari")
CODECS = ("none", "lzw", "deflate", "old-deflate", "packbits", "lzma", "zstd")
PREDICTORS = (1, 2, 3)
SHAPES = ("strips", "single", "tiles")
COLORS = {"grey": 1, "white": 1, "greyx": 1, "cmyk": 4}
CHANNELS = {"grey": 1, "white": 1, "greyx": 2, "rgb": 3, "linear": 3, "rgbai": 5}
PHOTOMETRICS = {
    "white": "miniswhite", "grey": "minisblack", "greyx": "minisblack", "cmyk": "separated", "linear": "linear_raw",
    "lineari": "linear_raw",
}  # fmt: skip
EXTRAS: dict[str, list[str]] = {
    "rgba": ["unassalpha"], "rgbi": ["unspecified"], "lineari": ["unspecified"], "greyx": ["unspecified"],
    "rgbai": ["unassalpha", "unspecified"],
}  # fmt: skip
WRITER_CODECS = {
    "none": None, "lzw": "lzw", "deflate": "adobe_deflate", "old-deflate": "deflate", "packbits": "packbits",
    "lzma": "lzma", "zstd": "zstd",
}  # fmt: skip


@dataclass(frozen=True, order=True)
class Layout:
    """One way to store a scan."""

    depth: str = "u2"
    kind: str = "rgb"
    codec: str = "none"
    predictor: int = 1
    shape: str = "strips"
    is_planar: bool = False
    byte_order: str = "<"
    is_big: bool = False

    def __str__(self) -> str:
        names = [self.depth, self.kind, f"{self.codec}{self.predictor}", self.shape]
        names += ["planar"] * self.is_planar + ["MM"] * (self.byte_order == ">") + ["big"] * self.is_big
        return "-".join(names)

    @property
    def colors(self) -> int:
        return COLORS.get(self.kind, 3)

    @property
    def channels(self) -> int:
        return CHANNELS.get(self.kind, 4)

    @property
    def is_float(self) -> bool:
        return self.depth.startswith("f")

    @property
    def is_possible(self) -> bool:
        """Whether TIFF has it and the writer can write it."""
        if self.predictor != 1 and self.codec in {"none", "packbits"}:
            return False
        # The writer takes differences of whole numbers only, and the floating-point predictor is for float.
        if self.predictor == (2 if self.is_float else 3):
            return False
        return not (self.is_planar and self.channels == 1)


def all_layouts() -> list[Layout]:
    """The whole product, without what TIFF does not have."""
    axes = (DEPTHS, KINDS, CODECS, PREDICTORS, SHAPES, (False, True), ("<", ">"), (False, True))
    return [layout for values in itertools.product(*axes) if (layout := Layout(*values)).is_possible]


def pairwise_layouts() -> list[Layout]:
    """A few layouts in which every possible pair of two axes' values comes up: greedy, and always the same."""
    layouts = all_layouts()
    np.random.default_rng(0).shuffle(layouts)  # type: ignore[arg-type]
    missing = {pair for layout in layouts for pair in _pairs(layout)}
    chosen = []
    while missing:
        best = max(layouts[:: max(1, len(layouts) // 400)], key=lambda layout: len(missing & _pairs(layout)))
        if not missing & _pairs(best):
            best = next(layout for layout in layouts if missing & _pairs(layout))
        missing -= _pairs(best)
        chosen.append(best)
    return sorted(chosen)


def _pairs(layout: Layout) -> set[tuple[tuple[str, Any], ...]]:
    values = [(one.name, getattr(layout, one.name)) for one in fields(layout)]
    return set(itertools.combinations(values, 2))


def draw(layout: Layout, seed: int = 7) -> Samples:
    """A soft scene with grain, H×W×channels; the last bits are used. Float goes a little beyond 0 and 1."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    phase = np.arange(layout.channels)[:, None, None]
    scene = 0.5 + 0.3 * np.sin(rows / 17)[..., None] * np.cos(columns / 11 + phase).transpose(1, 2, 0)
    values = scene + random.normal(0, 0.02, (HEIGHT, WIDTH, layout.channels))
    if layout.is_float:
        return (1.4 * values - 0.2).astype(layout.depth)
    full = np.iinfo(layout.depth).max
    return np.clip(np.rint(values * full), 0, full).astype(layout.depth)


def write_layout(path: Path, layout: Layout, samples: Samples, **options: Any) -> Path:
    stored = samples.transpose(2, 0, 1) if layout.is_planar else samples
    several = layout.channels > 1
    tifffile.imwrite(
        path,
        stored if several else samples[:, :, 0],
        photometric=PHOTOMETRICS.get(layout.kind, "rgb"),
        planarconfig=("separate" if layout.is_planar else "contig") if several else None,
        extrasamples=EXTRAS.get(layout.kind),
        compression=WRITER_CODECS[layout.codec],
        predictor=layout.predictor if layout.predictor != 1 else None,
        rowsperstrip={"strips": 16, "single": HEIGHT}.get(layout.shape),
        tile=(32, 16) if layout.shape == "tiles" else None,
        byteorder=layout.byte_order,
        bigtiff=layout.is_big,
        metadata=None,
        software=False,
        **options,
    )
    return path


def read_with_other_reader(path: Path, layout: Layout) -> Samples:
    samples = tifffile.imread(path, is_shaped=False, key=0)
    if layout.is_planar:
        samples = samples.transpose(1, 2, 0)
    return samples.reshape(HEIGHT, WIDTH, layout.channels)


def new_values(layout: Layout, shape: tuple[int, ...], random: np.random.Generator) -> Samples:
    if layout.is_float:
        return random.random(shape).astype(layout.depth)
    return random.integers(0, np.iinfo(layout.depth).max + 1, shape).astype(layout.depth)


def make_edits(layout: Layout) -> tuple[list[Edit], Mask]:
    """Three specks: over a corner, over strip and tile borders, and one pixel; their boxes are full of other values."""
    random = np.random.default_rng(3)
    edits, whole = [], np.zeros((HEIGHT, WIDTH), np.bool_)
    for top, left, height, width in ((0, 0, 5, 6), (28, 12, 9, 8), (HEIGHT - 1, WIDTH - 1, 1, 1)):
        mask = random.random((height, width)) < 0.6
        mask[-1, -1] = True
        edits.append(Edit(top, left, new_values(layout, (height, width, layout.colors), random), mask))
        whole[top : top + height, left : left + width] |= mask
    return edits, whole


def apply_edits(samples: Samples, edits: list[Edit], colors: int) -> Samples:
    expected = samples.copy()
    for edit in edits:
        height, width = edit.mask.shape
        place = expected[edit.top : edit.top + height, edit.left : edit.left + width, :colors]
        place[edit.mask] = edit.samples[edit.mask]
    return expected


def is_equal(one: Samples, other: Samples) -> bool:
    """Bit by bit, so that float compares exactly."""
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def tags_of(path: Path, *, without: frozenset[int] = frozenset()) -> Iterator[dict[int, Any]]:
    """The tags of each page as another reader sees them."""
    with tifffile.TiffFile(path) as tiff:
        for page in tiff.pages:
            yield {tag.code: (tag.dtype, tag.value) for tag in page.tags if tag.code not in without}
