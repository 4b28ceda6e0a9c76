"""OpenCV's fills keep 16-bit precision, leave clean film alone and put no dust back."""

from typing import Literal

import cv2
import numpy as np
import pytest
from drawing import draw_picture

from spotless_core.arrays.kinds import FloatImage, Mask
from spotless_core.arrays.metrics import structure_psnr
from spotless_core.errors import ArrayContractError
from spotless_core.inpainting.cv2_fill import Cv2Fill
from spotless_core.inpainting.inpainter import Crop

METHODS: list[Literal["telea", "ns"]] = ["telea", "ns"]


def _film(channels: int = 3) -> FloatImage:
    grey = draw_picture(128, 128)
    return np.repeat(grey[..., None], channels, axis=2)


def _discs(*, border: bool = False) -> Mask:
    mask = np.zeros((128, 128), dtype=np.uint8)
    for row, column, radius in ((30, 30, 5), (70, 90, 9), (100, 40, 4)):
        cv2.circle(mask, (column, row), radius, 1, -1)
    if border:
        cv2.circle(mask, (0, 60), 7, 1, -1)
        cv2.circle(mask, (127, 127), 7, 1, -1)
    return mask > 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("channels", [1, 3])
def test_dust_is_gone_also_at_the_border_of_the_crop(method: Literal["telea", "ns"], channels: int) -> None:
    film, mask = _film(channels), _discs(border=True)
    dirty = film.copy()
    dirty[mask] = 1

    filled = Cv2Fill(method).fill([Crop(dirty, mask)])[0].image

    assert filled.shape == film.shape and filled.dtype == np.float32
    assert filled[mask].max() < film.max()
    assert structure_psnr(filled, film, mask) > 27


@pytest.mark.parametrize("method", METHODS)
def test_clean_pixels_and_the_inputs_stay_as_they_were(method: Literal["telea", "ns"]) -> None:
    film, mask = _film(), _discs()
    film.setflags(write=False)
    mask.setflags(write=False)

    filled = Cv2Fill(method).fill([Crop(film, mask)])[0].image

    np.testing.assert_array_equal(filled[~mask], film[~mask])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("level", [3, 1000, 40001])
def test_flat_film_of_16_bits_is_filled_to_the_very_level(method: Literal["telea", "ns"], level: int) -> None:
    flat = np.full((64, 64, 1), level / 65535, dtype=np.float32)
    mask = _discs()[:64, :64]
    dirty = flat.copy()
    dirty[mask] = 0

    filled = Cv2Fill(method).fill([Crop(dirty, mask)])[0].image

    assert set(np.rint(filled * np.float32(65535)).astype(int).ravel()) == {level}


@pytest.mark.parametrize("method", METHODS)
def test_a_slope_is_filled_with_more_levels_than_8_bits_have(method: Literal["telea", "ns"]) -> None:
    slope = np.linspace(0.4, 0.41, 128, dtype=np.float32)[None, :, None] * np.ones((128, 1, 1), dtype=np.float32)
    mask = _discs()

    filled = Cv2Fill(method).fill([Crop(slope, mask)])[0].image

    assert len(np.unique(np.rint(filled[mask] * 65535))) > 20
    np.testing.assert_allclose(filled[mask], slope[mask], atol=0.001)


@pytest.mark.parametrize("method", METHODS)
def test_the_name_is_the_methods(method: Literal["telea", "ns"]) -> None:
    assert Cv2Fill(method).name == method


def test_a_crop_without_a_hole_comes_back_as_a_copy() -> None:
    film = _film()

    filled = Cv2Fill("ns").fill([Crop(film, np.zeros((128, 128), dtype=np.bool_))])[0].image

    np.testing.assert_array_equal(filled, film)
    assert filled is not film


def test_a_crop_that_is_all_hole_is_refused() -> None:
    with pytest.raises(ArrayContractError, match="without a clean pixel"):
        Cv2Fill("ns").fill([Crop(_film(), np.ones((128, 128), dtype=np.bool_))])
