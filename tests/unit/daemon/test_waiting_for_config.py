"""Under launchd a wrong config is waited for: starting again and again would not correct it."""

from pathlib import Path

from spotlessd.commands.setup_commands import CONFIG_LOOK_SECONDS, wait_for_config
from spotlessd.station import init_station


def test_each_set_of_problems_is_told_once_and_a_corrected_config_is_used(tmp_path: Path) -> None:
    config = init_station(tmp_path / "station")
    good = config.read_text(encoding="utf-8")
    config.write_text(good.replace("settle_seconds = 5 ", "setle_seconds = 5 "), encoding="utf-8")
    told: list[str] = []
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            config.write_text(good, encoding="utf-8")

    settings = wait_for_config(config, told.append, wait)

    assert settings.config_path == config
    assert waits == [CONFIG_LOOK_SECONDS] * 3
    assert len(told) == 1
    assert "setle_seconds" in told[0]
    assert "waiting for the config to be corrected" in told[0]


def test_a_config_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    told: list[str] = []

    settings = wait_for_config(
        tmp_path / "station" / "spotlessd.toml", told.append, lambda _: init_station(tmp_path / "station") and None
    )

    assert settings.roots[0].input == tmp_path / "station" / "scans"
    assert "no such file" in told[0]
