import numpy as np
import pytest
from drawing import draw_picture
from numpy.typing import NDArray

from spotless_core.arrays.encoding import detector_grey, sense_encoding


def as_samples(picture: NDArray[np.float32], full: int, channels: int = 3) -> NDArray[np.uint16]:
    values = np.rint(np.clip(picture, 0, 1) * full).astype(np.uint16)
    return np.repeat(values[..., None], channels, axis=2)


def test_a_gamma_coded_positive_is_left_as_it_is() -> None:
    picture = draw_picture(200, 300)

    encoding = sense_encoding(as_samples(picture, 65535), 16, is_min_white=False)
    grey = detector_grey(as_samples(picture, 65535), encoding)

    assert (encoding.transfer, encoding.polarity, encoding.range_bits) == ("gamma", "positive", 16)
    assert np.corrcoef(grey.ravel(), picture.ravel())[0, 1] > 0.999


def test_a_dark_scan_of_8_bits_is_not_taken_for_a_linear_one() -> None:
    night = draw_picture(200, 300) ** 2.4

    encoding = sense_encoding(as_samples(night, 255), 8, is_min_white=False)

    assert encoding.transfer == "gamma"
    assert encoding.gamma == 1.0


def test_a_linear_scan_is_sensed_and_coded_for_the_detector() -> None:
    picture = draw_picture(200, 300)
    picture[:4] = 1.0  # a specular edge gives the range
    picture[4:8] = 0.02
    linear = as_samples(picture**2.4, 65535)

    encoding = sense_encoding(linear, 16, is_min_white=False)
    grey = detector_grey(linear, encoding)

    assert encoding.transfer == "linear"
    assert 0.25 < float(np.median(grey)) < 0.55


def test_fourteen_bits_in_sixteen_fill_the_whole_range() -> None:
    picture = draw_picture(200, 300)
    samples = as_samples(picture, 16383)

    encoding = sense_encoding(samples, 16, is_min_white=False)
    full = sense_encoding(as_samples(picture, 65535), 16, is_min_white=False)

    assert encoding.value_max == 16383
    same = detector_grey(samples, encoding) - detector_grey(as_samples(picture, 65535), full)
    assert np.abs(same).max() < 0.01


def test_a_colour_negative_with_its_orange_mask_is_inverted() -> None:
    picture = draw_picture(200, 300)
    density = 0.1 + 1.2 * picture  # bright scene = dense negative
    mask = np.array([0.85, 0.5, 0.3], np.float32)
    negative = np.rint(65535 * mask * 10 ** -density[..., None]).astype(np.uint16)

    encoding = sense_encoding(negative, 16, is_min_white=False)
    grey = detector_grey(negative, encoding)

    assert encoding.polarity == "negative"
    assert np.corrcoef(grey.ravel(), picture.ravel())[0, 1] > 0.98


def test_a_warm_positive_with_neutral_whites_is_not_taken_for_a_negative() -> None:
    picture = draw_picture(200, 300)
    warm = as_samples(picture, 65535).astype(np.float64) * [1.0, 0.8, 0.55]
    warm[:20] = 62000  # paper, sky, a lamp: some white is white

    encoding = sense_encoding(warm.astype(np.uint16), 16, is_min_white=False)

    assert encoding.polarity == "positive"


def test_grey_stored_with_white_as_zero_comes_out_positive() -> None:
    picture = draw_picture(200, 300)
    stored = 65535 - as_samples(picture, 65535, channels=1)

    encoding = sense_encoding(stored, 16, is_min_white=True)
    grey = detector_grey(stored, encoding)

    assert np.corrcoef(grey.ravel(), picture.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("spread", [0.0, 0.01])
def test_a_foggy_or_empty_frame_is_not_stretched_into_noise(spread: float) -> None:
    flat = 0.5 + spread * np.random.default_rng(0).standard_normal((100, 100)).astype(np.float32)

    grey = detector_grey(as_samples(flat, 65535), sense_encoding(as_samples(flat, 65535), 16, is_min_white=False))

    assert float(grey.std()) <= spread * 3.1 + 1e-4


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_float_scan_gives_the_grey_of_the_same_scan_in_16_bits(dtype: type[np.generic]) -> None:
    picture = draw_picture(200, 300)
    floats, whole = np.repeat(picture[..., None], 3, axis=2).astype(dtype), as_samples(picture, 65535)

    encoding = sense_encoding(floats, np.dtype(dtype).itemsize * 8, is_min_white=False)
    grey = detector_grey(floats, encoding)
    same = detector_grey(whole, sense_encoding(whole, 16, is_min_white=False))

    assert (encoding.value_max, encoding.is_float, encoding.transfer) == (1.0, True, "gamma")
    assert float(np.abs(grey - same).max()) < 5e-3
    assert "float" in encoding.describe(32)


def test_a_float_scan_beyond_one_is_scaled_by_its_white_not_by_a_highlight() -> None:
    picture = draw_picture(200, 300)
    floats = np.repeat(picture[..., None] * 250, 3, axis=2).astype(np.float32)
    floats[3, 5] = 1e9

    encoding = sense_encoding(floats, 32, is_min_white=False)
    grey = detector_grey(floats, encoding)

    assert 100 < encoding.value_max < 251
    assert np.corrcoef(np.delete(grey.ravel(), 905), np.delete(picture.ravel(), 905))[0, 1] > 0.999


def test_no_nan_and_nothing_out_of_range_reaches_the_detector() -> None:
    floats = np.repeat(draw_picture(200, 300)[..., None], 3, axis=2)
    floats[0, 0], floats[1, 1], floats[2, 2], floats[3, 3] = np.nan, np.inf, -np.inf, -7

    grey = detector_grey(floats, sense_encoding(floats, 32, is_min_white=False))

    assert np.isfinite(grey).all()
    assert grey.min() >= 0
    assert grey.max() <= 1
    assert (grey[0, 0], grey[3, 3]) == (0, 0)


def test_cmyk_gives_the_grey_that_the_eye_sees() -> None:
    picture = draw_picture(200, 300)
    light = np.stack([picture] * 3 + [np.ones_like(picture)], axis=-1)
    light[:50] = np.stack([np.ones_like(picture)] * 3 + [picture], axis=-1)[:50]  # the same tones, printed in black
    inks = np.rint((1 - np.clip(light, 0, 1)) * 255).astype(np.uint8)

    grey = detector_grey(inks, sense_encoding(inks, 8, is_min_white=True))

    assert np.corrcoef(grey.ravel(), picture.ravel())[0, 1] > 0.999
