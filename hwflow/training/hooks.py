"""`TrainingHook`: the points at which a method takes part in the training loop.

    start(model, steps)         once, before the first step, also where a run goes on from a checkpoint
    loss(batch, loss)           the loss that is differentiated
    before_step(step)           gradients are there, the optimizer has not moved yet
    after_step(step)            it has
    after_epoch(epoch)          before the network is judged and the checkpoint is written
    finish(model)               once, when the network has the weights that are kept

A hook subclasses the Protocol to inherit what does nothing, and writes what it needs. `tests/conformance` judges every hook.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwflow.network.replica import replica
from hwflow.training.checkpoint import digest
from hwflow.training.score import first_output


class Batch(NamedTuple):
    """One step's samples and what the network made of them.

    Attributes:
        images: [sample, channel, height, width].
        logits: float32, [sample, class] or [sample, class, height, width]; auxiliary outputs are left out.
        labels: [sample] or [sample, height, width].
    """

    images: Tensor
    logits: Tensor
    labels: Tensor


class TrainingHook(Protocol):
    """Called by `hwflow.training.fit`; every method does nothing by default."""

    changes_sparsity: bool = False
    """Whether which weights are zero still changes while the network is trained: then the best epoch cannot be told from the
    others by its accuracy, and `patience` is refused."""

    def start(self, model: nn.Module, steps: int) -> None:
        """The network, on the device where it is trained, and how many steps there are in all."""
        return

    def loss(self, batch: Batch, loss: Tensor) -> Tensor:
        """The loss to differentiate, from the task's (or from what the hook before made of it)."""
        return loss

    def before_step(self, step: int) -> None:
        """Step `step`, counted from 0 over all epochs, is about to be taken: `parameter.grad` may be changed."""
        return

    def after_step(self, step: int) -> None:
        """Step `step` was taken: parameters may be changed."""
        return

    def after_epoch(self, epoch: int) -> None:
        """Epoch `epoch`, counted from 1, is over."""
        return

    def finish(self, model: nn.Module) -> None:
        """The training is over."""
        return

    def identity(self) -> Mapping[str, str]:
        """What must be equal for a checkpoint to be this training's: words for the error, and a text to compare. By default the
        class and, of a dataclass, its fields."""
        name = type(self).__name__
        return {f"the hook {name}": name if type(self).__repr__ is object.__repr__ else repr(self)}

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain data that a continued run needs; written into the checkpoint."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What `state_dict` gave; called after `start`."""
        return


@dataclass
class Distillation(TrainingHook):
    """The divergence from a teacher's logits, mixed into the loss (Hinton et al. 2015, arXiv:1503.02531).

    Attributes:
        teacher: a trained network; it is copied.
        weight: its share of the loss, above 0 and at most 1; the labels have the rest.
        temperature: divides both networks' logits before they are compared.
    """

    teacher: nn.Module
    weight: float
    temperature: float

    def start(self, model: nn.Module, steps: int) -> None:
        """Copy the teacher to the network's device."""
        device = next(model.parameters()).device
        self._teacher = replica(self.teacher).to(device).eval()

    def loss(self, batch: Batch, loss: Tensor) -> Tensor:
        """(1 - weight) times the loss, plus weight times temperature^2 times the divergence."""
        with torch.no_grad():
            wanted = functional.log_softmax(first_output(self._teacher(batch.images)).float() / self.temperature, dim=1)
        found = functional.log_softmax(batch.logits / self.temperature, dim=1)
        apart = (wanted.exp() * (wanted - found)).sum(1).mean() * self.temperature**2
        return (1 - self.weight) * loss + self.weight * apart

    def identity(self) -> Mapping[str, str]:
        """The teacher; weight and temperature are part of the recipe."""
        return {"the teacher": digest(self.teacher)}


def identity_of(hooks: Sequence[TrainingHook]) -> dict[str, str]:
    """What a checkpoint must agree with, of all hooks; of two of a kind the second is numbered."""
    found: dict[str, str] = {}
    for hook in hooks:
        for words, value in hook.identity().items():
            number = sum(known == words or known.startswith(f"{words} (") for known in found)
            found[f"{words} ({number + 1})" if number else words] = value
    return found


__all__ = ["Batch", "Distillation", "TrainingHook", "identity_of"]
