"""Frames of a roll as the review page's pictures are drawn from: a scan, its result, its mask, its preview."""

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from drawing import add_specks, draw_picture
from numpy.typing import NDArray
from PIL import Image

from spotless_core.arrays.encoding import sense_encoding
from spotless_core.arrays.kinds import Mask
from spotless_core.image_io.opening import open_scan
from spotless_core.image_io.preview import visible
from spotlessd.review.frame_files import FrameFiles


def draw_frame(
    folder: Path, height: int = 700, width: int = 1100, *, kind: str = "tiff", specks: int = 6, job: int = 1
) -> tuple[FrameFiles, NDArray[Any], NDArray[Any], Mask]:
    """Write the files of a repaired frame; return them, the scan's samples, the result's, and the mask."""
    clean = draw_picture(height, width, seed=job)
    dusty = clean.copy()
    mask = add_specks(dusty, specks, seed=job + 5)
    tint = np.array([1.0, 0.95, 0.9], np.float32)
    scale = 255 if kind == "jpeg" else 65535
    dtype = np.uint8 if kind == "jpeg" else np.uint16
    before, after = (np.rint(np.clip(each[..., None] * tint, 0, 1) * scale).astype(dtype) for each in (dusty, clean))
    after = np.where(mask[..., None], after, before)
    paths = []
    for name, samples in (("scan", before), ("result", after)):
        path = folder / f"{name}.{kind}"
        write_samples(path, samples, kind)
        paths.append(path)
    Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "mask.png")
    return FrameFiles(job, f"{job}-1", paths[0], paths[1], folder / "mask.png"), before, after, mask


def write_samples(path: Path, samples: NDArray[Any], kind: str) -> None:
    """Write H×W×3 samples as a scan of `kind`: tiff, lzw (32 rows a strip), one-strip, png or jpeg."""
    if kind == "jpeg":
        path.write_bytes(imagecodecs.jpeg8_encode(samples, level=97))
    elif kind == "png":
        path.write_bytes(imagecodecs.png_encode(samples))
    else:
        compression = {"tiff": None, "lzw": "lzw", "one-strip": "zlib"}[kind]
        rows = {"tiff": 16, "lzw": 32, "one-strip": len(samples)}[kind]
        tifffile.imwrite(
            path, samples, photometric="rgb", compression=compression, rowsperstrip=rows, resolution=(4000, 4000)
        )


def shown(scan: Path, samples: NDArray[Any]) -> NDArray[np.uint8]:
    """Return what the preview's logic shows of stored `samples` (h×w×3) of `scan`."""
    with open_scan(scan) as opened:
        whole = opened.read_rows(0, opened.info.height)
        encoding = sense_encoding(whole, opened.info.bits, is_min_white=opened.info.is_min_white)
    return visible(samples.astype(np.float32), encoding)


def read_tile(path: Path) -> NDArray[np.int16]:
    """Return a drawn JPEG as h×w×3."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(np.int16)


def marks_of(path: Path) -> Mask:
    """Return where a mask's tile is not transparent."""
    with Image.open(path) as picture:
        alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    marked: Mask = alpha > 0
    return marked
