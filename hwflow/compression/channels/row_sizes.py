"""How the sizes of a network's rows depend on its groups, measured by trial pruning and a new import.

Every size decreases by a fixed amount per unit that a group loses. A few trials prune all groups at once, with numbers of units
chosen so that the decrease of a size identifies the groups that it depends on. Where that is ambiguous, each group is pruned
alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from hwflow.compression.channels.groups import Group, Grouping, Step
from hwflow.compression.channels.surgery import shrunk
from hwflow.errors import HwflowError
from hwflow.layers import DIMS, Layer
from hwflow.network import Network, OtherOp
from hwflow.network.from_torch import examples_of, filled, trace
from hwflow.network.graph import Graph
from hwflow.network.replica import replica

_FIELDS = (*DIMS, "params_other")
_OTHER_FIELDS = ("words_in", "words_out", "params")
_CROOKED = "the sizes of rows do not follow from its width in a straight line"

Key = tuple[str, int, str]
"""Layers, other, network or tensors, row, field."""
Sizes = dict[Key, int]
Vector = tuple[int, ...]
"""A number for each trial."""


class Trial:
    """Prunes a model on trial; what it learns of each group it keeps.

    Args:
        bare: a copy of the model, with or without data.
        network: its rows.
    """

    def __init__(self, bare: nn.Module, input_shape: Any, network: Network) -> None:
        self._bare, self._input_shape, self._network = bare, input_shape, network
        self._slopes: dict[str, Sizes] = {}
        self._sound: set[str] = set()
        self._flows = network.graph is not None  # whether the sizes of its tensors follow from the groups, as far as is known
        self._trains = not self._training_fault(bare)

    def measure(self, groups: Sequence[Group]) -> dict[str, str]:
        """Learn how the rows depend on each group; by name, why a group cannot be pruned."""
        if self._measure_at_once(groups) and not self._fault(groups):
            return {}
        self._slopes = {}
        refused = {}
        for group in groups:
            units = group.units - group.widths[0] // group.unit
            try:
                less = self._lost(self._pruned([(group, units)]))
            except HwflowError as error:
                refused[group.name] = (
                    f"pruned to {group.widths[0]} of {group.channels} channels the model does not run: {_why(error)}"
                )
                continue
            if less is not None and any(number % units for key, number in less.items() if key[0] == "tensors"):
                self._flows, less = False, {key: number for key, number in less.items() if key[0] != "tensors"}
            if less is None or any(number % units for number in less.values()):
                refused[group.name] = _CROOKED
            else:
                self._slopes[group.name] = {key: number // units for key, number in less.items()}
        return refused

    def together(self, groups: Sequence[Group]) -> dict[str, str]:
        """Prune all groups at once; where that fails, the groups without which it does not, and why."""
        if not self._fault(groups):
            return {}
        kept: list[Group] = []
        refused = {}
        for group in groups:
            if fault := self._fault([*kept, group]):
                refused[group.name] = fault
            else:
                kept.append(group)
        return refused

    def grouping(self, groups: Sequence[Group], left_out: Mapping[str, str]) -> Grouping:
        """What was learnt, as plain data."""
        steps: dict[str, list[Step]] = {"layers": [], "other": [], "network": [], "tensors": []}
        for place, group in enumerate(groups):
            for (part, row, field), per_unit in self._slopes[group.name].items():
                steps[part].append(Step(row, field, place, per_unit))
        layers, other, network, tensors = (tuple(found) for found in steps.values())
        whole = self._network if self._flows else replace(self._network, graph=None)
        return Grouping(whole, tuple(groups), layers, other, left_out, network, tensors if self._flows else ())

    # Runs ------------------------------------------------------------------------------------------------------------

    def _measure_at_once(self, groups: Sequence[Group]) -> bool:
        """Whether every size that changes is explained by one group, or by groups whose channels lie in one tensor."""
        removed = _telling(groups)
        if removed is None:
            return False
        slopes: dict[str, Sizes] = {group.name: {} for group in groups}
        losses: list[Sizes] = []
        for trial in zip(*removed, strict=True):
            try:
                less = self._lost(self._pruned(zip(groups, trial, strict=True)))
            except HwflowError:
                return False
            if less is None:
                return False
            losses.append(less)
        causes = _causes(groups, removed)
        for key in dict.fromkeys(key for less in losses for key in less):
            lost = tuple(less.get(key, 0) for less in losses)
            for place, per_unit in _shares(lost, causes):
                slopes[groups[place].name][key] = per_unit
            if sum(slopes[g.name].get(key, 0) * r[0] for g, r in zip(groups, removed, strict=True)) != lost[0]:
                return False
        self._slopes = slopes
        return True

    def _pruned(self, cuts: Iterable[tuple[Group, int]]) -> Network:
        """The network with so many units of each group less."""
        return trace(self._cut(cuts), self._input_shape, name=self._network.name)

    def _lost(self, smaller: Network) -> Sizes | None:
        """As `_differences`, with the tensors of the graph as long as these can be followed."""
        less = _differences(self._network, smaller)
        if less is None or not self._flows or self._network.graph is None:
            return less
        tensors = _resized(self._network.graph, smaller.graph)
        self._flows = tensors is not None
        return less | (tensors or {})

    def _cut(self, cuts: Iterable[tuple[Group, int]]) -> nn.Module:
        return shrunk(self._bare, [(group, range(group.units - less, group.units)) for group, less in cuts])

    def _fault(self, groups: Sequence[Group]) -> str:
        """What is wrong with pruning these groups, all to the least and each to some width; empty where nothing is."""
        names = {group.name for group in groups}
        if names <= self._sound:
            return ""
        grouping = self.grouping(groups, {})
        chosen = random.Random(0)
        least = {g.name: g.widths[0] for g in groups}
        between = {g.name: chosen.choice(g.widths[1:-1] or g.widths) for g in groups}  # where a curve leaves the line
        for plan in (least, between):
            smaller = self._cut([(g, (g.channels - plan[g.name]) // g.unit) for g in groups])
            try:
                real = trace(smaller, self._input_shape, name=self._network.name)
            except HwflowError as error:
                return f"pruned together with others the model does not run: {_why(error)}"
            said = grouping.network_for(plan)
            if _differences(said, real) != {}:
                return _CROOKED
            if self._flows and (said.graph is None or _resized(said.graph, real.graph) != {}):
                self._flows = False  # a product of two groups' widths, or a network that runs otherwise when it is pruned
            if self._trains and (fault := self._training_fault(smaller)):
                return f"pruned, the model does not run in training mode: {fault}"
        self._sound = names
        return ""

    def _training_fault(self, model: nn.Module) -> str:
        """Why a model does not run in training mode, on two samples at least; empty where it does."""
        model = replica(model).train()
        examples = [x if isinstance(x, torch.Tensor) else (max(x[0], 2), *x[1:]) for x in examples_of(self._input_shape)]
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                model(*(filled(x, model) for x in examples))
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return ""


def _why(error: HwflowError) -> str:
    """What went wrong, without the advice for those who give the wrong input shape."""
    return str(error).partition(" Check the input shape")[0]


# Which group a loss comes from ---------------------------------------------------------------------------------------


def _telling(groups: Sequence[Group]) -> list[Vector] | None:
    """Units of each group to remove in each trial, so that whatever may cause a loss has a direction of its own."""
    numbers = random.Random(0)
    for trials in (2, 2, 3, 3, 4):
        removed = [tuple(numbers.randrange(group.units) for _ in range(trials)) for group in groups]
        taken: set[Vector] = set()
        for place, group in enumerate(groups):
            for _ in range(100):
                if any(removed[place]) and _direction(removed[place]) not in taken:
                    break
                removed[place] = tuple(numbers.randrange(group.units) for _ in range(trials))
            taken.add(_direction(removed[place]))
        if all(map(any, removed)) and len(_causes(groups, removed)) == len(groups) + len(_tied(groups)):
            return removed
    return None


def _causes(groups: Sequence[Group], removed: Sequence[Vector]) -> dict[Vector, tuple[Vector, dict[int, int]]]:
    """By direction, what may make a size smaller: the channels lost in each trial, and how many a unit of each group holds."""
    single = [(place,) for place in range(len(groups))]
    causes: dict[Vector, tuple[Vector, dict[int, int]]] = {}
    for places in (*single, *_tied(groups)):
        channels = {place: groups[place].unit for place in places} if len(places) > 1 else {places[0]: 1}
        lost = tuple(sum(n * removed[place][t] for place, n in channels.items()) for t in range(len(removed[0])))
        causes.setdefault(_direction(lost), (lost, channels))
    return causes


def _tied(groups: Sequence[Group]) -> list[tuple[int, ...]]:
    """The sets of groups whose channels lie along one axis of a tensor, as concatenation puts them."""
    found: dict[tuple[str, int], list[int]] = {}
    for place, group in enumerate(groups):
        for slot in group.slots:
            found.setdefault((slot.tensor, slot.axis), []).append(place)
    return list(dict.fromkeys(tuple(places) for places in found.values() if len(places) > 1))


def _shares(lost: Vector, causes: Mapping[Vector, tuple[Vector, dict[int, int]]]) -> list[tuple[int, int]]:
    """For each group that a loss comes from the loss per unit; nothing where no cause explains it in whole numbers."""
    whole, channels = causes.get(_direction(lost), ((), {}))
    for a, b in zip(lost, whole, strict=False):
        if b:
            return [(place, n * a // b) for place, n in channels.items() if a % b == 0]
    return []


def _direction(vector: Vector) -> Vector:
    divisor = math.gcd(*vector) or 1
    return tuple(n // divisor for n in vector)


# Comparison ----------------------------------------------------------------------------------------------------------


def _differences(whole: Network, smaller: Network) -> Sizes | None:
    """By how much each number of the rows is smaller, where it is; None where more than sizes differ."""
    if len(whole.layers) != len(smaller.layers) or len(whole.other) != len(smaller.other):
        return None
    found: Sizes = {}
    for part, fields in (("layers", _FIELDS), ("other", _OTHER_FIELDS)):
        for row, (a, b) in enumerate(zip(getattr(whole, part), getattr(smaller, part), strict=True)):
            if _kind(a) != _kind(b):
                return None
            for field in fields:
                if less := getattr(a, field) - getattr(b, field):
                    found[part, row, field] = less
    if less := whole.params_unread - smaller.params_unread:
        found["network", 0, "params_unread"] = less
    return found


def _resized(whole: Graph, smaller: Graph | None) -> Sizes | None:
    """By how much each tensor is smaller, where it is; None where the data does not flow in the same way."""
    if smaller is None or replace(smaller, words=whole.words) != whole:
        return None
    sizes = enumerate(zip(whole.words, smaller.words, strict=True))
    return {("tensors", place, "words"): a - b for place, (a, b) in sizes if a != b}


def _kind(item: Layer | OtherOp) -> tuple[object, ...]:
    """What pruning must not change of a row."""
    if isinstance(item, OtherOp):
        return (item.name, item.type)
    return (item.name, item.type, item.strides, item.dilations, item.bits, item.shared)


__all__ = ["Trial"]
