"""Filling by our own LaMa network.

In: crops in float32 [0, 1]. Out: the same crops, filled with the picture as it would be without grain. Grey crops go
through the network as three equal channels, CMYK as four grey ones. Crops are padded by reflection to sizes the network
takes, and crops of one size run together. A network that learned to looks at what lies under the mask, so a veiled
defect is recovered from what shines through.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spotless_core.arrays.kinds import FloatImage
from spotless_core.errors import DeviceMemoryError, ModelError
from spotless_core.inpainting.inpainter import Crop, Fill
from spotless_core.inpainting.lama_input import CHANNELS, LamaInput, prepare_input
from spotless_core.networks.device import native_dtype
from spotless_core.networks.lama import LamaGenerator, LamaShape, fold_batch_norm
from spotless_core.networks.weights import ModelEntry, load_weights
from spotless_core.receipt import FileFacts

LAMA = "lama"
"""The network's name in the manifest, and the method's in options and receipts."""
BATCH_PIXELS = 1 << 17
"""Pixels of the crops that run together: bounds the memory."""
OWN_GRAIN_POWER = 0.55
"""The film's own grain in a fill, as a share of its amplitude, is the network's trust in what shone through to this
power: more than the trust itself, because its fill, too, is drawn with a look at what shines through. Fitted to 235,000
pixels of holes in held-out photographs, with the weights of step 9,500: trust 0.07, 0.15, 0.25, 0.45, 0.65 goes with
0.23, 0.31, 0.44, 0.71, 0.82.
"""
PROBE_PX = 64
MAX_MEAN_DIFFERENCE = 0.02
"""Largest mean difference, in units of the film's contrast, at which bfloat16 counts as agreeing with float32."""


def load_lama(entry: ModelEntry) -> LamaGenerator:
    """Load the network of a manifest's entry for evaluation on the CPU, its batch norms folded.

    Raises:
        ModelError: the weights are missing or damaged, or do not fit the shape in the manifest.
    """
    network = LamaGenerator(LamaShape.from_manifest(entry.shape))
    if network.shape.channels != CHANNELS:
        raise ModelError(f"{entry.path}: a LaMa of {network.shape.channels} channels; one of {CHANNELS} expected.")
    counters = {name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")}
    try:
        network.load_state_dict({**counters, **load_weights(entry)})
    except RuntimeError as error:
        raise ModelError(f"{entry.path}: weights do not fit the shape in the manifest. Export them again.") from error
    return fold_batch_norm(network)


class LamaFill:
    """Our LaMa, resident on one device.

    `device`: "cpu", "cuda" or "mps". `shows_veil`: whether the network looks at what lies under the mask. `models`: the
    weights' name and sha256, for the receipt.

    Raises:
        ModelError: the weights are missing or damaged, or do not fit the shape in the manifest.
    """

    name: str

    def __init__(self, entry: ModelEntry, device: str, *, shows_veil: bool = True) -> None:
        self.name = LAMA
        self.device = device
        self.shows_veil = shows_veil
        self.models = (FileFacts(entry.path.name, entry.sha256),)
        self._network = load_lama(entry).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._dtype = self._agreed_dtype(native_dtype(device))

    @property
    def precision(self) -> str:
        """Name of the precision that runs: "bfloat16" or "float32"."""
        return "bfloat16" if self._dtype == torch.bfloat16 else "float32"

    def fill(self, crops: Sequence[Crop]) -> list[Fill]:
        """Return one fill per crop, inputs untouched.

        Raises:
            ArrayContractError: a crop has no clean pixel to fill from.
            ModelError: the network's output is not finite.
            DeviceMemoryError: the device has no memory for a batch.
        """
        images = [crop.image.copy() for crop in crops]
        grains = [np.zeros_like(image) for image in images]
        places: dict[tuple[int, int], list[_Part]] = {}
        for crop, image, grain in zip(crops, images, grains, strict=True):
            if crop.mask.any():
                places.setdefault(self._padded_size(crop.mask.shape), []).extend(_parts(crop, image, grain))
        for (height, width), members in places.items():
            count = max(BATCH_PIXELS // (height * width), 1)
            for start in range(0, len(members), count):
                batch = members[start : start + count]
                inputs = [self._prepared(part.crop, height, width) for part in batch]
                for part, (image, own_grain) in zip(batch, self._run(inputs), strict=True):
                    mask = part.crop.mask
                    place = np.s_[: mask.shape[0], : mask.shape[1]]
                    part.filled[mask] = image[place][mask]
                    part.own_grain[mask] = own_grain[place][mask]
        return [Fill(image, grain) for image, grain in zip(images, grains, strict=True)]

    def _padded_size(self, shape: tuple[int, ...]) -> tuple[int, int]:
        multiple, smallest = self._network.multiple, self._network.smallest_px
        height, width = (-(-max(side, smallest) // multiple) * multiple for side in shape)
        return height, width

    def _prepared(self, crop: Crop, height: int, width: int) -> LamaInput:
        below, right = height - crop.mask.shape[0], width - crop.mask.shape[1]
        whole = cv2.copyMakeBorder(crop.image, 0, below, 0, right, cv2.BORDER_REFLECT_101)
        holes = cv2.copyMakeBorder(crop.mask.view(np.uint8), 0, below, 0, right, cv2.BORDER_REFLECT_101)
        shape = self._network.shape
        return prepare_input(
            np.asarray(whole).reshape(height, width, -1),
            holes.view(np.bool_),
            has_cheap_fill=shape.has_cheap_fill,
            sees_veil=shape.sees_veil,
            show_veil=self.shows_veil,
        )

    def _run(self, prepared: list[LamaInput]) -> list[tuple[FloatImage, FloatImage]]:
        """The filled picture and its own grain, of each."""
        inputs = torch.from_numpy(np.stack([each.inputs for each in prepared]))
        values, trust = self._values(inputs, self._dtype)
        if not np.isfinite(values).all():
            raise ModelError(f"{self.models[0].name} returned values that are not finite. Export or install it again.")
        grain = np.moveaxis(trust, 1, 3) ** OWN_GRAIN_POWER
        return [(each.to_film(value), own) for each, value, own in zip(prepared, values, grain, strict=True)]

    def _values(self, inputs: Tensor, dtype: torch.dtype) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """N×k×H×W → the fill, N×3×H×W in units of the crops' contrast, and the trust in what shone through, N×1×H×W."""
        placed = inputs.to(self.device, memory_format=torch.channels_last)
        try:
            with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16, enabled=dtype == torch.bfloat16):
                values, trust = self._network.filled_and_trust(placed)
            return values.cpu().numpy(), trust.cpu().numpy()
        except (torch.OutOfMemoryError, MemoryError) as error:
            height, width = inputs.shape[-2:]
            message = f"{self.device}: out of memory on {len(inputs)} crops of {height}×{width}."
            raise DeviceMemoryError(f"{message} Choose device = cpu, or another inpaint.method.") from error

    def _agreed_dtype(self, wanted: torch.dtype) -> torch.dtype:
        """`wanted`, unless a probe crop comes out differently from float32."""
        if wanted == torch.float32:
            return wanted
        side = -(-PROBE_PX // self._network.multiple) * self._network.multiple
        probe = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (1, self._network.shape.inputs, side, side)))
        exact, fast = (self._values(probe.float(), dtype)[0] for dtype in (torch.float32, wanted))
        difference = float(np.abs(fast - exact).mean())
        return wanted if difference <= MAX_MEAN_DIFFERENCE else torch.float32


class _Part(NamedTuple):
    """Channels of a crop that the network sees together, and where its answer goes (views of the fill)."""

    crop: Crop
    filled: FloatImage
    own_grain: FloatImage


def _parts(crop: Crop, filled: FloatImage, own_grain: FloatImage) -> list[_Part]:
    """Grey and RGB in one part; of anything else (CMYK) each channel by itself, as a grey picture."""
    channels = crop.image.shape[2]
    if channels in {1, CHANNELS}:
        return [_Part(crop, filled, own_grain)]
    slices = [slice(channel, channel + 1) for channel in range(channels)]
    return [_Part(Crop(crop.image[..., each], crop.mask), filled[..., each], own_grain[..., each]) for each in slices]
