"""Planes of a frame in memory or in files of our own: nobody who reads them can tell."""

from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotless_core.errors import ArrayContractError, OutputError
from spotless_core.image_io import scratch
from spotless_core.image_io.scratch import ScratchSpace

SLICES = st.builds(
    slice,
    st.one_of(st.none(), st.integers(0, 60)),
    st.one_of(st.none(), st.integers(0, 60)),
    st.one_of(st.none(), st.integers(1, 9)),
)


@settings(deadline=None, max_examples=150)
@given(
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
    st.sampled_from([(), (1,), (3,), (4,)]),
    st.sampled_from([np.uint8, np.uint16, np.float16, np.float32]),
    st.sampled_from([0, 1 << 20]),
    SLICES,
    SLICES,
)
def test_a_window_is_what_an_array_gives(
    tmp_path_factory: pytest.TempPathFactory,
    size: tuple[int, int],
    channels: tuple[int, ...],
    dtype: type[np.generic],
    memory_bytes: int,
    rows: slice,
    columns: slice,
) -> None:
    values = np.random.default_rng(size[0]).integers(0, 255, (*size, *channels)).astype(dtype)
    with ScratchSpace([tmp_path_factory.getbasetemp()], memory_bytes) as space:
        plane = space.plane(values.shape, dtype)
        for top in range(0, size[0], 7):
            plane.write_rows(top, values[top : top + 7])

        window = plane[rows, columns]

        assert window.dtype == values.dtype
        assert window.shape == values[rows, columns].shape
        assert (window == values[rows, columns]).all()


def test_large_planes_lie_in_files_without_a_name(tmp_path: Path) -> None:
    with ScratchSpace([tmp_path], memory_bytes=1000) as space:
        small, large = space.plane((10, 90), np.uint8), space.plane((10, 200), np.uint8)

        for plane in (small, large):
            plane.write_rows(0, np.full(plane.shape, 7, np.uint8))

        assert small[0:10, 0:90].base is small[0:5, 0:90].base  # a view of one array
        assert not list(tmp_path.iterdir())
        assert (large[3:9, 10:20] == 7).all()


def test_all_planes_together_keep_to_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    plain = scratch.scratch_file
    monkeypatch.setattr(scratch, "scratch_file", lambda *folders: (opened.append(folders[1]), plain(*folders))[1])

    with ScratchSpace([tmp_path], memory_bytes=1000) as space:
        for height in (6, 5, 4):
            space.plane((height, 100), np.uint8)

    assert opened == [500]


def test_a_disk_without_room_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda _folder: usage(10**9, 9 * 10**8, 10**8))

    with ScratchSpace([tmp_path], 0) as space:
        space.plane((1000, 1000), np.uint16)
        with pytest.raises(OutputError, match=r"no room for 60 MB .*100 MB are free") as caught:
            space.plane((6000, 10000), np.uint8)

    assert caught.value.is_retryable


def test_a_disk_that_fills_up_meanwhile_is_an_error_that_may_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scratch.os, "pwrite", full)

    with ScratchSpace([tmp_path], 0) as space, pytest.raises(OutputError, match="No space left"):
        space.plane((4, 4), np.uint8).write_rows(0, np.zeros((4, 4), np.uint8))


def test_a_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    with ScratchSpace([tmp_path / "gone"], 0) as space, pytest.raises(OutputError, match="no room"):
        space.plane((4, 4), np.uint8)


@pytest.mark.parametrize(
    ("top", "rows"),
    [(0, np.zeros((2, 5), np.uint8)), (0, np.zeros((2, 4), np.uint16)), (3, np.zeros((2, 4), np.uint8))],
)
def test_rows_that_do_not_fit_are_our_own_mistake(tmp_path: Path, top: int, rows: np.ndarray) -> None:
    with ScratchSpace([tmp_path]) as space, pytest.raises(ArrayContractError, match="expected"):
        space.plane((4, 4), np.uint8).write_rows(top, rows)


@pytest.mark.parametrize("memory_bytes", [0, 1000])
def test_a_plane_is_not_read_after_its_space_is_closed(tmp_path: Path, memory_bytes: int) -> None:
    space = ScratchSpace([tmp_path], memory_bytes)
    plane = space.plane((4, 4), np.uint8)
    plane.write_rows(0, np.ones((4, 4), np.uint8))

    space.close()

    with pytest.raises(ArrayContractError, match="closed"):
        plane[0:4, 0:4]


def test_rows_never_written_are_our_own_mistake(tmp_path: Path) -> None:
    with ScratchSpace([tmp_path], 0) as space:
        plane = space.plane((4, 4), np.uint8)
        plane.write_rows(0, np.ones((2, 4), np.uint8))

        with pytest.raises(ArrayContractError, match="before they were written"):
            plane[0:4, 0:4]


def test_a_folder_in_memory_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = namedtuple("mount", "mountpoint fstype")
    mounts = [mount("/", "ext4"), mount(str(tmp_path / "ram"), "tmpfs"), mount(str(tmp_path / "ram/disk"), "ext4")]
    for folder in ("ram/sub", "ram/disk", "other"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(scratch.psutil, "disk_partitions", lambda **_options: mounts)
    used: list[Path] = []
    plain = scratch.tempfile.TemporaryFile
    monkeypatch.setattr(scratch.tempfile, "TemporaryFile", lambda **rest: (used.append(rest["dir"]), plain(**rest))[1])

    with ScratchSpace([tmp_path / "ram/sub", tmp_path / "other"], 0) as space:
        space.plane((4, 4), np.uint8)
    with ScratchSpace([tmp_path / "ram/disk", tmp_path / "other"], 0) as space:
        space.plane((4, 4), np.uint8)
    with ScratchSpace([tmp_path / "ram/sub"], 0) as space, pytest.raises(OutputError, match=r"ram/sub is memory"):
        space.plane((4, 4), np.uint8)

    assert used == [tmp_path / "other", tmp_path / "ram/disk"]


def test_a_released_plane_gives_its_memory_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    monkeypatch.setattr(scratch, "scratch_file", lambda _folders, needed: opened.append(needed))

    with ScratchSpace([tmp_path], memory_bytes=1000) as space:
        first = space.plane((8, 100), np.uint8)
        space.release(first)
        second = space.plane((9, 100), np.uint8)
        second.write_rows(0, np.zeros((9, 100), np.uint8))

        with pytest.raises(ArrayContractError, match="closed"):
            first[0:1, 0:1]

    assert opened == []
