import pytest
import torch
from torch import nn

from spotless_core.training.settled_norms import settle_norms


def make_network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4))


def test_a_rare_wild_batch_leaves_no_trace_in_the_statistics() -> None:
    calm = [torch.randn(4, 2, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in range(9)]
    wild = [1000 * torch.ones(4, 2, 16, 16)]
    without, with_wild = make_network(), make_network()

    settle_norms(without, calm)
    settle_norms(with_wild, [*calm[:4], *wild, *calm[4:]])

    for norm, other in ((without[1], with_wild[1]), (without[3], with_wild[3])):
        torch.testing.assert_close(norm.running_var, other.running_var, rtol=0.3, atol=1e-3)
        torch.testing.assert_close(norm.running_mean, other.running_mean, rtol=0.3, atol=0.2)


def test_on_one_batch_the_network_then_computes_as_in_training() -> None:
    network = make_network()
    batch = torch.randn(8, 2, 32, 32)
    with torch.no_grad():
        network.train()
        wanted = network(batch)

    settle_norms(network, [batch])

    assert not network.training
    torch.testing.assert_close(network(batch), wanted, rtol=1e-2, atol=1e-2)


def test_weights_and_momenta_stay_as_they_are() -> None:
    network = make_network()
    before = {name: value.clone() for name, value in network.named_parameters()}

    settle_norms(network, [torch.randn(4, 2, 16, 16)])

    assert all(torch.equal(before[name], value) for name, value in network.named_parameters())
    assert [module.momentum for module in network if isinstance(module, nn.BatchNorm2d)] == pytest.approx([0.1, 0.1])
