"""What a person gets who installs the wheel: weights, default config, service files, both commands."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PARTS = ["spotlessd", "spotless_core", "config", "models", "systemd", "pyproject.toml", "README.md", "LICENSE"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for part in PARTS:
        if (PROJECT / part).is_dir():
            shutil.copytree(PROJECT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(PROJECT / part, source / part)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(target),
        ".",
    ]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (path,) = target.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_carries_weights_config_and_services(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    manifest = tomllib.loads(wheel.read("spotless_core/data/models/manifest.toml").decode())

    for entry in manifest["model"].values():
        assert f"spotless_core/data/models/{entry['file']}" in names
    assert "spotless_core/data/config/spotlessd.toml" in names
    assert "spotless_core/data/systemd/spotlessd@.service" in names
    assert "spotlessd/py.typed" in names


def test_the_wheel_installs_both_commands_and_no_tests(wheel: zipfile.ZipFile) -> None:
    (entry_points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]

    text = wheel.read(entry_points).decode()

    assert "spotlessd = spotlessd.cli:main" in text
    assert "spotless = spotless_core.cli:main" in text
    assert not [name for name in wheel.namelist() if name.startswith("tests/")]


def test_shipped_weights_stay_under_16_mib_each(wheel: zipfile.ZipFile) -> None:
    sizes = [info.file_size for info in wheel.infolist() if info.filename.endswith(".safetensors")]

    assert sizes
    assert max(sizes) < 16 << 20
