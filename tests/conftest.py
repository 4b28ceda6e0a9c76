"""Markers that skip with a reason, and fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
import torch
from drawing import make_bright_spot_models

SWITCHES = {"slow": "SPOTLESS_SLOW", "training": "SPOTLESS_TRAINING", "fuzz": "SPOTLESS_FUZZ"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker, variable in SWITCHES.items():
            if item.get_closest_marker(marker) and not os.environ.get(variable):
                item.add_marker(pytest.mark.skip(reason=f"{marker} test; run with {variable}=1"))
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))


@pytest.fixture(scope="session")
def bright_spot_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bright_spot_models(tmp_path_factory.mktemp("models"))
