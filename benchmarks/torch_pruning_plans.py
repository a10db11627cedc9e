"""Plans by torch-pruning's own importances: one share of channels for the network, bisected to the budgets.

torch-pruning ranks all channels together (`global_pruning`) and leaves residual streams whole, which it does not follow through
the zeros that CIFAR's ResNets pad their shortcuts with. Nothing is measured for these plans.
"""

from __future__ import annotations

import warnings

import torch
import torch_pruning as tp
from torch import nn

from hwflow.compression.channels.groups import Group
from hwflow.compression.search.environment import PruningEnv
from hwflow.network.replica import replica

IMPORTANCES = {
    "tp-lamp": lambda: tp.importance.LAMPImportance(p=2),
    "tp-l1": lambda: tp.importance.MagnitudeImportance(p=1),
    "tp-group-l2": lambda: tp.importance.GroupMagnitudeImportance(p=2),
}
PARTS = 200


def cut_plan(
    title: str, env: PruningEnv, model: nn.Module, input_shape: tuple[int, ...], round_to: int
) -> dict[str, int] | None:
    """The widths of the largest network that torch-pruning leaves within the budgets; None where it reaches none.

    Args:
        title: one of `IMPORTANCES`.
        env: the groups, their costs and the budgets; groups that write to a residual stream keep all their channels.
        input_shape: (N, C, H, W).
        round_to: channels are removed in multiples of it.
    """
    groups = [group for group in env.costs.groups if isinstance(group, Group)]
    alone = {group.name: group.producers[0] for group in groups if len(group.producers) == 1}
    full = {group.name: group.channels for group in groups}
    known = set(alone.values())

    def cut(parts: int) -> dict[str, int]:
        small = replica(model)
        layers = (nn.modules.conv._ConvNd, nn.Linear)
        ignored = [module for name, module in small.named_modules() if isinstance(module, layers) and name not in known]
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            pruner = tp.pruner.BasePruner(
                small,
                torch.zeros(2, *input_shape[1:]),
                importance=IMPORTANCES[title](),
                global_pruning=True,
                pruning_ratio=parts / PARTS,
                max_pruning_ratio=0.875,
                ignored_layers=ignored,
                round_to=round_to,
            )
            pruner.step()
        widths = {name: small.get_submodule(producer).weight.shape[0] for name, producer in alone.items()}
        return full | widths

    # From below: torch-pruning leaves a layer whole of which its rounding would leave nothing, so that costs rise again.
    return next((plan for plan in map(cut, range(1, PARTS)) if env.affordable(plan)), None)


__all__ = ["IMPORTANCES", "cut_plan"]
