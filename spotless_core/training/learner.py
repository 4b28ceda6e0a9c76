"""A network as it learns: its weights, their moving average, the optimiser and the step, saved and resumed together.

Shared by the loops of both networks. The average (EMA) is what is validated and exported.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spotless_core.errors import ModelError
from spotless_core.training.checkpoint import load_checkpoint, save_checkpoint
from spotless_core.training.run_config import TrainingRun


def learning_rate(run: TrainingRun, step: int) -> float:
    """Linear rise over `warmup_steps`, constant, then half a cosine to zero over the last `decay_steps`."""
    rise = min(1.0, (step + 1) / run.warmup_steps)
    left = (run.steps - step) / run.decay_steps
    return run.learning_rate * rise * (0.5 - 0.5 * math.cos(math.pi * min(left, 1.0)))


class Learner:
    """`network` is trained in place; `average` is its moving average; `step`: steps done; `best`: scores to show."""

    def __init__(self, network: nn.Module, run: TrainingRun, shape: list[int] | Mapping[str, float]) -> None:
        blend = torch.optim.swa_utils.get_ema_multi_avg_fn(run.ema_decay)  # type: ignore[no-untyped-call]
        self.network, self.run, self.shape = network, run, shape
        self.average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=blend, use_buffers=True)
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=run.learning_rate, weight_decay=run.weight_decay)
        self.step = 0
        self.best: dict[str, float] = {}

    def resume(self, path: Path) -> None:
        """Take over the checkpoint at `path`, if there is one.

        Raises:
            ModelError: it is no checkpoint, or of a network of another shape.
        """
        state = load_checkpoint(path)
        if state is not None:
            self.take_over(state, path)

    def take_over(self, state: Mapping[str, Any], path: Path) -> None:
        """Go on from `state`, which `path` held; raises `ModelError` if it is of a network of another shape."""
        if state["shape"] != self.shape:
            message = f"{path}: of shape {state['shape']}, the run's is {self.shape}. Give the run another output."
            raise ModelError(message)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.best = state["step"], state["best"]

    def learn(self, loss: Tensor, rate: float) -> float:
        """Take one step down `loss` at the learning rate `rate`; returns the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), self.run.gradient_clip)
        self.optimiser.step()
        self.average.update_parameters(self.network)
        self.step += 1
        return float(loss.detach())

    def is_due(self, every: int) -> bool:
        """Say if something done every so many steps, and at the end, is to be done now."""
        return self.step % every == 0 or self.step == self.run.steps

    def state(self) -> dict[str, Any]:
        """Return everything a run goes on from."""
        return {
            "step": self.step,
            "best": self.best,
            "shape": self.shape,
            "optimiser": self.optimiser.state_dict(),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
        }

    def save(self, path: Path) -> None:
        """Write everything to the checkpoint at `path`."""
        save_checkpoint(path, self.state())


def save_learners(path: Path, first: Learner, others: Mapping[str, Learner]) -> None:
    """Write learners that go on together into one checkpoint: `first` as it would be alone, `others` by name."""
    save_checkpoint(path, {**first.state(), **{name: learner.state() for name, learner in others.items()}})


def load_learners(path: Path, first: Learner, others: Mapping[str, Learner]) -> None:
    """Go on from the checkpoint at `path`, if there is one; raises `ModelError` as `Learner.resume`."""
    state = load_checkpoint(path)
    if state is None:
        return
    first.take_over(state, path)
    for name, learner in others.items():
        if name not in state:
            raise ModelError(f"{path}: holds no {name}. Give the run another output.")
        learner.take_over(state[name], path)
