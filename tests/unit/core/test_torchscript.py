"""Our LaMa as TorchScript of big-lama's signature: what other tools load fills as we do."""

import hashlib
import subprocess
import sys
import warnings
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from drawing import draw_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import save

from spotless_core.arrays.kinds import FloatImage, Mask
from spotless_core.arrays.membrane import SMALLEST_PX, SWEEPS, stretch_membrane
from spotless_core.errors import ModelError
from spotless_core.inpainting.inpainter import Crop
from spotless_core.inpainting.lama_cleaner_fill import LamaCleanerFill
from spotless_core.inpainting.lama_fill import LamaFill
from spotless_core.inpainting.lama_input import prepare_input
from spotless_core.networks.lama import LamaGenerator, LamaShape
from spotless_core.networks.weights import read_manifest
from spotless_core.training.cli import main
from spotless_core.training.manifest import put_entry
from spotless_core.training.torchscript import export_torchscript, script, stretched

TINY = LamaShape(width=4, fold=2, downsamplings=1, blocks=2)
BLIND = LamaShape(width=4, fold=1, downsamplings=3, blocks=1, sees_veil=False, has_skips=False)
BARE = LamaShape(width=4, fold=1, downsamplings=2, blocks=1, has_cheap_fill=False, sees_veil=False)


def make_network(shape: LamaShape) -> LamaGenerator:
    torch.manual_seed(1)
    network = LamaGenerator(shape)
    torch.nn.init.normal_(network.head.weight, std=0.05)
    return network.eval()


def make_models(folder: Path, shape: LamaShape) -> Path:
    network = make_network(shape)
    data = save({name: value.half() for name, value in network.state_dict().items() if "num_batches" not in name})
    folder.mkdir()
    (folder / "lama.safetensors").write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    entry = {"file": "lama.safetensors", "sha256": sha256, "licence": "MIT", "shape": asdict(shape), "input": {"a": 1}}
    put_entry(folder, "lama", entry)
    return folder


def make_crop(height: int, width: int, seed: int = 1) -> tuple[FloatImage, Mask]:
    """A tinted picture with grain, a hole inside it and one at its corner, dust under both."""
    grey = draw_picture(height, width, seed)
    image = np.stack([grey, grey * np.float32(0.8), grey * np.float32(0.6)], axis=2)
    mask: NDArray[np.bool_] = np.zeros((height, width), bool)
    mask[height // 3 : height // 2, width // 4 : width // 2] = mask[:2, :3] = True
    image[mask] = 0.95
    return image, mask


def tensors(image: FloatImage, mask: Mask) -> tuple[torch.Tensor, torch.Tensor]:
    planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return planes[None], torch.from_numpy(mask.astype(np.float32))[None, None]


def called(module: torch.nn.Module, image: FloatImage, mask: Mask) -> FloatImage:
    with torch.inference_mode():
        output: FloatImage = module(*tensors(image, mask))[0].numpy().transpose(1, 2, 0)
    return output


def filled_by_our_own_code(network: LamaGenerator, image: FloatImage, mask: Mask) -> FloatImage:
    """What LamaFill does without the veil, for sizes that need no padding."""
    shape = network.shape
    planes = prepare_input(image, mask, has_cheap_fill=shape.has_cheap_fill, sees_veil=shape.sees_veil, show_veil=False)
    with torch.inference_mode():
        values = network(torch.from_numpy(planes.inputs)[None])[0].numpy()
    return np.where(mask[..., None], planes.to_film(values), image)


@pytest.mark.parametrize("shape", [TINY, BLIND, BARE])
@pytest.mark.parametrize("size", [(64, 64), (40, 72), (128, 96)])
def test_the_scripted_network_fills_as_ours_without_the_veil(shape: LamaShape, size: tuple[int, int]) -> None:
    network = make_network(shape)
    image, mask = make_crop(*size)
    expected = filled_by_our_own_code(network, image, mask)

    found = called(script(network), image, mask)

    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(found[~mask], image[~mask])
    assert np.abs(found[mask] - image[mask]).mean() > 0.05


def test_a_file_of_its_own_runs_where_none_of_our_code_is(tmp_path: Path) -> None:
    models = make_models(tmp_path / "models", TINY)
    crops = [make_crop(*size) for size in ((64, 64), (37, 50), (8, 2), (1, 5))]
    for index, crop in enumerate(crops):
        planes, holes = tensors(*crop)
        np.savez(tmp_path / f"{index}.npz", image=planes.numpy(), mask=holes.numpy())
    program = f"""
import sys, numpy, torch
model = torch.jit.load({str(tmp_path / "lama.pt")!r}, map_location="cpu")
for index in range({len(crops)}):
    given = numpy.load(f"{tmp_path}/{{index}}.npz")
    for _ in range(3):  # TorchScript compiles anew after its first runs
        filled = model(torch.from_numpy(given["image"]), torch.from_numpy(given["mask"]))
    numpy.save(f"{tmp_path}/{{index}}.npy", filled.numpy())
assert not [name for name in sys.modules if name.startswith("spotless")]
"""

    export_torchscript(models, tmp_path / "lama.pt")
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    ours = LamaFill(read_manifest(models)["lama"], "cpu", shows_veil=False)
    for index, (image, mask) in enumerate(crops):
        found = np.load(tmp_path / f"{index}.npy")[0].transpose(1, 2, 0)
        expected = ours.fill([Crop(image, mask)])[0].image
        np.testing.assert_allclose(found[mask], expected[mask], atol=1e-3)
        np.testing.assert_array_equal(found[~mask], image[~mask])


def test_what_lies_under_the_mask_is_not_read() -> None:
    module = script(make_network(TINY))
    image, mask = make_crop(48, 48)
    other = image.copy()
    other[mask] = np.nan

    np.testing.assert_array_equal(called(module, image, mask), called(module, other, mask))


def test_each_picture_of_a_batch_is_filled_by_its_own_film() -> None:
    module = script(make_network(TINY))
    image, mask = make_crop(48, 64)
    crops = [
        (image, mask),
        (image * np.float32(0.3), mask.T[:48, :48].repeat(2, axis=1)[:, :64]),
        (image, mask & False),
    ]
    images, masks = (torch.cat(each) for each in zip(*(tensors(*crop) for crop in crops), strict=True))

    with torch.inference_mode():
        together = module(images, masks).numpy().transpose(0, 2, 3, 1)

    for found, crop in zip(together, crops, strict=True):
        np.testing.assert_allclose(found, called(module, *crop), atol=1e-5)
    np.testing.assert_array_equal(together[2], image)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_a_mask_of_any_type_counts_where_it_is_above_zero(dtype: torch.dtype) -> None:
    module = script(make_network(TINY))
    image, mask = make_crop(48, 48)
    planes, holes = tensors(image, mask)
    marked = holes * 0.25 if dtype == torch.float32 else holes.to(dtype)

    with torch.inference_mode():
        assert torch.equal(module(planes, marked), module(planes, holes))


def test_a_picture_that_is_all_hole_comes_back_without_an_error() -> None:
    image, mask = make_crop(32, 32)

    found = called(script(make_network(TINY)), image, np.ones_like(mask))

    assert np.isfinite(found).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), height=st.integers(9, 70), width=st.integers(9, 70), share=st.floats(0.02, 0.9))
def test_the_cheap_fill_inside_is_the_membrane_of_the_repair(seed: int, height: int, width: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.random((height, width, 3), dtype=np.float32), (0, 0), 1.5)
    noise = cv2.GaussianBlur(rng.standard_normal((height, width), dtype=np.float32), (0, 0), 3)
    mask = noise > np.quantile(noise, 1 - share)
    planes, holes = tensors(np.where(mask[..., None], np.float32(0), image), mask)

    found = stretched(planes, holes > 0, SWEEPS, SMALLEST_PX)[0].numpy().transpose(1, 2, 0)

    np.testing.assert_allclose(found, stretch_membrane(image, mask), atol=1e-5)


def test_lama_cleaner_takes_the_file_for_big_lama(tmp_path: Path) -> None:
    weights = export_torchscript(make_models(tmp_path / "models", BLIND), tmp_path / "lama.pt")
    image, mask = make_crop(61, 45)
    fill = LamaCleanerFill(weights, "cpu")
    expected = LamaFill(read_manifest(tmp_path / "models")["lama"], "cpu").fill([Crop(image, mask)])[0].image

    found = fill.fill([Crop(image, mask)])[0].image

    inside = mask & (np.arange(61)[:, None] < 40)  # lama-cleaner pads the picture, so its lower right end differs
    np.testing.assert_allclose(found[inside], expected[inside], atol=0.02)
    assert not fill.is_published


def test_lama_cleaners_own_call_fills_the_hole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spotless_core.inpainting import lama_cleaner_fill

    weights = export_torchscript(make_models(tmp_path / "models", BLIND), tmp_path / "lama.pt")
    image, mask = make_crop(64, 64)
    with lama_cleaner_fill._side_effects_undone():
        from lama_cleaner.model import lama
    monkeypatch.setattr(lama, "LAMA_MODEL_URL", str(weights))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit.load
        model = lama.LaMa(torch.device("cpu"))
    pixels = np.rint(image * 255).astype(np.uint8)

    with torch.inference_mode():
        blue_green_red = model.forward(pixels, mask.astype(np.uint8)[..., None] * 255, None)

    expected = called(model.model, (pixels / 255).astype(np.float32), mask)
    assert np.abs(blue_green_red[..., ::-1] / 255 - expected)[mask].max() < 1.5 / 255
    assert np.abs(blue_green_red[..., ::-1].astype(int) - pixels)[~mask].max() <= 1  # it truncates
    assert np.abs(blue_green_red[..., ::-1][mask].astype(int) - pixels[mask]).mean() > 10


def test_the_export_command_writes_what_the_manifest_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models, target = make_models(tmp_path / "models", TINY), tmp_path / "new" / "lama.pt"
    options = ["--network", "inpainter", "--models", str(models), "--torchscript", str(target)]

    assert main(["export", *options]) == 0

    assert capsys.readouterr().out.split() == [str(target)]
    assert [path.name for path in target.parent.iterdir()] == ["lama.pt"]


def test_a_manifest_without_an_inpainter_says_how_to_get_one(bright_spot_models: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no lama in the manifest there"):
        export_torchscript(bright_spot_models, tmp_path / "lama.pt")


def test_a_network_for_single_planes_has_no_such_signature(tmp_path: Path) -> None:
    models = make_models(tmp_path / "models", LamaShape(width=4, downsamplings=1, blocks=1, channels=1))

    with pytest.raises(ModelError, match="of 1 channels; one of 3 expected"):
        export_torchscript(models, tmp_path / "lama.pt")
