"""The configuration is checked as a whole, and every problem names its place."""

import pickle
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spotless_core.options import DetectOptions, DeviceOptions, InpaintOptions, MaskFormat, RestoreOptions
from spotlessd.configuration import recipes
from spotlessd.configuration import settings as settings_module
from spotlessd.configuration.problems import known_keys
from spotlessd.configuration.settings import Settings, find_config, load_settings
from spotlessd.errors import ConfigError
from spotlessd.packaged import packaged_file

ROOT = '[[roots]]\nname = "scans"\ninput = "scans"\noutput = "restored"\n'


def write_config(folder: Path, text: str = "", *, root: str = ROOT) -> Path:
    path = folder / "spotlessd.toml"
    path.write_text(text + root, encoding="utf-8")
    return path


def problems_of(path: Path) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    assert caught.value.exit_code == 78
    return caught.value.problems


def keys_in(table: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Every key of a TOML table and of those below it; of a list of tables, the first one's."""
    for key, value in table.items():
        yield (key,)
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict):
            yield from ((key, *rest) for rest in keys_in(inner))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SPOTLESSD_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_relative_paths_are_taken_from_the_config_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "station").mkdir()
    write_config(tmp_path / "station", 'log.file = "log/out.log"\ninpaint.big_lama_path = "../big-lama.pt"\n')
    monkeypatch.chdir(tmp_path)

    settings = load_settings(Path("station/spotlessd.toml"))

    assert settings.config_path == tmp_path / "station" / "spotlessd.toml"
    assert settings.state_dir == tmp_path / "station" / "state"
    assert settings.roots[0].input == tmp_path / "station" / "scans"
    assert settings.roots[0].output == tmp_path / "station" / "restored"
    assert settings.log.file == tmp_path / "station" / "log" / "out.log"
    assert settings.inpaint.big_lama_path == tmp_path / "big-lama.pt"


def test_the_defaults_of_the_core_are_the_defaults_of_the_config(tmp_path: Path) -> None:
    settings = load_settings(write_config(tmp_path))

    assert settings.restore_options() == RestoreOptions()
    assert settings.device_options() == DeviceOptions()


def test_options_given_in_the_file_reach_the_core(tmp_path: Path) -> None:
    settings = load_settings(write_config(tmp_path, 'film_format = "6x7"\n[detect]\ntile_px = 512\nstride_px = 256\n'))

    assert settings.restore_options().detect == DetectOptions(512, 256)
    assert settings.restore_options().film_format == "6x7"


def test_how_files_are_written_reaches_the_core_and_changes_no_recipe(tmp_path: Path) -> None:
    text = 'output.allow_reencode = true\noutput.allow_transcode = true\noutput.mask_format = "tiff"\n'
    plain = load_settings(write_config(tmp_path))

    settings = load_settings(write_config(tmp_path, text))

    options = settings.restore_options()
    assert (options.allow_reencode, options.allow_transcode, options.mask_format) == (True, True, MaskFormat.TIFF)
    assert not any((plain.output.allow_reencode, plain.output.allow_transcode, plain.output.keep_timestamp))
    assert settings.recipe() == plain.recipe()


def test_the_budgets_of_the_repair_reach_the_core(tmp_path: Path) -> None:
    settings = load_settings(write_config(tmp_path, "[inpaint]\nmax_hole_um = 400\nmax_seconds = 90\n"))

    assert settings.restore_options().inpaint == InpaintOptions(max_hole_um=400, max_seconds=90)


def test_the_budgets_of_the_repair_are_checked_with_the_rest(tmp_path: Path) -> None:
    path = write_config(tmp_path, "[inpaint]\nmax_hole_um = 0\nmax_seconds = -1\n")

    assert problems_of(path) == (
        f"{path}:2: inpaint.max_hole_um: 0.0; 10 to 50000 micrometres expected.",
        f"{path}:3: inpaint.max_seconds: -1.0; zero (no limit) or more seconds expected.",
    )


def test_an_unknown_key_names_its_line_and_the_nearest_key(tmp_path: Path) -> None:
    path = write_config(tmp_path, "[watch]\nsetle_seconds = 5\n")

    assert problems_of(path) == (f"{path}:2: watch.setle_seconds: unknown key; did you mean watch.settle_seconds?",)


def test_a_key_in_the_wrong_table_is_pointed_to_its_own(tmp_path: Path) -> None:
    path = write_config(tmp_path, "[watch]\ntile_px = 512\n")

    assert problems_of(path) == (f"{path}:2: watch.tile_px: unknown key; did you mean detect.tile_px?",)


def test_an_unknown_table_is_reported_even_when_it_starts_with_an_underscore(tmp_path: Path) -> None:
    path = write_config(tmp_path, '_env_file = "x"\n[wacth]\nmode = "auto"\n')

    problems = problems_of(path)

    assert f"{path}:1: _env_file: unknown key" in problems
    assert f"{path}:2: wacth: unknown key; did you mean watch?" in problems


def test_every_problem_is_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = write_config(
        tmp_path,
        "[detect]\ntile_px = 100\n[mask]\nmin_speck_um = 0\nmax_coverage = 2\n"
        '[watch]\nmode = "evnts"\nsettle_seconds = -1\nrescan_seconds = true\n[queue]\nmax_attempts = "three"\n',
    )

    problems = problems_of(path)

    assert [problem.split(": ")[0] for problem in problems] == [f"{path}:{line}" for line in (2, 4, 5, 7, 8, 9, 11)]
    assert problems[0].endswith("detect.tile_px: 100; a multiple of 64, at least 128, expected.")
    assert "'evnts' came" in problems[3]
    assert problems[3].endswith("did you mean events?")
    assert "True came; a number expected" in problems[5]


def test_a_missing_key_is_placed_at_its_table(tmp_path: Path) -> None:
    path = write_config(tmp_path, 'station_id = "x"\n', root='[[roots]]\nname = "a"\ninput = "in"\n')

    assert problems_of(path) == (f"{path}:2: roots[0].output: nothing came; this key is required.",)


def test_a_config_without_roots_is_refused(tmp_path: Path) -> None:
    path = write_config(tmp_path, "roots = []\n", root="")

    assert problems_of(path)[0].startswith(f"{path}:1: roots: nothing came; at least one [[roots]] is required")


def test_a_number_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    path = write_config(tmp_path, "[mask]\ngrow_um = nan\n")

    assert problems_of(path)[0].startswith(f"{path}:2: mask.grow_um: nan came;")


def test_broken_toml_names_the_line(tmp_path: Path) -> None:
    path = write_config(tmp_path, '[watch]\nmode = "auto\n')

    (problem,) = problems_of(path)

    assert problem.startswith(f"{path}:2: not TOML: ")


@pytest.mark.parametrize(("text", "line"), [("typo", 1), ("", 1), ("a = 1\nb = [1,", 2)])
def test_toml_that_ends_too_early_names_its_last_line(tmp_path: Path, text: str, line: int) -> None:
    path = write_config(tmp_path, text, root="")

    assert problems_of(path)[0].startswith(f"{path}:{line}: not TOML: " if text else f"{path}: roots: nothing came")


def test_a_missing_file_is_an_error_and_not_an_empty_config(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path / "none.toml")

    assert "no such file" in problem
    assert "spotlessd init" in problem


def test_a_file_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "spotlessd.toml"
    path.write_bytes(b"\xff\xfe\x00")

    assert "not UTF-8" in problems_of(path)[0]


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOTLESSD_WATCH__SETTLE_SECONDS", "20")

    settings = load_settings(write_config(tmp_path, "[watch]\nsettle_seconds = 7\nrescan_seconds = 90\n"))

    assert settings.watch.settle_seconds == 20
    assert settings.watch.rescan_seconds == 90


def test_a_bad_value_from_the_environment_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOTLESSD_WATCH__SETTLE_SECONDS", "soon")

    (problem,) = problems_of(write_config(tmp_path))

    assert problem.startswith("environment SPOTLESSD_WATCH__SETTLE_SECONDS: watch.settle_seconds: 'soon' came;")


@pytest.mark.parametrize("name", ["SPOTLESSD_STATE_DR", "SPOTLESSD_WATCH__SETLE_SECONDS", "SPOTLESSD_WACTH__MODE"])
def test_an_unknown_variable_with_our_prefix_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "x")

    (problem,) = problems_of(write_config(tmp_path))

    assert problem.startswith(f"environment {name}: unknown variable; did you mean SPOTLESSD_")


def test_a_list_in_the_environment_that_is_not_json_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPOTLESSD_ROOTS", "not json")

    (problem,) = problems_of(write_config(tmp_path))

    assert "roots" in problem
    assert "JSON" in problem


def test_an_unknown_key_in_a_table_given_by_a_variable_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPOTLESSD_WATCH", '{"mod": "auto"}')

    assert problems_of(write_config(tmp_path)) == (
        "environment SPOTLESSD_WATCH: watch.mod: unknown key; did you mean watch.mode?",
    )


def test_two_roots_with_one_name_are_refused(tmp_path: Path) -> None:
    path = write_config(tmp_path, root=ROOT + ROOT.replace('"scans"\no', '"other"\no'))

    (problem,) = problems_of(path)

    assert problem.startswith(f"{path}:6: roots[1].name: 'scans' came; it is taken by roots[0]")


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = load_settings(write_config(tmp_path))

    with pytest.raises(ValueError, match="frozen"):
        settings.watch.settle_seconds = 1


def test_settings_survive_the_way_to_another_process(tmp_path: Path) -> None:
    settings = load_settings(write_config(tmp_path, "[watch]\nsettle_seconds = 9\n"))

    copy = pickle.loads(pickle.dumps(settings))  # noqa: S301  our own bytes

    assert copy == settings
    assert copy.config_path == settings.config_path


def test_the_recipe_changes_with_what_changes_pixels_only(tmp_path: Path) -> None:
    plain = load_settings(write_config(tmp_path)).recipe()
    tuned = load_settings(write_config(tmp_path, "[mask]\ngrow_um = 20\n")).recipe()
    moved = load_settings(
        write_config(
            tmp_path,
            'state_dir = "elsewhere"\nlog.level = "DEBUG"\nqueue.max_attempts = 5\ndevice.threads = 1\n'
            "inpaint.max_hole_um = 400\ninpaint.max_seconds = 9\n",
        )
    ).recipe()

    assert tuned != plain
    assert moved == plain


def test_the_recipe_changes_with_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = tmp_path / "manifest.toml"
    settings = load_settings(write_config(tmp_path))
    monkeypatch.setattr(recipes, "packaged_file", lambda folder, name: manifest)
    manifest.write_text('[detector]\nfile = "d.safetensors"\nsha256 = "aa"\nlicence = "MIT"\n')
    first = settings.recipe()
    manifest.write_text('[detector]\nfile = "d.safetensors"\nsha256 = "aa"\nlicence = "CC0"\n')
    same_weights = settings.recipe()
    manifest.write_text('[detector]\nfile = "d.safetensors"\nsha256 = "bb"\nlicence = "CC0"\n')

    assert same_weights == first
    assert settings.recipe() != first


def test_the_packaged_config_has_every_key_with_its_default(tmp_path: Path) -> None:
    path = tmp_path / "spotlessd.toml"
    path.write_bytes(packaged_file("config", "spotlessd.toml").read_bytes())
    settings = load_settings(path)
    with_profile = re.sub(r"^#(?=[a-z\[])", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    path.write_text(with_profile, encoding="utf-8")

    assert set(keys_in(tomllib.loads(with_profile))) == set(known_keys(Settings))
    assert load_settings(path).roots[0].mask.sensitivity == "high"
    assert settings == load_settings(write_config(tmp_path))


def test_every_key_of_the_packaged_config_has_its_comment() -> None:
    lines = packaged_file("config", "spotlessd.toml").read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if "=" in line and not line.startswith("#") and " # " not in line] == []


def test_the_given_config_comes_first_then_the_variable_then_the_folder_then_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    (tmp_path / "xdg" / "spotlessd").mkdir(parents=True)
    users = write_config(tmp_path / "xdg" / "spotlessd")

    assert find_config(None) == users
    write_config(tmp_path)
    assert find_config(None) == Path("spotlessd.toml")
    monkeypatch.setenv("SPOTLESSD_CONFIG", "/from/variable.toml")
    assert find_config(None) == Path("/from/variable.toml")
    assert find_config(Path("given.toml")) == Path("given.toml")


def test_no_config_anywhere_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(settings_module, "SYSTEM_CONFIG", tmp_path / "etc.toml")

    with pytest.raises(ConfigError, match=r"looked at spotlessd\.toml"):
        find_config(None)
