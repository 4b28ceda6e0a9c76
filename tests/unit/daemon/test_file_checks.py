"""Hints that a resting file may not be complete."""

import sys
from pathlib import Path

import pytest

from spotlessd.folders.file_checks import TAIL_BYTES, WriterState, ZeroTail, is_open_for_writing, zero_tail


def test_a_file_that_ends_in_zeros_is_suspicious(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0" + b"\x55" * 8 * TAIL_BYTES + bytes(TAIL_BYTES))

    assert zero_tail(path) is ZeroTail.SHORT


def test_a_file_whose_whole_end_is_zero_is_more_than_suspicious(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0" + b"\x55" * 4 * TAIL_BYTES + bytes(4 * TAIL_BYTES))

    assert zero_tail(path) is ZeroTail.LONG


def test_a_short_file_that_ends_in_zeros_may_be_black(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0" + bytes(TAIL_BYTES))

    assert zero_tail(path) is ZeroTail.SHORT


def test_one_byte_in_the_tail_takes_the_suspicion_away(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(bytes(TAIL_BYTES) + b"\x01" + bytes(TAIL_BYTES - 1))

    assert zero_tail(path) is ZeroTail.NONE


def test_an_empty_file_has_no_tail(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.touch()

    assert zero_tail(path) is ZeroTail.NONE


def test_on_a_share_nobody_is_asked_for_a_lease(tmp_path: Path) -> None:
    assert is_open_for_writing(tmp_path / "not even there", is_network=True) is WriterState.UNKNOWN


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
