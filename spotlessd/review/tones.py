"""How a frame's stored values become what the eye sees: the same for all its tiles, levels and layers.

The logic is the preview's (image_io/preview.py), on the encoding of the whole scan.
"""

from dataclasses import asdict
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.encoding import CMYK, Encoding
from spotless_core.image_io.preview import visible

JPEG_QUALITY = 90
Rgb = NDArray[np.uint8]


class Tones:
    """The tones of one frame."""

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self._tables: dict[str, NDArray[np.uint8]] = {}

    def show(self, values: NDArray[Any]) -> Rgb:
        """Return stored values (h×w×C) as h×w×3 RGB for the eye."""
        if values.dtype.kind == "f":
            return visible(np.nan_to_num(values.astype(np.float32)), self._encoding)
        if values.shape[2] == CMYK:
            return visible(values.astype(np.float32), self._encoding)
        shown: Rgb = self._table(values.dtype)[values]
        return np.repeat(shown, 3, axis=2) if shown.shape[2] == 1 else shown

    def _table(self, dtype: np.dtype[Any]) -> NDArray[np.uint8]:
        """Return what each whole value becomes; the channels do not mix."""
        if dtype.str not in self._tables:
            values = np.arange(1 << 8 * dtype.itemsize, dtype=np.float32).reshape(-1, 1, 1)
            self._tables[dtype.str] = visible(values, self._encoding)[:, 0, 0].copy()
        return self._tables[dtype.str]


def as_jpeg(rgb: Rgb) -> bytes:
    """Return h×w×3 RGB as a JPEG with colour at full resolution."""
    return bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(rgb), level=JPEG_QUALITY, subsampling="444"))


def encoding_to_words(encoding: Encoding) -> dict[str, Any]:
    """Return the encoding as JSON values."""
    return asdict(encoding)


def encoding_from_words(words: dict[str, Any]) -> Encoding:
    """Return what `encoding_to_words` was given.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    return Encoding(
        value_max=words["value_max"],
        transfer=words["transfer"],
        polarity=words["polarity"],
        gamma=float(words["gamma"]),
        black=float(words["black"]),
        white=float(words["white"]),
        clear=tuple(float(each) for each in words["clear"]),
        is_min_white=bool(words["is_min_white"]),
    )
