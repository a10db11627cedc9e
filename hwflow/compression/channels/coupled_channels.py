"""Groups of coupled channels, as tensors and positions in them, from torch-pruning's dependency graph.

The graph (Fang et al., "DepGraph", CVPR 2023, arXiv:2301.12900) is not taken at its word, because it treats every operator that
it does not know as element-wise. Each group is checked against the tensors; where the graph is wrong or fails, the group is
left out with the reason. `find_groups` verifies the remaining groups afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from hwflow.compression.channels.dependencies import Dependencies, dependencies
from hwflow.compression.channels.groups import Count, Group, Slot

_CONV = nn.modules.conv._ConvNd
_CHANNEL_NORM = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


class Coupling(NamedTuple):
    """Channels that torch-pruning finds coupled: the group, or why there is none."""

    name: str
    group: Group | None
    reason: str = ""


class _Refused(Exception):
    """The channels cannot be pruned; the message says why."""


class _Member(NamedTuple):
    """A module (or a bare parameter) with the group's channels on its output or its input side; (channel, position) pairs."""

    name: str
    module: Any
    out: bool
    axis: int | None
    pairs: tuple[tuple[int, int], ...]


def couplings(model: nn.Module, inputs: Sequence[torch.Tensor], order: Iterable[str]) -> list[Coupling]:
    """All groups of `model` in order of execution, each with its full width only.

    Args:
        model: a copy that may be changed: torch-pruning switches it to evaluation mode.
        order: the modules that execute products, in order of execution.

    Raises:
        ImportFailed: where torch-pruning cannot follow the model; naming the module that ran last.
        MissingDependency: where torch-pruning is not installed.
    """
    told = dependencies(model, inputs)
    graph = told.graph
    modules = dict(model.named_modules())
    places: dict[str, int] = {}
    for name in order:
        if isinstance(modules.get(name), (_CONV, nn.Linear)):
            places.setdefault(name, len(places))
    names = _Names(model)
    found, seen = [], set()
    for name in places:
        module = modules[name]
        if name in seen or _is_depthwise(module):
            continue
        if module not in graph.module2node:
            found.append(Coupling(name, None, "torch-pruning does not reach it: not called as a module, or cut off by detach"))
            continue
        try:
            if _made(module) == 1:
                raise _Refused("it makes a single channel, which cannot go")
            members, stream = _members(told, module, names)
            seen |= {m.name for m in members if m.out}
            found.append(Coupling(name, _group(members, stream, names, places)))
            found += _remainders(name, members, places)
        except _Refused as refusal:
            found.append(Coupling(name, None, str(refusal)))
        except Exception as error:
            found.append(Coupling(name, None, f"torch-pruning fails on it: {type(error).__name__}: {error}"))
    alone = [name for name in places if _is_depthwise(modules[name]) and name not in seen]
    return [*found, *(Coupling(name, None, "a depthwise convolution of channels that cannot be pruned") for name in alone)]


# Members -------------------------------------------------------------------------------------------------------------


def _made(module: nn.Module) -> int:
    """Channels that a convolution or linear layer makes."""
    return int(module.out_features if isinstance(module, nn.Linear) else module.out_channels)


def _members(told: Dependencies, root: nn.Module, names: _Names) -> tuple[list[_Member], bool]:
    """Everything that is coupled with the outputs of `root`, and whether an addition is among it."""
    members, stream = [], False
    for node, handler, pairs in told.coupled(root):
        out = handler.__name__ != "prune_in_channels"
        if node in told.unread:
            raise _Refused(f"they pass an operator that torch-pruning fails on ({told.unread[node]})")
        if type(node.module).__name__ == "_OutputOp" or (
            isinstance(node.module, (_CONV, nn.Linear)) and out and not node.outputs
        ):
            raise _Refused("they are the model's outputs")
        if id(node.module) in names.of:
            axis = node.pruning_dim if isinstance(node.module, nn.Parameter) else None
            members.append(_Member(names.of[id(node.module)], node.module, out, axis, pairs))
            _check_range(members[-1])
        operator = getattr(node.grad_fn, "name", str)()
        if operator.startswith(("AddBackward", "SubBackward")):
            stream |= len({id(n) for n in node.inputs if not isinstance(n.module, nn.Parameter)}) > 1
    return members, stream


def _check_range(member: _Member) -> None:
    """That a member has the channels that torch-pruning says it has."""
    module = member.module
    if isinstance(module, nn.Parameter):
        width = module.shape[member.axis or 0] if module.dim() else 0
    elif isinstance(module, (_CONV, nn.Linear, nn.GroupNorm)):
        width = _width(member)
    elif isinstance(module, _CHANNEL_NORM):
        width = int(module.num_features)
    else:
        return  # told of when its tensors are looked at
    if any(not 0 <= position < width for _, position in member.pairs):
        raise _Refused(
            f"torch-pruning couples them with {member.name!r}, which has {width} channel{'s' if width != 1 else ''} only: an "
            "operator on the way mixes channels, or spreads one over many"
        )


def _remainders(root: str, members: Sequence[_Member], places: dict[str, int]) -> list[Coupling]:
    """Layers of which a group holds some channels only: zeros are put around them, which stay."""
    layers = sorted((m for m in members if m.out and m.name in places), key=lambda m: places[m.name])
    widths: dict[int, list[str]] = {}
    for member in layers:
        if len(member.pairs) < _width(member):
            widths.setdefault(_width(member), []).append(member.name)
    return [
        Coupling(
            names[0],
            None,
            f"{len(members[0].pairs)} of the {width} channels of {', '.join(names)} go with {root!r}; the others stay",
        )
        for width, names in widths.items()
    ]


# Groups --------------------------------------------------------------------------------------------------------------


class _Names:
    """Names of a model's modules and tensors, by identity, and which modules hold a tensor."""

    def __init__(self, model: nn.Module) -> None:
        tensors = [*model.named_parameters(), *model.named_buffers()]
        self.tensors = {id(tensor): name for name, tensor in tensors}
        self.of = {id(module): name for name, module in model.named_modules()} | {id(t): name for name, t in tensors}
        self.holders: dict[str, set[str]] = {}
        for name, module in model.named_modules():
            for tensor in (*module._parameters.values(), *module._buffers.values()):
                if tensor is not None:
                    self.holders.setdefault(self.tensors[id(tensor)], set()).add(name)


def _group(members: Sequence[_Member], stream: bool, names: _Names, places: dict[str, int]) -> Group:
    root = members[0]
    channels, blocks = len(root.pairs), 1
    for member in members:
        if (inner := _inner_groups(member)) > 1:
            if sorted(member.pairs) != [(i, i) for i in range(channels)] or _width(member) != channels:
                raise _Refused(f"{member.name!r} puts them into {inner} groups together with channels of other layers")
            blocks = math.lcm(blocks, inner)
    units = channels // blocks
    if channels % blocks or (units == 1 and channels > 1):
        raise _Refused(
            f"the groups of its convolutions or normalisations leave no channel free ({channels} channels, {blocks} groups)"
        )
    slots: dict[Slot, set[str]] = {}
    counts: dict[Count, None] = {}
    for member in members:
        positions = _by_unit(member, units)
        holder = member.name.rpartition(".")[0] if isinstance(member.module, nn.Parameter) else member.name
        for slot in _slots(member, positions, names):
            slots.setdefault(slot, set()).add(holder)
        counts |= dict.fromkeys(_counts(member, len(positions[0])))
    for slot, holders in slots.items():
        others = names.holders[slot.tensor] - holders
        if others or any((s.tensor, s.axis) == slot[:2] and s != slot for s in slots):
            shared = ", ".join(sorted(others | holders))
            raise _Refused(f"the tensor {slot.tensor!r} is shared by modules that need different cuts of it: {shared}")
    makers = {m.name for m in members if m.out and m.name in places and not _is_depthwise(m.module)}
    takers = {m.name for m in members if not m.out and m.name in places}
    return Group(
        name=root.name,
        channels=channels,
        widths=(channels,),
        unit=blocks,
        producers=tuple(sorted(makers, key=places.__getitem__)),
        consumers=tuple(sorted(takers, key=places.__getitem__)),
        stream=stream,
        slots=tuple(slots),
        counts=tuple(counts),
    )


def _by_unit(member: _Member, units: int) -> tuple[tuple[int, ...], ...]:
    """For each unit the positions of its channels, ascending."""
    found: list[set[int]] = [set() for _ in range(units)]
    for channel, position in member.pairs:
        found[channel % units].add(position)
    each = len(found[0])
    if not each or any(len(places) != each for places in found) or len(set().union(*found)) != each * units:
        raise _Refused(f"{member.name!r} takes only some of them, or some twice (a split, a slice or a repetition on the way)")
    return tuple(tuple(sorted(places)) for places in found)


def _is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, _CONV) and module.groups > 1 and module.groups == module.in_channels == module.out_channels


def _inner_groups(member: _Member) -> int:
    """In how many equal blocks the module takes its channels, each of which must keep as many."""
    module = member.module
    if isinstance(module, nn.GroupNorm):
        return int(module.num_groups)
    return int(module.groups) if isinstance(module, _CONV) and not _is_depthwise(module) else 1


def _width(member: _Member) -> int:
    """All channels of a convolution, linear layer or group normalisation, on the member's side."""
    module = member.module
    if isinstance(module, nn.GroupNorm):
        return int(module.num_channels)
    if isinstance(module, nn.Linear):
        return int(module.out_features if member.out else module.in_features)
    return int(module.out_channels if member.out else module.in_channels)


def _slots(member: _Member, positions: tuple[tuple[int, ...], ...], names: _Names) -> list[Slot]:
    """Where a member's tensors hold the channels."""
    module = member.module
    if isinstance(module, nn.Parameter):
        return [_slot(member.name, module, member.axis or 0, positions, weighs=False)]
    axes: dict[str, int] = {}
    if isinstance(module, (_CONV, nn.Linear)):
        crossed = isinstance(module, _CONV) and module.transposed
        axes["weight"] = 0 if member.out != crossed or _is_depthwise(module) else 1
        if member.out:
            axes["bias"] = 0
    elif isinstance(module, nn.LayerNorm):
        if len(module.normalized_shape) != 1:
            raise _Refused(f"{member.name!r} normalises over {len(module.normalized_shape)} axes")
        axes = {"weight": 0, "bias": 0}
    elif isinstance(module, (*_CHANNEL_NORM, nn.GroupNorm, nn.PReLU)):
        axes = {"weight": 0, "bias": 0, "running_mean": 0, "running_var": 0}
    else:
        raise _Refused(f"hwflow does not cut {type(module).__name__} ({member.name!r})")
    slots = []
    for attribute, axis in axes.items():
        tensor = getattr(module, attribute, None)
        if tensor is None or (isinstance(module, nn.PReLU) and module.num_parameters == 1):
            continue
        if id(tensor) not in names.tensors:
            raise _Refused(f"the {attribute} of {member.name!r} is computed from other parameters (a parametrisation)")
        length = tensor.shape[axis]
        here = positions
        if attribute == "weight" and isinstance(module, _CONV) and length < _width(member):  # one group's share of them
            here = tuple(tuple(sorted({p % length for p in places})) for places in positions)
        weighs = attribute == "weight" and not isinstance(module, nn.PReLU)
        slots.append(_slot(names.tensors[id(tensor)], tensor, axis, here, weighs=weighs))
    if isinstance(module, _CONV) and member.out:
        for tensor in _gains(module):
            slots.append(_slot(names.tensors[id(tensor)], tensor, 0, positions, weighs=False))
    return slots


def _gains(module: nn.Module) -> list[torch.Tensor]:
    """Parameters and buffers of a subclass's own with a number for each output channel, as those that scale its weights."""
    own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    return [
        tensor
        for name, tensor in own
        if name not in ("weight", "bias") and tensor.dim() and tensor.shape[0] == tensor.numel() == _made(module)
    ]


def _slot(name: str, tensor: torch.Tensor, axis: int, positions: tuple[tuple[int, ...], ...], *, weighs: bool) -> Slot:
    return Slot(name, axis, tensor.shape[axis], tuple(p for places in positions for p in places), weighs)


def _counts(member: _Member, each: int) -> list[Count]:
    """The numbers of channels that a member states."""
    module = member.module
    if isinstance(module, _CONV):
        stated: tuple[str, ...] = ("out_channels",) if member.out else ("in_channels",)
        if _is_depthwise(module):
            stated = ("in_channels", "out_channels", "groups")
    elif isinstance(module, nn.Linear):
        stated = ("out_features",) if member.out else ("in_features",)
    elif isinstance(module, nn.LayerNorm):
        stated = ("normalized_shape",)
    elif isinstance(module, nn.GroupNorm):
        stated = ("num_channels",)
    elif isinstance(module, nn.PReLU):
        stated = ("num_parameters",) if module.num_parameters > 1 else ()
    else:
        stated = ("num_features",) if isinstance(module, _CHANNEL_NORM) else ()
    return [Count(member.name, attribute, each) for attribute in stated]


__all__ = ["Coupling", "couplings"]
