# mypy: allow-untyped-decorators
"""`Units`: what is removed at once, as views on the tensors of a model, for methods that act while the network is trained.

`Channels` gives the units of a grouping: a channel (or `Group.unit` of them) with all that belongs to it. `Columns` gives the
columns of a convolution's matrix: one weight of every filter, at the same input channel and the same place of the kernel, so
that the matrix product that the convolution is run as (im2col) has an input less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from hwflow.compression.channels.groups import Group, Grouping, Slot
from hwflow.errors import InputError, not_found
from hwflow.network.from_torch import unwrapped

Part = Literal["filters", "outputs", "coupled"]
"""Which tensors of a channel: `filters` are the weights that compute it; `outputs` adds their bias and the scale and shift of
normalisations, so that a channel whose `outputs` are zero is zero; `coupled` adds the weights that read it."""


class Units(Protocol):
    """Units that are ranked with one another: those of a group of channels, or the columns of one convolution."""

    name: str
    count: int

    def values(self) -> Tensor:
        """[count, elements]: a copy of each unit's elements, on the model's device."""

    def scale_(self, factor: Tensor) -> None:
        """Multiply each unit by its factor, [count]; a factor of 1 changes no bit."""

    def decay_grad_(self, coefficient: Tensor) -> None:
        """Add the gradient of coefficient / 2 times the squared norm of each unit, [count]."""

    def gate_grad_(self, keep: Tensor) -> None:
        """Multiply the gradients of each unit by `keep`, [count]: 0 where they shall not move it."""


class UnitSource(Protocol):
    """Finds the units of a model."""

    def units(self, model: nn.Module, part: Part) -> dict[str, Units]:
        """The units of this model by name."""


class _View(NamedTuple):
    """The elements of a parameter that belong to units: whole slices along `axis`."""

    parameter: nn.Parameter
    axis: int
    positions: Tensor  # unit by unit, equally many for each

    def spread(self, per_unit: Tensor, rest: float) -> Tensor:
        """One number for each slice along the axis, to be broadcast: its unit's, or `rest`."""
        each = len(self.positions) // len(per_unit)
        line = torch.full((self.parameter.shape[self.axis],), rest, dtype=self.parameter.dtype, device=self.parameter.device)
        line[self.positions] = per_unit.to(line).repeat_interleave(each)
        shape = [1] * self.parameter.dim()
        shape[self.axis] = -1
        return line.view(shape)


class ChannelUnits:
    """Units of a group of channels.

    Args:
        model: the one that was grouped; the units are views on its parameters.
        part: see `Part`.

    Raises:
        InputError: where the model is not the one that was grouped.
    """

    def __init__(self, model: nn.Module, group: Group, part: Part = "coupled") -> None:
        self.name, self.count = group.name, group.units
        model = unwrapped(model)
        parameters = dict(model.named_parameters())
        self._views = []
        for slot in {(slot.tensor, slot.axis): slot for slot in group.slots}.values():
            found = parameters.get(slot.tensor)
            if found is None:  # a running statistic: where scale and shift are zero it makes no difference
                continue
            if found.dim() <= slot.axis or found.shape[slot.axis] != slot.size:
                raise InputError(
                    f"this {type(model).__name__} is not the model that was grouped: its {slot.tensor!r} is "
                    f"{tuple(found.shape)}; expected were {slot.size} elements along axis {slot.axis}."
                )
            if _belongs(model, slot, found, part):
                self._views.append(_View(found, slot.axis, torch.tensor(slot.positions, device=found.device)))

    def values(self) -> Tensor:
        """See `Units`."""
        parts = [view.parameter.detach().movedim(view.axis, 0)[view.positions].reshape(self.count, -1) for view in self._views]
        return torch.cat(parts, 1)

    def spread(self, per_unit: Tensor) -> list[tuple[nn.Parameter, Tensor]]:
        """One number for each unit, [count], as a factor that broadcasts to each of the parameters; 0 beside the units."""
        return [(view.parameter, view.spread(per_unit, 0.0)) for view in self._views]

    @torch.no_grad()
    def scale_(self, factor: Tensor) -> None:
        """See `Units`."""
        for view in self._views:
            view.parameter.mul_(view.spread(factor, 1.0))

    @torch.no_grad()
    def decay_grad_(self, coefficient: Tensor) -> None:
        """See `Units`."""
        for view in self._views:
            if view.parameter.grad is not None:
                view.parameter.grad.addcmul_(view.parameter, view.spread(coefficient, 0.0))

    @torch.no_grad()
    def gate_grad_(self, keep: Tensor) -> None:
        """See `Units`."""
        for view in self._views:
            if view.parameter.grad is not None:
                view.parameter.grad.mul_(view.spread(keep, 1.0))


def _belongs(model: nn.Module, slot: Slot, parameter: nn.Parameter, part: Part) -> bool:
    module = model.get_submodule(slot.tensor.rpartition(".")[0])
    if isinstance(module, nn.PReLU):
        return False  # a slope: zero stays zero whatever it is
    if _reads(module, slot.axis):
        return part == "coupled"
    return part != "filters" or parameter.dim() > 1


def _reads(module: nn.Module, axis: int) -> bool:
    """Whether a layer's weights lie along this axis by the channels that it reads; a depthwise one makes what it reads."""
    if isinstance(module, nn.Linear):
        return axis == 1
    if isinstance(module, nn.modules.conv._ConvNd):
        depthwise = module.groups == module.in_channels > 1
        return axis == (0 if module.transposed else 1) and not depthwise
    return False


@dataclass(frozen=True)
class Channels:
    """The units of a grouping's groups."""

    grouping: Grouping = field(repr=False)

    def units(self, model: nn.Module, part: Part) -> dict[str, Units]:
        """By name of the group."""
        return {group.name: ChannelUnits(model, group, part) for group in self.grouping.groups}


class ColumnUnits:
    """Columns of a convolution's matrix: unit u is `weight[:, c, s, r]` with u = (c S + s) R + r.

    Raises:
        InputError: where the module has no columns of its own: it is no convolution, a grouped or a transposed one.
    """

    def __init__(self, model: nn.Module, name: str) -> None:
        modules = dict(model.named_modules())
        if name not in modules:
            raise not_found(f"module of {type(model).__name__}", name, modules)
        module = modules[name]
        if not isinstance(module, nn.modules.conv._ConvNd) or module.transposed:
            raise InputError(f"{name!r} is {type(module).__name__}; only convolutions have columns that can be pruned.")
        if module.groups > 1:
            raise InputError(
                f"{name!r} has {module.groups} groups, each with a matrix of its own: a column that is pruned of one stays in "
                "the others. Columns are pruned of convolutions with one group."
            )
        self.name, self._weight = name, module.weight
        self.count = self._weight[0].numel()

    def values(self) -> Tensor:
        """See `Units`."""
        return self._weight.detach().flatten(1).t().clone()

    @torch.no_grad()
    def scale_(self, factor: Tensor) -> None:
        """See `Units`."""
        self._weight.mul_(self._spread(factor))

    @torch.no_grad()
    def decay_grad_(self, coefficient: Tensor) -> None:
        """See `Units`."""
        if self._weight.grad is not None:
            self._weight.grad.addcmul_(self._weight, self._spread(coefficient))

    @torch.no_grad()
    def gate_grad_(self, keep: Tensor) -> None:
        """See `Units`."""
        if self._weight.grad is not None:
            self._weight.grad.mul_(self._spread(keep))

    def _spread(self, per_unit: Tensor) -> Tensor:
        return per_unit.to(self._weight).view(1, *self._weight.shape[1:])


@dataclass(frozen=True)
class Columns:
    """The columns of some convolutions, by name of the module."""

    layers: tuple[str, ...]

    def units(self, model: nn.Module, part: Part) -> dict[str, Units]:
        """By name of the layer; a column has one part."""
        return {name: ColumnUnits(model, name) for name in self.layers}


def checked_cuts(cuts: Mapping[str, int], units: Mapping[str, Units]) -> dict[str, int]:
    """How many units of each name are to be removed, where any are.

    Raises:
        InputError: for a name that has no units, or a number that leaves none.
    """
    for name, number in cuts.items():
        if name not in units:
            raise not_found("group of units", name, units)
        if not 0 <= number < units[name].count:
            raise InputError(
                f"{number} of the {units[name].count} units of {name!r} are to be removed, a share of "
                f"{number / units[name].count:g}; the share must be at least 0 and below 1."
            )
    return {name: number for name, number in cuts.items() if number}


__all__ = ["ChannelUnits", "Channels", "ColumnUnits", "Columns", "Part", "UnitSource", "Units", "checked_cuts"]
