"""What cannot be read or written for hours is one line in the log when it begins and one when it ends."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from spotless_core.options import RestoreOptions
from spotlessd import publish
from spotlessd.commons import Commons, DispatchSettings
from spotlessd.errors import PublishError, RootUnavailableError
from spotlessd.folders.roots import NameRules, Root, write_marker


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    number = logger.add(lambda message: lines.append(str(message).strip()), level="INFO", format="{level} {message}")
    yield lines
    logger.remove(number)


@pytest.fixture
def commons() -> Commons:
    return Commons((), {}, DispatchSettings("dark", RestoreOptions(), 0), None)  # type: ignore[arg-type]


def test_a_full_disk_is_told_once_whatever_it_has_free_at_each_try(commons: Commons, log: list[str]) -> None:
    for number in range(5):
        commons.rest(f"disk: {90 + number} MB free at /restored, 120 MB wanted.", 100.0 * number)
        commons.rests(100.0 * number + 99)

    assert log == ["WARNING paused: disk: 90 MB free at /restored, 120 MB wanted."]


def test_another_reason_is_told_too(commons: Commons, log: list[str]) -> None:
    commons.rest("disk: 90 MB free", 0.0)
    commons.rest("/restored/masks: cannot be written", 100.0)

    assert len(log) == 2


def test_a_rest_that_is_over_is_told_and_the_next_is_news(commons: Commons, log: list[str]) -> None:
    commons.rest("disk: 90 MB free", 0.0)
    commons.note_written()
    commons.note_written()
    commons.rest("disk: 80 MB free", 200.0)

    assert log == [
        "WARNING paused: disk: 90 MB free",
        "INFO goes on: results can be written again",
        "WARNING paused: disk: 80 MB free",
    ]


def test_a_folder_of_results_without_the_right_to_write_is_found_before_a_scan_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.access  # root may write everywhere, whatever the mode
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "masks" and real(path, mode))

    with pytest.raises(PublishError, match="masks: cannot be written"):
        publish.make_folders(tmp_path, "frame.tif")


def test_a_folder_that_may_not_be_listed_is_away_though_its_marker_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[str]
) -> None:
    for name in ("scans", "restored"):
        (tmp_path / name).mkdir()
        write_marker(tmp_path / name, "dark")
    root = Root(
        "scans",
        tmp_path / "scans",
        tmp_path / "restored",
        "dark",
        NameRules((".tif",)),
        is_network=False,
        is_polled=False,
    )
    root.ensure_available()

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as closed:
        closed.setattr(os, "scandir", refuse)
        for _ in range(3):
            with pytest.raises(RootUnavailableError, match="scans: cannot be read: Permission denied"):
                root.ensure_available()
    root.ensure_available()

    assert [line.split()[0] for line in log] == ["WARNING", "INFO"]
    assert log[-1] == "INFO root scans is back"
