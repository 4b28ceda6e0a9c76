"""The cache of pictures: bounded, and never a half file."""

import os
import time
from pathlib import Path

import pytest

from spotlessd.review.frame_files import FrameFiles
from spotlessd.review.picture_cache import frame_folder, is_sound, put, put_same, touch, trim

JPEG = b"\xff\xd8\xff" + b"x" * 1000 + b"\xff\xd9"
LONG_AGO = 10_000.0


def frame(state: Path, job: int, age_seconds: float) -> Path:
    folder = frame_folder(state, FrameFiles(job, "key", Path("scan.tif")))
    put(folder / "before_0_0_0.jpg", JPEG)
    used = time.time() - age_seconds
    os.utime(folder, (used, used))
    return folder


def test_another_key_is_another_folder(tmp_path: Path) -> None:
    scan = Path("scan.tif")

    folders = {frame_folder(tmp_path, FrameFiles(job, key, scan)) for job, key in [(1, "a"), (1, "b"), (2, "a")]}

    assert len(folders) == 3
    assert {folder.parent for folder in folders} == {tmp_path / "review"}


@pytest.mark.parametrize("content", [b"", b"\0" * 1005, JPEG[:-1], JPEG[1:]])
def test_a_damaged_file_is_not_sound(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)

    assert not is_sound(tmp_path / "a.jpg")
    assert not is_sound(tmp_path / "missing.png")


def test_the_frames_used_longest_ago_go_first(tmp_path: Path) -> None:
    old, newer, newest = (frame(tmp_path, job, LONG_AGO - job) for job in (1, 2, 3))

    left = trim(tmp_path, 2500)

    assert left <= 2500
    assert not old.exists()
    assert newest.exists()
    touch(newer)
    assert not list((tmp_path / "review").glob(".trash-*"))


def test_a_frame_that_is_looked_at_stays_whatever_its_size(tmp_path: Path) -> None:
    used = frame(tmp_path, 1, 0.0)

    trim(tmp_path, 10)

    assert used.exists()


def test_a_cache_within_its_size_is_left_alone(tmp_path: Path) -> None:
    folder = frame(tmp_path, 1, LONG_AGO)

    assert trim(tmp_path, 5000) == len(JPEG)
    assert folder.exists()


def test_parts_that_nobody_finished_are_removed(tmp_path: Path) -> None:
    folder = frame(tmp_path, 1, LONG_AGO)
    old, new = folder / ".part-old", folder / ".part-new"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (time.time() - LONG_AGO,) * 2)

    trim(tmp_path, 10_000)

    assert not old.exists()
    assert new.exists()


def test_one_content_at_two_places_leaves_no_part_when_it_is_put_again(tmp_path: Path) -> None:
    picture = put(tmp_path / "before_0_0_0.jpg", JPEG)

    for _ in range(2):
        same = put_same(tmp_path / "after_0_0_0.jpg", picture)

    assert same.read_bytes() == JPEG
    assert sorted(path.name for path in tmp_path.iterdir()) == ["after_0_0_0.jpg", "before_0_0_0.jpg"]


def test_where_files_cannot_have_two_names_the_content_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = put(tmp_path / "before_0_0_0.jpg", JPEG)

    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)

    assert put_same(tmp_path / "after_0_0_0.jpg", picture).read_bytes() == JPEG
