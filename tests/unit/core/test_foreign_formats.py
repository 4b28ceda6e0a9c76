"""Files that are no scans of a kind we keep: told by their first bytes, refused with what came and what to do."""

from pathlib import Path

import pytest

from spotless_core.errors import UnsupportedScanError
from spotless_core.image_io.foreign_formats import FOREIGN_FORMATS, SNIFF_BYTES, ForeignFormat, find_foreign
from spotless_core.image_io.opening import open_scan

HEADS = {
    "Canon CR2": b"II*\0\x10\0\0\0CR\2\0",
    "Olympus ORF": b"IIRO\x08\0\0\0",
    "Panasonic RW2": b"IIU\0\x18\0\0\0",
    "Fujifilm RAF": b"FUJIFILMCCD-RAW 0201",
    "Canon CR3": b"\0\0\0\x18ftypcrx \0\0\0\1",
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0",
    "AVIF": b"\0\0\0\x1cftypavif\0\0\0\0",
    "MP4": b"\0\0\0\x18ftypisom\0\0\0\0",
    "JPEG XL": b"\xff\x0a\xfa\x9f",
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "WebP": b"RIFF\x24\0\0\0WEBPVP8 ",
    "RIFF": b"RIFF\x24\0\0\0WAVEfmt ",
    "PSD": b"8BPS\0\1",
    "PDF": b"%PDF-1.4\n",
    "GIF": b"GIF89a",
    "SVG": b"\xef\xbb\xbf\n <svg xmlns=",
    "XML": b'<?xml version="1.0"?>',
    "web page": b"<!DOCTYPE html>",
    "DICOM": bytes(127) + b"\1DICM",
}


@pytest.mark.parametrize("name", HEADS)
def test_the_refusal_names_what_came_what_was_expected_and_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / "scan.tif").write_bytes(HEADS[name] + bytes(200))

    with pytest.raises(UnsupportedScanError, match=rf"{name}.*; TIFF, DNG, PNG, JPEG, BMP or PNM expected\. \w"):
        open_scan(tmp_path / "scan.tif")


@pytest.mark.parametrize("entry", FOREIGN_FORMATS, ids=lambda entry: entry.magic.decode("latin-1"))
def test_every_entry_of_the_table_can_be_reached(entry: ForeignFormat) -> None:
    head = (b"\1" * entry.offset + entry.magic + b"\1" * SNIFF_BYTES)[:SNIFF_BYTES]

    assert find_foreign(head) == entry


def test_what_nobody_knows_is_shown_by_its_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "scan.tif").write_bytes(b"hello, world")

    with pytest.raises(UnsupportedScanError, match="it starts with b'hello, w'"):
        open_scan(tmp_path / "scan.tif")
