"""`find_groups`: which channels of any PyTorch model can be pruned, and how the sizes of the network's rows depend on them.

Couplings come from torch-pruning (`coupling`), are verified on the model itself (`coupling_proof`), and the row sizes are
measured by pruning copies of it (`row_sizes`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from hwflow.compression.channels.attention_heads import head_groups
from hwflow.compression.channels.coupled_channels import Coupling, couplings
from hwflow.compression.channels.coupling_proof import Unprovable, unproven
from hwflow.compression.channels.groups import Group, Grouping
from hwflow.compression.channels.row_sizes import Trial
from hwflow.compression.channels.surgery import shrunk
from hwflow.errors import HwflowError, InputError, is_number, is_whole, not_found
from hwflow.network import Network
from hwflow.network.from_torch import examples_of, filled, trace, unwrapped
from hwflow.network.replica import replica


def find_groups(
    model: nn.Module,
    input_shape: Any,
    *,
    streams: bool = False,
    exclude: Iterable[str] = (),
    round_to: int = 8,
    floor: int = 1,
    floor_ratio: float = 0.1,
    name: str | None = None,
) -> Grouping:
    """The groups of channels of `model` that can be pruned, with all that a search needs to know of them.

    A group is left out, with the reason, where it is an input or an output of the model, excluded, a stream that was not asked
    for, where a width other than the full one does not exist, or where pruning it is not proven to be safe: the pruned model
    must run, in training mode too where the whole one does, and renaming the group's channels must not change what the model
    computes.

    Args:
        input_shape: as for `Network.from_torch`.
        streams: whether groups that an addition ties together may be pruned too.
        exclude: modules whose outputs are not pruned; a container stands for all that is in it.
        round_to: widths are multiples of it, or full.
        floor, floor_ratio: the least number and the least share of channels that is kept.
        name: of the network; the model's class by default.

    Raises:
        InputError: for settings out of range, and a module in `exclude` that does not exist.
        ImportFailed: where the model cannot be imported, or torch-pruning cannot follow it; naming the module.
        MissingDependency: where torch-pruning is not installed.
    """
    _check(round_to, floor, floor_ratio)
    network = trace(model, input_shape, name=name)
    model, examples = unwrapped(model), examples_of(input_shape)
    excluded = _excluded(model, exclude, network)
    order = _order(network)
    bare = _bare(model, input_shape, network)
    candidates: list[Group] = []
    left_out: dict[str, str] = {}
    for coupling in _couplings(bare, input_shape, order):
        group, reason = coupling.group, coupling.reason
        if group is not None:
            group = replace(group, widths=_widths(group, round_to, floor, floor_ratio))
            reason = _barred(group, excluded, streams)
        if group is None or reason:
            left_out.setdefault(coupling.name, reason)
        else:
            candidates.append(group)
    trial = Trial(bare, input_shape, network)
    left_out |= trial.measure(candidates)
    candidates = [group for group in candidates if group.name not in left_out]
    try:
        left_out |= dict.fromkeys(unproven(model, candidates, examples), _MOVED)
    except Unprovable as error:
        why = f"the model does not run on random weights, on which groups are proven: {error}"
        left_out |= {group.name: why for group in candidates}
    candidates = [group for group in candidates if group.name not in left_out]
    left_out |= trial.together(candidates)
    groups = [group for group in candidates if group.name not in left_out]
    return trial.grouping(groups, dict(sorted(left_out.items(), key=lambda item: order.index(item[0]))))


STREAM = "a stream, which additions tie together; streams=True adds it"
"""Why a stream is left out where streams were not asked for."""

_MOVED = (
    "the model's result depends on their order: they are an output, or pass an operator that torch-pruning does not follow "
    "(a reshape, an attention)"
)


def rebuild(model: nn.Module, input_shape: Any, plan: Mapping[str, int]) -> nn.Module:
    """The unpruned `model` cut to a plan, into which the pruned model's state dict loads; which weights are kept is arbitrary.

    Args:
        model: as it was built before it was pruned.
        input_shape: as for `find_groups`.
        plan: channels by group, of a `Grouping` of this architecture.

    Raises:
        InputError: where the plan names a group that this architecture has not, or a width that it cannot have.
    """
    network, model = trace(model, input_shape), unwrapped(model)
    found = _couplings(_bare(model, input_shape, network), input_shape, _order(network))
    groups = {c.name: c.group for c in found if c.group is not None}
    cuts = []
    for name, width in plan.items():
        if name not in groups:
            raise not_found(f"group of {network.name}", name, groups)
        group = groups[name]
        if not is_whole(width) or width > group.channels or width % group.unit:
            raise InputError(
                f"the plan keeps {width!r} channels of {name!r}; this {network.name} has {group.channels} there, in units of "
                f"{group.unit}."
            )
        cuts.append((group, range(width // group.unit, group.units)))
    return shrunk(model, cuts)


def _couplings(bare: nn.Module, input_shape: Any, order: list[str]) -> list[Coupling]:
    """Coupled channels as torch-pruning finds them, but for attentions, whose channels go by whole heads."""
    heads = head_groups(bare, order)
    known = {name for group in heads for name in group.producers}
    found = [*couplings(replica(bare), [filled(x, bare) for x in examples_of(input_shape)], order)]
    found = [c for c in found if not known & {c.name, *(c.group.producers if c.group else ())}]
    found += [Coupling(group.name, group) for group in heads]
    return sorted(found, key=lambda coupling: order.index(coupling.name))


# What may be considered ----------------------------------------------------------------------------------------------


def _check(round_to: object, floor: object, floor_ratio: object) -> None:
    for label, value in (("round_to", round_to), ("floor", floor)):
        if not is_whole(value):
            raise InputError(f"{label} is {value!r}; it must be a whole number of channels, at least 1.")
    if not is_number(floor_ratio) or not 0 <= floor_ratio <= 1:
        raise InputError(f"floor_ratio is {floor_ratio!r}; it must be a share of a group's channels, from 0 to 1.")


def _order(network: Network) -> list[str]:
    """The modules of the rows, in order of execution."""
    return list(dict.fromkeys(layer.name.partition("#")[0] for layer in network.layers))


def _excluded(model: nn.Module, exclude: Iterable[str], network: Network) -> set[str]:
    names = [name for name, _ in model.named_modules() if name]
    found: set[str] = set()
    for wanted in [exclude] if isinstance(exclude, str) else exclude:
        if wanted not in names:
            raise not_found(f"module of {network.name}", wanted, _order(network), spellings=names)
        found |= {name for name in names if name == wanted or name.startswith(f"{wanted}.")}
    return found


def _widths(group: Group, round_to: int, floor: int, floor_ratio: float) -> tuple[int, ...]:
    step = math.lcm(round_to, group.unit)
    least = max(floor, math.ceil(floor_ratio * group.channels), group.widths[0] if len(group.widths) > 1 else 0)
    return (*(width for width in range(step, group.channels, step) if width >= least), group.channels)


def _barred(group: Group, excluded: set[str], streams: bool) -> str:
    """Why the settings leave a group out; empty where they do not."""
    holders = {*group.producers, *({count.module for count in group.counts} - set(group.consumers))}
    if barred := sorted(holders & excluded):
        return f"excluded: {', '.join(barred)}"
    if group.stream and not streams:
        return STREAM
    if len(group.widths) == 1:
        return f"of its {group.channels} channels none can go: no smaller width is allowed by the rounding and the floor"
    return ""


# A model without data -------------------------------------------------------------------------------------------------


def _bare(model: nn.Module, input_shape: Any, network: Network) -> nn.Module:
    """A copy of the model that holds shapes and no data where it can run like that, else with its data; all with gradients."""
    tensors = [*model.parameters(), *model.buffers()]
    memo: dict[int, Any] = {id(t): _remade(torch.empty_like(t, device="meta"), t) for t in tensors}
    bare = replica(model, memo)
    try:
        if trace(bare, input_shape, name=network.name) == network:
            return bare
    except HwflowError:
        pass
    return replica(model, {id(t): _remade(t.detach().clone(), t) for t in tensors})


def _remade(data: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return nn.Parameter(data, requires_grad=data.is_floating_point()) if isinstance(like, nn.Parameter) else data


__all__ = ["STREAM", "find_groups", "rebuild"]
