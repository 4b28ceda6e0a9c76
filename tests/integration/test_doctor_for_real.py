"""The doctor's child processes run with the networks that ship."""

from pathlib import Path

from spotlessd.configuration.settings import load_settings
from spotlessd.doctor.doctor import run_checks
from spotlessd.station import init_station


def test_device_and_small_job_pass_on_the_cpu(tmp_path: Path) -> None:
    config = init_station(tmp_path)
    config.write_text(config.read_text(encoding="utf-8").replace('device = "auto"', 'device = "cpu"'), encoding="utf-8")

    checks = {check.name: check for check in run_checks(load_settings(config))}

    assert (checks["device cpu"].ok, checks["device cpu"].detail.split(",")[0]) == (True, "CPU")
    assert checks["opencv"].ok
    assert checks["small job"].ok, checks["small job"].detail
