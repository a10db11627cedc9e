"""Pruned copies of a model: the ranking of channels by importance, and tensors cut to those that are kept."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from hwflow.compression.channels.criteria import Criterion, scores
from hwflow.compression.channels.grouped_tensors import check_grouped, tensors_of
from hwflow.compression.channels.groups import Group, Grouping
from hwflow.compression.channels.narrow_attention import narrowed
from hwflow.datasets.samples import Samples
from hwflow.errors import InputError
from hwflow.network.from_torch import unwrapped
from hwflow.network.replica import replica

Ranking = Mapping[str, Sequence[int]]
"""For each group its units, the most important first."""


def rank_channels(
    model: nn.Module, grouping: Grouping, criterion: str | Criterion = "l1", samples: Samples | None = None, *, seed: int = 0
) -> dict[str, tuple[int, ...]]:
    """Order every group's units by importance; equally important ones keep their order.

    Args:
        criterion: as for `hwflow.compression.channels.criteria.scores`, whose other arguments and errors these are, too.
    """
    found = scores(model, grouping, criterion, samples, seed=seed)
    return {name: _ranked(values) for name, values in found.items()}


def _ranked(values: Sequence[float]) -> tuple[int, ...]:
    return tuple(sorted(range(len(values)), key=lambda unit: -values[unit]))


def prune_model(model: nn.Module, grouping: Grouping, plan: Mapping[str, int], *, ranking: Ranking | None = None) -> nn.Module:
    """A smaller copy that keeps the most important channels of each group; the given model stays as it is.

    What is kept at a width is kept at every larger one. Mode, devices and `requires_grad` are the model's; gradients are not
    copied.

    Args:
        grouping: of this model, from `find_groups`.
        plan: channels to keep by group; groups left out keep all.
        ranking: from `rank_channels`, worked out once for many plans; by default of this model by `l1`.

    Raises:
        InputError: for an unknown group, a width that it cannot have, a ranking that does not rank all units of a group, or a
            model that is not the one that was grouped.
    """
    model = unwrapped(model)
    widths = dict(zip(grouping.groups, grouping.widths_of(plan), strict=True))
    ranking = rank_channels(model, grouping) if ranking is None else ranking
    cuts = []
    for group, width in widths.items():
        cuts.append((group, ranked(group, ranking)[width // group.unit :]))
    return shrunk(model, cuts)


def ranked(group: Group, ranking: Ranking) -> Sequence[int]:
    """The units of a group by a ranking.

    Raises:
        InputError: where it does not rank all of them.
    """
    order = ranking.get(group.name, ())
    if len(order) != group.units or set(order) != set(range(group.units)):
        raise InputError(f"the ranking of {group.name!r} is no order of its {group.units} units; take it from rank_channels.")
    return order


def shrunk(model: nn.Module, cuts: Iterable[tuple[Group, Collection[int]]]) -> nn.Module:
    """A copy without the given units of each group."""
    cuts = [(group, units) for group, units in cuts if units]
    tensors = tensors_of(model)
    check_grouped(model, tensors, (group for group, _ in cuts))
    removed: dict[str, dict[int, set[int]]] = {}
    numbers: dict[tuple[str, str], int] = {}
    for group, units in cuts:
        for slot in group.slots:
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
        narrowed(module)
    return smaller


def _cut(tensor: torch.Tensor, removed: Mapping[int, set[int]]) -> torch.Tensor:
    data = tensor.detach()
    for axis, gone in removed.items():
        kept = [p for p in range(data.shape[axis]) if p not in gone]
        data = data.index_select(axis, torch.tensor(kept, device=data.device))
    data = data if removed else data.clone()
    return nn.Parameter(data, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else data


__all__ = ["Ranking", "prune_model", "rank_channels", "ranked", "shrunk"]
