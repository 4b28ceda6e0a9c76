"""What a frame needs before it starts, by its size."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotlessd.start_checks import deadline_seconds, lacking_memory, megapixels_of


def test_the_size_is_read_from_the_header(tmp_path: Path) -> None:
    assert megapixels_of(tmp_path, lambda _: (6000, 4000)) == 24.0


def test_a_header_that_cannot_be_read_is_guessed_from_the_files_length(tmp_path: Path) -> None:
    path = tmp_path / "odd.tif"
    path.write_bytes(bytes(3_000_000))

    def refuse(_: Path) -> tuple[int, int]:
        raise ValueError("odd")

    assert megapixels_of(path, refuse) == 3.0
    assert megapixels_of(tmp_path / "gone.tif", refuse) == 0.0


def test_no_seconds_for_a_megapixel_means_no_deadline() -> None:
    assert deadline_seconds(24.0, 0.0) == 0.0


@given(st.floats(0, 2000), st.floats(0, 2000), st.floats(0.001, 3600))
def test_a_larger_frame_never_has_less_time(small: float, more: float, each: float) -> None:
    assert deadline_seconds(small + more, each) >= deadline_seconds(small, each) > 0


@pytest.mark.parametrize(
    ("free_mb", "held_mb", "limit_mb", "is_lacking"),
    [
        (1119.0, 0.0, 1e6, True),
        (1120.0, 0.0, 1e6, False),
        (520.0, 600.0, 1e6, False),  # the idle worker has the networks already
        (520.0, 0.0, 500.0, False),  # more than the worker may take is never waited for
    ],
)
def test_memory_is_asked_for_by_the_frames_size(
    free_mb: float, held_mb: float, limit_mb: float, is_lacking: bool
) -> None:
    assert bool(lacking_memory(24.0, free_mb, held_mb, limit_mb)) is is_lacking


@given(st.floats(0, 2000), st.floats(0, 1e5), st.floats(0, 1e4), st.floats(1, 1e5))
def test_a_machine_with_all_the_memory_a_worker_may_take_never_waits(
    megapixels: float, free_mb: float, held_mb: float, limit_mb: float
) -> None:
    assert lacking_memory(megapixels, max(free_mb, limit_mb), held_mb, limit_mb) == ""
