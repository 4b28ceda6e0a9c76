"""Pictures the tests draw themselves (always with grain: a fixture without noise hides halos) and a tiny network."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from spotless_core.arrays.kinds import Mask
from spotless_core.networks.unet import UNet, UNetShape
from spotless_core.training.export import write_manifest


def draw_picture(height: int, width: int, seed: int = 1, grain: float = 0.02) -> NDArray[np.float32]:
    """A soft scene in mid tones with correlated grain: height×width float32, about 0.2 to 0.7."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    scene = 0.45 + 0.12 * np.sin(columns / 37 + seed) + 0.1 * np.cos(rows / 53) + 0.05 * (columns > width / 2)
    noise = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), 0.8)
    return (scene + grain * noise / noise.std()).astype(np.float32)


def add_specks(picture: NDArray[np.float32], count: int, seed: int = 2, value: float = 0.97) -> Mask:
    """Put `count` bright discs of 3 to 6 px radius into `picture` (in place); returns their mask."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(picture.shape, np.uint8)
    for _ in range(count):
        centre = (int(rng.integers(12, picture.shape[1] - 12)), int(rng.integers(12, picture.shape[0] - 12)))
        cv2.circle(mask, centre, int(rng.integers(3, 7)), 1, -1)
    picture[mask > 0] = value
    return mask.astype(bool)


def write_scan(
    path: Path, height: int = 300, width: int = 400, *, specks: int = 8, seed: int = 1, bits: int = 16
) -> Mask:
    """Write an LZW RGB TIFF of 4000 dpi with bright specks, as a scanner would; returns the specks' mask."""
    grey = draw_picture(height, width, seed)
    mask = add_specks(grey, specks, seed + 1)
    tint = np.array([1.0, 0.95, 0.9], np.float32)
    rgb = np.where(mask[..., None], grey[..., None], grey[..., None] * tint)
    full = (1 << bits) - 1
    samples = np.rint(np.clip(rgb, 0, 1) * full).astype(np.uint16 if bits == 16 else np.uint8)
    tifffile.imwrite(
        path,
        samples,
        photometric="rgb",
        compression="lzw",
        predictor=True,
        rowsperstrip=32,
        resolution=(4000, 4000),
        resolutionunit="INCH",
        iccprofile=b"\0" * 128,
        metadata=None,
    )
    return mask


def make_bright_spot_models(folder: Path) -> Path:
    """Write a models folder with a four-channel U-Net, set by hand: what is brighter than 0.85 is dust."""
    shape = UNetShape(width=4, depth=1, fold=1)
    network = UNet(shape).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for block in (network.stem, network.up[0]):
            for norm in (block.norm1, block.norm2):
                norm.weight.fill_(1.0)
        network.stem.conv1.weight[0, 0, 1, 1] = 1.0  # channel 0: relu(grey - 0.5)
        network.stem.conv2.weight[0, 0, 1, 1] = 1.0
        network.up[0].conv1.weight[0, 4, 1, 1] = 1.0  # the skip's channel 0, behind the four risen ones
        network.up[0].conv2.weight[0, 0, 1, 1] = 1.0
        network.head.weight[0, 0, 0, 0] = 60.0
        network.head.bias.fill_(-60.0 * 0.35)
    tensors = {name: value.half() for name, value in network.state_dict().items() if "num_batches" not in name}
    data = save(tensors)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "detector.safetensors").write_bytes(data)
    thresholds = {"low": (0.9, 0.5), "normal": (0.7, 0.4), "high": (0.5, 0.3)}
    write_manifest(folder, hashlib.sha256(data).hexdigest(), (4, 1, 1), thresholds, 0)
    return folder
