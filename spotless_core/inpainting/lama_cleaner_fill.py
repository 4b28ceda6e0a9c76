"""Filling by big-lama through lama-cleaner 1.2.5: its model class loads the weights, we call the module itself.

In: crops in float32 [0, 1]. Out: the same crops, filled, in float32, so that 16-bit scans keep their precision (the
package's own call returns 8 bits). Weights come from a path or from the package's cache, and are never downloaded here:
their existence is checked first and the path is handed over, so that the package's download is not reached. The package
is imported only when a model is made; what it does to the process (an environment variable, a filter that silences all
warnings) is undone. Method: Suvorov et al. 2022, "Resolution-robust Large Mask Inpainting with Fourier Convolutions".
"""

import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from spotless_core.arrays.kinds import FloatImage
from spotless_core.errors import DeviceMemoryError, ModelError
from spotless_core.inpainting.fetch import BIG_LAMA_MD5, big_lama_cache_path
from spotless_core.inpainting.inpainter import Crop, Fill
from spotless_core.receipt import FileFacts

MULTIPLE_PX = 8
"""Height and width the network takes are multiples of this."""
BATCH_PIXELS = 1 << 18
"""Pixels in one run of the network, one crop of 512 × 512: bounds the memory its activations take."""
FETCH_HINT = "Run `spotless models fetch big-lama`, or set inpaint.big_lama_path to the file."

_MPS_VARIABLE = "PYTORCH_ENABLE_MPS_FALLBACK"


def find_big_lama(path: Path | None) -> Path:
    """Return where big-lama's weights should be: `path`, or lama-cleaner's own cache if `path` is None."""
    if path is not None:
        return path
    return big_lama_cache_path()


class LamaCleanerFill:
    """big-lama, resident on one device.

    `device`: "cpu", "cuda" or "mps"; lama-cleaner runs this model on the CPU where "mps" is asked for, so the attribute
    `device` says where it really is. `is_published`: the file is the published one by its checksum. `models`: the
    file's name and sha256, for the receipt.

    Raises:
        ModelError: the weights are missing or no TorchScript file, or lama-cleaner is not installed.
    """

    name: str

    def __init__(self, path: Path | None, device: str) -> None:
        self.name = "lama-cleaner"
        weights = find_big_lama(path)
        if not weights.is_file():
            raise ModelError(f"big-lama weights not found at {weights}. {FETCH_HINT}")
        checksum = _digest(weights, "md5")
        self.weights_path = weights
        self.is_published = checksum == BIG_LAMA_MD5
        self.models = (FileFacts(weights.name, _digest(weights, "sha256")),)
        model = _load(weights, checksum, device)
        self.device = str(model.device)
        self._module = model.model

    def fill(self, crops: Sequence[Crop]) -> list[Fill]:
        """Return one fill per crop, inputs untouched.

        Crops of one size run together. Grey crops go through the network as three equal channels.

        Raises:
            DeviceMemoryError: the device ran out of memory.
            ModelError: the network's output has another shape than its input, or is not finite.
        """
        filled: list[FloatImage | None] = [None] * len(crops)
        by_shape: dict[tuple[int, int, int], list[int]] = {}
        for index, crop in enumerate(crops):
            height, width, channels = crop.image.shape
            by_shape.setdefault((height, width, channels), []).append(index)
        for (height, width, _), indexes in by_shape.items():
            step = max(1, BATCH_PIXELS // (height * width))
            for start in range(0, len(indexes), step):
                group = indexes[start : start + step]
                for index, result in zip(group, self._run([crops[index] for index in group]), strict=True):
                    filled[index] = result
        return [Fill(result) for result in filled if result is not None]

    def _run(self, crops: Sequence[Crop]) -> list[FloatImage]:
        import torch

        height, width, channels = crops[0].image.shape
        images = np.stack([_padded(crop.image) for crop in crops]).transpose(0, 3, 1, 2)
        masks = np.stack([_padded(crop.mask.astype(np.float32)[..., None]) for crop in crops]).transpose(0, 3, 1, 2)
        image = torch.from_numpy(np.ascontiguousarray(np.repeat(images, 3 // channels, axis=1))).to(self.device)
        mask = torch.from_numpy(np.ascontiguousarray(masks)).to(self.device)
        try:
            with torch.inference_mode():
                output = self._module(image, mask)
        except torch.OutOfMemoryError as error:
            raise DeviceMemoryError(f"big-lama needs more memory than {self.device} has free.") from error
        if output.shape != image.shape or not bool(torch.isfinite(output).all()):
            raise ModelError(
                f"big-lama returned {tuple(output.shape)}, or values that are not finite; finite {tuple(image.shape)} "
                f"expected. {FETCH_HINT}"
            )
        result = output.float().cpu().numpy().transpose(0, 2, 3, 1)[:, :height, :width]
        if channels == 1:
            result = result.mean(axis=3, keepdims=True)
        return list(np.clip(result, 0, 1).astype(np.float32))


def _padded(image: FloatImage) -> FloatImage:
    """Reflect h×w×C at the bottom and right to the next multiple."""
    height, width = image.shape[:2]
    below, right = -height % MULTIPLE_PX, -width % MULTIPLE_PX
    padded = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REFLECT_101)
    return np.asarray(padded, dtype=np.float32).reshape(height + below, width + right, -1)


def _load(weights: Path, checksum: str, device: str) -> Any:  # noqa: ANN401 - the package has no types
    try:
        with _side_effects_undone():
            import torch
            from lama_cleaner.model import lama

            # The class reads its address and checksum from module names. With the file's own checksum a file that
            # cannot be loaded is reported; with another one the package would delete it.
            kept = lama.LAMA_MODEL_URL, lama.LAMA_MODEL_MD5
            lama.LAMA_MODEL_URL, lama.LAMA_MODEL_MD5 = str(weights), checksum
            try:
                return lama.LaMa(torch.device(device))
            finally:
                lama.LAMA_MODEL_URL, lama.LAMA_MODEL_MD5 = kept
    except ImportError as error:
        message = f"lama-cleaner cannot be imported ({error}). Install it: pip install --no-deps lama-cleaner==1.2.5."
        raise ModelError(message) from error
    except SystemExit as error:
        message = f"{weights} is not a TorchScript file that can be loaded (md5 {checksum}, {BIG_LAMA_MD5} published)."
        raise ModelError(f"{message} {FETCH_HINT}") from error


@contextmanager
def _side_effects_undone() -> Iterator[None]:
    """Keep the environment and the warning filters as they were; the package's own deprecations stay quiet inside."""
    before = os.environ.get(_MPS_VARIABLE)
    try:
        with warnings.catch_warnings():
            # lama-cleaner is of 2023: imghdr, class-based pydantic config and torch.jit.load are deprecated since.
            warnings.simplefilter("ignore")
            yield
    finally:
        if before is None:
            os.environ.pop(_MPS_VARIABLE, None)
        else:
            os.environ[_MPS_VARIABLE] = before


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
