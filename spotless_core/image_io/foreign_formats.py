"""Kinds of file we do not restore, told by their first bytes, so that the refusal can name what came.

Comes in: the first bytes of a file. Goes out: the sentence of its refusal. A name's suffix is never looked at.
"""

from dataclasses import dataclass

EXPECTED = "TIFF, DNG, PNG, JPEG, BMP or PNM"
EXPORT = "Export the scan as TIFF."
DEVELOP = "Develop it in a raw converter and export it as TIFF, or scan to a linear DNG."
NO_PHOTO = "Only scans belong in this folder."
CAMERA_RAW = "a camera raw file"


@dataclass(frozen=True, slots=True)
class ForeignFormat:
    """`magic` at byte `offset` means `name`; `advice` is what to do about it."""

    magic: bytes
    name: str
    advice: str = EXPORT
    offset: int = 0


FOREIGN_FORMATS = (
    # Camera raw files that look like TIFF come first; others that are TIFF inside are refused there (CFA photometric).
    ForeignFormat(b"CR\2\0", f"{CAMERA_RAW} (Canon CR2)", DEVELOP, 8),
    ForeignFormat(b"IIRO", f"{CAMERA_RAW} (Olympus ORF)", DEVELOP),
    ForeignFormat(b"IIRS", f"{CAMERA_RAW} (Olympus ORF)", DEVELOP),
    ForeignFormat(b"MMOR", f"{CAMERA_RAW} (Olympus ORF)", DEVELOP),
    ForeignFormat(b"IIU\0", f"{CAMERA_RAW} (Panasonic RW2)", DEVELOP),
    ForeignFormat(b"FUJIFILMCCD-RAW", f"{CAMERA_RAW} (Fujifilm RAF)", DEVELOP),
    ForeignFormat(b"FOVb", f"{CAMERA_RAW} (Sigma X3F)", DEVELOP),
    ForeignFormat(b"HEAPCCDR", f"{CAMERA_RAW} (Canon CRW)", DEVELOP, 6),
    ForeignFormat(b"\0MRM", f"{CAMERA_RAW} (Minolta MRW)", DEVELOP),
    ForeignFormat(b"ftypcrx ", f"{CAMERA_RAW} (Canon CR3)", DEVELOP, 4),
    ForeignFormat(b"ftypavif", "an AVIF picture", offset=4),
    *(ForeignFormat(b"ftyp" + brand, "a HEIC picture", offset=4)
      for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")),
    ForeignFormat(b"ftyp", "a film or an unknown kind of MP4 file", NO_PHOTO, 4),
    ForeignFormat(b"\xff\x0a", "a JPEG XL picture"),
    ForeignFormat(b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
    ForeignFormat(b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
    ForeignFormat(b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    ForeignFormat(b"II\xbc\1", "a JPEG XR picture"),
    ForeignFormat(b"WEBP", "a WebP picture", offset=8),
    ForeignFormat(b"8BPS", "a Photoshop document (PSD)", "Save a flattened copy of it as TIFF."),
    ForeignFormat(b"gimp xcf", "a GIMP document (XCF)", "Export a flattened copy of it as TIFF."),
    ForeignFormat(b"%PDF", "a PDF document", "Scan to TIFF instead of PDF."),
    ForeignFormat(b"GIF8", "a GIF picture", "Its 256 colours hold no scan; scan again to TIFF."),
    ForeignFormat(b"\x8aMNG", "an MNG animation"),
    ForeignFormat(b"\x8bJNG", "a JNG picture"),
    ForeignFormat(b"v/1\1", "an OpenEXR picture"),
    ForeignFormat(b"#?RADIANCE", "a Radiance HDR picture"),
    ForeignFormat(b"SIMPLE  =", "a FITS picture"),
    ForeignFormat(b"qoif", "a QOI picture"),
    ForeignFormat(b"AT&TFORM", "a DjVu document", "Scan to TIFF instead of DjVu."),
    ForeignFormat(b"DICM", "a DICOM picture", offset=128),
    ForeignFormat(b"<svg", "an SVG drawing", NO_PHOTO),
    ForeignFormat(b"<?xml", "an XML text (SVG, XMP or other)", NO_PHOTO),
    ForeignFormat(b"<!DOCTYPE", "a web page", NO_PHOTO),
    ForeignFormat(b"<html", "a web page", NO_PHOTO),
    ForeignFormat(b"%!PS", "a PostScript document", NO_PHOTO),
    ForeignFormat(b"PK\3\4", "a ZIP archive or office document", "Unpack it first."),
    ForeignFormat(b"Rar!", "a RAR archive", "Unpack it first."),
    ForeignFormat(b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "Unpack it first."),
    ForeignFormat(b"RIFF", "a sound or film file (RIFF)", NO_PHOTO),
    ForeignFormat(b"\0\0\1\0", "an icon (ICO)", NO_PHOTO),
)  # fmt: skip
"""The first that fits is taken, so that the special stands before the general."""

SNIFF_BYTES = max(entry.offset + len(entry.magic) for entry in FOREIGN_FORMATS)


def find_foreign(head: bytes) -> ForeignFormat | None:
    """Return the kind of file that begins with `head`, or None if the table does not know it."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip() if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") else head
    for entry in FOREIGN_FORMATS:
        if text[entry.offset :].startswith(entry.magic):
            return entry
    return None


def refusal(head: bytes) -> str:
    """Return why a file that begins with `head` is refused and what to do."""
    found = find_foreign(head)
    if found is None:
        return f"not a {EXPECTED} file (it starts with {head[:8]!r}). {EXPORT}"
    return f"{found.name}; {EXPECTED} expected. {found.advice}"
