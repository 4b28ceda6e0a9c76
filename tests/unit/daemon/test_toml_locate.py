"""Error messages name the line a key stands on."""

import tomllib

import pytest

from spotlessd.configuration.toml_locate import key_lines, line_of

TEXT = '''# a comment with = and [brackets]
station_id = "x"
[watch]  # a table
settle_seconds = 5
"mode" = "auto"
[mask.inner]
deep.key = 1
[[roots]]
name = "a"
[[roots]]
name = "b"
[roots.extra]
colour = "red"
[log]
file = """
level = "not a key"
"""
level = "INFO"
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("station_id",), 2),
        (("watch",), 3),
        (("watch", "settle_seconds"), 4),
        (("watch", "mode"), 5),
        (("mask", "inner", "deep", "key"), 7),
        (("roots", 0, "name"), 9),
        (("roots", 1, "name"), 11),
        (("roots", 1, "extra", "colour"), 13),
        (("log", "level"), 18),
    ],
)
def test_a_key_is_found_on_its_line(path: tuple[str | int, ...], line: int) -> None:
    tomllib.loads(TEXT)

    assert line_of(TEXT, path) == line


def test_a_missing_key_is_placed_at_its_table() -> None:
    assert line_of(TEXT, ("roots", 1, "input")) == 10


def test_a_key_that_is_nowhere_has_no_line() -> None:
    assert line_of(TEXT, ("queue", "max_attempts")) is None


def test_every_key_of_a_text_is_listed_once_with_its_table() -> None:
    lines = key_lines("a = 1\n[b]\nc = 2\n")

    assert lines == {("a",): 1, ("b",): 2, ("b", "c"): 3}
