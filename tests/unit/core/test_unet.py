import copy
from pathlib import Path

import pytest
import torch

from spotless_core.detection.detector import Detector
from spotless_core.errors import ModelError
from spotless_core.networks.device import Device
from spotless_core.networks.unet import UNet, UNetShape, fold_batch_norm
from spotless_core.networks.weights import load_weights, read_manifest


@pytest.mark.parametrize(("depth", "fold", "side"), [(1, 1, 10), (2, 2, 24), (3, 4, 64)])
def test_any_size_that_is_a_multiple_keeps_its_size(depth: int, fold: int, side: int) -> None:
    network = UNet(UNetShape(4, depth, fold)).eval()

    with torch.inference_mode():
        logits = network(torch.rand(2, 1, side, 2 * side))

    assert logits.shape == (2, 1, side, 2 * side)


def test_a_size_that_is_no_multiple_is_refused_with_the_multiple() -> None:
    with pytest.raises(ModelError, match="multiples of 8"):
        UNet(UNetShape(4, 2, 2))(torch.rand(1, 1, 20, 24))


def test_folding_the_batch_norm_does_not_change_the_output() -> None:
    torch.manual_seed(3)
    network = UNet(UNetShape(6, 2, 2))
    for _ in range(3):
        network(torch.rand(4, 1, 32, 32))  # gives the norms statistics of their own
    network.eval()
    picture = torch.rand(1, 1, 64, 64)

    with torch.inference_mode():
        before = network(picture)
        after = fold_batch_norm(copy.deepcopy(network))(picture)

    assert torch.allclose(before, after, atol=1e-5)


def test_weights_with_another_checksum_are_refused(bright_spot_models: Path, tmp_path: Path) -> None:
    entry = read_manifest(bright_spot_models)["detector"]
    damaged = tmp_path / "detector.safetensors"
    damaged.write_bytes(entry.path.read_bytes()[:-1] + b"\xff")

    with pytest.raises(ModelError, match="sha256"):
        load_weights(type(entry)(entry.name, damaged, entry.sha256, entry.licence, entry.shape, entry.input, {}))


def test_a_shape_that_does_not_fit_the_weights_is_refused(bright_spot_models: Path) -> None:
    entry = read_manifest(bright_spot_models)["detector"]
    shape = {"width": 8, "depth": 1, "fold": 1}
    wrong = type(entry)(entry.name, entry.path, entry.sha256, entry.licence, shape, {}, {})

    with pytest.raises(ModelError, match="do not fit"):
        Detector.from_entry(wrong, Device("cpu", torch.float32, "CPU"))


def test_a_missing_manifest_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="reinstall"):
        read_manifest(tmp_path)
