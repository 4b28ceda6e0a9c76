import hashlib
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawing import draw_picture
from numpy.typing import NDArray
from safetensors.torch import save

from spotless_core.arrays.membrane import stretch_membrane
from spotless_core.errors import ArrayContractError, ModelError
from spotless_core.inpainting.inpainter import Crop
from spotless_core.inpainting.lama_fill import LamaFill
from spotless_core.networks.lama import LamaGenerator, LamaShape
from spotless_core.networks.weights import ModelEntry

SHAPE = LamaShape(width=4, downsamplings=2, blocks=1)


def make_entry(folder: Path, network: LamaGenerator) -> ModelEntry:
    values = {name: value for name, value in network.state_dict().items() if "num_batches" not in name}
    data = save(values)
    path = folder / "lama.safetensors"
    path.write_bytes(data)
    return ModelEntry(
        name="lama",
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        licence="MIT",
        shape=asdict(network.shape),
        input={},
        thresholds={},
    )


@pytest.fixture
def entry(tmp_path: Path) -> ModelEntry:
    torch.manual_seed(1)
    network = LamaGenerator(SHAPE)
    torch.nn.init.normal_(network.head.weight, std=0.05)
    return make_entry(tmp_path, network)


def make_crop(height: int, width: int, channels: int, seed: int = 1) -> Crop:
    grey = draw_picture(height, width, seed)
    image = np.stack([grey * np.float32(1 - 0.1 * channel) for channel in range(channels)], axis=2)
    mask: NDArray[np.bool_] = np.zeros((height, width), bool)
    mask[height // 3 : height // 2, width // 4 : width // 2] = True
    mask[:2, :3] = True
    return Crop(image=image, mask=mask)


def test_only_holes_change_and_every_hole_does(entry: ModelEntry) -> None:
    crops = [make_crop(64, 64, 3), make_crop(64, 64, 1, seed=2), make_crop(37, 50, 3)]
    originals = [crop.image.copy() for crop in crops]

    filled = [fill.image for fill in LamaFill(entry, "cpu").fill(crops)]

    for crop, original, result in zip(crops, originals, filled, strict=True):
        assert result.shape == crop.image.shape
        assert result.dtype == np.float32
        assert result.min() >= 0
        assert result.max() <= 1
        np.testing.assert_array_equal(result[~crop.mask], original[~crop.mask])
        np.testing.assert_array_equal(crop.image, original)
        assert np.mean(result[crop.mask] != original[crop.mask]) > 0.99


def test_what_lies_under_the_mask_matters_only_where_it_is_shown(entry: ModelEntry) -> None:
    crop = make_crop(64, 64, 1)
    dusty = Crop(np.where(crop.mask[..., None], np.float32(1), crop.image), crop.mask)
    blind, seeing = (LamaFill(entry, "cpu", shows_veil=shows) for shows in (False, True))

    np.testing.assert_array_equal(blind.fill([crop])[0].image, blind.fill([dusty])[0].image)
    assert np.abs(seeing.fill([crop])[0].image - seeing.fill([dusty])[0].image).max() > 1e-3


def test_the_films_own_grain_is_claimed_only_where_something_shines_through(entry: ModelEntry) -> None:
    crop = make_crop(64, 64, 1)
    clipped = Crop(np.where(crop.mask[..., None], np.float32(1), crop.image), crop.mask)
    seeing, blind = LamaFill(entry, "cpu"), LamaFill(entry, "cpu", shows_veil=False)

    veiled, opaque, unseen = (
        fill.fill([each])[0].own_grain for fill, each in ((seeing, crop), (seeing, clipped), (blind, crop))
    )

    assert veiled is not None
    assert veiled.shape == crop.image.shape
    assert (veiled[crop.mask] > 0).all()
    assert (veiled[crop.mask] <= 1).all()
    assert not veiled[~crop.mask].any()
    assert opaque is not None
    assert not opaque.any()
    assert unseen is not None
    assert not unseen.any()


def test_a_grey_scan_is_filled_with_the_mean_of_what_three_equal_channels_get(entry: ModelEntry) -> None:
    grey = make_crop(64, 64, 1)
    color = Crop(np.repeat(grey.image, 3, axis=2), grey.mask)
    fill = LamaFill(entry, "cpu")

    result = fill.fill([color])[0].image

    np.testing.assert_allclose(result.mean(axis=2, keepdims=True), fill.fill([grey])[0].image, atol=1e-5)


def test_four_channels_are_filled_as_four_grey_scans(entry: ModelEntry) -> None:
    crop = make_crop(64, 64, 4)
    fill = LamaFill(entry, "cpu")

    result = fill.fill([crop])[0].image

    for channel in range(4):
        alone = fill.fill([Crop(crop.image[..., channel : channel + 1], crop.mask)])[0].image
        np.testing.assert_allclose(result[..., channel], alone[..., 0], atol=1e-3)


def test_a_darker_and_flatter_scan_is_filled_alike(entry: ModelEntry) -> None:
    crop = make_crop(64, 64, 1)
    darker = Crop(crop.image * np.float32(0.2), crop.mask)
    fill = LamaFill(entry, "cpu")

    bright, dark = fill.fill([crop])[0].image, fill.fill([darker])[0].image

    np.testing.assert_allclose(dark, 0.2 * bright, atol=2e-4)


def test_an_untrained_network_fills_as_a_membrane_does(tmp_path: Path) -> None:
    crop = make_crop(64, 64, 3)
    fill = LamaFill(make_entry(tmp_path, LamaGenerator(SHAPE)), "cpu", shows_veil=False)

    result = fill.fill([crop])[0].image

    np.testing.assert_allclose(result, stretch_membrane(crop.image, crop.mask), atol=1e-5)


def test_many_crops_run_in_several_batches_with_the_same_result(
    entry: ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops = [make_crop(64, 64, 3, seed) for seed in range(3)]
    fill = LamaFill(entry, "cpu")
    together = [each.image for each in fill.fill(crops)]

    monkeypatch.setattr("spotless_core.inpainting.lama_fill.BATCH_PIXELS", 64 * 64)
    apart = [each.image for each in fill.fill(crops)]

    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_flat_crop_and_one_without_holes_come_back_sound(entry: ModelEntry) -> None:
    flat = Crop(np.full((32, 32, 1), 0.5, np.float32), make_crop(32, 32, 1).mask)
    whole = Crop(make_crop(32, 32, 3).image, np.zeros((32, 32), bool))

    flat_result, whole_result = (fill.image for fill in LamaFill(entry, "cpu").fill([flat, whole]))

    np.testing.assert_allclose(flat_result, 0.5, atol=0.05)
    np.testing.assert_array_equal(whole_result, whole.image)


@pytest.mark.parametrize("size", [(1, 9), (5, 3), (2, 2)])
def test_crops_smaller_than_the_network_takes_are_filled(entry: ModelEntry, size: tuple[int, int]) -> None:
    image = np.full((*size, 1), 0.5, np.float32)
    mask = np.zeros(size, bool)
    mask[0, 0] = True

    result = LamaFill(entry, "cpu").fill([Crop(image, mask)])[0].image

    assert result.shape == image.shape
    np.testing.assert_allclose(result, 0.5, atol=0.05)


def test_a_crop_without_a_clean_pixel_is_refused(entry: ModelEntry) -> None:
    crop = Crop(np.full((16, 16, 1), 0.5, np.float32), np.ones((16, 16), bool))

    with pytest.raises(ArrayContractError, match="without a clean pixel"):
        LamaFill(entry, "cpu").fill([crop])


def test_the_receipt_gets_the_weights_name_and_checksum(entry: ModelEntry) -> None:
    fill = LamaFill(entry, "cpu")

    assert fill.name == "lama"
    assert [(facts.name, facts.sha256) for facts in fill.models] == [("lama.safetensors", entry.sha256)]


def test_weights_of_another_shape_are_refused(entry: ModelEntry) -> None:
    wrong = replace(entry, shape={**entry.shape, "blocks": 2})

    with pytest.raises(ModelError, match="do not fit"):
        LamaFill(wrong, "cpu")


def test_weights_that_give_no_numbers_are_refused(tmp_path: Path) -> None:
    network = LamaGenerator(SHAPE)
    with torch.no_grad():
        network.head.bias.fill_(float("nan"))  # type: ignore[union-attr]

    with pytest.raises(ModelError, match="not finite"):
        LamaFill(make_entry(tmp_path, network), "cpu").fill([make_crop(32, 32, 1)])
