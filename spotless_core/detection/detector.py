"""The U-Net over overlapping tiles: grey frame in, probability of a defect per pixel out, band by band.

Tiles of native resolution, smooth window weights, reflected borders; the network stays loaded and warm. bfloat16 runs
only where the hardware computes in it and a probe tile agrees with float32.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from spotless_core.arrays.kinds import Box, GreyImage, Probability, require_grey
from spotless_core.arrays.windows import FloatWindows
from spotless_core.errors import DeviceMemoryError, ModelError
from spotless_core.networks.device import Device
from spotless_core.networks.unet import UNet, UNetShape, fold_batch_norm
from spotless_core.networks.weights import ModelEntry, load_weights
from spotless_core.options import DetectOptions
from spotless_core.tiling.blend import TileBlender
from spotless_core.tiling.grid import tile_boxes

PROBE_PX = 256
MAX_MEAN_DIFFERENCE = 0.004
"""Largest mean difference of probability at which bfloat16 counts as agreeing with float32."""


class Detector:
    """One loaded U-Net on one device. `dtype` is the precision that really runs."""

    def __init__(self, network: UNet, device: Device) -> None:
        self.network = fold_batch_norm(network).to(device.kind).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = device.kind
        self.multiple = network.multiple
        self.dtype = self._agreed_dtype(device.dtype)

    @classmethod
    def from_entry(cls, entry: ModelEntry, device: Device) -> "Detector":
        """Load the network of a manifest's entry, its logits calibrated (Platt scaling: Guo et al., ICML 2017).

        Raises:
            ModelError: weights and shape do not fit.
        """
        network = UNet(UNetShape(**entry.shape))
        try:
            network.load_state_dict(load_weights(entry), strict=False)
        except RuntimeError as error:
            raise ModelError(f"{entry.path}: weights do not fit the shape in the manifest ({error}).") from error
        with torch.no_grad():
            network.head.weight.mul_(entry.calibration.get("slope", 1.0))
            if network.head.bias is not None:
                network.head.bias.mul_(entry.calibration.get("slope", 1.0)).add_(entry.calibration.get("offset", 0.0))
        return cls(network, device)

    @property
    def precision(self) -> str:
        """Name of the precision that runs: "bfloat16" or "float32"."""
        return "bfloat16" if self.dtype == torch.bfloat16 else "float32"

    def detect(
        self, grey: GreyImage, options: DetectOptions, on_progress: Callable[[float], None] = lambda _: None
    ) -> Probability:
        """Return H×W float32 probability in [0, 1] for `grey` (float32 H×W in [0, 1], a positive picture, gamma-coded).

        As `detect_rows`, for a frame whose grey and probability fit into memory.
        """
        require_grey(grey)
        probability = np.empty(grey.shape, np.float32)
        for top, rows in self.detect_rows(grey, options, on_progress):
            probability[top : top + len(rows)] = rows
        return probability

    def detect_rows(
        self, grey: FloatWindows, options: DetectOptions, on_progress: Callable[[float], None] = lambda _: None
    ) -> Iterator[tuple[int, Probability]]:
        """Yield the probability in bands from top to bottom, each with its first row: n×W float32 in [0, 1].

        `grey`: windows of H×W float32 in [0, 1], a positive picture, gamma-coded. `on_progress` gets the finished
        fraction after each tile.

        Raises:
            DeviceMemoryError: the device ran out of memory; smaller tiles may help.
        """
        height, width = grey.shape
        tile_height, tile_width = (min(options.tile_px, _ceil(length, self.multiple)) for length in (height, width))
        grid = (max(height, tile_height), max(width, tile_width), tile_height, tile_width, options.stride_px)
        blender = TileBlender(*grid)
        boxes = list(tile_boxes(*grid))
        taken = 0
        for count, box in enumerate(boxes, 1):
            if box[0] > taken:  # no later tile reaches above this one
                yield taken, blender.take(box[0])[: height - taken, :width]
                taken = box[0]
            blender.add(box, self._view(_cut(grey, box), box, stride=options.stride_px, is_alone=len(boxes) == 1))
            on_progress(count / len(boxes))
        yield taken, blender.take(grid[0])[: height - taken, :width]

    def _view(self, tile: GreyImage, box: Box, *, stride: int, is_alone: bool) -> Probability:
        """Look at one tile, mirrored by its place in the grid, so that overlapping tiles see the film in four ways.

        What the network takes for dust in one orientation only is thinned out by the blending, at no cost; a frame
        of one tile is looked at in all four.
        """
        if is_alone:
            views = [self._tile(tile[::y, ::x], self.dtype)[::y, ::x] for y in (1, -1) for x in (1, -1)]
            return np.asarray(np.mean(views, axis=0), np.float32)
        y, x = (-1 if -(-start // stride) % 2 else 1 for start in box[:2])
        return self._tile(tile[::y, ::x], self.dtype)[::y, ::x]

    def _tile(self, grey: GreyImage, dtype: torch.dtype) -> Probability:
        tensor = torch.from_numpy(np.ascontiguousarray(grey))[None, None].to(self.device)  # 1×1×h×w
        try:
            with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16, enabled=dtype == torch.bfloat16):
                logits: Tensor = self.network(tensor.to(memory_format=torch.channels_last))
            probability = torch.sigmoid(logits.float())[0, 0].cpu().numpy()
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise DeviceMemoryError(
                f"{self.device}: out of memory on a {grey.shape[0]}×{grey.shape[1]} tile. Set detect.tile_px lower."
            ) from error
        return np.asarray(probability, np.float32)

    def _agreed_dtype(self, wanted: torch.dtype) -> torch.dtype:
        side = _ceil(PROBE_PX, self.multiple)
        probe = np.random.default_rng(0).normal(0.5, 0.1, (side, side)).astype(np.float32).clip(0, 1)
        exact = self._tile(probe, torch.float32)
        if wanted == torch.float32:
            return wanted
        fast = self._tile(probe, wanted)
        return wanted if float(np.abs(fast - exact).mean()) <= MAX_MEAN_DIFFERENCE else torch.float32


def _cut(grey: FloatWindows, box: Box) -> GreyImage:
    """Read one tile; what lies beyond a frame smaller than a tile is its mirror image."""
    top, left, bottom, right = box
    tile = grey[top:bottom, left:right]
    below, beside = bottom - top - tile.shape[0], right - left - tile.shape[1]
    return np.pad(tile, [(0, below), (0, beside)], mode="symmetric") if below or beside else tile


def _ceil(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
