"""`SparseWeights`: a method that zeroes single weights of convolutions, which a processor can skip (im2col + CSR).

On a chip without support for zeros the network costs what it did; only budgets that it keeps as it is hold.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from hwflow.compression.decision import Choice, Decision
from hwflow.compression.method import Compressed, Method, Task
from hwflow.compression.winograd.zeros import MagnitudeZeros
from hwflow.errors import InputError
from hwflow.network.replica import replica

_PREFIX = "weights of "


class SparseWeights(Method):
    """Zeroes the weights of least magnitude of every convolution, a share that rises while the network is trained."""

    name = "sparse"
    about = "zeroes single weights of convolutions by magnitude, which a processor or a chip can skip"
    source = "Zhu and Gupta 2017, arXiv:1710.01878"
    needs = "zero weights skipped"
    follows_allocation = False
    ranks = False
    zeroes = True

    def prepare(self, task: Task) -> None:
        """Refuse networks without convolutions, budgets below the whole, and patience."""
        if task.recipe.patience is not None:
            raise InputError(
                f"patience is {task.recipe.patience}, but sparse changes which weights are zero while it trains: an earlier "
                "epoch is another network, not a better one. Leave patience out."
            )
        for budget in task.budgets:
            if budget.share < 1:
                raise InputError(
                    f"the budget {budget} cannot be reached: sparse leaves every layer its shape, and what zeros save is not "
                    "counted. Ask for no budget (--budget none)."
                )
        self._layers(task)

    def compress(self, task: Task) -> Compressed:
        """The network with zeros."""
        model, share = replica(task.model), task.settings.winograd.sparsity
        names = self._layers(task)
        tuning = task.fine_tune(model, hooks=[MagnitudeZeros(dict.fromkeys(names, share))])
        network = Compressed(model, {}).network(task.input_shape, task.name)
        choice: Choice = {}
        decisions = []
        for name in names:
            weight: torch.Tensor = model.get_submodule(name).weight
            kept, whole = int(torch.count_nonzero(weight)), weight.numel()
            rows = tuple(i for i, layer in enumerate(network) if layer.name.partition("#")[0] == name)
            choice[f"{_PREFIX}{name}"] = kept
            decisions.append(Decision(f"{_PREFIX}{name}", tuple(sorted({kept, whole})), rows))
        total, left = sum(one.options[-1] for one in decisions), sum(choice.values())
        zeros = ", ".join(f"{one.name.removeprefix(_PREFIX)} {1 - choice[one.name] / one.options[-1]:.1%}" for one in decisions)
        summary = {"Zeros": f"{1 - left / total:.1%} of {total:,} weights of convolutions; by layer {zeros}"}
        return Compressed(model, choice, tuple(decisions), tuning=tuning, summary=summary)

    def rebuild(self, model: nn.Module, input_shape: tuple[int, ...], plan: Mapping[str, int]) -> nn.Module:
        """The same structure."""
        return model

    @staticmethod
    def _layers(task: Task) -> list[str]:
        exclude = task.settings.exclude
        found = [
            name
            for name, module in task.model.named_modules()
            if isinstance(module, nn.Conv2d) and not any(name == one or name.startswith(f"{one}.") for one in exclude)
        ]
        if not found:
            raise InputError(f"{task.name} has no convolution left whose weights could be zeroed.")
        return found


__all__ = ["SparseWeights"]
