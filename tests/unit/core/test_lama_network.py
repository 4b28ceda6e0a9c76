from dataclasses import replace

import numpy as np
import pytest
import torch

from spotless_core.errors import ModelError
from spotless_core.inpainting.lama_input import input_planes
from spotless_core.networks.lama import (
    PUBLISHED,
    WILDEST,
    FourierUnit,
    LamaGenerator,
    LamaShape,
    SpectralTransform,
    fold_batch_norm,
)

TINY = LamaShape(width=4, fold=1, downsamplings=1, level_blocks=0, blocks=1, channels=1, sees_veil=False)


def randomise(module: torch.nn.Module) -> None:
    """Give batch norms statistics and weights that are not the ones they start with."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d) and layer.running_mean is not None:
            torch.nn.init.normal_(layer.running_mean)
            torch.nn.init.uniform_(layer.running_var, 0.5, 2)  # type: ignore[arg-type]
            torch.nn.init.normal_(layer.weight)
            torch.nn.init.normal_(layer.bias)


def normed(x: np.ndarray, norm: torch.nn.BatchNorm2d) -> np.ndarray:
    mean, var, weight, bias = (
        value.detach().double().numpy()[:, None, None]  # type: ignore[union-attr]
        for value in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return (x - mean) / np.sqrt(var + norm.eps) * weight + bias


def mixed(x: np.ndarray, convolution: torch.nn.Conv2d) -> np.ndarray:
    weight = convolution.weight.detach().double().numpy()[:, :, 0, 0]
    return np.einsum("oi,ihw->ohw", weight, x)


def reference_fourier(x: np.ndarray, unit: FourierUnit) -> np.ndarray:
    spectrum = np.fft.rfft2(x, norm="ortho")
    parts = np.maximum(normed(mixed(np.concatenate([spectrum.real, spectrum.imag]), unit.mix), unit.norm), 0)
    real, imaginary = np.split(parts, 2)
    return np.fft.irfft2(real + 1j * imaginary, s=x.shape[1:], norm="ortho")


@pytest.mark.parametrize("size", [(8, 8), (6, 10), (5, 7)])
def test_the_spectral_transform_equals_a_plain_computation_in_numpy(size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    transform = SpectralTransform(6).eval()
    randomise(transform)
    x = torch.randn(2, 6, *size)

    with torch.inference_mode():
        found = transform(x).numpy()

    for sample, result in zip(x.double().numpy(), found, strict=True):
        reduced = np.maximum(normed(mixed(sample, transform.reduce), transform.norm), 0)
        expected = mixed(reduced + reference_fourier(reduced, transform.fourier), transform.expand)
        np.testing.assert_allclose(result, expected, atol=1e-5)


def test_spectra_stay_in_float32_under_autocast() -> None:
    torch.manual_seed(1)
    unit = FourierUnit(4).eval()
    randomise(unit)
    x = torch.randn(1, 4, 16, 16)

    with torch.inference_mode():
        plain = unit(x)
        with torch.autocast("cpu", torch.bfloat16):
            under_autocast = unit(x)

    assert under_autocast.dtype == torch.float32
    assert torch.equal(plain, under_autocast)


def test_one_block_sees_the_whole_crop() -> None:
    torch.manual_seed(1)
    network = LamaGenerator(replace(TINY, has_cheap_fill=False)).eval()
    randomise(network)
    inputs = torch.randn(1, 2, 64, 64)
    changed = inputs.clone()
    changed[..., :4, :4] += 3

    with torch.inference_mode():
        difference = (network(inputs) - network(changed)).abs()

    assert float(difference[..., -4:, -4:].max()) > 0


@pytest.mark.parametrize(
    "shape",
    [
        TINY,
        LamaShape(width=4, downsamplings=2, blocks=2, has_cheap_fill=False, sees_veil=False),
        LamaShape(width=4, fold=1, downsamplings=3, level_blocks=2, blocks=1, global_ratio=0.5, has_skips=False),
        LamaShape(width=4, fold=4, downsamplings=1, blocks=1, sees_veil=False),
    ],
)
def test_picture_mask_and_cheap_fill_go_in_and_a_picture_comes_out(shape: LamaShape) -> None:
    network = LamaGenerator(shape).eval()
    height, width = 3 * network.multiple, 5 * network.multiple
    inputs = torch.randn(2, shape.inputs, height, width)

    with torch.inference_mode():
        output = network(inputs)

    names = input_planes(has_cheap_fill=shape.has_cheap_fill, sees_veil=shape.sees_veil)
    assert shape.channels == 1 or shape.inputs == len(names)
    assert output.shape == (2, shape.channels, height, width)
    assert output.dtype == torch.float32


def test_an_untrained_network_returns_its_cheap_fill() -> None:
    inputs = torch.randn(1, 3, 16, 16)

    with torch.inference_mode():
        output = LamaGenerator(TINY).eval()(inputs)

    assert torch.equal(output, inputs[:, 2:])


def test_every_weight_learns() -> None:
    torch.manual_seed(1)
    network = LamaGenerator(LamaShape(width=4, downsamplings=1, blocks=2, has_cheap_fill=False, sees_veil=False))

    network(torch.randn(4, network.shape.inputs, 16, 16)).square().mean().backward()

    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients.values())


def test_sizes_the_network_cannot_take_are_refused() -> None:
    network = LamaGenerator(replace(TINY, downsamplings=2))

    for height, width in ((18, 16), (4, 16)):
        with pytest.raises(ModelError, match="multiples of 4 from 8 on"):
            network(torch.zeros(1, 3, height, width))


def test_a_shape_without_room_for_both_branches_is_refused() -> None:
    with pytest.raises(ModelError, match="both branches"):
        LamaShape(width=4, global_ratio=1.0)


def test_a_shape_survives_the_manifest() -> None:
    from dataclasses import asdict

    shape = LamaShape(width=8, global_ratio=0.5, has_cheap_fill=False, sees_veil=False)

    assert LamaShape.from_manifest(asdict(shape)) == shape


def test_a_manifest_shape_with_a_missing_number_is_refused() -> None:
    with pytest.raises(ModelError, match="blocks"):
        LamaShape.from_manifest({"width": 8})


def test_the_published_dimensions_have_the_published_size() -> None:
    with torch.device("meta"):
        network = LamaGenerator(PUBLISHED)

    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(51e6, rel=0.02)


def test_the_default_has_one_to_seven_million_parameters() -> None:
    with torch.device("meta"):
        network = LamaGenerator(LamaShape())

    assert 1e6 < sum(parameter.numel() for parameter in network.parameters()) < 7e6


@pytest.mark.parametrize("shape", [LamaShape(width=4, blocks=2), replace(TINY, downsamplings=2, has_cheap_fill=False)])
def test_folding_batch_norms_changes_nothing_but_the_number_of_operations(shape: LamaShape) -> None:
    torch.manual_seed(1)
    network = LamaGenerator(shape).eval()
    randomise(network)
    torch.nn.init.normal_(network.head.weight, std=0.1)
    inputs = torch.randn(2, shape.inputs, 32, 32)

    with torch.inference_mode():
        before = network(inputs)
    folded = fold_batch_norm(network)
    with torch.inference_mode():
        after = folded(inputs)

    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)


def test_a_network_that_trusts_what_shines_through_clears_it_of_the_veil() -> None:
    """Film 0.4 ± texture under a veil that takes 60 % of the light, in units of the film's contrast 0.02."""
    shape = LamaShape(width=4, downsamplings=1, blocks=1)
    network = LamaGenerator(shape).eval()
    torch.manual_seed(1)
    texture = torch.randn(1, 3, 16, 16)
    level = 0.4 / 0.02
    dusty = (texture + level) * 0.4 - level
    holes = torch.ones(1, 1, 16, 16)
    levels = torch.full((1, 3, 16, 16), level).log()
    inputs = torch.cat([0 * texture, holes, 0 * texture, torch.asinh(dusty), holes, levels], dim=1)
    with torch.no_grad():  # the head says: the veil took 60 % of the light, and what shines through is to be trusted
        bias = network.head.bias
        assert bias is not None
        bias[12:24] = float(torch.tensor(0.4).log())
        bias[24:] = 20.0
        cleared = network(inputs)
        inputs[:, 10] = 0
        unseen = network(inputs)

    torch.testing.assert_close(cleared, texture, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(unseen, torch.zeros_like(texture))


def test_a_shape_that_sees_the_veil_needs_a_cheap_fill() -> None:
    with pytest.raises(ModelError, match="cheap fill"):
        LamaShape(has_cheap_fill=False)


def test_film_far_wilder_than_the_hole_is_held_at_the_door() -> None:
    torch.manual_seed(1)
    network = LamaGenerator(LamaShape(width=4, blocks=1)).eval()
    torch.nn.init.normal_(network.head.weight)
    wild, wilder = (torch.zeros(1, network.shape.inputs, 32, 32) for _ in range(2))
    wild[:, :3, :4, :4], wilder[:, :3, :4, :4] = WILDEST, 100 * WILDEST

    with torch.inference_mode():
        assert torch.equal(network(wild), network(wilder))
        assert not torch.equal(network(wild), network(wild / 2))


def test_the_trust_is_a_share_where_the_veil_is_shown_and_nothing_elsewhere() -> None:
    network = LamaGenerator(LamaShape(width=4, blocks=1)).eval()
    inputs = torch.zeros(1, network.shape.inputs, 32, 32)
    shown = -1 - network.shape.channels
    inputs[:, shown, 8:16, 8:16] = 1

    with torch.inference_mode():
        filled, trust = network.filled_and_trust(inputs)

    assert filled.shape == (1, 3, 32, 32)
    is_shown = inputs[:, shown : shown + 1] > 0
    assert ((trust > 0) == is_shown).all()
    assert (trust < 1).all()
