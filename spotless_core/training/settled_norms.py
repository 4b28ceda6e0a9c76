"""Give a trained network's batch norms statistics that a rare batch cannot spoil.

In training a batch norm sees its own batch; afterwards it uses averages over many. Crops of very flat film beside very
busy film make some batches' variances a hundred times larger, and an average follows them. So the medians of the
statistics of many training batches are taken instead (precise batch norm, Wu and Johnson 2021, section 3, with medians
for means).
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def settle_norms(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set every batch norm's mean and variance to the medians over `batches` (inputs of `network`, at least one).

    The network comes back in its evaluation mode; nothing but these statistics is changed.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    seen: dict[nn.BatchNorm2d, list[tuple[Tensor, Tensor]]] = {norm: [] for norm in norms}
    momenta = [norm.momentum for norm in norms]

    def note(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].detach().float()
        if isinstance(norm, nn.BatchNorm2d):
            seen[norm].append((values.mean((0, 2, 3)), values.var((0, 2, 3), correction=0)))

    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    network.train()
    for norm in norms:
        norm.momentum = 0.0
    with torch.no_grad():
        for batch in batches:
            network(batch)
    for hook in hooks:
        hook.remove()
    for norm, momentum in zip(norms, momenta, strict=True):
        means, variances = (torch.stack(values) for values in zip(*seen[norm], strict=True))
        norm.get_buffer("running_mean").copy_(means.median(0).values)
        norm.get_buffer("running_var").copy_(variances.median(0).values)
        norm.momentum = momentum
    network.eval()
