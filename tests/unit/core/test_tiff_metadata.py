"""A TIFF full of metadata, as scanner programs and editors leave it: a repair changes nothing that exiftool can see."""

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from drawing_tiff import HEIGHT, WIDTH, grainy, patch, speck
from PIL import ImageCms

from spotless_core.image_io.tiff import TiffScan

TABLES = {"StripOffsets", "StripByteCounts", "TileOffsets", "TileByteCounts"}
PREVIEW = grainy(16, 12, 3, dtype="u1", seed=2)
INFRARED = grainy(HEIGHT, WIDTH, seed=3)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
CAPTION = b"\x1c\x02\x78\x00\x05a dog"
TAGS: list[Any] = [
    (271, 2, 0, "a maker", True),
    (315, 2, 0, "Anna", True),
    (33723, 7, len(CAPTION), CAPTION, True),
    (34377, 7, 20, b"8BIM\x04\x09\0\0\0\0\0\x08" + bytes(range(8)), True),
    (65000, 4, 3, (1, 2, 3), True),
    (65001, 12, 2, (0.1, 0.2), True),
    (65002, 2, 0, "private", True),
]
BY_EXIFTOOL = (
    "-ExifIFD:ExposureTime=1/60", "-ExifIFD:DateTimeOriginal=1974:08:09 12:00:00", "-ExifIFD:SerialNumber=77",
    "-GPS:GPSLatitude=48.1", "-GPS:GPSLatitudeRef=N", "-XMP-dc:Title=frame 7", "-XMP-xmp:Rating=4",
)  # fmt: skip
LAYOUTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("<", {"rowsperstrip": 7, "compression": "lzw", "predictor": True}),
    (">", {"tile": (16, 16), "compression": "adobe_deflate"}),
)

pytestmark = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not here")


def write_rich_scan(path: Path, byte_order: str, orientation: int, **layout: object) -> Path:
    """A scan with a preview as sub-page, a reduced page and a marked infrared page, and every kind of metadata."""
    plain: dict[str, Any] = {"metadata": None, "software": False}
    with tifffile.TiffWriter(path, byteorder=byte_order) as tiff:
        tiff.write(
            grainy(HEIGHT, WIDTH, 3), photometric="rgb", subifds=1, resolution=(4000, 4000), resolutionunit="INCH",
            iccprofile=PROFILE, description="frame 7", datetime="1974:08:09 12:00:00",
            extratags=[(274, 3, 1, orientation, True), *TAGS], **layout, **plain,
        )  # fmt: skip
        tiff.write(PREVIEW, photometric="rgb", subfiletype=1, **plain)
        tiff.write(PREVIEW, photometric="rgb", subfiletype=1, **plain)
        tiff.write(INFRARED, photometric="minisblack", subfiletype=1, **plain)
    with tifffile.TiffFile(path) as tiff:
        position = tiff.pages[2].tags[254].valueoffset
    patch(path, position, struct.pack(f"{byte_order}I", 4))
    subprocess.run(["exiftool", "-q", "-overwrite_original", *BY_EXIFTOOL, path], check=True)
    return path


def listed(path: Path) -> list[str]:
    """What exiftool says of the file, a line for each tag."""
    command = ["exiftool", "-a", "-G1", "-u", "-s", "-ee", "--System:all", "--ExifTool:all", path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exiftool_sees_no_change_but_in_the_tables(tmp_path: Path, orientation: int) -> None:
    byte_order, layout = LAYOUTS[orientation % 2]
    source = write_rich_scan(tmp_path / "scan.tif", byte_order, orientation, **layout)
    target = tmp_path / "out.tif"
    edit, mask = speck()

    with TiffScan(source, 10) as scan:
        scan.write_restored(target, [edit])
        scan.check_restored(target, mask)
        info = scan.info

    before, after = listed(source), listed(target)
    differing = {line.split(":")[0].split()[-1] for line in set(before) ^ set(after)}
    assert differing <= TABLES
    groups = {line.split("]")[0].strip("[ ") for line in before}
    assert {"IFD0", "SubIFD", "IFD1", "IFD2", "ExifIFD", "GPS", "IPTC", "XMP-dc", "Photoshop", "ICC-header"} <= groups
    assert info.infrared is not None
    assert (info.orientation, info.infrared.index, info.infrared.is_sure) == (orientation, 2, True)
    with tifffile.TiffFile(target) as tiff:
        expected = grainy(HEIGHT, WIDTH, 3)
        expected[mask] = edit.samples[edit.mask]
        assert np.array_equal(tiff.pages[0].asarray(), expected)
        assert np.array_equal(tiff.pages[0].pages[0].asarray(), PREVIEW)
        assert np.array_equal(tiff.pages[2].asarray(), INFRARED)
