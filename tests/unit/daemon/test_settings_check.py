"""Every problem of a config comes out in one go, whatever it hides behind."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotlessd.configuration.check import merged
from spotlessd.configuration.settings import load_settings
from spotlessd.errors import ConfigError

GOOD_ROOT = '[[roots]]\nname = "{0}"\ninput = "{0}"\noutput = "out-{0}"\n'


def problems_of(folder: Path, text: str) -> list[str]:
    path = folder / "spotlessd.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    return [problem.removeprefix(str(path)) for problem in caught.value.problems]


def test_a_wrong_kind_of_value_does_not_hide_a_broken_rule_of_the_same_table(tmp_path: Path) -> None:
    problems = problems_of(
        tmp_path,
        '[mask]\nmin_speck_um = "small"\nmax_coverage = 2\n[watch]\nmode = "x"\ncompanions = [".tif"]\n'
        + GOOD_ROOT.format("a"),
    )

    assert [problem.split(": ")[0] for problem in problems] == [":2", ":3", ":5", ":6"]
    assert "in watch.extensions too" in problems[3]


def test_slips_in_one_place_do_not_hide_folders_that_contain_each_other(tmp_path: Path) -> None:
    problems = problems_of(
        tmp_path,
        "typo = 1\n[log]\nlevel = 3\n"
        + GOOD_ROOT.format("a")
        + GOOD_ROOT.format("a")
        + '[[roots]]\nname = "c"\ninput = "c"\noutput = "c/out"\n',
    )

    assert [problem.split(": ")[0] for problem in problems] == [":1", ":3", ":9", ":10", ":15"]
    assert "did you mean" not in problems[0]
    assert "'a' came; it is taken by roots[0]" in problems[2]
    assert "overlap" in problems[3]
    assert "results would be taken for scans" in problems[4]


def test_a_root_without_its_folders_does_not_hide_the_others(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, '[[roots]]\nname = "bad name!"\n' + GOOD_ROOT.format("b") + "priority = 1000\n")

    assert [problem.split(": ")[1] for problem in problems] == [
        "roots[0].input",
        "roots[0].output",
        "roots[0].name",
        "roots[1].priority",
    ]


@pytest.mark.parametrize("text", ["roots = 3\n", "roots = [3]\n", "[roots]\ninput = 'a'\n", "watch = 3\nroots = []\n"])
def test_values_of_the_wrong_shape_are_problems_and_not_crashes(tmp_path: Path, text: str) -> None:
    assert "roots" in "".join(problems_of(tmp_path, text + "[mask]\ngrow_um = -1\n"))
    assert any("mask.grow_um" in problem for problem in problems_of(tmp_path, text + "[mask]\ngrow_um = -1\n"))


def test_a_problem_of_the_environment_does_not_hide_those_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPOTLESSD_WATCH__EXTENSIONS", "not json")
    monkeypatch.setenv("SPOTLESSD_MASK__GROW_UM", "-3")
    monkeypatch.setenv("SPOTLESSD_LGO__LEVEL", "INFO")

    problems = problems_of(tmp_path, "typo = 1\n" + GOOD_ROOT.format("a"))

    assert problems[0].startswith(":1: typo")
    assert any("JSON expected" in problem for problem in problems)
    assert any(problem.startswith("environment SPOTLESSD_LGO__LEVEL: unknown variable") for problem in problems)


def test_a_broken_rule_from_the_environment_names_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOTLESSD_MASK__GROW_UM", "-3")

    (problem,) = problems_of(tmp_path, "[mask]\ngrow_um = 4\n" + GOOD_ROOT.format("a"))

    assert problem.startswith("environment SPOTLESSD_MASK__GROW_UM: mask.grow_um: -3.0; zero, or 1 to 500")


@pytest.mark.parametrize(
    ("text", "key"),
    [('state_dir = "a/state"\n', "state_dir"), ('watch.spool_dir = "a"\n', "watch.spool_dir")],
)
def test_nothing_of_ours_lies_in_a_watched_folder(tmp_path: Path, text: str, key: str) -> None:
    (problem,) = problems_of(tmp_path, text + GOOD_ROOT.format("a"))

    assert problem.startswith(f":1: {key}: ")
    assert "lies in input" in problem


TABLES = st.recursive(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner | st.integers(0, 3), max_size=3),
    max_leaves=8,
)


@settings(deadline=None)  # a busy machine is no failure
@given(TABLES, TABLES)
def test_what_the_environment_says_wins_and_the_rest_stays(table: dict[str, object], over: dict[str, object]) -> None:
    both = merged(table, over)

    assert merged(both, over) == both
    assert set(both) == set(table) | set(over)
    for key, value in over.items():
        if not (isinstance(value, dict) and isinstance(table.get(key), dict)):
            assert both[key] == value
    assert all(both[key] == table[key] for key in table if key not in over)
