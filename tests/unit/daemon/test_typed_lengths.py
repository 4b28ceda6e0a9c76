"""Lengths on the film that cannot be: typed in another unit, as a rule."""

from pathlib import Path

import pytest

from spotlessd.configuration.settings import load_settings
from spotlessd.errors import ConfigError

ROOT = '[[roots]]\nname = "a"\ninput = "a"\noutput = "b"\n'


def problems_of(folder: Path, text: str) -> tuple[str, ...]:
    path = folder / "spotlessd.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    return caught.value.problems


@pytest.mark.parametrize(
    ("key", "typed", "expected"),
    [
        ("mask.min_speck_um", "0.012", "1 to 1000 micrometres expected. If millimetres were meant, type 12."),
        ("mask.max_speck_um", "0.7", "10 to 20000 micrometres expected. If millimetres were meant, type 700."),
        ("mask.max_length_um", "8", "100 to 200000 micrometres expected. If millimetres were meant, type 8000."),
        ("mask.max_width_um", "0.25", "5 to 10000 micrometres expected. If millimetres were meant, type 250."),
        ("mask.grow_um", "0.012", "zero, or 1 to 500 micrometres expected. If millimetres were meant, type 12."),
        ("mask.max_length_um", "8e6", "100 to 200000 micrometres expected."),
        ("inpaint.max_hole_um", "1", "10 to 50000 micrometres expected. If millimetres were meant, type 1000."),
    ],
)
def test_a_length_in_another_unit_is_refused_with_the_number_that_was_meant(
    tmp_path: Path, key: str, typed: str, expected: str
) -> None:
    problems = problems_of(tmp_path, f"{key} = {typed}\n{ROOT}")

    assert problems == (f"{tmp_path / 'spotlessd.toml'}:1: {key}: {float(typed)}; {expected}",)


def test_a_folders_own_length_is_checked_too(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, ROOT + "mask.grow_um = 0.02\n")

    assert "grow_um" in problem
    assert "micrometres expected. If millimetres were meant, type 20." in problem
