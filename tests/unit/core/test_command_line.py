"""Every command line ends alike where it makes no sense."""

from collections.abc import Callable, Sequence

import pytest

from spotless_core import cli
from spotless_core.command_line import EXIT_USAGE
from spotless_core.training import cli as training_cli

Main = Callable[[Sequence[str]], int]


@pytest.mark.parametrize(
    ("main", "line", "name"),
    [
        (cli.main, ["restroe"], "spotless"),
        (cli.main, ["restore", "in.tif", "out.tif", "--device", "gpu"], "spotless restore"),
        (cli.main, ["restore", "in.tif", "out.tif", "--base", "b.tif"], "spotless"),
        (training_cli.main, ["detectr"], "python -m spotless_core.training"),
        (training_cli.main, ["preview"], "python -m spotless_core.training preview"),
    ],
)
def test_a_wrong_line_ends_with_sysexits_usage_and_says_how_to_get_help(
    main: Main, line: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(line)

    assert (ended.value.code, EXIT_USAGE) == (64, 64)
    assert capsys.readouterr().err.endswith(f"See: {name} --help\n")


def test_the_help_names_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])

    assert "64 wrong command line" in capsys.readouterr().out
