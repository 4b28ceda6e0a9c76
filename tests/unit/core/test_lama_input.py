import numpy as np
import pytest
from drawing import draw_picture

from spotless_core.inpainting.lama_input import input_planes, prepare_input
from spotless_core.networks.lama import LamaShape


@pytest.mark.parametrize("veil", [{"sees_veil": False}, {"sees_veil": True, "show_veil": False}])
def test_nothing_under_the_mask_reaches_a_network_that_is_not_shown_it(veil: dict[str, bool]) -> None:
    image = draw_picture(48, 48)[..., None]
    mask = np.zeros((48, 48), bool)
    mask[20:27, 18:30] = mask[:3, :5] = True
    other = np.where(mask[..., None], np.float32(1), image)

    first, second = (prepare_input(each, mask, has_cheap_fill=True, **veil) for each in (image, other))

    np.testing.assert_array_equal(first.inputs, second.inputs)
    np.testing.assert_array_equal(first.centre, second.centre)


def test_what_shines_through_is_shown_in_the_holes_only() -> None:
    image = np.repeat(draw_picture(48, 48)[..., None], 3, axis=2)
    mask = np.zeros((48, 48), bool)
    mask[20:27, 18:30] = True

    prepared = prepare_input(image, mask, has_cheap_fill=True, sees_veil=True)

    assert len(prepared.inputs) == len(input_planes(has_cheap_fill=True, sees_veil=True)) == LamaShape().inputs
    veil, shown, level = prepared.inputs[-7:-4], prepared.inputs[-4], prepared.inputs[-3:]
    np.testing.assert_array_equal(shown, mask)
    np.testing.assert_allclose(np.exp(level[:, 0, 0]), prepared.centre / prepared.contrast, rtol=1e-4)
    assert np.ptp(level, axis=(1, 2)).max() == 0
    assert np.abs(veil[:, ~mask]).max() == 0
    seen = np.sinh(veil) * prepared.contrast[:, None, None] + prepared.cheap.transpose(2, 0, 1)
    np.testing.assert_allclose(seen[:, mask], image.transpose(2, 0, 1)[:, mask], atol=1e-4)


def test_where_the_scan_is_clipped_nothing_is_shown() -> None:
    image = np.repeat(draw_picture(48, 48)[..., None], 3, axis=2)
    mask = np.zeros((48, 48), bool)
    mask[20:27, 18:30] = True
    image[20:23, 18:30, 1] = 1.0
    image[25:27, 18:30] = 0.0

    prepared = prepare_input(image, mask, has_cheap_fill=True, sees_veil=True)

    assert prepared.inputs[-4, 23:25, 18:30].all()
    assert np.abs(prepared.inputs[-7:-3, 20:23]).max() == np.abs(prepared.inputs[-7:-3, 25:27]).max() == 0


def test_contrast_is_that_of_the_film_near_the_holes_in_every_channel() -> None:
    rng = np.random.default_rng(1)
    plane = 0.5 + np.array([0.01, 0.02, 0.04]) * rng.standard_normal((128, 128, 3))
    plane[:, 80:] = rng.uniform(0, 1, (128, 48, 3))
    mask = np.zeros((128, 128), bool)
    mask[60:64, 20:24] = True

    prepared = prepare_input(plane.astype(np.float32), mask, has_cheap_fill=False, sees_veil=False)

    np.testing.assert_allclose(prepared.contrast, [0.01, 0.02, 0.04], rtol=0.1)
    np.testing.assert_allclose(prepared.centre, 0.5, atol=0.01)


def test_a_crop_in_the_networks_units_comes_back_as_it_was() -> None:
    image = np.repeat(draw_picture(32, 40)[..., None], 3, axis=2) * np.array([1, 0.5, 0.2], np.float32)
    mask = np.zeros((32, 40), bool)
    mask[10:14, 10:20] = True

    prepared = prepare_input(image, mask, has_cheap_fill=True, sees_veil=True)

    np.testing.assert_allclose(prepared.to_film(prepared.from_film(image)), image, atol=1e-5)
