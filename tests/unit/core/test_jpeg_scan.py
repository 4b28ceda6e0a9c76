"""JPEG scans: reading as another decoder reads, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from drawing_jpeg import HEIGHT, KINDS, decoded, exif, grainy_frame, needs_library, opened, pillow_jpeg

from spotless_core.errors import ArrayContractError, OutputError, ScanError, SpotlessError
from spotless_core.photo import Edit


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_jpeg_is_read_as_another_decoder_reads_it(tmp_path: Path, kind: str) -> None:
    with opened(tmp_path, KINDS[kind]) as scan:
        rows = scan.read_rows(0, scan.info.height)

        expected = decoded(KINDS[kind]).reshape(rows.shape)
        assert rows.dtype == np.uint8
        assert np.array_equal(rows, expected)
        assert scan.info.preservation == "block"
        assert scan.read_infrared_rows(0, 1) is None


def test_the_header_facts_come_from_exif_and_profile(tmp_path: Path) -> None:
    with opened(tmp_path, pillow_jpeg(exif=exif(), dpi=(72, 72), icc_profile=b"x" * 200)) as scan:
        assert (scan.info.dpi, scan.info.orientation, scan.info.has_icc_profile) == (4000.0, 6, True)


@needs_library
@pytest.mark.parametrize("damage", ["cut", "gap"])
def test_damaged_compressed_data_is_refused_though_nothing_is_to_be_repaired(tmp_path: Path, damage: str) -> None:
    content = bytearray(KINDS["420"])
    if damage == "cut":
        content[len(content) * 2 // 3 :] = b"\xff\xd9"
    else:
        del content[len(content) // 2 : len(content) // 2 + 400]

    with opened(tmp_path, bytes(content)) as scan, pytest.raises(ScanError, match="damaged"):
        scan.read_rows(0, 1)


def test_damaged_compressed_data_is_found_before_anything_is_written(tmp_path: Path) -> None:
    good = KINDS["444"]
    content = good[: len(good) * 2 // 3] + b"\xff\xd9"

    with opened(tmp_path, content) as scan:
        edit = Edit(2, 2, np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), bool))
        with pytest.raises(ScanError, match="damaged"):
            scan.write_restored(tmp_path / "out.jpg", [edit])

    assert not (tmp_path / "out.jpg").exists()


@pytest.mark.parametrize(
    ("kind", "channels", "is_min_white"),
    [("cmyk", 4, False), ("cmyk without adobe marker", 4, True), ("ycck", 4, False), ("444", 3, False)],
)
def test_four_inks_are_told_as_such(tmp_path: Path, kind: str, channels: int, is_min_white: bool) -> None:
    with opened(tmp_path, KINDS[kind]) as scan:
        assert (scan.info.color_channels, scan.info.is_cmyk) == (channels, channels == 4)
        assert scan.info.is_min_white == is_min_white


def test_an_edit_that_leaves_the_frame_is_our_own_mistake(tmp_path: Path) -> None:
    edit = Edit(HEIGHT - 2, 0, np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), bool))

    with opened(tmp_path, KINDS["444"]) as scan, pytest.raises(ArrayContractError, match="leaves the frame"):
        scan.write_restored(tmp_path / "out.jpg", [edit])


def test_the_scan_itself_is_never_written_over(tmp_path: Path) -> None:
    with opened(tmp_path, KINDS["444"]) as scan, pytest.raises(OutputError, match="scan itself"):
        scan.write_restored(tmp_path / "scan.jpg", [])

    assert (tmp_path / "scan.jpg").read_bytes() == KINDS["444"]


def test_a_result_that_cannot_be_created_is_an_output_error(tmp_path: Path) -> None:
    with opened(tmp_path, KINDS["444"]) as scan, pytest.raises(OutputError):
        scan.write_restored(tmp_path / "missing" / "out.jpg", [])


@needs_library
@pytest.mark.parametrize("kind", ["420", "progressive"])
def test_mutated_jpeg_files_raise_only_our_own_errors(tmp_path: Path, kind: str) -> None:
    random = np.random.default_rng(11)
    good = pillow_jpeg(
        subsampling=2, progressive=kind == "progressive", frame=grainy_frame(40, 48), exif=exif(), comment=b"c"
    )
    refused = 0

    for _ in range(300):
        content = bytearray(good)
        for _ in range(int(random.integers(1, 4))):
            place = int(random.integers(2, len(content)))
            content[place] = int(random.choice([0, 1, 127, 128, 255, int(random.integers(256))]))
        if random.random() < 0.2:
            content = content[: int(random.integers(len(content)))]
        try:
            with opened(tmp_path, bytes(content)) as scan:
                scan.read_rows(0, scan.info.height)
                edit = Edit(0, 0, np.full((1, 1, scan.info.color_channels), 9, np.uint8), np.ones((1, 1), bool))
                scan.write_restored(tmp_path / "out.jpg", [edit])
        except SpotlessError:
            refused += 1

    assert refused > 100
