"""Pruned copies of a model: the ranking of channels by importance, and tensors cut to those that are kept.

The importance of a channel is the magnitude of all parameters that are coupled with it (Fang et al., "DepGraph", CVPR 2023,
arXiv:2301.12900, section 3.3), without the normalisation used there, which does not change the order. For a single convolution
it is the norm of its filters (Li et al., ICLR 2017, arXiv:1608.08710).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import nn

from hwflow.compression.channels.groups import Group, Grouping, Slot
from hwflow.errors import InputError, not_found
from hwflow.network.from_torch import unwrapped
from hwflow.network.replica import replica

Norm = Literal["l1", "l2"]
Ranking = Mapping[str, Sequence[int]]
"""For each group its units, the most important first."""


def rank_channels(model: nn.Module, grouping: Grouping, norm: Norm = "l1") -> dict[str, tuple[int, ...]]:
    """Order every group's units by the magnitude of their weights, summed over all coupled layers; equal ones keep their order.

    Weights are those of convolutions and linear layers, on the side of their outputs and of their inputs, and the scales of
    normalisations: the sum of absolute values (`l1`) or of squares (`l2`).

    Raises:
        InputError: for an unknown norm, or where the model is not the one that was grouped.
    """
    if norm not in get_args(Norm):
        raise not_found("norm", norm, get_args(Norm))
    model = unwrapped(model)
    tensors = _tensors(model)
    for slot in (slot for group in grouping.groups for slot in group.slots):
        _check(model, tensors, slot)
    return {group.name: _ranked(group, tensors, 1 if norm == "l1" else 2) for group in grouping.groups}


def prune_model(model: nn.Module, grouping: Grouping, plan: Mapping[str, int], *, ranking: Ranking | None = None) -> nn.Module:
    """A smaller copy that keeps the most important channels of each group; the given model stays as it is.

    What is kept at a width is kept at every larger one. Mode, devices and `requires_grad` are the model's; gradients are not
    copied.

    Args:
        grouping: of this model, from `find_groups`.
        plan: channels to keep by group; groups left out keep all.
        ranking: from `rank_channels`, worked out once for many plans; by default of this model's `l1` norms.

    Raises:
        InputError: for an unknown group, a width that it cannot have, a ranking that does not rank all units of a group, or a
            model that is not the one that was grouped.
    """
    model = unwrapped(model)
    widths = dict(zip(grouping.groups, grouping.widths_of(plan), strict=True))
    ranking = rank_channels(model, grouping) if ranking is None else ranking
    cuts = []
    for group, width in widths.items():
        order = ranking.get(group.name, ())
        if len(order) != group.units or set(order) != set(range(group.units)):
            raise InputError(
                f"the ranking of {group.name!r} is no order of its {group.units} units; take it from rank_channels."
            )
        cuts.append((group, order[width // group.unit :]))
    return shrunk(model, cuts)


def shrunk(model: nn.Module, cuts: Iterable[tuple[Group, Collection[int]]]) -> nn.Module:
    """A copy without the given units of each group."""
    tensors = _tensors(model)
    removed: dict[str, dict[int, set[int]]] = {}
    numbers: dict[tuple[str, str], int] = {}
    for group, units in cuts:
        if not units:
            continue
        for slot in group.slots:
            _check(model, tensors, slot)
            each = len(slot.positions) // group.units
            gone = removed.setdefault(slot.tensor, {}).setdefault(slot.axis, set())
            gone.update(p for u in units for p in slot.positions[u * each : (u + 1) * each])
        for count in group.counts:
            key = (count.module, count.attribute)
            numbers[key] = numbers.get(key, 0) + count.per_unit * len(units)
    # What deepcopy finds in its memo it takes for copied already: wherever the model holds a tensor, the cut one appears.
    memo: dict[int, Any] = {id(tensor): _cut(tensor, removed.get(name, {})) for name, tensor in tensors.items()}
    smaller = replica(model, memo)
    for (name, attribute), less in numbers.items():
        module = smaller.get_submodule(name)
        before = getattr(module, attribute)
        after = (*before[:-1], before[-1] - less) if isinstance(before, tuple) else before - less
        setattr(module, attribute, after)
    return smaller


def _cut(tensor: torch.Tensor, removed: Mapping[int, set[int]]) -> torch.Tensor:
    data = tensor.detach()
    for axis, gone in removed.items():
        kept = [p for p in range(data.shape[axis]) if p not in gone]
        data = data.index_select(axis, torch.tensor(kept, device=data.device))
    data = data if removed else data.clone()
    return nn.Parameter(data, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else data


def _ranked(group: Group, tensors: Mapping[str, torch.Tensor], power: int) -> tuple[int, ...]:
    total = torch.zeros(group.units, dtype=torch.float64)
    for slot in group.slots:
        if slot.weighs:
            values = tensors[slot.tensor].detach()
            others = [axis for axis in range(values.dim()) if axis != slot.axis]
            sums = values.abs().pow(power).double()
            sums = sums.sum(others) if others else sums
            total += sums.cpu()[torch.tensor(slot.positions)].view(group.units, -1).sum(1)
    return tuple(torch.sort(total, descending=True, stable=True).indices.tolist())


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _check(model: nn.Module, tensors: Mapping[str, torch.Tensor], slot: Slot) -> None:
    name, axis, size = slot[:3]
    if name not in tensors or tensors[name].dim() <= axis or tensors[name].shape[axis] != size:
        found = f"is {tuple(tensors[name].shape)}" if name in tensors else "does not exist"
        raise InputError(
            f"this {type(model).__name__} is not the model that was grouped: its {name!r} {found}; expected were {size} "
            f"elements along axis {axis}. Call find_groups on it."
        )


__all__ = ["Norm", "Ranking", "prune_model", "rank_channels", "shrunk"]
