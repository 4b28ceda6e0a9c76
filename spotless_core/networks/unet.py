"""The dust detector: a U-Net from one grey channel to one logit per pixel.

Encoder–decoder with skip connections (Ronneberger et al., MICCAI 2015), behind a pixel-unshuffle stem (Shi et al., CVPR
2016): the picture is folded into `fold`² channels of 1/`fold` the size, so the costly full-size levels vanish and the
last layer unfolds back to native pixels. Sizes must be multiples of `UNet.multiple`; tiling pads to that. A separable
network has depthwise 3×3 convolutions followed by pointwise 1×1 ones in place of the plain 3×3 (Chollet, CVPR 2017).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from spotless_core.errors import ModelError


@dataclass(frozen=True, slots=True)
class UNetShape:
    """`width`: channels of the first level, doubled per level. `depth`: halvings below the stem. `fold`: stem factor.
    `separable`: depthwise and pointwise convolutions in place of plain ones, but for the very first.
    """

    width: int = 24
    depth: int = 4
    fold: int = 2
    separable: bool = False

    def __post_init__(self) -> None:
        if not (4 <= self.width <= 128 and 1 <= self.depth <= 6 and self.fold in {1, 2, 4}):
            raise ModelError(f"U-Net shape {asdict(self)}; width 4–128, depth 1–6 and fold 1, 2 or 4 expected.")

    @property
    def multiple(self) -> int:
        """What the sides of a picture must be multiples of, in pixels."""
        return self.fold * 2**self.depth

    def numbers(self) -> list[int]:
        """Return [width, depth, fold], and a 1 after them if separable: the shape as checkpoints hold it."""
        return [self.width, self.depth, self.fold, *([1] if self.separable else [])]

    @classmethod
    def from_numbers(cls, numbers: Sequence[int]) -> Self:
        """Build the shape from what `numbers` returned; raises `ModelError` if it is anything else."""
        if len(numbers) not in {3, 4}:
            raise ModelError(f"U-Net shape {list(numbers)}; width, depth, fold and, if separable, a 1 expected.")
        width, depth, fold = numbers[:3]
        return cls(width, depth, fold, separable=any(numbers[3:]))


class SeparableConv(nn.Module):
    """Each channel's own 3×3 convolution, then a 1×1 over all of them: N×in×H×W → N×out×H×W."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in, bias=False)
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both, with nothing between them."""
        return self.pointwise(self.depthwise(x))


class ConvBlock(nn.Module):
    """Two 3×3 convolutions, each followed by batch norm and ReLU: N×in×H×W → N×out×H×W.

    `separable`: which of the two are depthwise and pointwise.
    """

    def __init__(self, channels_in: int, channels_out: int, separable: tuple[bool, bool]) -> None:
        super().__init__()
        self.conv1 = _conv3(channels_in, channels_out, separable=separable[0])
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = _conv3(channels_out, channels_out, separable=separable[1])
        self.norm2 = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both convolutions."""
        x = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(x)))


class UNet(nn.Module):
    """N×1×H×W grey in [0, 1] → N×1×H×W logits; H and W multiples of `multiple`."""

    def __init__(self, shape: UNetShape) -> None:
        super().__init__()
        self.shape = shape
        self.multiple = shape.multiple
        both = (shape.separable, shape.separable)
        widths = [shape.width * 2**level for level in range(shape.depth + 1)]
        self.stem = ConvBlock(shape.fold**2, widths[0], (False, shape.separable))
        self.down = nn.ModuleList(ConvBlock(widths[i], widths[i + 1], both) for i in range(shape.depth))
        self.rise = nn.ModuleList(
            nn.Conv2d(widths[i + 1], widths[i], 1) for i in reversed(range(shape.depth))
        )  # before the upsampling: a 1×1 convolution is cheaper there
        self.up = nn.ModuleList(ConvBlock(2 * widths[i], widths[i], both) for i in reversed(range(shape.depth)))
        self.head = nn.Conv2d(widths[0], shape.fold**2, 1)

    def forward(self, grey: Tensor) -> Tensor:
        """Return the logits; `torch.sigmoid` of them is the probability of a defect."""
        height, width = grey.shape[-2:]
        if height % self.multiple or width % self.multiple:
            raise ModelError(f"U-Net input {height}×{width}; multiples of {self.multiple} expected.")
        x = functional.pixel_unshuffle(grey - 0.5, self.shape.fold)  # N×fold²×H/fold×W/fold
        x = self.stem(x)
        skips = []
        for block in self.down:
            skips.append(x)
            x = block(functional.max_pool2d(x, 2))
        for rise, block in zip(self.rise, self.up, strict=True):
            x = functional.interpolate(rise(x), scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, skips.pop()], dim=1))
        return functional.pixel_shuffle(self.head(x), self.shape.fold)


def fold_batch_norm(network: UNet) -> UNet:
    """Merge every batch norm into the convolution before it (same function, fewer operations); evaluation only."""
    network.eval()
    for module in network.modules():
        if isinstance(module, ConvBlock):
            module.conv1 = _merged(module.conv1, module.norm1)
            module.conv2 = _merged(module.conv2, module.norm2)
            module.norm1, module.norm2 = nn.Identity(), nn.Identity()  # type: ignore[assignment]
    return network


def _conv3(channels_in: int, channels_out: int, *, separable: bool) -> nn.Conv2d | SeparableConv:
    if separable:
        return SeparableConv(channels_in, channels_out)
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)


def _merged(convolution: nn.Conv2d | SeparableConv, norm: nn.BatchNorm2d) -> nn.Conv2d | SeparableConv:
    """Merge `norm` into the convolution before it; into the pointwise one where there are two."""
    if isinstance(convolution, nn.Conv2d):
        return nn.utils.fusion.fuse_conv_bn_eval(convolution, norm)
    convolution.pointwise = nn.utils.fusion.fuse_conv_bn_eval(convolution.pointwise, norm)
    return convolution
