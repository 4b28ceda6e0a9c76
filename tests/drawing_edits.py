"""Scans of every kind with two masks over them, what a first version repaired and what a person wants instead, and the
versions that come out.
"""

import io
import json
from pathlib import Path

import numpy as np
import tifffile
from drawing import draw_picture
from PIL import Image

from spotless_core.arrays.kinds import Mask, Samples
from spotless_core.edited import BaseVersion
from spotless_core.image_io.opening import open_scan
from spotless_core.options import InpaintMethod, InpaintOptions, RestoreOptions
from spotless_core.pipeline import OutputPaths, Tools, restore_photo
from spotless_core.receipt import DecisionFacts, Receipt

TELEA = InpaintOptions(method=InpaintMethod.TELEA)
OPTIONS = RestoreOptions(inpaint=TELEA)
EDITED = DecisionFacts("edited", "person", "review page", "2026-11-23T00:00:00Z")
HEIGHT, WIDTH = 160, 224
KINDS = ("tiff 8", "tiff 16", "tiff lzw", "tiff float", "tiff cmyk", "png", "png 16", "bmp", "jpeg 444", "jpeg 420")
EXACT_KINDS = tuple(kind for kind in KINDS if not kind.startswith("jpeg"))


def colours(channels: int = 3, seed: int = 1) -> np.ndarray:
    """A grainy picture, H×W×channels float32 in [0, 1]."""
    grey = draw_picture(HEIGHT, WIDTH, seed)
    tints = np.linspace(1.0, 0.8, channels, dtype=np.float32)
    return np.clip(grey[..., None] * tints, 0, 1)


def write_kind(path: Path, kind: str, seed: int = 1) -> None:
    """Write a scan of 4000 dpi; the name's suffix does not matter."""
    form, _, detail = kind.partition(" ")
    bits = 16 if detail in {"16", "lzw"} else 8
    picture = colours(4 if detail == "cmyk" else 3, seed)
    samples = np.rint(picture * (2**bits - 1)).astype(np.uint16 if bits == 16 else np.uint8)
    if form == "tiff":
        options = {"compression": "lzw", "predictor": True, "rowsperstrip": 16} if detail == "lzw" else {}
        tifffile.imwrite(
            path,
            picture if detail == "float" else samples,
            photometric="separated" if detail == "cmyk" else "rgb",
            resolution=(4000, 4000),
            resolutionunit="INCH",
            metadata=None,
            **options,
        )
    elif kind == "png 16":
        # Pillow knows 16 bits in grey only.
        Image.fromarray(samples[..., 0]).save(path, "PNG", dpi=(4000, 4000))
    else:
        how = {"subsampling": {"444": 0, "420": 2}[detail], "quality": 92} if form == "jpeg" else {}
        file = io.BytesIO()
        Image.fromarray(samples).save(file, form.upper(), dpi=(4000, 4000), **how)
        path.write_bytes(file.getvalue())


def boxes_mask(*boxes: tuple[int, int, int, int]) -> Mask:
    """The mask that is True in boxes (top, left, bottom, right)."""
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


def write_png_mask(path: Path, mask: Mask) -> Path:
    Image.fromarray(mask.astype(np.uint8) * 255).save(path, "PNG")
    return path


def samples_of(path: Path) -> Samples:
    """All colour samples as they are decoded."""
    with open_scan(path, allow_transcode=True) as scan:
        return scan.read_rows(0, scan.info.height)


FIRST = boxes_mask((20, 30, 28, 44), (60, 100, 70, 108), (64, 180, 65, 224), (120, 20, 126, 60))
WANTED = boxes_mask((20, 30, 28, 44), (64, 180, 65, 224), (120, 20, 126, 40), (120, 40, 132, 52), (90, 150, 97, 158))
"""The first and third piece stay, the second is taken back, the fourth is cut and widened, the last one is new."""
KEPT, TAKEN_BACK, ADDED = FIRST & WANTED, FIRST & ~WANTED, WANTED & ~FIRST


def restored(
    folder: Path,
    name: str,
    mask: Mask,
    tools: Tools,
    base: BaseVersion | None = None,
    *,
    decision: DecisionFacts | None = None,
    options: RestoreOptions = OPTIONS,
) -> tuple[BaseVersion, Receipt]:
    """Restore folder/scan under `mask`; return the version that came out, with its receipt on the disk, and in memory.

    Its files are called after `name`.
    """
    given_mask = write_png_mask(folder / f"{name}.given.png", mask)
    paths = OutputPaths(folder / f"{name}.image", folder / f"{name}.mask", folder / f"{name}.preview")
    receipt = restore_photo(folder / "scan", paths, tools, options, given_mask=given_mask, base=base, decision=decision)
    (folder / f"{name}.json").write_text(json.dumps(receipt.to_dict()))
    return BaseVersion(paths.mask, paths.image, folder / f"{name}.json", name=name), receipt


def first_version(folder: Path, kind: str, tools: Tools) -> BaseVersion:
    write_kind(folder / "scan", kind)
    return restored(folder, "first", FIRST, tools)[0]


def require_promises(folder: Path, first: str, second: str, before: Mask, wanted: Mask) -> None:
    scan, old, new = (samples_of(folder / name) for name in ("scan", f"{first}.image", f"{second}.image"))
    assert np.array_equal(new[wanted & before], old[wanted & before]), "kept"
    assert np.array_equal(new[before & ~wanted], scan[before & ~wanted]), "taken back"
    assert np.array_equal(new[~wanted], scan[~wanted]), "outside"
