"""Large strips wait in nameless files where the job's other temporary files lie, not wherever the system has them."""

from pathlib import Path

import numpy as np
import pytest
from drawing_tiff import HEIGHT, WIDTH, grainy, write

from spotless_core.errors import OutputError
from spotless_core.image_io import scratch, tiff_rows, tiff_segments, verify
from spotless_core.image_io.opening import open_scan
from spotless_core.image_io.scratch import scratch_folders
from spotless_core.photo import Edit


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[Path | None]:
    """Everything is large; the folders in which files were made."""
    monkeypatch.setattr(tiff_rows, "SCRATCH_BYTES", 1)
    monkeypatch.setattr(tiff_segments, "LARGE_SEGMENT_BYTES", {"deflate": 1})
    monkeypatch.setattr(scratch, "_is_memory", lambda folder: folder.name == "memory")
    folders: list[Path | None] = []
    plain = scratch.tempfile.TemporaryFile
    monkeypatch.setattr(
        scratch.tempfile, "TemporaryFile", lambda **rest: (folders.append(rest.get("dir")), plain(**rest))[1]
    )
    return folders


def repair(samples: np.ndarray) -> tuple[Edit, np.ndarray]:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[20:24, 5:9] = True
    return Edit(0, 0, np.flip(samples, 0), mask), mask


def test_reading_writing_and_checking_use_the_given_folder(tmp_path: Path, used: list[Path | None]) -> None:
    samples = grainy(HEIGHT, WIDTH, 3)
    source = write(tmp_path / "scan.tif", samples, compression="zlib", rowsperstrip=HEIGHT)
    folder = tmp_path / "results"
    for name in ("memory", "results"):
        (tmp_path / name).mkdir()
    edit, mask = repair(samples)

    with open_scan(source, folders=[tmp_path / "memory", folder]) as scan:
        assert np.array_equal(scan.read_rows(0, HEIGHT), samples)
        assert used == [folder]
        assert list(folder.iterdir()) == [], "the file has no name"
        scan.write_restored(tmp_path / "out.tif", [edit])
        assert used == [folder] * 2
        scan.check_restored(tmp_path / "out.tif", mask)


def test_the_check_of_a_result_uses_the_results_folder_after_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: list[Path | None]
) -> None:
    samples = grainy(HEIGHT, WIDTH, 3)
    source = write(tmp_path / "scan.tif", samples, compression="zlib", rowsperstrip=HEIGHT)
    (tmp_path / "memory").mkdir()
    monkeypatch.setattr(scratch.tempfile, "gettempdir", lambda: str(tmp_path / "memory"))
    (tmp_path / "results").mkdir()
    edit, mask = repair(samples)

    with open_scan(source, folders=[tmp_path]) as scan:
        scan.write_restored(tmp_path / "results/out.tif", [edit])
        used.clear()
        verify.verify_restored(scan, tmp_path / "results/out.tif", mask, [edit])

    assert used == [tmp_path, tmp_path / "results"], "the scan's strip, then the result's"


def test_without_room_the_sentence_names_the_folders(tmp_path: Path, used: list[Path | None]) -> None:
    source = write(tmp_path / "scan.tif", compression="zlib", rowsperstrip=HEIGHT)
    (tmp_path / "memory").mkdir()
    folders = [tmp_path / "memory", tmp_path / "gone"]
    sentence = r"memory is memory.*gone: No such file"

    with open_scan(source, folders=folders) as scan, pytest.raises(OutputError, match=sentence):
        scan.read_rows(0, 1)

    assert used == []


def test_a_local_disk_comes_first_and_the_place_for_large_files_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch.tempfile, "gettempdir", lambda: "/fast")

    assert scratch_folders(tmp_path) == [Path("/fast"), tmp_path, Path("/var/tmp")]
