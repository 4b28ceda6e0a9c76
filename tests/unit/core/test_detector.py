from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawing import add_specks, draw_picture

from spotless_core.detection.detector import Detector
from spotless_core.errors import ArrayContractError, DeviceError, DeviceMemoryError
from spotless_core.networks.device import Device, choose_device
from spotless_core.networks.unet import UNet, UNetShape
from spotless_core.networks.weights import load_weights, read_manifest
from spotless_core.options import DetectOptions, DeviceChoice, DeviceOptions

CPU = Device("cpu", torch.float32, "CPU")


@pytest.fixture
def detector(bright_spot_models: Path) -> Detector:
    return Detector.from_entry(read_manifest(bright_spot_models)["detector"], CPU)


def test_specks_are_found_wherever_they_lie(detector: Detector) -> None:
    picture = draw_picture(333, 417)
    mask = add_specks(picture, 12)

    probability = detector.detect(picture, DetectOptions(tile_px=128, stride_px=64))

    assert probability.shape == picture.shape
    assert probability[mask].min() > 0.9
    assert probability[~mask].max() < 0.1


def test_the_manifests_calibration_makes_the_logits_honest(bright_spot_models: Path) -> None:
    picture = draw_picture(128, 128)
    add_specks(picture, 5)
    entry = read_manifest(bright_spot_models)["detector"]
    calibrated = replace(entry, calibration={"slope": 0.25, "offset": 1.5})

    plain = Detector.from_entry(entry, CPU)._tile(picture, torch.float32).astype(np.float64)
    honest = Detector.from_entry(calibrated, CPU)._tile(picture, torch.float32)

    middle = (plain > 1e-4) & (plain < 1 - 1e-4)  # where float32 still knows the logit
    logits = np.log(plain[middle] / (1 - plain[middle]))
    assert middle.any()
    assert np.abs(honest[middle] - 1 / (1 + np.exp(-0.25 * logits - 1.5))).max() < 1e-3


def test_tiled_and_whole_agree(detector: Detector) -> None:
    picture = draw_picture(256, 320)
    add_specks(picture, 9)

    whole = detector.detect(picture, DetectOptions(tile_px=1024, stride_px=512))
    tiled = detector.detect(picture, DetectOptions(tile_px=128, stride_px=32))

    assert np.abs(whole - tiled)[16:-16, 16:-16].max() < 0.02


def test_overlapping_tiles_and_a_single_tile_see_the_film_in_four_orientations() -> None:
    torch.manual_seed(5)
    detector = Detector(UNet(UNetShape(4, 1, 1)), CPU)
    picture = draw_picture(256, 256)

    alone = detector.detect(picture, DetectOptions(tile_px=256, stride_px=128))
    mirrored = detector.detect(np.ascontiguousarray(picture[::-1, ::-1]), DetectOptions(tile_px=256, stride_px=128))
    views: list[bytes] = []
    plain = detector._tile
    detector._tile = lambda tile, dtype: (views.append(tile.tobytes()), plain(tile, dtype))[1]  # type: ignore[method-assign]
    flat = np.tile(picture[:128, :128], (3, 3))  # every tile shows the same film
    detector.detect(flat, DetectOptions(tile_px=128, stride_px=128))

    assert np.abs(alone - mirrored[::-1, ::-1]).max() < 1e-5
    assert len(views) == 9
    assert len(set(views)) == 4


@pytest.mark.parametrize("size", [(333, 417), (64, 300), (300, 40), (50, 60), (128, 128)])
def test_the_bands_of_a_frame_are_its_probability(detector: Detector, size: tuple[int, int]) -> None:
    picture = draw_picture(*size)
    add_specks(picture, 6)
    options = DetectOptions(tile_px=128, stride_px=64)
    heard: list[float] = []

    bands = list(detector.detect_rows(picture, options, heard.append))

    assert [top for top, _ in bands] == [0, *np.cumsum([len(rows) for _, rows in bands])[:-1]]
    assert max(len(rows) for _, rows in bands) <= 128
    whole = np.concatenate([rows for _, rows in bands])
    assert whole.shape == picture.shape
    assert (whole == detector.detect(picture, options)).all()
    assert heard[-1] == 1.0


def test_progress_ends_at_one_and_never_falls(detector: Detector) -> None:
    heard: list[float] = []

    detector.detect(draw_picture(200, 300), DetectOptions(tile_px=128, stride_px=64), heard.append)

    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    assert len(heard) == 3 * 4


def test_a_grey_image_of_another_depth_is_our_own_mistake(detector: Detector) -> None:
    with pytest.raises(ArrayContractError, match="float32"):
        detector.detect(np.zeros((64, 64), np.float64), DetectOptions())  # type: ignore[arg-type]


def test_running_out_of_memory_is_reported_as_such(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(detector.network, "forward", explode)

    with pytest.raises(DeviceMemoryError, match="tile_px"):
        detector.detect(draw_picture(64, 64), DetectOptions())


def test_bfloat16_that_disagrees_is_not_used(bright_spot_models: Path) -> None:
    entry = read_manifest(bright_spot_models)["detector"]
    network = UNet(UNetShape(**entry.shape))
    network.load_state_dict(load_weights(entry), strict=False)
    with torch.no_grad():
        network.stem.norm1.bias[0] = 100.0  # bfloat16 holds steps of 0.5 up there
        network.head.bias.fill_(-60.0 * 100.02)

    detector = Detector(network, Device("cpu", torch.bfloat16, "CPU"))

    assert detector.precision == "float32"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_fails_with_its_reason() -> None:
    with pytest.raises(DeviceError, match="no CUDA device"):
        choose_device(DeviceOptions(DeviceChoice.CUDA))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_fallback_is_taken_only_where_allowed_and_says_so() -> None:
    device = choose_device(DeviceOptions(DeviceChoice.CUDA, allow_fallback=True))

    assert device.kind == "cpu"
    assert "cuda was asked for" in device.note


@pytest.mark.gpu
def test_cuda_and_cpu_agree(bright_spot_models: Path) -> None:
    entry = read_manifest(bright_spot_models)["detector"]
    picture = draw_picture(256, 256)
    add_specks(picture, 6)

    on_cpu = Detector.from_entry(entry, CPU).detect(picture, DetectOptions())
    cuda = choose_device(DeviceOptions(DeviceChoice.CUDA))
    on_gpu = Detector.from_entry(entry, cuda).detect(picture, DetectOptions())

    assert np.abs(on_cpu - on_gpu).mean() < 0.004
