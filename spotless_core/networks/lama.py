"""The LaMa generator: film with holes in, film without holes out.

Convolutions down, residual blocks of fast Fourier convolutions, convolutions up (Suvorov et al., WACV 2022, arXiv
2109.07161). A fast Fourier convolution has a local branch (3×3) and a global one that works on the spectrum, so each
block sees the whole crop (Chi et al., NeurIPS 2020). Spectra are computed in float32 under any autocast. Beyond the
paper: with a cheap fill as extra input the network predicts what that fill lacks, and starts its training as the cheap
fill itself; it may see what shines through the mask; the first level may be folded (pixel-unshuffle), so that nothing
wide runs at full resolution; and there may be residual blocks of plain convolutions on the way down and up, which adds
what the way down saw.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from spotless_core.errors import ModelError


@dataclass(frozen=True, slots=True)
class LamaShape:
    """`fold`: pixels are folded into channels by this factor first. `width`: channels of the first level, doubled by
    each of `downsamplings` halvings. `blocks`: residual blocks at
    the bottom. `global_ratio`: the global branch's share of their channels. `channels`: of the picture.
    `has_cheap_fill`: a filled copy of the picture is a further input. `sees_veil`: so is what lies under the mask, and
    the network may give it back, cleared of the veil; needs the cheap fill.
    `level_blocks`: residual blocks of plain convolutions on each level above the bottom, on the way down and up;
    `has_skips`: each level of the way up adds the features of the same level of the way down.
    """

    width: int = 48
    fold: int = 2
    downsamplings: int = 2
    level_blocks: int = 1
    blocks: int = 4
    global_ratio: float = 0.75
    channels: int = 3
    has_cheap_fill: bool = True
    sees_veil: bool = True
    has_skips: bool = True

    def __post_init__(self) -> None:
        is_sound = 2 <= self.width <= 128 and 1 <= self.downsamplings <= 4 and 1 <= self.blocks <= 32
        is_sound = is_sound and self.fold in {1, 2, 4} and 0 <= self.level_blocks <= 8
        if self.sees_veil and not self.has_cheap_fill:
            raise ModelError("LaMa shape that sees the veil without a cheap fill; the veil is measured from it.")
        if not (is_sound and self.channels in {1, 3} and self.local_width >= 1 and self.global_width >= 2):
            raise ModelError(
                f"LaMa shape {asdict(self)}; width 2–128, fold 1, 2 or 4, 1–4 downsamplings, 1–32 blocks, 0–8 blocks "
                "on the levels above, 1 or 3 channels and room for both branches expected."
            )

    @property
    def bottom_width(self) -> int:
        """Channels of the residual blocks."""
        return self.width * 2**self.downsamplings

    @property
    def global_width(self) -> int:
        """Channels of their global branch."""
        return int(self.bottom_width * self.global_ratio)

    @property
    def local_width(self) -> int:
        """Channels of their local branch."""
        return self.bottom_width - self.global_width

    @property
    def inputs(self) -> int:
        """Channels the network takes: picture, mask, cheap fill if there is one; veil, where it is shown, level."""
        planes = self.channels + 1
        if self.has_cheap_fill:
            planes += self.channels
        return planes + 2 * self.channels + 1 if self.sees_veil else planes

    @classmethod
    def from_manifest(cls, shape: Mapping[str, float]) -> Self:
        """Build the shape from a manifest's numbers; raises `ModelError` if one is missing or unknown."""
        known = asdict(cls())
        if set(shape) != set(known):
            raise ModelError(f"LaMa shape with {', '.join(shape)}; {', '.join(known)} expected.")
        return cls(**{name: type(default)(shape[name]) for name, default in known.items()})


PUBLISHED = LamaShape(
    width=64,
    fold=1,
    downsamplings=3,
    level_blocks=0,
    blocks=18,
    global_ratio=0.75,
    has_cheap_fill=False,
    sees_veil=False,
    has_skips=False,
)
"""The dimensions of big-LaMa (Suvorov et al., WACV 2022, section 4)."""


DARKEST = 0.01
"""Least light, as a share of the picture's mean: a logarithm needs more than nothing."""
DENSEST = 4.0
"""Largest change of the logarithm of light that is looked at and undone."""
WILDEST = 8.0
"""Inputs, in units of the crop's contrast, are held to this size: film far from a flat hole may be a hundred contrasts
away, and a few such crops spoil the batch norms.
"""
DISTRUST = 3.0
"""The network starts by trusting what shines through this little (logit)."""


class FourierUnit(nn.Module):
    """Mix channels in the spectrum, where a 1×1 convolution reaches the whole picture: N×C×H×W → N×C×H×W float32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(2 * channels, 2 * channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Transform, mix real and imaginary parts, transform back."""
        with torch.autocast(x.device.type, enabled=False):
            spectrum = torch.fft.rfft2(x.float(), norm="ortho")  # N×C×H×(W/2+1), complex
            parts = torch.cat([spectrum.real, spectrum.imag], dim=1)
            real, imaginary = functional.relu(self.norm(self.mix(parts))).chunk(2, dim=1)
            return torch.fft.irfft2(torch.complex(real, imaginary), s=x.shape[-2:], norm="ortho")


class SpectralTransform(nn.Module):
    """The global branch's own path: half the channels through a Fourier unit, with a shortcut around it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.reduce = nn.Conv2d(channels, half, 1, bias=False)
        self.norm = nn.BatchNorm2d(half)
        self.fourier = FourierUnit(half)
        self.expand = nn.Conv2d(half, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → N×C×H×W."""
        x = functional.relu(self.norm(self.reduce(x)))
        return self.expand(x + self.fourier(x))


class FastFourierConvolution(nn.Module):
    """Both branches once, exchanging what they know, each with batch norm and ReLU."""

    def __init__(self, local_width: int, global_width: int) -> None:
        super().__init__()
        self.local_to_local = _conv(local_width, local_width)
        self.local_to_global = _conv(local_width, global_width)
        self.global_to_local = _conv(global_width, local_width)
        self.global_to_global = SpectralTransform(global_width)
        self.local_norm = nn.BatchNorm2d(local_width)
        self.global_norm = nn.BatchNorm2d(global_width)

    def forward(self, local_part: Tensor, global_part: Tensor) -> tuple[Tensor, Tensor]:
        """Return both branches' next values, shapes kept."""
        next_local = self.local_to_local(local_part) + self.global_to_local(global_part)
        next_global = self.local_to_global(local_part) + self.global_to_global(global_part)
        return functional.relu(self.local_norm(next_local)), functional.relu(self.global_norm(next_global))


class FourierBlock(nn.Module):
    """Two fast Fourier convolutions and a shortcut; takes and gives all channels, the local ones first."""

    def __init__(self, local_width: int, global_width: int) -> None:
        super().__init__()
        self.local_width = local_width
        self.first = FastFourierConvolution(local_width, global_width)
        self.second = FastFourierConvolution(local_width, global_width)

    def forward(self, x: Tensor) -> Tensor:
        """N×(local + global)×H×W → the same."""
        parts = self.first(x[:, : self.local_width], x[:, self.local_width :])
        return x + torch.cat(self.second(*parts), dim=1)


class PlainBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut, shape kept (He et al., CVPR 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _stage(_conv(channels, channels))
        self.second = nn.Sequential(_conv(channels, channels), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → N×C×H×W."""
        return x + self.second(self.first(x))


class LamaGenerator(nn.Module):
    """N×k×H×W → N×C×H×W float32, unbounded; H and W multiples of `multiple` and at least `smallest_px`.

    Inputs (`LamaShape.inputs` of them): the picture with zeros in its holes, the mask (1 = fill) and, if the shape has
    them, the cheap fill (the picture with filled holes), what lies under the mask, where that is shown, and the
    logarithm of the picture's mean over its contrast; all in units in which the picture's mean is about 0 and its
    contrast about 1. inpainting/lama_input.py makes them.

    A particle takes a share of the light away. So where the veil is shown the network also estimates that share, and
    mixes what shines through, divided by it, with its fill: c = (1 - g) · (cheap + r) + g · dusty · exp(-h).
    """

    def __init__(self, shape: LamaShape) -> None:
        super().__init__()
        self.shape = shape
        self.multiple = shape.fold * 2**shape.downsamplings
        self.smallest_px = max(
            4 * shape.fold, 2 * self.multiple
        )  # a reflected border is narrower than what it reflects
        widths = [shape.width * 2**level for level in range(shape.downsamplings + 1)]
        ends = 7 if shape.fold == 1 else 3  # a folded pixel already holds its neighbours
        seen = shape.inputs + (shape.channels if shape.sees_veil else 0)  # the ratio of veil to cheap fill comes in too
        given = 2 * shape.channels + 1 if shape.sees_veil else shape.channels  # r; h and g
        channels = seen * shape.fold**2
        self.stem = nn.Sequential(_stage(_conv(channels, widths[0], ends)), *self._level(widths[0]))
        self.down = nn.ModuleList(
            nn.Sequential(
                _stage(_conv(widths[i], widths[i + 1], stride=2)),
                *(self._level(widths[i + 1]) if i + 1 < shape.downsamplings else ()),
            )
            for i in range(shape.downsamplings)
        )
        self.blocks = nn.Sequential(*(FourierBlock(shape.local_width, shape.global_width) for _ in range(shape.blocks)))
        self.up = nn.ModuleList(
            _stage(nn.ConvTranspose2d(widths[i + 1], widths[i], 3, 2, padding=1, output_padding=1, bias=False))
            for i in reversed(range(shape.downsamplings))
        )
        self.finish = nn.ModuleList(nn.Sequential(*self._level(width)) for width in reversed(widths[:-1]))
        self.head = _conv(widths[0], given * shape.fold**2, ends, bias=True)
        if shape.has_cheap_fill:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def _level(self, width: int) -> list[nn.Module]:
        return [PlainBlock(width) for _ in range(self.shape.level_blocks)]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the filled picture; outside the mask it means little and is not to be used."""
        return self.filled_and_trust(inputs)[0]

    def filled_and_trust(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the filled picture and the share g of it that is what shone through, N×1×H×W float32 in [0, 1]."""
        height, width = inputs.shape[-2:]
        if height % self.multiple or width % self.multiple or min(height, width) < self.smallest_px:
            message = f"multiples of {self.multiple} from {self.smallest_px} on expected"
            raise ModelError(f"LaMa input {height}×{width}; {message}.")
        veil = _Veil.of(inputs, self.shape.channels) if self.shape.sees_veil else None
        seen_planes = inputs.clamp(-WILDEST, WILDEST)
        if veil is not None:
            seen_planes = torch.cat([seen_planes, veil.ratio.to(inputs.dtype)], dim=1)
        x = self.stem(functional.pixel_unshuffle(seen_planes, self.shape.fold))
        seen = [x]
        for stage in self.down:
            x = stage(x)
            seen.append(x)
        x = self.blocks(seen.pop())
        for stage, finish in zip(self.up, self.finish, strict=True):
            x = stage(x)
            level = seen.pop()
            x = finish(x + level if self.shape.has_skips else x)
        with torch.autocast(x.device.type, enabled=False):  # half of the digits would be seen as steps in the sky
            given = functional.pixel_shuffle(self.head(x.float()), self.shape.fold)
        channels = self.shape.channels
        filled = given[:, :channels]
        if self.shape.has_cheap_fill:
            filled = inputs[:, channels + 1 : 2 * channels + 1].float() + filled
        if veil is None:
            return filled, torch.zeros_like(filled[:, :1])
        trust = torch.sigmoid(given[:, 2 * channels :] - DISTRUST) * veil.shown
        return veil.mixed(filled, given[:, channels : 2 * channels], trust), trust


class _Veil(NamedTuple):
    """What lies under the mask: `dusty` and its `ratio` (logarithm) to the cheap fill, N×C×H×W float32; `level`, what
    is to be added for values proportional to light; `shown`, 1 where it may be looked at.
    """

    dusty: Tensor
    ratio: Tensor
    level: Tensor
    shown: Tensor

    @classmethod
    def of(cls, inputs: Tensor, channels: int) -> "_Veil":
        """Read it from the network's inputs."""
        first = channels + 1
        cheap = inputs[:, first : first + channels].float()
        compressed = inputs[:, first + channels : first + 2 * channels].float()
        shown = inputs[:, first + 2 * channels : first + 2 * channels + 1].float()
        level = torch.exp(inputs[:, first + 2 * channels + 1 :].float())
        dusty = cheap + torch.sinh(compressed)
        least = DARKEST * level
        ratio = torch.log((dusty + level).clamp(min=least) / (cheap + level).clamp(min=least))
        return cls(dusty, ratio.clamp(-DENSEST, DENSEST) * shown, level, shown)

    def mixed(self, filled: Tensor, taken: Tensor, trust: Tensor) -> Tensor:
        """Return `filled`, mixed by `trust` (0 to 1) with what shines through after `taken` (logarithm) is undone."""
        cleared = (self.dusty + self.level) * torch.exp(-taken.clamp(-DENSEST, DENSEST)) - self.level
        return filled + trust * (cleared - filled)


def _conv(channels_in: int, channels_out: int, side: int = 3, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, side, stride, padding=side // 2, bias=bias)


def _stage(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU())


def fold_batch_norm(network: LamaGenerator) -> LamaGenerator:
    """Merge every batch norm into the convolutions before it (same function, fewer operations); evaluation only."""
    network.eval()
    for module in list(network.modules()):
        if isinstance(module, FastFourierConvolution):
            _merge_sum(module.local_norm, module.local_to_local, module.global_to_local)
            _merge_sum(module.global_norm, module.local_to_global, module.global_to_global.expand)
            module.local_norm = module.global_norm = nn.Identity()  # type: ignore[assignment]
        elif isinstance(module, SpectralTransform):
            module.reduce = nn.utils.fusion.fuse_conv_bn_eval(module.reduce, module.norm)
            module.norm = nn.Identity()  # type: ignore[assignment]
        elif isinstance(module, FourierUnit):
            module.mix = nn.utils.fusion.fuse_conv_bn_eval(module.mix, module.norm)
            module.norm = nn.Identity()  # type: ignore[assignment]
        elif isinstance(module, nn.Sequential) and len(module) > 1 and isinstance(module[1], nn.BatchNorm2d):
            convolution = module[0]
            if isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d):
                transposed = isinstance(convolution, nn.ConvTranspose2d)
                module[0] = nn.utils.fusion.fuse_conv_bn_eval(convolution, module[1], transposed)
                module[1] = nn.Identity()
    return network


def _merge_sum(norm: nn.BatchNorm2d, first: nn.Conv2d, second: nn.Conv2d) -> None:
    """Merge `norm`, which follows the sum of two convolutions, into both; the first gets the offset."""
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    with torch.no_grad():
        scale = norm.weight / torch.sqrt(variance + norm.eps)
        for convolution in (first, second):
            convolution.weight.mul_(scale[:, None, None, None])
        first.bias = nn.Parameter(norm.bias - scale * mean)
