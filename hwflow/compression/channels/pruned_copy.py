"""`PrunedCopy`: one copy of a model that is cut to one plan after another, for measuring many plans."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import nn

from hwflow.compression.channels.grouped_tensors import check_grouped, tensors_of
from hwflow.compression.channels.groups import Group, Grouping
from hwflow.compression.channels.narrow_attention import narrowed
from hwflow.compression.channels.surgery import Ranking, ranked
from hwflow.network.from_torch import unwrapped
from hwflow.network.replica import replica


class PrunedCopy:
    """What `prune_model` gives for any number of plans, without copying the model's modules for each.

    Only tensors are made anew, and modules get the attributes back that they had. For a network that is to be kept, take
    `prune_model`.

    Args:
        model: is not changed, and must not change as long as this is used.
        grouping: of this model, from `find_groups`.
        ranking: from `rank_channels`.

    Raises:
        InputError: for a ranking that does not rank all units of a group, or a model that is not the one that was grouped.
    """

    def __init__(self, model: nn.Module, grouping: Grouping, ranking: Ranking) -> None:
        model = unwrapped(model)
        self._grouping = grouping
        self._order = [ranked(group, ranking) for group in grouping.groups]
        self._tensors = tensors_of(model)
        check_grouped(model, self._tensors, grouping.groups)
        self._model = replica(model)
        self._copies = tensors_of(self._model)
        self._attributes = {name: (type(m), dict(vars(m))) for name, m in self._model.named_modules()}
        self._axes: dict[str, dict[int, list[tuple[int, tuple[int, ...]]]]] = {}
        for number, group in enumerate(grouping.groups):
            for slot in group.slots:
                self._axes.setdefault(slot.tensor, {}).setdefault(slot.axis, []).append((number, slot.positions))
        self._kept = cache(self._positions)

    def cut(self, plan: Mapping[str, int]) -> nn.Module:
        """The model cut to a plan, with tensors of its own: the same object at every call, valid until the next one.

        Raises:
            InputError: for an unknown group, or a width that it cannot have.
        """
        widths = self._grouping.widths_of(plan)
        for name, module in self._model.named_modules():
            kind, attributes = self._attributes[name]
            module.__class__ = kind
            vars(module).clear()
            vars(module).update(attributes)
        for name, tensor in self._tensors.items():
            data = tensor.detach()
            for axis, parts in self._axes.get(name, {}).items():
                kept = self._kept(name, axis, tuple(widths[number] for number, _ in parts))
                data = data if kept is None else data.index_select(axis, kept)
            copy = self._copies[name]
            copy.grad, copy.data = None, data.clone() if data.data_ptr() == tensor.data_ptr() else data
        for group, width in zip(self._grouping.groups, widths, strict=True):
            self._count(group, group.units - width // group.unit)
        return self._model

    def _positions(self, name: str, axis: int, widths: tuple[int, ...]) -> torch.Tensor | None:
        """Those that stay of a tensor's axis; None where all do."""
        tensor, gone = self._tensors[name], set[int]()
        for (number, positions), width in zip(self._axes[name][axis], widths, strict=True):
            group = self._grouping.groups[number]
            each = len(positions) // group.units
            for unit in self._order[number][width // group.unit :]:
                gone.update(positions[unit * each : (unit + 1) * each])
        if not gone:
            return None
        return torch.tensor([p for p in range(tensor.shape[axis]) if p not in gone], device=tensor.device)

    def _count(self, group: Group, removed: int) -> None:
        """Lower the numbers that modules hold."""
        for count in group.counts if removed else ():
            module: Any = self._model.get_submodule(count.module)
            before, less = getattr(module, count.attribute), count.per_unit * removed
            setattr(module, count.attribute, (*before[:-1], before[-1] - less) if isinstance(before, tuple) else before - less)
            narrowed(module)


__all__ = ["PrunedCopy"]
