"""JPEG files of every kind a scan may come as, made by two independent writers, and what the tests look at in them."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from spotless_core.image_io import turbojpeg
from spotless_core.image_io.header_jpeg import check_jpeg
from spotless_core.image_io.jpeg import JpegScan
from spotless_core.image_io.turbojpeg import Blocks, visit_blocks
from spotless_core.image_io.verify import verify_restored
from spotless_core.photo import Edit

HEIGHT, WIDTH = 99, 117
Frame = NDArray[np.uint8]
Encoder = Callable[[Frame], bytes]

needs_library = pytest.mark.skipif(not turbojpeg.is_available(), reason="libturbojpeg is not installed")


def grainy_frame(height: int = HEIGHT, width: int = WIDTH) -> Frame:
    """Draw coloured slopes with grain, h×w×3."""
    random = np.random.default_rng(3)
    down, across = np.mgrid[:height, :width] / 120
    slopes = np.stack([0.3 + 0.4 * across, 0.6 - 0.3 * down, 0.4 + 0.2 * np.sin(5 * across + 3 * down)], axis=2)
    return ((slopes + random.normal(0, 0.04, slopes.shape)).clip(0, 1) * 255).astype(np.uint8)


def inks(frame: Frame) -> Frame:
    """The frame as h×w×4 values of C, M, Y, K."""
    black = 255 - frame.max(axis=2, keepdims=True) // 2
    return np.concatenate([frame, black], axis=2)


def pillow_jpeg(*, grey: bool = False, frame: Frame | None = None, **options: Any) -> bytes:
    frame = grainy_frame() if frame is None else frame
    file = io.BytesIO()
    settings = {"quality": 90, "subsampling": 0, **options}
    Image.fromarray(frame[..., 1] if grey else frame).save(file, "JPEG", **settings)
    return file.getvalue()


def cmyk_jpeg(frame: Frame, outcolorspace: str = "CMYK", adobe: bool = True) -> bytes:
    """Encode h×w×3 or h×w×4 `frame` as four inks, by imagecodecs; without `adobe` its marker is taken out."""
    frame = frame if frame.shape[2] == 4 else inks(frame)
    content = bytes(imagecodecs.jpeg8_encode(frame, level=90, colorspace="CMYK", outcolorspace=outcolorspace))
    return content if adobe else without_segment(content, b"\xff\xee")


def pillow_cmyk(frame: Frame, **options: Any) -> bytes:
    file = io.BytesIO()
    pixels = 255 - (frame if frame.shape[2] == 4 else inks(frame))
    Image.fromarray(pixels, mode="CMYK").save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def without_segment(content: bytes, marker: bytes) -> bytes:
    start = content.index(marker)
    return content[:start] + content[start + 2 + int.from_bytes(content[start + 2 : start + 4], "big") :]


def exif() -> Image.Exif:
    block = Image.Exif()
    block[274], block[282], block[296] = 6, 4000.0, 2
    return block


def pillow_encoder(**options: Any) -> Encoder:
    return lambda frame: pillow_jpeg(frame=frame, **options)


def other_encoder(subsampling: str) -> Encoder:
    return lambda frame: bytes(imagecodecs.jpeg8_encode(frame, level=90, subsampling=subsampling))


ENCODERS: dict[str, Encoder] = {
    "444": pillow_encoder(),
    "422": pillow_encoder(subsampling=1),
    "420": pillow_encoder(subsampling=2),
    "440": other_encoder("440"),
    "411": other_encoder("411"),
    "grey": pillow_encoder(grey=True),
    "rgb": pillow_encoder(keep_rgb=True),
    "cmyk": cmyk_jpeg,
    "cmyk without adobe marker": lambda frame: cmyk_jpeg(frame, adobe=False),
    "ycck": lambda frame: cmyk_jpeg(frame, "YCCK"),
    "progressive": pillow_encoder(subsampling=2, progressive=True),
    "progressive grey": pillow_encoder(grey=True, progressive=True),
    "restart": pillow_encoder(subsampling=2, restart_marker_blocks=3),
    "optimised": pillow_encoder(optimize=True, quality=97),
    "progressive cmyk": lambda frame: pillow_cmyk(frame, progressive=True),
    "best": pillow_encoder(quality=100),
}
KINDS = {
    **{kind: encode(grainy_frame()) for kind, encode in ENCODERS.items()},
    "aligned": pillow_jpeg(subsampling=2, frame=grainy_frame(96, 112)),
    "tiny": pillow_jpeg(subsampling=2, frame=grainy_frame(1, 1)),
    "one row": pillow_jpeg(subsampling=1, frame=grainy_frame(1, 50)),
    "one column": pillow_jpeg(subsampling=2, frame=grainy_frame(50, 1)),
}


def opened(tmp_path: Path, content: bytes, **options: bool) -> JpegScan:
    path = tmp_path / "scan.jpg"
    path.write_bytes(content)
    return JpegScan(path, 2000.0, **options)


def specks(scan: JpegScan) -> tuple[list[Edit], NDArray[np.bool_]]:
    """Round repairs of the surroundings' mean, one of them in the last corner, and their mask in the frame."""
    height, width = scan.info.height, scan.info.width
    frame = scan.read_rows(0, height)
    mask = np.zeros((height, width), bool)
    edits = []
    for top, left, size in ((20, 30, 9), (40, 77, 5), (height - 6, width - 7, 6)):
        top, left = max(0, min(top, height - 1)), max(0, min(left, width - 1))  # noqa: PLW2901
        box = (slice(top, min(height, top + size)), slice(left, min(width, left + size)))
        rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
        area = frame[box]
        disc = (rows**2 + columns**2 <= (size / 2) ** 2)[: area.shape[0], : area.shape[1]]
        disc[0, 0] = True
        samples = np.broadcast_to(255 - area.mean((0, 1)), area.shape).astype(np.uint8)
        edits.append(Edit(top, left, samples, disc))
        mask[box] |= disc
    return edits, mask


def verify(scan: JpegScan, target: Path, mask: NDArray[np.bool_], edits: list[Edit]) -> None:
    """The check before publishing, with the result opened as a JPEG."""
    verify_restored(scan, target, mask, edits, open_target=lambda path: JpegScan(path, 2000.0))


def coefficients(content: bytes) -> dict[tuple[int, int], Blocks]:
    """Every row of blocks by (component, row)."""
    found: dict[tuple[int, int], Blocks] = {}

    def keep(component: int, row: int, blocks: Blocks) -> None:
        found[component, row] = blocks.copy()

    visit_blocks(content[: check_jpeg(content, 2000).end], keep)
    return found


def decoded(content: bytes) -> Frame:
    """The pixels as Pillow decodes them, h×w×C; inks as they are stored."""
    image = Image.open(io.BytesIO(content))
    pixels = np.asarray(image)
    if image.mode == "CMYK":
        pixels = 255 - pixels  # Pillow turns them round
    return pixels if pixels.ndim == 3 else pixels[..., None]
