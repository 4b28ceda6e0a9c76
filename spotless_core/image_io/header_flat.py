"""The checks a BMP, PNM or PAM file passes before its samples are read, in plain Python.

Comes in: an open file. Goes out: where each row lies and what its samples are. These formats hold uncompressed rows, so
nothing is decoded; what we cannot keep exactly is refused with a sentence.
Sources: Microsoft, "Bitmap Storage" and BITMAPV5HEADER (wingdi.h); netpbm, ppm(5), pgm(5) and pam(5).
"""

import re
import struct
from dataclasses import dataclass
from typing import Literal

from spotless_core.errors import ScanError, TruncatedScanError, UnsupportedScanError
from spotless_core.image_io.exif import plausible_dpi
from spotless_core.image_io.positional_file import PositionalFile

MAX_SIDE_PX = 1_000_000
INCH_M = 0.0254
BMP_FILE_HEADER = 14
BMP_INFO_SIZES = {40: "BITMAPINFOHEADER", 108: "BITMAPV4HEADER", 124: "BITMAPV5HEADER"}
GREY_PALETTE = bytes(value for grey in range(256) for value in (grey, grey, grey))
EMBEDDED_PROFILE, LINKED_PROFILE = b"DEBM", b"KNIL"
"""bV5CSType: 'MBED' and 'LINK', as a little-endian number."""
PNM_HEADER_BYTES = 65536
"""A header may hold comments; one that is longer holds no scan."""
PNM_REFUSED = {
    b"P1": "plain bitmap",
    b"P2": "plain grey",
    b"P3": "plain RGB",
    b"P4": "bitmap",
    b"Pf": "float",
    b"PF": "float",
}
PNM_FIELD = re.compile(rb"(?:\s++|#[^\n\r]*+[\n\r])++([0-9]{1,9})")
PNM_BEGUN = re.compile(rb"P[56](?:\s|[0-9]|#[^\n\r]*+)*+")
"""A header that may go on."""
PAM_CHANNELS = {"GRAYSCALE": 1, "GRAYSCALE_ALPHA": 2, "RGB": 3, "RGB_ALPHA": 4}
DEPTHS = {255: 8, 65535: 16}
"""Largest value → bits. Another one would be a limit that repairs know nothing of."""


@dataclass(frozen=True, slots=True)
class FlatHeader:
    """Facts of one file of uncompressed rows.

    `data_start`: position of the first stored row. `stride`: bytes from row to row. `is_bottom_up`: the last row is
    stored first. `is_bgr`: samples of a pixel are B, G, R. Samples of 16 bits are big-endian.
    """

    container: Literal["bmp", "pnm"]
    width: int
    height: int
    channels: int
    bits: int
    data_start: int
    stride: int
    is_bottom_up: bool = False
    is_bgr: bool = False
    dpi: float | None = None
    has_icc_profile: bool = False

    @property
    def row_bytes(self) -> int:
        """Bytes of one row's samples, without what fills it up to `stride`."""
        return self.width * self.channels * self.bits // 8

    @property
    def data_end(self) -> int:
        """The position after the last sample."""
        return self.data_start + self.stride * (self.height - 1) + self.row_bytes

    @property
    def color_channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return 3 if self.channels >= 3 else 1


def check_bmp(file: PositionalFile, max_megapixels: float) -> FlatHeader:
    """Check a BMP file of 24-bit RGB or of 8-bit grey.

    Raises:
        TruncatedScanError: the file ends before its last row.
        UnsupportedScanError: another kind of BMP, or more than `max_megapixels`.
        ScanError: the header is damaged.
    """
    data_start, info_size = struct.unpack("<10xII", file.read(0, 18))
    if info_size not in BMP_INFO_SIZES:
        raise UnsupportedScanError(
            f"a BMP with a header of {info_size} bytes; 40, 108 or 124 expected. Export the scan as 24-bit BMP or TIFF."
        )
    info = file.read(BMP_FILE_HEADER, info_size)
    width, signed_height, planes, bits, compression = struct.unpack_from("<iiHHI", info, 4)
    across, _, colors = struct.unpack_from("<iiI", info, 24)
    if planes != 1:
        raise ScanError(f"the BMP claims {planes} planes; 1 expected. Export the scan again.")
    if compression or bits not in {8, 24}:
        raise UnsupportedScanError(
            f"a BMP of {bits} bits per pixel and compression {compression}; 24-bit RGB or 8-bit grey without "
            "compression expected. Export the scan as 24-bit BMP or TIFF."
        )
    height = abs(signed_height)
    _require_size(width, height, max_megapixels, "BMP")
    header_end = BMP_FILE_HEADER + info_size
    if bits == 8:
        _require_grey(file, header_end, colors)
        header_end += 4 * (colors or 256)
    if data_start < header_end:
        raise ScanError(f"the BMP's picture begins at byte {data_start}, within its own header. Export the scan again.")
    header = FlatHeader(
        container="bmp",
        width=width,
        height=height,
        channels=bits // 8,
        bits=8,
        data_start=data_start,
        stride=(width * bits // 8 + 3) // 4 * 4,
        is_bottom_up=signed_height > 0,
        is_bgr=bits == 24,
        dpi=plausible_dpi(across * INCH_M),
        has_icc_profile=info_size == 124 and _has_profile(file, info),
    )
    _require_rows(file, header, "BMP")
    return header


def check_pnm(file: PositionalFile, max_megapixels: float) -> FlatHeader:
    """Check a PGM (P5), PPM (P6) or PAM (P7) file of 8 or 16 bits.

    Raises:
        TruncatedScanError: the file ends before its last row.
        UnsupportedScanError: another kind of PNM, or more than `max_megapixels`.
        ScanError: the header is damaged.
    """
    head = file.read(0, min(PNM_HEADER_BYTES, file.size))
    if head[:2] in PNM_REFUSED:
        raise UnsupportedScanError(
            f"a {PNM_REFUSED[head[:2]]} PNM ({head[:2].decode()}); P5, P6 or P7 expected. Export the scan as TIFF."
        )
    width, height, channels, largest, data_start = _pam_fields(head) if head[:2] == b"P7" else _pnm_fields(head)
    _require_size(width, height, max_megapixels, "PNM")
    if largest not in DEPTHS:
        raise UnsupportedScanError(
            f"a PNM whose largest value is {largest}; 255 or 65535 expected. Export it with 8 or 16 bits."
        )
    stride = width * channels * DEPTHS[largest] // 8
    header = FlatHeader("pnm", width, height, channels, DEPTHS[largest], data_start, stride)
    _require_rows(file, header, "PNM")
    if header.data_end < file.size and re.match(
        rb"\s*P[1-7]\s", file.read(header.data_end, min(9, file.size - header.data_end))
    ):
        raise UnsupportedScanError("a PNM of several pictures; one expected. Save each picture as a file of its own.")
    return header


def _require_size(width: int, height: int, max_megapixels: float, kind: str) -> None:
    if not 0 < width <= MAX_SIDE_PX or not 0 < height <= MAX_SIDE_PX:
        raise ScanError(f"the {kind} claims {width}×{height} pixels; 1 to {MAX_SIDE_PX} per side expected.")
    if width * height > max_megapixels * 1e6:
        raise UnsupportedScanError(f"{width}×{height} pixels are more than max_megapixels = {max_megapixels:g} allows.")


def _require_rows(file: PositionalFile, header: FlatHeader, kind: str) -> None:
    if header.data_end > file.size:
        raise TruncatedScanError(
            f"the {kind} needs {header.data_end} bytes for {header.width}×{header.height} pixels, but the file has "
            f"{file.size}. Wait until it is completely written, or scan it again."
        )


def _require_grey(file: PositionalFile, start: int, colors: int) -> None:
    if colors not in {0, 256}:
        raise UnsupportedScanError(f"a BMP with a palette of {colors} colours; 256 greys expected. Export it as RGB.")
    palette = file.read(start, 1024)
    if bytes(palette[at + part] for at in range(0, 1024, 4) for part in range(3)) != GREY_PALETTE:
        raise UnsupportedScanError("a BMP with a colour palette; grey or RGB expected. Export the scan as RGB.")


def _has_profile(file: PositionalFile, info: bytes) -> bool:
    """Whether a V5 header has a profile of its own, which must then lie in the file."""
    if info[56:60] == LINKED_PROFILE:
        return True
    if info[56:60] != EMBEDDED_PROFILE:
        return False
    offset, size = struct.unpack_from("<II", info, 112)
    if BMP_FILE_HEADER + offset + size > file.size:
        raise TruncatedScanError("the BMP's colour profile lies beyond the file's end. Wait until it is complete.")
    return True


def _pnm_fields(head: bytes) -> tuple[int, int, int, int, int]:
    """Return (width, height, channels, largest value, start of the samples) of P5 or P6."""
    values, position = [], 2
    for _ in range(3):
        found = PNM_FIELD.match(head, position)
        if not found:
            raise _bad_pnm(head)
        values.append(int(found[1]))
        position = found.end()
    if not head[position : position + 1].isspace():
        raise _bad_pnm(head)
    return values[0], values[1], 3 if head[1:2] == b"6" else 1, values[2], position + 1


def _pam_fields(head: bytes) -> tuple[int, int, int, int, int]:
    """Return the same of P7, whose header is lines of a name and a value up to ENDHDR."""
    end = re.search(rb"\nENDHDR[^\n]*\n", head)
    if not end:
        raise _bad_pnm(head)
    fields: dict[str, str] = {}
    for line in head[3 : end.start()].decode("ascii", "replace").splitlines():
        name, _, value = line.strip().partition(" ")
        if name and not name.startswith("#"):
            fields[name] = f"{fields[name]} {value.strip()}" if name in fields else value.strip()
    kind = fields.get("TUPLTYPE", "")
    try:
        width, height, depth, largest = (int(fields[name]) for name in ("WIDTH", "HEIGHT", "DEPTH", "MAXVAL"))
    except (KeyError, ValueError) as error:
        raise ScanError("the PAM's header is damaged. Export the scan again.") from error
    if PAM_CHANNELS.get(kind) != depth:
        raise UnsupportedScanError(
            f"a PAM of {depth} channels and type {kind or 'unknown'}; {', '.join(PAM_CHANNELS)} expected. "
            "Export the scan as TIFF."
        )
    return width, height, depth, largest, end.end()


def _bad_pnm(head: bytes) -> ScanError:
    if len(head) < PNM_HEADER_BYTES and (head[:2] == b"P7" or PNM_BEGUN.fullmatch(head)):
        return TruncatedScanError("the PNM ends within its header. Wait until it is completely written.")
    return ScanError("the PNM's header is damaged. Export the scan again.")
