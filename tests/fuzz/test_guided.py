"""The header checks under a fuzzer that follows their coverage; long, and only where atheris is installed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.runner import TESTS
from fuzz.seeds import SEEDS

SECONDS = int(os.environ.get("SPOTLESS_FUZZ_SECONDS", "300"))


@pytest.mark.fuzz
@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is not installed (pip install atheris)"
)
@pytest.mark.parametrize("kind", SEEDS)
def test_no_file_brings_a_header_check_to_anything_but_a_sentence(kind: str, tmp_path: Path) -> None:
    variables = {"PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")))}

    done = subprocess.run(
        [sys.executable, "-m", "fuzz.guided", kind, str(SECONDS), str(tmp_path)],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )

    assert done.returncode == 0, done.stderr[-4000:]
    assert "stat::number_of_executed_units" in done.stderr
    assert len(list((tmp_path / "corpus").iterdir())) > len(SEEDS[kind]())
