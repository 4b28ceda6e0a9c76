"""The marker segments of a JPEG file and what they say of its colours and resolution.

Comes in: segments as the header check found them. Goes out: plain facts. Which colours the components mean is decided
exactly as libjpeg decides it (jdapimin.c, default_decompress_parms), since libjpeg decodes the picture.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from spotless_core.image_io.exif import ExifFacts, plausible_dpi, read_exif

APP0, APP1, APP2, APP14, APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
JpegColors = Literal["grey", "rgb", "ycc", "cmyk", "ycck"]
"""What the components are. cmyk and ycck decode to C, M, Y, K as stored: with an Adobe marker that is 255 - ink."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One marker segment. `raw`: all its bytes from the first 0xFF on. `content`: what follows its length."""

    marker: int
    raw: bytes
    content: bytes


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """What the segments say: colours, whether an Adobe marker is there, resolution, orientation, colour profile."""

    colors: JpegColors
    has_adobe_marker: bool
    dpi: float | None
    orientation: int
    has_icc_profile: bool


def read_segments(segments: Sequence[Segment], identifiers: bytes) -> SegmentFacts:
    """Read the facts of the `segments` before the picture; `identifiers`: the components' names in the frame header."""
    exif = _exif(segments)
    return SegmentFacts(
        colors=_colors(segments, identifiers),
        has_adobe_marker=_adobe_transform(segments) is not None,
        dpi=max(filter(None, (exif.dpi, _jfif_dpi(segments))), default=None),
        orientation=exif.orientation,
        has_icc_profile=_content(segments, APP2, b"ICC_PROFILE\0") is not None,
    )


def _content(segments: Sequence[Segment], marker: int, start: bytes) -> bytes | None:
    """Return the content of the first segment of this kind, without its name, or None."""
    for segment in segments:
        if segment.marker == marker and segment.content.startswith(start):
            return segment.content[len(start) :]
    return None


def _adobe_transform(segments: Sequence[Segment]) -> int | None:
    """Return the colour transform of the last Adobe marker, None where there is none."""
    adobe = _content(segments[::-1], APP14, b"Adobe")
    return adobe[6] if adobe is not None and len(adobe) >= 7 else None


def _colors(segments: Sequence[Segment], identifiers: bytes) -> JpegColors:
    if len(identifiers) == 1:
        return "grey"
    transform = _adobe_transform(segments)
    if len(identifiers) == 4:
        return "ycck" if transform else "cmyk"
    jfif = _content(segments, APP0, b"JFIF\0")
    if jfif is not None and len(jfif) >= 9:
        return "ycc"
    if transform is not None:
        return "ycc" if transform else "rgb"
    return "rgb" if identifiers == b"RGB" else "ycc"


def _exif(segments: Sequence[Segment]) -> ExifFacts:
    return read_exif(_content(segments, APP1, b"Exif\0\0") or b"")


def _jfif_dpi(segments: Sequence[Segment]) -> float | None:
    """Return the JFIF density; the caller takes the larger of two, as writers leave 72 in the one they do not use."""
    jfif = _content(segments, APP0, b"JFIF\0")
    if jfif is None or len(jfif) < 9 or jfif[2] not in {1, 2}:
        return None
    (density,) = struct.unpack(">H", jfif[3:5])
    return plausible_dpi(density * (2.54 if jfif[2] == 2 else 1.0))
