import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize("separable", [False, True])
def test_folding_the_batch_norm_does_not_change_the_output(separable: bool) -> None:
    torch.manual_seed(3)
    network = UNet(UNetShape(6, 2, 2, separable))
    for _ in range(3):
        network(torch.rand(4, 1, 32, 32))  # gives the norms statistics of their own
    network.eval()
    picture = torch.rand(1, 1, 64, 64)

    with torch.inference_mode():
        before = network(picture)
        after = fold_batch_norm(copy.deepcopy(network))(picture)

    assert torch.allclose(before, after, atol=1e-5)


@pytest.mark.parametrize("separable", [False, True])
def test_no_batch_norm_is_left_after_folding(separable: bool) -> None:
    network = fold_batch_norm(UNet(UNetShape(6, 2, 2, separable)))

    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


def test_every_3x3_convolution_of_a_separable_network_but_the_first_sees_one_channel() -> None:
    network = UNet(UNetShape(6, 2, 2, separable=True))

    wide = {
        name: (module.groups, module.in_channels)
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size == (3, 3)
    }

    assert wide.pop("stem.conv1") == (1, 4)
    assert len(wide) == 9
    assert all(groups == channels for groups, channels in wide.values())


def test_a_plain_network_has_the_weights_that_older_checkpoints_and_manifests_name() -> None:
    network = UNet(UNetShape(width=6, depth=1, fold=2))

    shapes = {name: tuple(value.shape) for name, value in network.named_parameters() if value.ndim == 4}

    assert shapes == {
        "stem.conv1.weight": (6, 4, 3, 3),
        "stem.conv2.weight": (6, 6, 3, 3),
        "down.0.conv1.weight": (12, 6, 3, 3),
        "down.0.conv2.weight": (12, 12, 3, 3),
        "rise.0.weight": (6, 12, 1, 1),
        "up.0.conv1.weight": (6, 12, 3, 3),
        "up.0.conv2.weight": (6, 6, 3, 3),
        "head.weight": (4, 6, 1, 1),
    }


def test_a_plain_shape_is_three_numbers_as_in_older_checkpoints() -> None:
    assert UNetShape(24, 4, 2).numbers() == [24, 4, 2]
    assert UNetShape.from_numbers([24, 4, 2]) == UNetShape(24, 4, 2, separable=False)


@given(st.builds(UNetShape, st.integers(4, 128), st.integers(1, 6), st.sampled_from([1, 2, 4]), st.booleans()))
def test_a_shape_comes_back_from_its_numbers(shape: UNetShape) -> None:
    assert UNetShape.from_numbers(shape.numbers()) == shape


@pytest.mark.parametrize("numbers", [[], [24, 4], [24, 4, 2, 1, 1]])
def test_numbers_of_another_kind_of_network_are_refused(numbers: list[int]) -> None:
    with pytest.raises(ModelError, match="width, depth, fold"):
        UNetShape.from_numbers(numbers)


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
