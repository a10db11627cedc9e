"""`ElasticSpace`: the sub-networks of an elastic network, as choices of widths and depths.

A *width* is how many channels a coupled group keeps, the first ones (`hwflow.compression.channels.groups`); a *depth* how many
blocks of a stage are run, the first ones. A stage is an `nn.Sequential` at whose end stand blocks that give the shape they
take, as residual blocks with an identity shortcut do: these can be left out from the last one on. That any network is searched
for such stages is ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.groups import Group, Grouping, Step
from hwflow.compression.decision import Choice
from hwflow.errors import InputError, check_whole, is_number, not_found
from hwflow.layers import Layer
from hwflow.network.replica import replica

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Of a group's channels that can be kept, by default."""


@dataclass(frozen=True)
class Stage:
    """Blocks that run one after the other.

    Attributes:
        name: of the `nn.Sequential`; empty where it is the network itself.
        blocks: the names of its children, in order.
        least: how many of them cannot be left out.
    """

    name: str
    blocks: tuple[str, ...]
    least: int

    @property
    def options(self) -> tuple[int, ...]:
        """Numbers of blocks that can be run."""
        return tuple(range(self.least, len(self.blocks) + 1))

    def dropped(self, depth: int) -> tuple[str, ...]:
        """The modules that are left out at a depth."""
        return self.blocks[depth:]


@dataclass(frozen=True)
class ElasticSpace:
    """All sub-networks; holds no tensors.

    Attributes:
        grouping: of the whole network; its groups' widths are the options.
        stages: whose depth can be chosen.
    """

    grouping: Grouping
    stages: tuple[Stage, ...]

    @cached_property
    def options(self) -> dict[str, tuple[int, ...]]:
        """By name of a stage or a group what it can be, ascending; the last one is the whole."""
        return {stage.name: stage.options for stage in self.stages} | {g.name: g.widths for g in self.grouping.groups}

    @property
    def whole(self) -> Choice:
        """The largest sub-network, the network itself."""
        return {name: options[-1] for name, options in self.options.items()}

    @property
    def smallest(self) -> Choice:
        """The smallest in everything."""
        return {name: options[0] for name, options in self.options.items()}

    @property
    def size(self) -> int:
        """How many choices there are; those that differ only in blocks that are left out count each."""
        return math.prod(map(len, self.options.values()))

    def checked(self, choice: Mapping[str, int]) -> Choice:
        """The choice in the space's order, what it leaves out as in the whole.

        Raises:
            InputError: for a name that is no group or stage, or what it cannot be.
        """
        for name, value in choice.items():
            if name not in self.options:
                raise not_found(f"group or stage of {self.grouping.network.name}", name, self.options)
            if isinstance(value, bool) or value not in self.options[name]:
                allowed = ", ".join(map(str, self.options[name]))
                what = "blocks" if name in {stage.name for stage in self.stages} else "channels"
                raise InputError(f"the choice keeps {value!r} {what} of {name!r}; allowed: {allowed}.")
        return {name: choice.get(name, options[-1]) for name, options in self.options.items()}

    def canonical(self, choice: Mapping[str, int]) -> Choice:
        """Of the choices that give the same network the one that is least: groups of blocks that are left out count no more."""
        found = self.checked(choice)
        gone = self.dropped(found)
        for group in self.grouping.groups:
            if _within(group.name, gone):
                found[group.name] = group.widths[0]
        return found

    def dropped(self, choice: Mapping[str, int]) -> tuple[str, ...]:
        """The modules that are left out."""
        return tuple(name for stage in self.stages for name in stage.dropped(choice[stage.name]))

    def kept(self, choice: Mapping[str, int]) -> list[tuple[Group, int]]:
        """The groups that a sub-network has, with how many of their channels."""
        gone = self.dropped(choice)
        return [(group, choice[group.name]) for group in self.grouping.groups if not _within(group.name, gone)]

    def layers(self, choice: Mapping[str, int]) -> tuple[Layer, ...]:
        """The rows of a sub-network, as importing it would give them."""
        gone = self.dropped(choice)
        widths = self.grouping.widths_of({group.name: choice[group.name] for group in self.grouping.groups})
        rows = range(len(self.grouping.network.layers))
        return tuple(
            self.grouping.layer_for(row, widths) for row in rows if not _within(self.grouping.network.layers[row].name, gone)
        )


def elastic_space(
    model: nn.Module,
    input_shape: tuple[int, ...],
    *,
    shares: Sequence[float] = SHARES,
    depth: bool = True,
    name: str | None = None,
) -> ElasticSpace:
    """The sub-networks of a network.

    Args:
        input_shape: (1, C, H, W).
        shares: of each group's channels that can be kept, rounded up to whole units; 1 is always among them.
        depth: whether blocks can be left out.
        name: of the network; the model's class by default.

    Raises:
        InputError: for shares that are none, or a network in which nothing can be chosen.
        MissingDependency: where torch-pruning is not installed.
    """
    for share in shares:
        if not is_number(share) or not 0 < share <= 1:
            raise InputError(f"a share of channels is {share!r}; it must be a number above 0 and at most 1.")
    grouping = find_groups(model, input_shape, round_to=1, floor_ratio=0, name=name)
    groups = tuple(replace(group, widths=_widths(group, shares)) for group in grouping.groups)
    stages = _stages(model, input_shape, groups) if depth else ()
    space = ElasticSpace(replace(grouping, groups=groups), stages)
    if space.size == 1:
        raise InputError(
            f"{grouping.network.name} has no sub-networks: no group of channels can be narrowed to these shares, and no block "
            "can be left out."
        )
    return space


def space_with(
    model: nn.Module,
    input_shape: tuple[int, ...],
    groups: Mapping[str, Sequence[int]],
    stages: Mapping[str, Sequence[int]] | None = None,
    *,
    name: str | None = None,
) -> ElasticSpace:
    """The space of given options, as plans of a search have them; groups and stages that are not named are whole.

    Raises:
        InputError: for a group or a stage that the network has not, or what it cannot be.
    """
    grouping = find_groups(model, input_shape, round_to=1, floor_ratio=0, streams=True, name=name)
    for one in groups:
        grouping[one]
    chosen = []
    for group in grouping.groups:
        if group.name not in groups:
            continue
        for width in groups[group.name]:
            check_whole(f"channels of {group.name}", width, group.channels)
            if width % group.unit:
                raise InputError(f"{width} channels of {group.name!r} cannot be kept: they go in units of {group.unit}.")
        chosen.append(replace(group, widths=tuple(sorted({*groups[group.name], group.channels}))))
    known = {stage.name: stage for stage in _stages(model, input_shape, chosen)} if stages else {}
    for one, depths in (stages or {}).items():
        if one not in known:
            raise not_found(f"stage of {grouping.network.name}", one, known)
        if list(depths) != list(known[one].options):
            raise InputError(f"stage {one!r} can have {known[one].options} blocks, not {tuple(depths)}.")
    return ElasticSpace(_restricted(grouping, chosen), tuple(known[one] for one in stages or ()))


def _restricted(grouping: Grouping, groups: Sequence[Group]) -> Grouping:
    """The same network with some of its groups only; steps name groups by their place."""
    places = {grouping.groups.index(grouping[group.name]): new for new, group in enumerate(groups)}

    def steps(given: tuple[Step, ...]) -> tuple[Step, ...]:
        return tuple(step._replace(group=places[step.group]) for step in given if step.group in places)

    return replace(
        grouping,
        groups=tuple(groups),
        layer_steps=steps(grouping.layer_steps),
        other_steps=steps(grouping.other_steps),
        network_steps=steps(grouping.network_steps),
        tensor_steps=steps(grouping.tensor_steps),
    )


def _widths(group: Group, shares: Sequence[float]) -> tuple[int, ...]:
    return tuple(sorted({group.unit * math.ceil(share * group.units) for share in (*shares, 1.0)}))


def _stages(model: nn.Module, input_shape: tuple[int, ...], groups: Sequence[Group]) -> tuple[Stage, ...]:
    """The stages of a network, found by running it; a block that a group shares with others stays."""
    copy = replica(model).cpu().eval()
    parents = {name: module for name, module in copy.named_modules() if isinstance(module, nn.Sequential)}
    shapes: dict[nn.Module, list[tuple[object, object]]] = {}

    def seen(module: nn.Module, given: tuple[object, ...], result: object) -> None:
        shapes.setdefault(module, []).append((_shape(given[0]) if len(given) == 1 else None, _shape(result)))

    for parent in parents.values():
        for child in parent.children():
            child.register_forward_hook(seen)
    with torch.inference_mode():
        copy(torch.zeros(input_shape))
    found = []
    for name, parent in parents.items():
        head = f"{name}." if name else ""
        blocks = [(f"{head}{key}", child) for key, child in parent.named_children()]
        least = len(blocks)
        while least > 1 and _skippable(*blocks[least - 1], shapes, groups):
            least -= 1
        if least < len(blocks):
            found.append(Stage(name, tuple(block for block, _ in blocks), least))
    inner = {block for stage in found for block in stage.blocks[stage.least :]}
    return tuple(stage for stage in found if not _within(stage.name, inner))  # a stage within a block goes with it


def _skippable(
    name: str, block: nn.Module, shapes: Mapping[nn.Module, Sequence[tuple[object, object]]], groups: Sequence[Group]
) -> bool:
    calls = shapes.get(block, ())
    if len(calls) != 1 or calls[0][0] is None or calls[0][0] != calls[0][1] or not list(block.children()):
        return False
    for group in groups:
        inside = [_within(slot.tensor, (name,)) for slot in group.slots]
        if any(inside) and not all(inside):
            return False
    return True


def _shape(value: object) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None


def _within(name: str, modules: Sequence[str] | set[str]) -> bool:
    """Whether a row, a tensor or a module is one of some modules, or in it."""
    return any(name == module or name.startswith((f"{module}.", f"{module}#")) for module in modules)


__all__ = ["SHARES", "ElasticSpace", "Stage", "elastic_space", "space_with"]
