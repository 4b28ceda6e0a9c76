"""The LaMa generator: film with holes in, film without holes out.

Convolutions down, residual blocks of fast Fourier convolutions, convolutions up (Suvorov et al., WACV 2022, arXiv
2109.07161). A fast Fourier convolution has a local branch (3×3) and a global one that works on the spectrum, so each
block sees the whole crop (Chi et al., NeurIPS 2020). Spectra are computed in float32 under any autocast. With a cheap
fill as extra input the network predicts what that fill lacks, and starts its training as the cheap fill itself.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from spotless_core.errors import ModelError


@dataclass(frozen=True, slots=True)
class LamaShape:
    """`width`: channels of the first level, doubled by each of `downsamplings` halvings. `blocks`: residual blocks at
    the bottom. `global_ratio`: the global branch's share of their channels. `channels`: of the picture.
    `has_cheap_fill`: a filled copy of the picture is a further input.
    """

    width: int = 32
    downsamplings: int = 2
    blocks: int = 6
    global_ratio: float = 0.75
    channels: int = 1
    has_cheap_fill: bool = True

    def __post_init__(self) -> None:
        is_sound = 2 <= self.width <= 128 and 1 <= self.downsamplings <= 4 and 1 <= self.blocks <= 32
        if not (is_sound and self.channels in {1, 3} and self.local_width >= 1 and self.global_width >= 2):
            raise ModelError(
                f"LaMa shape {asdict(self)}; width 2–128, 1–4 downsamplings, 1–32 blocks, 1 or 3 channels and room for "
                "both branches expected."
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
        """Channels the network takes: picture, mask and, if there is one, the cheap fill."""
        return self.channels + 1 + (self.channels if self.has_cheap_fill else 0)

    @classmethod
    def from_manifest(cls, shape: Mapping[str, float]) -> Self:
        """Build the shape from a manifest's numbers; raises `ModelError` if one is missing or unknown."""
        known = asdict(cls())
        if set(shape) != set(known):
            raise ModelError(f"LaMa shape with {', '.join(shape)}; {', '.join(known)} expected.")
        return cls(**{name: type(default)(shape[name]) for name, default in known.items()})


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
        self.local_to_local = _conv3(local_width, local_width)
        self.local_to_global = _conv3(local_width, global_width)
        self.global_to_local = _conv3(global_width, local_width)
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


class LamaGenerator(nn.Module):
    """N×(C+1[+C])×H×W → N×C×H×W float32, unbounded; H and W multiples of `multiple` and at least `smallest_px`.

    Inputs: the picture with zeros in its holes, the mask (1 = fill) and, if the shape has one, the cheap fill (the
    picture with filled holes), all in units in which the picture's mean is about 0 and its contrast about 1.
    """

    def __init__(self, shape: LamaShape) -> None:
        super().__init__()
        self.shape = shape
        self.multiple = 2**shape.downsamplings
        self.smallest_px = max(4, 2 * self.multiple)  # a reflected border must be narrower than what it reflects
        widths = [shape.width * 2**level for level in range(shape.downsamplings + 1)]
        self.stem = _stage(nn.Conv2d(shape.inputs, widths[0], 7, padding=3, padding_mode="reflect", bias=False))
        self.down = nn.Sequential(
            *(_stage(_conv3(widths[i], widths[i + 1], stride=2)) for i in range(shape.downsamplings))
        )
        self.blocks = nn.Sequential(*(FourierBlock(shape.local_width, shape.global_width) for _ in range(shape.blocks)))
        self.up = nn.Sequential(
            *(
                _stage(nn.ConvTranspose2d(widths[i + 1], widths[i], 3, 2, padding=1, output_padding=1, bias=False))
                for i in reversed(range(shape.downsamplings))
            )
        )
        self.head = nn.Conv2d(widths[0], shape.channels, 7, padding=3, padding_mode="reflect")
        if shape.has_cheap_fill:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the filled picture; outside the mask it means little and is not to be used."""
        height, width = inputs.shape[-2:]
        if height % self.multiple or width % self.multiple or min(height, width) < self.smallest_px:
            message = f"multiples of {self.multiple} from {self.smallest_px} on expected"
            raise ModelError(f"LaMa input {height}×{width}; {message}.")
        x = self.up(self.blocks(self.down(self.stem(inputs))))
        filled: Tensor = self.head(x).float()
        if self.shape.has_cheap_fill:
            return inputs[:, self.shape.channels + 1 :].float() + filled
        return filled


def _conv3(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, padding_mode="reflect", bias=False)


def _stage(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU())
