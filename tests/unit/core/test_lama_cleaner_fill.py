"""lama-cleaner's model behind our seam, with tiny TorchScript modules of big-lama's signature."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from spotless_core.errors import ModelError
from spotless_core.inpainting.choice import choose_inpainter
from spotless_core.inpainting.inpainter import Crop
from spotless_core.inpainting.lama_cleaner_fill import LamaCleanerFill
from spotless_core.options import InpaintMethod, InpaintOptions


class _MeanFill(torch.nn.Module):
    """Fills the hole with each channel's mean over the clean pixels; refuses what big-lama would refuse."""

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if image.shape[2] % 8 != 0 or image.shape[3] % 8 != 0 or image.shape[1] != 3 or mask.shape[1] != 1:
            raise ValueError("another shape than big-lama's")
        clean = 1 - mask
        mean = (image * clean).sum(dim=(2, 3), keepdim=True) / clean.sum(dim=(2, 3), keepdim=True)
        return image * clean + mean * mask


class _HalfSize(torch.nn.Module):
    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return (image * mask)[:, :, ::2]


def _save(module: torch.nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit.script is deprecated; big-lama is TorchScript
        torch.jit.script(module).save(str(path))
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return _save(_MeanFill(), tmp_path / "big-lama.pt")


def _crop(height: int, width: int, channels: int, level: float = 0.25) -> Crop:
    image = np.full((height, width, channels), level, dtype=np.float32)
    mask = np.zeros((height, width), dtype=np.bool_)
    mask[5:9, 6:12] = True
    image[mask] = 1
    return Crop(image, mask)


@pytest.mark.parametrize("channels", [1, 3])
def test_crops_of_any_size_come_back_filled_in_order(weights: Path, channels: int) -> None:
    crops = [_crop(64, 64, channels, 0.2), _crop(30, 45, channels, 0.4), _crop(64, 64, channels, 0.6)]

    filled = [fill.image for fill in LamaCleanerFill(weights, "cpu").fill(crops)]

    assert [image.shape for image in filled] == [crop.image.shape for crop in crops]
    for image, level in zip(filled, (0.2, 0.4, 0.6), strict=True):
        assert image.dtype == np.float32
        np.testing.assert_allclose(image, level, atol=1e-6)


def test_fills_keep_16_bit_precision(weights: Path) -> None:
    filled = LamaCleanerFill(weights, "cpu").fill([_crop(64, 64, 3, 20001 / 65535)])[0].image

    assert set(np.rint(filled * np.float32(65535)).ravel()) == {20001}


def test_the_inputs_are_not_written_to(weights: Path) -> None:
    crop = _crop(30, 30, 3)
    before = crop.image.copy()

    LamaCleanerFill(weights, "cpu").fill([crop])

    np.testing.assert_array_equal(crop.image, before)


def test_missing_weights_name_the_command_that_fetches_them(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="spotless models fetch big-lama"):
        LamaCleanerFill(tmp_path / "none.pt", "cpu")


def test_without_a_path_the_packages_own_cache_is_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    cache = tmp_path / "torch" / "hub" / "checkpoints"

    with pytest.raises(ModelError, match="checkpoints"):
        LamaCleanerFill(None, "cpu")
    assert not cache.exists()

    cache.mkdir(parents=True)
    weights.rename(cache / "big-lama.pt")
    assert LamaCleanerFill(None, "cpu").weights_path == cache / "big-lama.pt"


def test_a_damaged_file_is_a_model_error_and_is_not_deleted(tmp_path: Path) -> None:
    path = tmp_path / "big-lama.pt"
    path.write_bytes(b"this is no TorchScript")

    with pytest.raises(ModelError, match="not a TorchScript file"):
        LamaCleanerFill(path, "cpu")

    assert path.exists()


def test_a_module_that_returns_another_shape_is_a_model_error(tmp_path: Path) -> None:
    fill = LamaCleanerFill(_save(_HalfSize(), tmp_path / "half.pt"), "cpu")

    with pytest.raises(ModelError, match="expected"):
        fill.fill([_crop(32, 32, 3)])


def test_the_receipt_gets_the_weights_checksum(weights: Path) -> None:
    fill = LamaCleanerFill(weights, "cpu")

    assert [(facts.name, len(facts.sha256)) for facts in fill.models] == [("big-lama.pt", 64)]
    assert not fill.is_published


def test_what_the_package_does_to_the_process_is_undone(weights: Path) -> None:
    program = f"""
import os, sys, warnings
from pathlib import Path
import spotless_core.inpainting.choice
assert "lama_cleaner" not in sys.modules and "torch" not in sys.modules
filters = list(warnings.filters)
from spotless_core.inpainting.lama_cleaner_fill import LamaCleanerFill
fill = LamaCleanerFill(Path({str(weights)!r}), "cpu")
assert "PYTORCH_ENABLE_MPS_FALLBACK" not in os.environ
ours = [f for f in warnings.filters if f[0] == "ignore" and f[2] is UserWarning and f[1] is None]
assert ours == [f for f in filters if f in ours], ours
from lama_cleaner.model import lama
assert lama.LAMA_MODEL_URL.startswith("https://")
"""
    environment = {key: value for key, value in os.environ.items() if key != "PYTORCH_ENABLE_MPS_FALLBACK"}

    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_auto_takes_lama_cleaner_where_its_weights_are(weights: Path) -> None:
    inpainter, notes = choose_inpainter(InpaintOptions(big_lama_path=weights), "cpu")

    assert inpainter.name == "lama-cleaner"
    assert any("weights are here" in note for note in notes)
    assert any("not the published" in note for note in notes)


def test_auto_without_weights_takes_the_best_classical_method_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    inpainter, notes = choose_inpainter(InpaintOptions(), "cpu")

    assert inpainter.name == "ns"
    assert any("not at" in note for note in notes)


@pytest.mark.parametrize("method", [InpaintMethod.TELEA, InpaintMethod.NS])
def test_a_method_asked_for_is_the_one_that_runs(method: InpaintMethod) -> None:
    inpainter, notes = choose_inpainter(InpaintOptions(method=method), "cpu")

    assert inpainter.name == method.value and notes == ()


def test_our_own_lama_has_no_weights_yet_and_says_what_to_choose() -> None:
    with pytest.raises(ModelError, match="choose auto, telea, ns or lama-cleaner"):
        choose_inpainter(InpaintOptions(method=InpaintMethod.LAMA), "cpu")


def test_lama_cleaner_asked_for_without_weights_is_an_error_and_no_fallback(tmp_path: Path) -> None:
    options = InpaintOptions(method=InpaintMethod.LAMA_CLEANER, big_lama_path=tmp_path / "none.pt")

    with pytest.raises(ModelError, match="not found"):
        choose_inpainter(options, "cpu")
