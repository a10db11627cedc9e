"""The distribution loss of binary networks, and the clipping of their latent weights, as training hooks.

R. Ding, T.-W. Chin, Z. Liu, D. Marculescu, "Regularizing Activation Distribution for Training Binarized Deep Networks", CVPR
2019, arXiv:1904.02823. The values of which a sign is taken should lie on both sides of zero, some of them inside [-1, 1], where
the sign has a gradient. With mean mu and standard deviation s of each channel over N, H and W:

    D1 = mean relu(min(2 - mu - s, 2 + mu - s))^2 + mean relu(s - 4)^2
    D2 = mean relu(mu^2 - s^2)

The loss is the task's plus `weight` times the sum of the means of D1 and D2 over all such layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hwflow.errors import InputError, is_number
from hwflow.training.hooks import Batch, TrainingHook

_REACH, _WIDEST = 2.0, 4.0
_SHARE = 60 / 65  # of the training; the authors' last epochs are without the loss


class Distances(NamedTuple):
    """How far a distribution is from one that has both signs and gradients."""

    spread: Tensor
    mean: Tensor


def distances(values: Tensor) -> Distances:
    """D1 and D2 of values [N, C, ...] before their sign."""
    rows = values.transpose(0, 1).flatten(1)
    mean, deviation = rows.mean(1), rows.std(1, correction=0)
    narrow = torch.relu(torch.minimum(_REACH - mean - deviation, _REACH + mean - deviation)).square().mean()
    wide = torch.relu(deviation - _WIDEST).square().mean()
    return Distances(narrow + wide, torch.relu(mean.square() - deviation.square()).mean())


@dataclass
class DistributionLoss(TrainingHook):
    """The distribution loss, for the first 60 of 65 parts of a training.

    Attributes:
        layers: modules that take the sign of their inputs, by name.
        weight: of the loss, at least 0.
        history: the means of D1 and D2 over each epoch's steps.

    Raises:
        InputError: for a negative weight.
    """

    layers: Sequence[str]
    weight: float
    history: list[tuple[float, float]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if not is_number(self.weight) or not self.weight >= 0:
            raise InputError(f"the weight of the distribution loss is {self.weight!r}; it must be 0 or more.")

    def start(self, model: nn.Module, steps: int) -> None:
        """Listen to the layers' inputs."""
        self._seen: dict[str, Tensor] = {}
        self._until, self._step, self._sums = int(_SHARE * steps), 0, [0.0, 0.0, 0.0]
        self._handles = [
            model.get_submodule(name).register_forward_pre_hook(self._listener(name)) for name in dict.fromkeys(self.layers)
        ]

    def _listener(self, name: str) -> Any:
        def listen(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if module.training:
                self._seen[name] = inputs[0]

        return listen

    def loss(self, batch: Batch, loss: Tensor) -> Tensor:
        """With the means of D1 and D2 added, where the weight is not 0 and the last part has not begun."""
        found = [distances(self._seen[name].float()) for name in sorted(self._seen)]
        self._seen.clear()
        if not found:
            return loss
        spread = torch.stack([one.spread for one in found]).mean()
        mean = torch.stack([one.mean for one in found]).mean()
        for place, value in enumerate((spread, mean)):
            self._sums[place] += float(value.detach())
        self._sums[2] += 1
        if self.weight == 0 or self._step >= self._until:
            return loss
        return loss + self.weight * (spread + mean)

    def after_step(self, step: int) -> None:
        """Count it."""
        self._step = step + 1

    def after_epoch(self, epoch: int) -> None:
        """Note the epoch's means."""
        spread, mean, steps = self._sums
        self.history.append((spread / max(steps, 1), mean / max(steps, 1)))
        self._sums = [0.0, 0.0, 0.0]

    def finish(self, model: nn.Module) -> None:
        """Listen no more."""
        for handle in self._handles:
            handle.remove()

    def state_dict(self) -> dict[str, Any]:
        """How far the training is, and the history."""
        return {"step": self._step, "history": [list(pair) for pair in self.history]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Both."""
        self._step = int(state["step"])
        self.history[:] = [(float(spread), float(mean)) for spread, mean in state["history"]]


@dataclass
class LatentWeights(TrainingHook):
    """Keeps the weights of which signs are taken in [-1, 1], where the sign has a gradient.

    Attributes:
        layers: modules with such weights, by name.
    """

    layers: Sequence[str]

    def start(self, model: nn.Module, steps: int) -> None:
        """Find them."""
        self._weights = [model.get_submodule(name).weight for name in self.layers]
        self.after_step(-1)

    def after_step(self, step: int) -> None:
        """Clip them."""
        with torch.no_grad():
            for weight in self._weights:
                weight.clamp_(-1, 1)


__all__ = ["Distances", "DistributionLoss", "LatentWeights", "distances"]
