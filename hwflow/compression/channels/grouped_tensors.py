"""The tensors of a grouped model, and a group's share of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from hwflow.compression.channels.groups import Group, Slot
from hwflow.errors import InputError


def tensors_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by the names that slots use."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def check_grouped(model: nn.Module, tensors: Mapping[str, torch.Tensor], groups: Iterable[Group]) -> None:
    """That these are groups of this model.

    Raises:
        InputError: naming the tensor that is missing or has another shape.
    """
    for name, axis, size, *_ in (slot for group in groups for slot in group.slots):
        if name not in tensors or tensors[name].dim() <= axis or tensors[name].shape[axis] != size:
            found = f"is {tuple(tensors[name].shape)}" if name in tensors else "does not exist"
            raise InputError(
                f"this {type(model).__name__} is not the model that was grouped: its {name!r} {found}; expected were {size} "
                f"elements along axis {axis}. Call find_groups on it."
            )


def by_unit(values: torch.Tensor, slot: Slot, units: int) -> torch.Tensor:
    """What a slot holds of each unit, as (units, elements); `values` has the shape of the slot's tensor."""
    channels = values.movedim(slot.axis, 0).flatten(1) if values.dim() > 1 else values.unsqueeze(1)
    return channels[torch.tensor(slot.positions, device=values.device)].reshape(units, -1)


__all__ = ["by_unit", "check_grouped", "tensors_of"]
