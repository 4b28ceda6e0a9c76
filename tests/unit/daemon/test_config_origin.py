"""`config show --origin`: each key says where its value came from."""

import json
from pathlib import Path

import pytest

from spotlessd.cli import main
from spotlessd.configuration.origin import DEFAULT, Entry, entries
from spotlessd.configuration.settings import load_settings

TEXT = """\
station_id = "dark"
watch.settle_seconds = 7
[[roots]]
input = "scans"
output = "restored"
mask = { sensitivity = "low" }
[log]
json = true
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "spotlessd.toml"
    path.write_text(TEXT)
    return path


def origins(config: Path) -> dict[str, Entry]:
    return {entry.key: entry for entry in entries(load_settings(config))}


def test_a_key_of_the_file_names_its_line(config: Path) -> None:
    found = origins(config)

    assert found["station_id"] == Entry("station_id", "dark", f"{config}:1")
    assert found["watch.settle_seconds"].origin == f"{config}:2"
    assert found["roots[0].input"] == Entry("roots[0].input", str(config.parent / "scans"), f"{config}:4")
    assert found["log.json"] == Entry("log.json", True, f"{config}:8")


def test_a_key_in_an_inline_table_names_the_tables_line(config: Path) -> None:
    assert origins(config)["roots[0].mask.sensitivity"] == Entry("roots[0].mask.sensitivity", "low", f"{config}:6")


def test_a_key_given_nowhere_is_a_default_and_one_that_a_profile_leaves_out_is_not_told(config: Path) -> None:
    found = origins(config)

    assert found["watch.rescan_seconds"] == Entry("watch.rescan_seconds", 60.0, DEFAULT)
    assert "roots[0].mask.grow_um" not in found


def test_a_variable_is_named_even_when_it_gave_a_whole_table(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOTLESSD_WATCH__POLL_SECONDS", "9")
    monkeypatch.setenv("SPOTLESSD_QUEUE", '{"max_attempts": 5}')

    found = origins(config)

    assert found["watch.poll_seconds"] == Entry("watch.poll_seconds", 9.0, "environment SPOTLESSD_WATCH__POLL_SECONDS")
    assert found["watch.settle_seconds"].origin == f"{config}:2"
    assert found["queue.max_attempts"].origin == "environment SPOTLESSD_QUEUE"
    assert found["queue.stall_seconds"].origin == DEFAULT


def test_the_command_prints_lines_of_toml_and_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--origin", "--config", str(config)]) == 0
    text = capsys.readouterr().out
    assert main(["config", "show", "--json", "--config", str(config)]) == 0
    values = json.loads(capsys.readouterr().out)
    assert main(["config", "show", "--config", str(config)]) == 0
    plain = capsys.readouterr().out

    assert [line.split("  # ")[-1] for line in text.splitlines() if line.startswith("watch.settle_seconds = 7")] == [
        f"{config}:2"
    ]
    assert {"key": "station_id", "value": "dark", "origin": f"{config}:1"} in values
    assert "#" not in plain
