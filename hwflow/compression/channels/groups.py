"""`Group` and `Grouping`: what can be pruned of a network, as plain data, and the row sizes that follow from a plan.

A *plan* is the number of channels that each group keeps. A group's channels are removed in *units*: single channels, or, where
a grouped convolution or a group normalisation needs the same number in each of its groups, one channel of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from hwflow.errors import InputError, not_found
from hwflow.layers import Layer
from hwflow.network import Network, OtherOp

Widths = tuple[int, ...]
"""A plan as a tuple: channels kept of each group, in the groups' order."""


class Slot(NamedTuple):
    """Where a group's channels lie in one tensor of the model.

    `tensor` is the qualified name of a parameter or buffer, `size` its full length along `axis`; `positions` are unit by unit,
    equally many for each. `weighs` says whether its magnitude tells how important a channel is.
    """

    tensor: str
    axis: int
    size: int
    positions: tuple[int, ...]
    weighs: bool


class Count(NamedTuple):
    """A number that a module holds (`out_channels`, `num_features`): a unit less makes it smaller by `per_unit`."""

    module: str
    attribute: str
    per_unit: int


class Step(NamedTuple):
    """A unit of group `group` less makes `field` of row `row` smaller by `per_unit`."""

    row: int
    field: str
    group: int
    per_unit: int


@dataclass(frozen=True)
class Group:
    """Channels that can only be pruned together.

    Attributes:
        name: of the layer that makes them, the first to run where several do.
        channels: the full width.
        widths: what may be kept, ascending: multiples of the rounding from the floor on, and the full width.
        unit: channels that leave at once; `channels` is a multiple of it.
        producers, consumers: layers whose outputs, whose inputs they are, in order of execution.
        stream: whether an addition ties several producers together, as the sums of a residual network do.
    """

    name: str
    channels: int
    widths: tuple[int, ...]
    unit: int
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    stream: bool
    slots: tuple[Slot, ...]
    counts: tuple[Count, ...]

    @property
    def units(self) -> int:
        """Units of the full width."""
        return self.channels // self.unit


@dataclass(frozen=True)
class Grouping:
    """A network with its groups, in order of execution; holds no tensors.

    Attributes:
        network: the unpruned one.
        layer_steps, other_steps: how the sizes of `network.layers` and of `network.other` follow from the groups.
        left_out: channels that cannot or shall not be pruned, by the name that their group would have, and why.
        network_steps: how the number of parameters that no row reads follows from the groups.
        tensor_steps: how the sizes of `network.graph`'s tensors follow from them, a tensor being a row.
    """

    network: Network
    groups: tuple[Group, ...]
    layer_steps: tuple[Step, ...]
    other_steps: tuple[Step, ...]
    left_out: Mapping[str, str]
    network_steps: tuple[Step, ...] = ()
    tensor_steps: tuple[Step, ...] = ()

    def __getitem__(self, name: str) -> Group:
        for group in self.groups:
            if group.name == name:
                return group
        raise not_found(f"group of {self.network.name}", name, (group.name for group in self.groups))

    @cached_property
    def dependence(self) -> tuple[tuple[int, ...], ...]:
        """For each row the groups (by place) that its size depends on."""
        return tuple(tuple(sorted({step.group for step in steps})) for steps in self._layer_steps)

    def affected(self, group: str) -> tuple[str, ...]:
        """The rows whose size depends on a group, by name, in order of execution."""
        place = self.groups.index(self[group])
        return tuple(layer.name for layer, on in zip(self.network.layers, self.dependence, strict=True) if place in on)

    def widths_of(self, plan: Mapping[str, int]) -> Widths:
        """A plan as a tuple; a group that it does not name keeps its full width.

        Raises:
            InputError: for an unknown group or a width that it cannot have.
        """
        for name in plan:
            group = self[name] if name not in self._names else self.groups[self._names[name]]
            if plan[name] not in group.widths:
                raise InputError(
                    f"the plan keeps {plan[name]!r} channels of {name!r}; allowed: {', '.join(map(str, group.widths))}."
                )
        return tuple(plan.get(group.name, group.channels) for group in self.groups)

    def layer_for(self, row: int, widths: Widths) -> Layer:
        """One row of the pruned network."""
        key = (row, *(widths[g] for g in self.dependence[row]))
        made = self._made.get(key)
        if made is None:
            layer = self.network.layers[row]
            made = self._made[key] = layer.with_(**self._resized(layer, self._layer_steps[row], widths))
        return made

    def network_for(self, plan: Mapping[str, int]) -> Network:
        """The network that `prune_model` gives for a plan, as importing it anew would: rows and operators that are not counted.

        Raises:
            InputError: for an unknown group or a width that it cannot have.
        """
        widths = self.widths_of(plan)
        layers = tuple(self.layer_for(row, widths) for row in range(len(self.network.layers)))
        other: list[OtherOp] = list(self.network.other)
        for row, steps in self._other_steps:
            other[row] = other[row]._replace(**self._resized(other[row], steps, widths))
        unread = self._resized(self.network, self.network_steps, widths).get("params_unread", self.network.params_unread)
        graph = self.network.graph
        if graph is not None:
            words = list(graph.words)
            for step in self.tensor_steps:
                words[step.row] -= step.per_unit * self._removed(step.group, widths)
            graph = replace(graph, words=tuple(words))
        return Network(self.network.name, layers, tuple(other), unread, graph=graph)

    def _removed(self, group: int, widths: Widths) -> int:
        """Units of a group that a plan removes."""
        return (self.groups[group].channels - widths[group]) // self.groups[group].unit

    def _resized(self, item: Layer | OtherOp | Network, steps: tuple[Step, ...], widths: Widths) -> dict[str, Any]:
        sizes: dict[str, Any] = {}
        for step in steps:
            if removed := self._removed(step.group, widths):
                sizes[step.field] = sizes.get(step.field, getattr(item, step.field)) - step.per_unit * removed
        return sizes

    # Derived, for speed: a search asks for thousands of plans ----------------------------------------------------------

    @cached_property
    def _names(self) -> dict[str, int]:
        return {group.name: place for place, group in enumerate(self.groups)}

    @cached_property
    def _made(self) -> dict[tuple[int, ...], Layer]:
        return {}

    @cached_property
    def _layer_steps(self) -> tuple[tuple[Step, ...], ...]:
        by_row: list[list[Step]] = [[] for _ in self.network.layers]
        for step in self.layer_steps:
            by_row[step.row].append(step)
        return tuple(map(tuple, by_row))

    @cached_property
    def _other_steps(self) -> tuple[tuple[int, tuple[Step, ...]], ...]:
        by_row: dict[int, list[Step]] = {}
        for step in self.other_steps:
            by_row.setdefault(step.row, []).append(step)
        return tuple((row, tuple(steps)) for row, steps in by_row.items())


__all__ = ["Count", "Group", "Grouping", "Slot", "Step", "Widths"]
