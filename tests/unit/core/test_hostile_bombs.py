"""Files made to exhaust a reader are refused with a sentence, in under a second and a little memory."""

import pytest
from fuzz.bombs_flat import BOMBS
from fuzz.bombs_tiff import RESTORED
from fuzz.measure import Measured, measure_files

from spotless_core.image_io.turbojpeg import is_available

MAX_SECONDS = 1.0
MAX_MB = 200.0
"""A file of a few megabytes is held, with twenty bytes for each of its bytes at most, but nothing of what it claims."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Measured]:
    folder = tmp_path_factory.mktemp("bombs")
    for name, bomb in BOMBS.items():
        (folder / name).write_bytes(bomb.draw())
    return measure_files(folder)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_with_a_sentence_at_once(name: str, measured: dict[str, Measured]) -> None:
    bomb, found = BOMBS[name], measured[name]
    if bomb.outcome == RESTORED and name.startswith("jpeg") and not is_available():
        pytest.skip("libturbojpeg is not installed")

    assert (found.outcome, bomb.word in found.sentence) == (bomb.outcome, True), found
    assert found.seconds < MAX_SECONDS, found
    assert found.added_mb < MAX_MB, found
    assert found.outcome == RESTORED or found.sentence.endswith((".", ")")), found
