"""The page and the recipe for a cluster: their configs load, their commands exist."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from spotlessd.commands.arguments import parse_arguments
from spotlessd.configuration.settings import load_settings

CONFIG = Path(__file__).parents[3] / "config"
PAGE = (CONFIG / "cluster.md").read_text(encoding="utf-8")
RECIPE: dict[str, Any] = yaml.safe_load((CONFIG / "compose.yaml").read_text(encoding="utf-8"))
SNIPPETS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^spotlessd (.+?)(?: {2,}#.*)?$", PAGE, re.MULTILINE)
CONTENTS = {name: entry["content"] for name, entry in RECIPE["configs"].items()}


@pytest.mark.parametrize("text", [*SNIPPETS, *CONTENTS.values()])
def test_every_config_of_page_and_recipe_loads(text: str, tmp_path: Path) -> None:
    config = tmp_path / "spotlessd.toml"
    config.write_text(text, encoding="utf-8")

    settings = load_settings(config)

    assert settings.is_clustered
    assert settings.cluster.password_file is not None
    assert [share.name for share in settings.shares] == ["archive"]


def test_the_recipe_has_a_database_three_stations_and_two_gpu_workers() -> None:
    services = RECIPE["services"]
    commands = {name: service.get("command", ["", ""])[1] for name, service in services.items()}

    assert list(commands.values()) == ["", "run", "run", "run", "worker", "worker"]
    assert services["db"]["image"].startswith("postgres:")
    assert services["db"]["healthcheck"]
    gpus = [service["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] for service in _of("worker")]
    assert gpus == [["0"], ["1"]]
    for service in [*_of("run"), *_of("worker")]:
        assert service["depends_on"]["db"] == {"condition": "service_healthy"}
        assert service["restart"] == "on-failure"
        assert "[cluster]" in service["build"]["dockerfile_inline"]


def test_everything_the_recipe_names_is_in_it() -> None:
    for service in RECIPE["services"].values():
        assert set(service.get("secrets", [])) <= set(RECIPE["secrets"])
        assert {entry["source"] for entry in service.get("configs", [])} <= set(RECIPE["configs"])
        named = {volume.split(":")[0] for volume in service["volumes"]}
        assert {name for name in named if not name.startswith("/")} <= set(RECIPE["volumes"])


def test_no_two_services_share_a_state_folder_or_an_identity() -> None:
    states = [service["volumes"][1] for service in [*_of("run"), *_of("worker")]]
    names = [service["environment"]["SPOTLESSD_WORKER__NAME"] for service in _of("worker")]
    ids = re.findall(r'station_id = "(.+)"', "".join(CONTENTS.values()))

    assert len(set(states)) == 5
    assert len(set(names)) == 2
    assert len(set(ids)) == 3


@pytest.mark.parametrize("line", [line for line in COMMANDS if not line.startswith("submit")])
def test_every_command_of_the_page_is_one_of_ours(line: str) -> None:
    parse_arguments(line.replace("[", "").replace("]", "").split())


@pytest.mark.parametrize("kind", ["run", "worker"])
def test_every_command_of_the_recipe_is_one_of_ours(kind: str) -> None:
    for service in _of(kind):
        assert service["command"][0] == "spotlessd"
        assert parse_arguments(service["command"][1:]).config == Path("/etc/spotlessd.toml")


def _of(kind: str) -> list[dict[str, Any]]:
    return [service for service in RECIPE["services"].values() if service.get("command", ["", ""])[1] == kind]
