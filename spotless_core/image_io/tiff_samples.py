"""What one pixel of a TIFF image is, and how its samples are stored: colour model, depth, number format, codec.

Comes in: a directory. Goes out: a `SampleLayout`. The promise: a layout that is returned can be decoded and encoded
again to the same samples (a lossy one: decoded, and written with another codec); everything else is refused with a
sentence. No decoder runs here. Source: TIFF 6.0 sections 3 to 9, 14, 16, 18 and 22; TIFF technical notes 2 and 3.
"""

from dataclasses import dataclass

import numpy as np

from spotless_core.arrays.kinds import SampleType
from spotless_core.errors import ScanError, UnsupportedScanError
from spotless_core.image_io.tiff_directories import Directory, TiffStructure
from spotless_core.image_io.tiff_tags import (
    BITS,
    COMPRESSION,
    EXTRA_SAMPLES,
    FILL_ORDER,
    INK_SET,
    PHOTOMETRIC,
    PLANAR,
    PREDICTOR,
    SAMPLE_FORMAT,
    SAMPLES,
)

CODECS = {
    1: "none", 5: "lzw", 8: "deflate", 32946: "deflate", 32773: "packbits", 34925: "lzma", 50000: "zstd", 7: "jpeg",
}  # fmt: skip
"""Compression tag values that can be decoded; all but lossy JPEG can be written back exactly."""
OTHER_CODECS = {
    2: "CCITT", 3: "CCITT fax 3", 4: "CCITT fax 4", 6: "JPEG of the old kind", 34712: "JPEG 2000", 34713: "Nikon raw",
    34887: "LERC", 34892: "lossy JPEG", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
LOSSY_CODECS = frozenset({"jpeg"})
LOSSLESS_JPEG = "lossless jpeg"
MAX_JPEG_COMPONENTS = 4
PREDICTABLE = frozenset({"lzw", "deflate", "lzma", "zstd"})
HORIZONTAL, FLOATING_POINT = 2, 3
"""Predictors."""

MIN_IS_WHITE, MIN_IS_BLACK, RGB, SEPARATED, YCBCR, LINEAR_RAW = 0, 1, 2, 5, 6, 34892
COLOR_MODELS = {
    MIN_IS_WHITE: ("grey", 1), MIN_IS_BLACK: ("grey", 1), RGB: ("RGB", 3), SEPARATED: ("CMYK", 4), YCBCR: ("YCbCr", 3),
}  # fmt: skip
"""Name and colour channels; linear raw data has 1 or 3."""
OTHER_COLOR_MODELS = {
    3: "palette colour", 4: "a transparency mask", 8: "CIELAB", 9: "ICCLAB", 10: "ITULAB", 32803: "raw sensor data",
    32844: "LogL", 32845: "LogLuv",
}  # fmt: skip
CMYK_INKS = 1
MAX_EXTRA_SAMPLES = 2
"""Alpha and infrared; nothing a scanner writes has more."""
UNSIGNED_FORMAT, FLOAT_FORMAT, UNDEFINED_FORMAT = 1, 3, 4
DEPTHS = {False: {8, 16}, True: {16, 32}}
"""Bits of whole and of float samples."""


@dataclass(frozen=True, slots=True)
class SampleLayout:
    """One pixel: `samples` values, the `color_channels` first, each of `bits`; `extra_samples` as declared.

    `codec`: name of `compression`. `predictor`: 1 (none), 2 (differences) or 3 (floating point).
    """

    photometric: int
    samples: int
    color_channels: int
    extra_samples: tuple[int, ...] | None
    bits: int
    is_float: bool
    compression: int
    codec: str
    predictor: int
    is_planar: bool

    @property
    def dtype(self) -> np.dtype[SampleType]:
        """The samples' type in native byte order."""
        return np.dtype(f"{'f' if self.is_float else 'u'}{self.bits // 8}")

    @property
    def is_lossy(self) -> bool:
        """Whether the codec cannot store the decoded samples again."""
        return self.codec in LOSSY_CODECS


def read_sample_layout(structure: TiffStructure, directory: Directory) -> SampleLayout:
    """Read and check what the pixels of the image in `directory` are.

    Raises:
        UnsupportedScanError: they cannot be kept exactly.
        ScanError: a value is damaged.
    """
    photometric, samples, colors, extra_samples = _color_layout(structure, directory)
    bits, is_float = _sample_format(structure, directory, samples)
    compression, predictor = _codec(structure, directory, is_float=is_float)
    planar = structure.integer(directory, PLANAR, 1)
    if planar not in {1, 2}:
        raise ScanError(f"PlanarConfiguration {planar}; 1 or 2 expected. Export the scan again.")
    is_planar = planar == 2 and samples > 1
    codec = CODECS[compression]
    if codec == "jpeg" and (photometric == LINEAR_RAW or bits == 16):
        # The lossy kind has 8 bits, and a DNG gives it another number.
        codec = LOSSLESS_JPEG
    layout = SampleLayout(
        photometric, samples, colors, extra_samples, bits, is_float, compression, codec, predictor, is_planar
    )
    _require_matching_codec(layout)
    return layout


def _color_layout(structure: TiffStructure, directory: Directory) -> tuple[int, int, int, tuple[int, ...] | None]:
    if PHOTOMETRIC not in directory.entries:
        raise UnsupportedScanError("the file does not say if it is grey or RGB. Export it as grey or RGB TIFF.")
    photometric = structure.integer(directory, PHOTOMETRIC, 0)
    samples = structure.integer(directory, SAMPLES, 1)
    if photometric == LINEAR_RAW:
        name, colors = "linear raw data", 3 if samples >= 3 else 1
    elif photometric in COLOR_MODELS:
        name, colors = COLOR_MODELS[photometric]
    else:
        name = OTHER_COLOR_MODELS.get(photometric, f"colour model {photometric}")
        raise UnsupportedScanError(f"the image is {name}; grey, RGB or CMYK expected. Export it as RGB.")
    if photometric == SEPARATED and structure.integer(directory, INK_SET, CMYK_INKS) != CMYK_INKS:
        raise UnsupportedScanError(
            "the image is in inks other than CMYK; grey, RGB or CMYK expected. Export it as RGB."
        )
    if not colors <= samples <= colors + MAX_EXTRA_SAMPLES:
        raise UnsupportedScanError(
            f"{name} with {samples} samples per pixel; {colors} to {colors + MAX_EXTRA_SAMPLES} expected. "
            "Export it as grey or RGB TIFF."
        )
    extra_samples = structure.integers(directory, EXTRA_SAMPLES)
    if extra_samples is not None and len(extra_samples) != samples - colors:
        raise UnsupportedScanError(
            f"{samples} samples per pixel, but {len(extra_samples)} of them are declared extra to {name}. "
            "Export the scan again."
        )
    return photometric, samples, colors, extra_samples


def _sample_format(structure: TiffStructure, directory: Directory, samples: int) -> tuple[int, bool]:
    formats = set(structure.integers(directory, SAMPLE_FORMAT) or (UNSIGNED_FORMAT,))
    is_float = formats == {FLOAT_FORMAT}
    # Readers take "undefined" for unsigned whole numbers.
    if not is_float and not formats <= {UNSIGNED_FORMAT, UNDEFINED_FORMAT}:
        raise UnsupportedScanError(
            "the samples are signed, complex or of mixed kinds; unsigned whole numbers or float expected. "
            "Export it with 8 or 16 bits."
        )
    bits = structure.integers(directory, BITS) or (1,)
    if len(bits) not in {1, samples} or len(set(bits)) != 1 or bits[0] not in DEPTHS[is_float]:
        found = "/".join(str(value) for value in bits[:8])
        wanted = "16 or 32 bits per float sample" if is_float else "8 or 16"
        raise UnsupportedScanError(f"{found} bits per sample; {wanted} expected. Export it with 8 or 16 bits.")
    return bits[0], is_float


def _codec(structure: TiffStructure, directory: Directory, *, is_float: bool) -> tuple[int, int]:
    compression = structure.integer(directory, COMPRESSION, 1)
    if compression not in CODECS:
        name = OTHER_CODECS.get(compression, f"codec {compression}")
        raise UnsupportedScanError(
            f"compressed with {name}; no compression, LZW, Deflate (ZIP), Zstandard, LZMA or PackBits expected. "
            "Export it with one of these."
        )
    predictor = structure.integer(directory, PREDICTOR, 1)
    codec = CODECS[compression]
    allowed = {1, HORIZONTAL, FLOATING_POINT} if is_float else {1, HORIZONTAL}
    if predictor not in (allowed if codec in PREDICTABLE else {1}):
        kind = "float" if is_float else "whole"
        raise UnsupportedScanError(
            f"predictor {predictor} with {codec} compression of {kind} numbers; none expected, or 2 or (float only) 3 "
            "with LZW, Deflate, LZMA or Zstandard. Export it again."
        )
    if structure.integer(directory, FILL_ORDER, 1) != 1:
        raise UnsupportedScanError(
            "the bits are stored in reverse (FillOrder 2); FillOrder 1 expected. Export it again."
        )
    return compression, predictor


def _require_matching_codec(layout: SampleLayout) -> None:
    """Refuse YCbCr without JPEG, and JPEG of a kind that cannot be written again or as plain samples."""
    if layout.codec != "jpeg" and layout.photometric == YCBCR:
        raise UnsupportedScanError("the image is YCbCr without JPEG; grey, RGB or CMYK expected. Export it as RGB.")
    if layout.codec in {"jpeg", LOSSLESS_JPEG} and layout.is_float:
        raise UnsupportedScanError("JPEG of float samples; LZW or Deflate (ZIP) expected. Export it with one of these.")
    if layout.codec == LOSSLESS_JPEG and not layout.is_planar and layout.samples > MAX_JPEG_COMPONENTS:
        raise UnsupportedScanError(
            f"lossless JPEG of {layout.samples} samples per pixel; at most {MAX_JPEG_COMPONENTS} expected. "
            "Export it with LZW or Deflate (ZIP)."
        )
    if layout.codec != "jpeg":
        return
    if layout.is_planar:
        raise UnsupportedScanError(
            "JPEG inside a planar TIFF; no compression, LZW or Deflate (ZIP) expected. Export it with one of these."
        )
    if layout.samples != layout.color_channels:
        raise UnsupportedScanError(
            f"JPEG inside a TIFF with {layout.samples} samples per pixel; {layout.color_channels} expected. "
            "Export it without alpha, or with LZW or Deflate (ZIP)."
        )
