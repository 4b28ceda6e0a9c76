"""The log goes where the config says."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from spotlessd.configuration.sections import LogSettings
from spotlessd.log import set_up_log


@pytest.fixture(autouse=True)
def _no_sinks_left() -> Iterator[None]:
    yield
    logger.remove()


def test_the_level_is_kept() -> None:
    stream = io.StringIO()
    set_up_log(LogSettings(level="WARNING"), stream)

    logger.info("quiet")
    logger.warning("loud")

    assert "loud" in stream.getvalue()
    assert "quiet" not in stream.getvalue()


def test_json_is_one_object_a_line() -> None:
    stream = io.StringIO()
    set_up_log(LogSettings.model_validate({"json": True}), stream)

    logger.bind(job=7).info("done")

    record = json.loads(stream.getvalue())["record"]
    assert (record["message"], record["extra"]) == ("done", {"job": 7})


def test_an_exception_does_not_show_the_values_of_variables() -> None:
    stream = io.StringIO()
    set_up_log(LogSettings(), stream)
    secret = "-".join(["pixels", "of", "a", "person"])

    try:
        raise ValueError(len(secret))
    except ValueError:
        logger.exception("failed")

    assert "ValueError" in stream.getvalue()
    assert secret not in stream.getvalue()


def test_the_log_file_is_written_when_configured(tmp_path: Path) -> None:
    path = tmp_path / "log" / "spotlessd.log"
    set_up_log(LogSettings(file=path), io.StringIO())

    logger.info("kept")
    logger.complete()
    logger.remove()

    assert "kept" in path.read_text(encoding="utf-8")


def test_a_file_name_can_neither_forge_a_line_nor_steer_the_terminal() -> None:
    stream = io.StringIO()
    set_up_log(LogSettings(), stream)

    logger.info("job 1, {}: queued", "a\n2026-11-23 00:00:00 INFO    job 2: done\x1b[2J.tif")

    first, second = stream.getvalue().splitlines()
    assert first.endswith("job 1, a")
    assert second == "    2026-11-23 00:00:00 INFO    job 2: done\\x1b[2J.tif: queued"
