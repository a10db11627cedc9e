"""`SparseWeights`: a method that zeroes single weights of convolutions, which a processor can skip (im2col + CSR).

On a chip without support for zeros the network costs what it did; only budgets that it keeps as it is hold. One that does
something about zeros (`sparsity`) is costed with those of each layer.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from hwflow.compression.decision import Choice, Decision
from hwflow.compression.method import Compressed, Method, Task, running
from hwflow.compression.winograd.zeros import MagnitudeZeros
from hwflow.compression.zero_budgets import check_zero_budgets, counts_zeros
from hwflow.errors import InputError
from hwflow.network.densities import living_densities
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
        """Refuse networks without convolutions, budgets that their zeros will not keep, and patience."""
        if task.recipe.patience is not None:
            raise InputError(
                f"patience is {task.recipe.patience}, but sparse changes which weights are zero while it trains: an earlier "
                "epoch is another network, not a better one. Leave patience out."
            )
        names = self._layers(task)
        if any(budget.share < 1 for budget in task.budgets):
            network = Compressed(task.model, {}).network(task.input_shape, task.name)
            if counts_zeros(task):
                left = {"weights": 1 - task.settings.winograd.sparsity}
                network = running(network, {}, {}, dict.fromkeys(names, left))
            check_zero_budgets(task, network, "the layers")

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
        densities = living_densities(model)
        return Compressed(model, choice, tuple(decisions), tuning=tuning, densities=densities, summary=summary)

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
