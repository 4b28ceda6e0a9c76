"""Hints that a resting file may not be complete."""

import sys
from pathlib import Path

import pytest

from spotlessd.file_checks import TAIL_BYTES, WriterState, has_zero_tail, is_open_for_writing


def test_a_file_that_ends_in_zeros_is_suspicious(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0" + b"\x55" * 1000 + bytes(TAIL_BYTES))

    assert has_zero_tail(path)


def test_one_byte_in_the_tail_takes_the_suspicion_away(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(bytes(TAIL_BYTES) + b"\x01" + bytes(TAIL_BYTES - 1))

    assert not has_zero_tail(path)


def test_an_empty_file_has_no_tail(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.touch()

    assert not has_zero_tail(path)


@pytest.mark.skipif(sys.platform != "linux", reason="leases exist on Linux only")
def test_a_file_open_for_writing_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"x")
    if is_open_for_writing(path) is WriterState.UNKNOWN:
        pytest.skip("this file system grants no leases")

    with path.open("ab"):
        while_open = is_open_for_writing(path)

    assert while_open is WriterState.OPEN
    assert is_open_for_writing(path) is WriterState.CLOSED


def test_a_reader_is_not_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"x")

    with path.open("rb"):
        assert is_open_for_writing(path) is not WriterState.OPEN
