"""A JPEG's markers are read from the disk in bounded pieces; they tell a picture that could not be held."""

import struct
import tracemalloc
from pathlib import Path

import pytest
from drawing_jpeg import KINDS, grainy_frame, pillow_jpeg
from hypothesis import given
from hypothesis import strategies as st

from spotless_core.errors import TruncatedScanError, UnsupportedScanError
from spotless_core.image_io import header_jpeg, jpeg, jpeg_source
from spotless_core.image_io.header_jpeg import check_jpeg
from spotless_core.image_io.jpeg import JpegScan
from spotless_core.image_io.jpeg_source import NEXT_MARKER, JpegSource
from spotless_core.image_io.positional_file import PositionalFile

FRAME_HEADER = b"\xff\xc0"
MARKER_LIKE = st.lists(st.sampled_from([b"\xff", b"\0", b"\xd0", b"\xd9", b"\xe1", b"a"]), max_size=60).map(b"".join)


def claiming(content: bytes, width: int, height: int) -> bytes:
    """The JPEG with another size in its frame header, and as much data as that many blocks need at least."""
    start = content.index(FRAME_HEADER) + 5
    claim = content[:start] + struct.pack(">HH", height, width) + content[start + 4 :]
    return claim[:-2] + b"\x55" * (width * height * 3 // 512) + claim[-2:]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_on_the_disk_is_checked_as_one_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    (tmp_path / "scan.jpg").write_bytes(KINDS[kind] + b"tail")
    in_memory = check_jpeg(KINDS[kind] + b"tail", 10)
    monkeypatch.setattr(jpeg_source, "WINDOW_BYTES", 5)
    monkeypatch.setattr(jpeg_source, "FIRST_WINDOW_BYTES", 1)
    file = PositionalFile(tmp_path / "scan.jpg")

    try:
        assert check_jpeg(file, 10) == in_memory
    finally:
        file.close()


@given(MARKER_LIKE, st.integers(2, 9))
def test_markers_and_fill_are_found_whatever_the_window(content: bytes, window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jpeg_source, "WINDOW_BYTES", window)
        patch.setattr(jpeg_source, "FIRST_WINDOW_BYTES", 1)
        source = JpegSource(content)
        for start in range(len(content) + 1):
            found = NEXT_MARKER.search(content, start)
            if found:
                assert source.end_of_data(start) == found.start()
            else:
                with pytest.raises(TruncatedScanError, match="end marker"):
                    source.end_of_data(start)
            assert source.end_of_fill(start) == len(content) - len(content[start:].lstrip(b"\xff"))


def test_opening_a_large_jpeg_holds_only_its_markers(tmp_path: Path) -> None:
    content = pillow_jpeg(frame=grainy_frame())
    # Bytes after the end marker and stuffed data, both of megabytes.
    (tmp_path / "scan.jpg").write_bytes(content[:-2] + b"\xff\0" * (8 << 20) + content[-2:] + bytes(16 << 20))
    JpegScan(tmp_path / "scan.jpg", 10).close()

    tracemalloc.start()
    JpegScan(tmp_path / "scan.jpg", 10).close()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 4 << 20


def test_a_jpeg_that_changed_since_it_was_opened_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "scan.jpg"
    path.write_bytes(KINDS["444"])

    with JpegScan(path, 10) as scan:
        path.write_bytes(KINDS["444"] + b"more")
        with pytest.raises(TruncatedScanError, match="changed"):
            scan.read_rows(0, 8)


@pytest.mark.parametrize("kind", ["444", "420"])
def test_a_picture_that_takes_too_much_memory_is_refused_by_its_header(tmp_path: Path, kind: str) -> None:
    (tmp_path / "bomb.jpg").write_bytes(claiming(KINDS[kind], 44_000, 44_000))

    tracemalloc.start()
    with pytest.raises(UnsupportedScanError, match=r"44000×44000 pixels.*memory.*accepted\. Export the scan as TIFF"):
        JpegScan(tmp_path / "bomb.jpg", 2000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 1 << 20


@pytest.mark.parametrize(("width", "height", "is_refused"), [(14_100, 14_100, False), (14_200, 14_200, True)])
def test_two_hundred_megapixels_in_full_colour_are_the_most(
    tmp_path: Path, width: int, height: int, is_refused: bool
) -> None:
    (tmp_path / "scan.jpg").write_bytes(claiming(KINDS["444"], width, height))

    if is_refused:
        with pytest.raises(UnsupportedScanError, match="200 megapixels of this kind"):
            JpegScan(tmp_path / "scan.jpg", 2000)
    else:
        with JpegScan(tmp_path / "scan.jpg", 2000) as scan:
            assert (scan.info.width, scan.info.height) == (width, height)


def test_megabytes_of_fill_or_of_segments_are_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_jpeg, "MAX_SEGMENT_BYTES", 1 << 20)
    content = KINDS["444"]
    segments = b"\xff\xe5\xff\xff" + bytes(65533)

    for extra in (b"\xff" * (2 << 20), segments * 20):
        with pytest.raises(UnsupportedScanError, match="beside its picture"):
            check_jpeg(content[:2] + extra + content[2:], 10)


def test_a_jpeg_file_of_more_than_a_gigabyte_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "MAX_FILE_BYTES", 1000)
    (tmp_path / "scan.jpg").write_bytes(KINDS["444"])

    with pytest.raises(UnsupportedScanError, match="MB accepted"):
        JpegScan(tmp_path / "scan.jpg", 10)
