import pytest
import torch

from spotless_core.training.inpainter_losses import FillWeights, PatchCritic, critic_loss, critic_opinion, fill_loss


@pytest.mark.parametrize(
    "weights", [FillWeights(0.2, 0.0, 0.0), FillWeights(0.2, 1.0, 0.0), FillWeights(0.2, 1.0, 0.5)]
)
def test_only_the_holes_and_their_rim_count(weights: FillWeights) -> None:
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 10:14, 10:14] = 1
    target = torch.zeros(1, 3, 32, 32)
    far, rim, hole = target.clone(), target.clone(), target.clone()
    far[..., 25:, 25:] = 1
    rim[..., 8, 11] = 1
    hole[..., 11, 11] = 1

    losses = [float(fill_loss(filled, target, mask, weights)) for filled in (target, far, rim, hole)]

    assert losses[0] == losses[1] == 0
    assert 0 < losses[2] < losses[3]


def test_a_pixel_of_the_rim_weighs_as_the_run_says() -> None:
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 10:14, 10:14] = 1
    target = torch.zeros(1, 3, 32, 32)
    rim, hole = target.clone(), target.clone()
    rim[..., 8, 11] = hole[..., 11, 11] = 1
    weights = FillWeights(0.2, 0.0, 0.0)

    assert float(fill_loss(hole, target, mask, weights)) == pytest.approx(
        float(fill_loss(rim, target, mask, weights)) / 0.2
    )


def test_the_critic_calls_only_patches_with_a_hole_fake() -> None:
    torch.manual_seed(1)
    target = torch.randn(8, 3, 64, 64)
    holes = torch.zeros(8, 1, 64, 64)
    holes[..., :32] = 1
    filled = torch.zeros_like(target)  # as flat as a bad repair
    critic = PatchCritic(3, 8)
    optimiser = torch.optim.Adam(critic.parameters(), lr=1e-2)

    for _ in range(60):
        optimiser.zero_grad()
        critic_loss(critic, filled, target, holes).backward()
        optimiser.step()
    with torch.no_grad():
        opinion, _ = critic(torch.where(holes > 0, filled, target))
        flat, _ = critic_opinion(critic, filled, target, holes)
        true, apart = critic_opinion(critic, target, target, holes)

    assert opinion[..., :3].max() < 0 < opinion[..., 5:].min()
    assert flat > 2 * true
    assert apart == 0


def test_only_the_hole_learns_from_the_critic() -> None:
    torch.manual_seed(1)
    target, holes = torch.randn(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)
    holes[..., 8:20, 8:20] = 1
    filled = torch.randn(2, 3, 32, 32, requires_grad=True)

    looks_fake, apart = critic_opinion(PatchCritic(3, 4), filled, target, holes)
    (looks_fake + apart).backward()

    assert filled.grad is not None
    assert filled.grad[:, :, 8:20, 8:20].abs().max() > 0
    assert filled.grad[:, :, 24:].abs().max() == 0
