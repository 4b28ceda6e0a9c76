"""Filling by our own LaMa network.

In: crops in float32 [0, 1]. Out: the same crops, filled. Each colour channel is a plane of its own, measured by its own
mean and contrast, so that grey scans, RGB scans and scans of any encoding go through one network. Crops are padded by
reflection to sizes the network takes, and planes of one size run together.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from spotless_core.arrays.kinds import FloatImage, GreyImage, Mask
from spotless_core.errors import ModelError
from spotless_core.inpainting.inpainter import Crop
from spotless_core.inpainting.lama_planes import LamaPlane, prepare_plane
from spotless_core.networks.lama import LamaGenerator, LamaShape
from spotless_core.networks.weights import ModelEntry, load_weights
from spotless_core.receipt import FileFacts

LAMA = "lama"
"""The network's name in the manifest, and the method's in options and receipts."""
BATCH_PIXELS = 1 << 18
"""Pixels of the planes that run together: bounds the memory."""


class LamaFill:
    """Our LaMa, resident on one device, in float32.

    `device`: "cpu", "cuda" or "mps". `models`: the weights' name and sha256, for the receipt.

    Raises:
        ModelError: the weights are missing or damaged, or do not fit the shape in the manifest.
    """

    name: str

    def __init__(self, entry: ModelEntry, device: str) -> None:
        self.name = LAMA
        self.device = device
        self.models = (FileFacts(entry.path.name, entry.sha256),)
        network = LamaGenerator(LamaShape.from_manifest(entry.shape))
        if network.shape.channels != 1:
            raise ModelError(f"{entry.path}: a LaMa of {network.shape.channels} channels; one of 1 expected.")
        weights = load_weights(entry)
        counters = {name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")}
        try:
            network.load_state_dict({**counters, **weights})
        except RuntimeError as error:
            message = f"{entry.path}: weights do not fit the shape in the manifest. Export them again."
            raise ModelError(message) from error
        self._network = network.eval().to(device)

    def fill(self, crops: Sequence[Crop]) -> list[FloatImage]:
        """Return one filled image per crop, each h×w×C float32 in [0, 1], inputs untouched.

        Raises:
            ArrayContractError: a crop has no clean pixel to fill from.
            ModelError: the network's output is not finite.
        """
        filled = [crop.image.copy() for crop in crops]
        places: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for index, crop in enumerate(crops):
            if crop.mask.any():
                size = self._padded_size(crop.mask.shape)
                places.setdefault(size, []).extend((index, channel) for channel in range(crop.image.shape[2]))
        for (height, width), members in places.items():
            count = max(BATCH_PIXELS // (height * width), 1)
            for start in range(0, len(members), count):
                batch = members[start : start + count]
                planes = [self._prepared(crops[i].image[..., c], crops[i].mask, height, width) for i, c in batch]
                for (i, c), values in zip(batch, self._run(planes), strict=True):
                    mask = crops[i].mask
                    filled[i][..., c][mask] = values[: mask.shape[0], : mask.shape[1]][mask]
        return filled

    def _padded_size(self, shape: tuple[int, ...]) -> tuple[int, int]:
        multiple, smallest = self._network.multiple, self._network.smallest_px
        height, width = (-(-max(side, smallest) // multiple) * multiple for side in shape)
        return height, width

    def _prepared(self, plane: GreyImage, mask: Mask, height: int, width: int) -> LamaPlane:
        below, right = height - plane.shape[0], width - plane.shape[1]
        whole = cv2.copyMakeBorder(plane, 0, below, 0, right, cv2.BORDER_REFLECT_101)
        holes = cv2.copyMakeBorder(mask.view(np.uint8), 0, below, 0, right, cv2.BORDER_REFLECT_101)
        return prepare_plane(whole, holes.view(np.bool_), with_cheap_fill=self._network.shape.has_cheap_fill)

    def _run(self, planes: list[LamaPlane]) -> list[GreyImage]:
        inputs = torch.from_numpy(np.stack([plane.inputs for plane in planes])).to(self.device)
        with torch.inference_mode():
            values = self._network(inputs)[:, 0].cpu().numpy()
        if not np.isfinite(values).all():
            raise ModelError(f"{self.models[0].name} returned values that are not finite. Export or install it again.")
        return [plane.to_film(value) for plane, value in zip(planes, values, strict=True)]
