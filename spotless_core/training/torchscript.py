"""Our LaMa as one TorchScript file of big-lama's signature, so that tools made for big-lama can load it.

`model(image N×3×H×W in [0, 1], mask N×1×H×W, above 0 = fill) → N×3×H×W in [0, 1]`, H and W of any size. Everything the
network needs lies inside, in torch: padding, the mean and contrast of the film near the holes, the cheap fill
(inpainting/lama_input.py and arrays/membrane.py do the same in numpy). Nothing under the mask is read, and outside the
mask the image comes back as it was. Grain is not put back: that is the repair's work, not the network's.
"""

import warnings
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from spotless_core.arrays.membrane import SMALLEST_PX, SWEEPS
from spotless_core.errors import ModelError
from spotless_core.inpainting.lama_fill import LAMA, load_lama
from spotless_core.inpainting.lama_input import NEAR_PX, SMALLEST_CONTRAST
from spotless_core.networks.lama import LamaGenerator, LamaShape
from spotless_core.networks.weights import read_manifest


class BigLamaCall(nn.Module):
    """What big-lama's callers call; scripted, so no Python of ours is needed to run it.

    `network`: a traced `LamaGenerator` of three channels, `shape` its shape, `multiple` and `smallest_px` its limits.
    """

    multiple: Final[int]
    smallest_px: Final[int]
    has_cheap_fill: Final[bool]
    veil_planes: Final[int]
    near_px: Final[int]
    smallest_contrast: Final[float]
    sweeps: Final[int]
    coarsest_px: Final[int]

    def __init__(self, network: nn.Module, shape: LamaShape, multiple: int, smallest_px: int) -> None:
        super().__init__()
        self.network = network
        self.multiple, self.smallest_px = multiple, smallest_px
        self.has_cheap_fill = shape.has_cheap_fill
        self.veil_planes = 2 * shape.channels + 1 if shape.sees_veil else 0
        self.near_px, self.smallest_contrast = NEAR_PX, SMALLEST_CONTRAST
        self.sweeps, self.coarsest_px = SWEEPS, SMALLEST_PX

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill `image` under `mask`; a sample without a clean pixel comes back black."""
        height, width = image.shape[2], image.shape[3]
        rows = reflected(height, self.padded(height), image.device)
        columns = reflected(width, self.padded(width), image.device)
        hole = (mask > 0).index_select(2, rows).index_select(3, columns)  # N×1×h×w
        whole = image.float().index_select(2, rows).index_select(3, columns)  # N×3×h×w
        whole = torch.where(hole, torch.zeros_like(whole), whole)
        centre, contrast = measure(whole, hole, self.near_px, self.smallest_contrast)
        cheap = stretched(whole, hole, self.sweeps, self.coarsest_px)
        cheap = (cheap - centre) / contrast
        planes = [torch.where(hole, torch.zeros_like(cheap), cheap), hole.to(cheap.dtype)]
        if self.has_cheap_fill:
            planes.append(cheap)
        if self.veil_planes > 0:  # the veil is not shown
            planes.append(torch.zeros_like(cheap[:, :1]).expand(-1, self.veil_planes, -1, -1))
        values = self.network(torch.cat(planes, dim=1))
        filled = (values * contrast + centre).clamp(0, 1)[:, :, :height, :width]
        return torch.where(mask > 0, filled.to(image.dtype), image)

    def padded(self, side: int) -> int:
        """Return the next side that the network takes."""
        return (max(side, self.smallest_px) + self.multiple - 1) // self.multiple * self.multiple


def reflected(side: int, padded: int, device: torch.device) -> Tensor:
    """Return the `padded` indexes into `side` values that continue them as OpenCV's BORDER_REFLECT_101."""
    period = max(2 * (side - 1), 1)
    index = torch.arange(padded, device=device) % period
    return torch.minimum(index, (period - index) % period) if side > 1 else torch.zeros_like(index)


def measure(image: Tensor, hole: Tensor, near_px: int, smallest_contrast: float) -> tuple[Tensor, Tensor]:
    """Return mean and contrast (N×3×1×1) of the clean film within `near_px` of the holes, as `prepare_input` does."""
    reach = functional.max_pool2d(hole.to(image.dtype), 2 * near_px + 1, stride=1, padding=near_px)
    known = ((reach > 0) & ~hole).to(image.dtype)
    count = known.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    centre = (image * known).sum(dim=(2, 3), keepdim=True) / count
    variance = ((image - centre) ** 2 * known).sum(dim=(2, 3), keepdim=True) / count
    return centre, variance.sqrt().clamp(min=smallest_contrast)


def stretched(image: Tensor, hole: Tensor, sweeps: int, coarsest_px: int) -> Tensor:
    """Fill the holes by the membrane of arrays/membrane.py; `image`: N×3×h×w, `hole`: N×1×h×w bool."""
    images, holes = [image], [hole]
    while min(images[-1].shape[2], images[-1].shape[3]) > coarsest_px:
        finer, known = images[-1], (~holes[-1]).to(image.dtype)
        odd = [0, finer.shape[3] % 2, 0, finer.shape[2] % 2]
        share = functional.avg_pool2d(functional.pad(known, odd, mode="replicate"), 2)
        mean = functional.avg_pool2d(functional.pad(finer * known, odd, mode="replicate"), 2)
        images.append(mean / share.clamp(min=0.25))
        holes.append(share < 0.1)
    clean = (~holes[-1]).to(image.dtype)
    count = clean.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    start = ((images[-1] * clean).sum(dim=(2, 3), keepdim=True) / count).expand_as(images[-1])
    result = relaxed(images[-1], holes[-1], start, sweeps)
    for level in range(len(images) - 2, -1, -1):
        height, width = images[level].shape[2], images[level].shape[3]
        start = functional.interpolate(result, scale_factor=2.0, mode="bilinear", align_corners=False)
        result = relaxed(images[level], holes[level], start[:, :, :height, :width], sweeps)
    return result


def relaxed(image: Tensor, hole: Tensor, start: Tensor, sweeps: int) -> Tensor:
    """Return `image` with `start` in its holes, after `sweeps` steps to the mean of the four neighbours there."""
    result = torch.where(hole, start, image)
    for _ in range(sweeps):
        wide = functional.pad(result, [1, 1, 1, 1], mode="reflect")
        across = wide[:, :, 1:-1, :-2] + wide[:, :, 1:-1, 2:]
        along = wide[:, :, :-2, 1:-1] + wide[:, :, 2:, 1:-1]
        result = torch.where(hole, (across + along) / 4, result)
    return result


def export_torchscript(models: Path, target: Path) -> Path:
    """Write the inpainter of the manifest in the folder `models` as TorchScript to `target`, which is returned.

    Raises:
        ModelError: the manifest has no inpainter, its weights are missing, damaged or of another shape, or it has not
            three channels.
    """
    entry = read_manifest(models).get(LAMA)
    if entry is None:
        raise ModelError(f"{models}: no {LAMA} in the manifest there. Export a run: give --config and --models.")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(target.name + ".part")
    script(load_lama(entry)).save(str(temporary))
    temporary.replace(target)
    return target


def script(network: LamaGenerator) -> torch.jit.ScriptModule:
    """Return `network`, which is put into its evaluation mode and learns no more, behind big-lama's signature."""
    side = network.smallest_px
    example = torch.zeros(1, network.shape.inputs, side, side)
    with warnings.catch_warnings(), torch.no_grad():
        # big-lama's callers load TorchScript, which torch has deprecated. The tracer warns of the check of the sizes,
        # which the padding makes unnecessary.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        network.eval().requires_grad_(requires_grad=False)  # callers need no torch.no_grad
        traced: nn.Module = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
        return torch.jit.script(BigLamaCall(traced, network.shape, network.multiple, network.smallest_px).eval())
