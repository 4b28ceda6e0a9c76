"""What the inpainter is taught by: errors in the holes, at several scales and in the spectrum, and a critic.

All values are in units of each crop's contrast (inpainting/lama_input.py), so that flat film and a strong edge count
alike. Errors are Charbonnier's (Barron, CVPR 2019, alpha = 1). No pretrained perceptual network is used: the critic's
own features stand in for it (feature matching, Wang et al., CVPR 2018). The critic is a patch discriminator (Isola et
al., CVPR 2017) under spectral norm (Miyato et al., ICLR 2018), with the non-saturating loss of LaMa (Suvorov et al.,
WACV 2022, section 2.2): only patches that hold a hole are called fake. It is shown film with grain, the same on both:
what grain hides from a person is hidden from it too.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from spotless_core.networks.lama import WILDEST

RIM_PX = 3
"""The clean pixels this near a hole count in the loss too, so that the fill meets the film without a seam."""
CHARBONNIER = 0.1
"""Errors below this share of the contrast count by their square, larger ones by their size."""
SCALES = (2, 4)
"""Errors count again after a mean over squares of these sides: what survives is structure, which the eye sees first."""
CRITIC_LEVELS = 3
LEAK = 0.2


@dataclass(frozen=True, slots=True)
class FillWeights:
    """Weights of the clean rim, of the lower resolutions and of the spectrum; a pixel of a hole weighs 1."""

    rim: float
    scale: float
    frequency: float


def fill_loss(filled: Tensor, target: Tensor, holes: Tensor, weights: FillWeights) -> Tensor:
    """Return a scalar. `filled`, `target`: N×C×H×W. `holes`: N×1×H×W, 1 = filled. H and W are multiples of 4."""
    near = functional.max_pool2d(holes, 2 * RIM_PX + 1, stride=1, padding=RIM_PX)
    share = holes + weights.rim * (near - holes)
    error = filled - target
    loss = _weighted(_charbonnier(error), share)
    for side in SCALES if weights.scale else ():
        structure = functional.avg_pool2d(error * (share > 0), side)
        loss = loss + weights.scale * _weighted(_charbonnier(structure), functional.avg_pool2d(share, side))
    if weights.frequency:
        spectrum = torch.fft.rfft2((error * holes).float(), norm="ortho").abs()
        loss = loss + weights.frequency * spectrum.mean() / holes.mean().clamp(min=1e-3).sqrt()
    return loss


class PatchCritic(nn.Module):
    """N×C×H×W → logits N×1×H/8×W/8 (positive = real) and the features of every level, H and W multiples of 8."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        widths = [channels, *(width * 2**level for level in range(CRITIC_LEVELS))]
        norm = nn.utils.parametrizations.spectral_norm
        self.levels = nn.ModuleList(
            norm(nn.Conv2d(widths[i], widths[i + 1], 4, stride=2, padding=1)) for i in range(CRITIC_LEVELS)
        )
        self.head = norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Look at `image`, in units of the crop's contrast."""
        image = image.clamp(-WILDEST, WILDEST)
        features = []
        for level in self.levels:
            image = functional.leaky_relu(level(image), LEAK)
            features.append(image)
        return self.head(image).float(), features


def critic_loss(critic: PatchCritic, filled: Tensor, target: Tensor, holes: Tensor) -> Tensor:
    """What the critic learns by: the target is real; of the repaired crop, only patches with a hole are fake."""
    critic.train()
    real, _ = critic(target)
    seen, _ = critic(torch.where(holes > 0, filled.detach(), target))
    fake = _patches(holes, seen)
    on_repaired = fake * functional.softplus(seen) + (1 - fake) * functional.softplus(-seen)
    return functional.softplus(-real).mean() + on_repaired.mean()


def critic_opinion(critic: PatchCritic, filled: Tensor, target: Tensor, holes: Tensor) -> tuple[Tensor, Tensor]:
    """What the network learns of the critic: (how fake its patches look, how far their features are), two scalars."""
    critic.eval()  # spectral norm's own estimate rests while the critic is only asked
    with torch.no_grad():
        _, wanted = critic(target)
    seen, features = critic(torch.where(holes > 0, filled, target))
    looks_fake = _weighted(functional.softplus(-seen), _patches(holes, seen))
    apart = torch.stack([functional.l1_loss(a.float(), b.float()) for a, b in zip(features, wanted, strict=True)])
    return looks_fake, apart.mean()


def _charbonnier(error: Tensor) -> Tensor:
    return torch.sqrt(error.float() ** 2 + CHARBONNIER**2) - CHARBONNIER


def _weighted(values: Tensor, weights: Tensor) -> Tensor:
    """Mean over channels and, by `weights` (N×1×H×W), over places."""
    return (weights * values).sum() / (weights.sum() * values.shape[1]).clamp(min=1e-3)


def _patches(holes: Tensor, logits: Tensor) -> Tensor:
    """1 where a patch of `logits` holds a hole."""
    return functional.adaptive_max_pool2d(holes, logits.shape[-2:])
