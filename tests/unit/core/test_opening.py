from pathlib import Path

import imagecodecs
import pytest
from drawing import write_scan
from drawing_flat import FILES, grainy
from drawing_jpeg import KINDS

from spotless_core.errors import MissingInputError, TruncatedScanError, UnsupportedScanError
from spotless_core.image_io.opening import open_scan


def test_the_content_decides_not_the_suffix(tmp_path: Path) -> None:
    write_scan(tmp_path / "scan.tif")
    (tmp_path / "scan.tif").rename(tmp_path / "scan.jpg")

    with open_scan(tmp_path / "scan.jpg") as scan:
        assert scan.info.container == "tiff"


@pytest.mark.parametrize(
    ("content", "container"),
    [
        (KINDS["420"], "jpeg"),
        (FILES["bmp 3 40 bottom-up"], "bmp"),
        (FILES["pnm 3 16"], "pnm"),
        (FILES["pam 4 8"], "pnm"),
        (bytes(imagecodecs.png_encode(grainy(3))), "png"),
    ],
    ids=["jpeg", "bmp", "pnm", "pam", "png"],
)
def test_every_kind_is_told_by_its_first_bytes(tmp_path: Path, content: bytes, container: str) -> None:
    (tmp_path / "scan").write_bytes(content)

    with open_scan(tmp_path / "scan") as scan:
        assert scan.info.container == container


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", TruncatedScanError),
        (bytes(5000), TruncatedScanError),
        (b"GIF89a..........", UnsupportedScanError),
        (b"hello", UnsupportedScanError),
    ],
)
def test_what_is_no_scan_is_refused(tmp_path: Path, content: bytes, error: type[Exception]) -> None:
    (tmp_path / "scan.tif").write_bytes(content)

    with pytest.raises(error):
        open_scan(tmp_path / "scan.tif")


def test_a_folder_is_no_scan(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        open_scan(tmp_path)
