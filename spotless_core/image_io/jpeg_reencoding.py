"""Encode a whole JPEG picture anew, for stations without libturbojpeg that allow it.

Comes in: the header of the scan and its repaired frame. Goes out: a JPEG with the scan's quantisation steps, sampling
and metadata segments. Values move outside the mask too, so the caller must say so (preservation "reencoded").
"""

import io

import numpy as np
from PIL import Image

from spotless_core.arrays.kinds import Samples
from spotless_core.errors import UnsupportedScanError
from spotless_core.image_io.header_jpeg import JpegHeader, check_jpeg

MAX_MEAN_SHIFT = 4.0
"""Levels of 255. Encoding with the same steps moves a mean sample by less than 2 even at quality 30; other colours or
another place move it by far more."""
MODES = {"grey": "L", "rgb": "RGB", "ycc": "RGB", "cmyk": "CMYK"}
SUBSAMPLING = {(1, 1): 0, (2, 1): 1, (2, 2): 2}
"""Blocks of luminance per MCU → Pillow's name for it."""


def encode_anew(header: JpegHeader, frame: Samples) -> bytes:
    """Return `frame` (H×W×C uint8, read only) as a whole JPEG, from its first marker to its end marker.

    Raises:
        UnsupportedScanError: a JPEG whose sampling or colours this encoder does not write.
    """
    first = header.components[0]
    mode, subsampling = MODES.get(header.colors), SUBSAMPLING.get((first.across, first.down))
    if mode is None or subsampling is None:
        raise UnsupportedScanError(
            f"a JPEG of the colours {header.colors} and {first.across}×{first.down} sampling cannot be encoded anew. "
            "Install libturbojpeg, or export the scan as TIFF."
        )
    # Pillow stores 255 - value of CMYK.
    pixels = np.subtract(255, frame, dtype=np.uint8) if mode == "CMYK" else frame
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if mode == "L" else pixels, mode=mode).save(
        file,
        "JPEG",
        qtables=_tables(header),
        subsampling=subsampling if mode != "L" else -1,
        progressive=header.is_progressive,
        keep_rgb=header.colors == "rgb",
        optimize=True,
    )
    bare = file.getvalue()
    made = check_jpeg(bare, float("inf"))
    own = set(made.carried(made.end, only_metadata=True))
    tables = [segment for segment in made.carried(made.end) if segment not in own]
    data = b"".join((*tables, bare[made.frame_end : made.end]))
    end = 2 + sum(map(len, header.carried(header.end, only_metadata=True))) + len(data)
    return b"".join((b"\xff\xd8", *header.carried(end, only_metadata=True), data))


def _tables(header: JpegHeader) -> list[list[int]]:
    """Return the steps of luminance and, where it has its own, of chroma, in natural order as Pillow takes them."""
    numbers = [header.components[0].table]
    if header.colors == "ycc":
        numbers.append(header.components[1].table)
    return [list(header.tables[number]) for number in numbers]
