"""A folder may have a profile of its own; what it leaves out is the station's."""

from pathlib import Path

import pytest

from spotless_core.options import FilmFormat, InpaintMethod, Sensitivity
from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.errors import ConfigError
from spotlessd.folders.station_roots import open_roots

TWO_ROOTS = """\
film_format = "35mm"
[mask]
sensitivity = "low"
grow_um = 20
[[roots]]
name = "small"
input = "small"
output = "out"
[[roots]]
name = "large"
input = "large"
output = "out"
priority = 5
film_format = "6x7"
[roots.mask]
sensitivity = "high"
max_length_um = 20000
[roots.inpaint]
method = "telea"
max_hole_um = 400
"""


def load(folder: Path, text: str) -> Settings:
    path = folder / "spotlessd.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


def problems_of(folder: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    return caught.value.problems


def test_a_profile_holds_for_its_folder_and_the_rest_is_the_stations(tmp_path: Path) -> None:
    settings = load(tmp_path, TWO_ROOTS)
    small, large = (settings.restore_options(root) for root in settings.roots)

    assert small == settings.restore_options()
    assert (large.mask.sensitivity, large.mask.max_length_um, large.mask.grow_um) == (Sensitivity.HIGH, 20000, 20)
    assert (large.inpaint.method, large.inpaint.max_hole_um) == (InpaintMethod.TELEA, 400)
    assert (small.film_format, large.film_format) == (FilmFormat.MM35, FilmFormat.MM120_67)


def test_a_profile_tells_what_it_changes(tmp_path: Path) -> None:
    small, large = load(tmp_path, TWO_ROOTS).roots

    assert small.profile_values() == {}
    assert large.profile_values() == {
        "priority": "5",
        "film_format": "6x7",
        "mask.sensitivity": "high",
        "mask.max_length_um": "20000.0",
        "inpaint.method": "telea",
        "inpaint.max_hole_um": "400.0",
    }


def test_each_folder_has_the_recipe_of_its_own_options(tmp_path: Path) -> None:
    settings = load(tmp_path, TWO_ROOTS)
    small, large = settings.roots

    assert settings.recipe(small) == settings.recipe()
    assert settings.recipe(large) != settings.recipe()
    assert settings.recipe(large.model_copy(update={"priority": 9})) == settings.recipe(large)


def test_the_opened_roots_carry_their_profiles(tmp_path: Path) -> None:
    settings = load(tmp_path, TWO_ROOTS)

    small, large = open_roots(settings)

    assert (small.profile.priority, large.profile.priority) == (0, 5)
    assert large.profile.options == settings.restore_options(settings.roots[1])
    assert large.profile.recipe == settings.recipe(settings.roots[1])


def test_a_config_without_profiles_means_what_it_meant(tmp_path: Path) -> None:
    settings = load(tmp_path, '[[roots]]\ninput = "scans"\noutput = "restored"\n')

    assert settings.restore_options(settings.roots[0]) == settings.restore_options()
    assert settings.recipe(settings.roots[0]) == settings.recipe()


def test_a_slip_in_a_profile_names_its_line_and_the_nearest_key(tmp_path: Path) -> None:
    problems = problems_of(
        tmp_path, '[[roots]]\ninput = "a"\noutput = "b"\n[roots.mask]\nsensitivty = "high"\nfaint_lines = "maybe"\n'
    )

    assert problems[0].endswith(
        "spotlessd.toml:5: roots[0].mask.sensitivty: unknown key; did you mean roots.mask.sensitivity?"
    )
    assert ":6: roots[0].mask.faint_lines: 'maybe' came" in problems[1]


def test_a_rule_broken_by_a_profile_is_placed_in_the_profile(tmp_path: Path) -> None:
    problems = problems_of(
        tmp_path,
        '[[roots]]\ninput = "a"\noutput = "b"\n[roots.mask]\nmax_coverage = 2\n[roots.inpaint]\nmax_seconds = -1\n',
    )

    assert [problem.split("spotlessd.toml")[1] for problem in problems] == [
        ":5: roots[0].mask.max_coverage: 2; a fraction in (0, 1] expected.".replace("2;", "2.0;"),
        ":7: roots[0].inpaint.max_seconds: -1.0; zero (no limit) or more seconds expected.",
    ]


def test_a_profile_puts_no_number_where_yes_or_no_belongs(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, '[[roots]]\ninput = "a"\noutput = "b"\npriority = true\n')

    assert ":4: roots[0].priority: True came; a number expected" in problem
