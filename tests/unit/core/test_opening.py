from pathlib import Path

import pytest
from drawing import write_scan

from spotless_core.errors import MissingInputError, TruncatedScanError, UnsupportedScanError
from spotless_core.image_io.opening import open_scan


def test_the_content_decides_not_the_suffix(tmp_path: Path) -> None:
    write_scan(tmp_path / "scan.tif")
    (tmp_path / "scan.tif").rename(tmp_path / "scan.jpg")

    with open_scan(tmp_path / "scan.jpg") as scan:
        assert scan.info.container == "tiff"


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"", TruncatedScanError), (b"GIF89a..........", UnsupportedScanError), (b"hello", UnsupportedScanError)],
)
def test_what_is_no_scan_is_refused(tmp_path: Path, content: bytes, error: type[Exception]) -> None:
    (tmp_path / "scan.tif").write_bytes(content)

    with pytest.raises(error):
        open_scan(tmp_path / "scan.tif")


def test_a_folder_is_no_scan(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        open_scan(tmp_path)
