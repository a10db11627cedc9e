"""The origin of constants in a running PyTorch model, and which of them are the same tensor.

A tensor may be read several times (a head that runs on five maps, tied embeddings), in parts (a packed projection), computed
from parameters (a normalised weight), or be no parameter at all (a buffer).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakTensorKeyDictionary

from hwflow.network._parameter_uses import Reading


class Origin(NamedTuple):
    """A parameter or buffer that a constant comes from."""

    name: str
    is_parameter: bool


class Constants:
    """The origins of tensors that depend on no input, and which of these tensors are the same."""

    def __init__(self, named: Iterable[tuple[torch.Tensor, Origin]]) -> None:
        self.sizes: dict[str, int] = {}
        self._origins: Any = WeakTensorKeyDictionary()
        self._numbers: Any = WeakTensorKeyDictionary()
        self._numbered: dict[Hashable, int] = {}
        for tensor, origin in named:
            self._origins[tensor] = (origin,)
            if origin.is_parameter:
                self.sizes[origin.name] = tensor.numel()

    def origins(self, tensor: torch.Tensor) -> tuple[Origin, ...]:
        """What a constant is computed from, the main source first."""
        return tuple(self._origins.get(tensor, ()))

    def identity(self, tensor: torch.Tensor) -> tuple[int, int, int]:
        """Equal for tensors with the same values: views of one tensor, or results of one computation that ran twice."""
        if tensor not in self._numbers:
            self._numbers[tensor] = self._number(("tensor", len(self._numbered)))
        return (self._numbers[tensor], tensor.storage_offset(), tensor.numel())

    def derive(self, func: Any, args: Any, kwargs: Any, inputs: Sequence[torch.Tensor], out: Sequence[torch.Tensor]) -> None:
        """Note the results of an operator whose inputs are all constants."""
        origins = tuple(dict.fromkeys(origin for t in inputs for origin in self.origins(t)))
        # A view shares memory; offset and size identify the part.
        is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        leaves = [self.identity(leaf) if isinstance(leaf, torch.Tensor) else repr(leaf) for leaf in _leaves(args, kwargs)]
        for place, t in enumerate(out):
            if is_view and inputs:
                self.identity(inputs[0])
                self._numbers[t] = self._numbers[inputs[0]]
            else:
                self._numbers[t] = self._number((str(func), place, *leaves))
            if origins and t not in self._origins:
                self._origins[t] = origins

    def reading(self, place: int, tensor: torch.Tensor) -> Reading:
        """The record that the row or operator at `place` reads a constant."""
        names = tuple(origin.name for origin in self.origins(tensor) if origin.is_parameter)
        return Reading(place, names, self.identity(tensor), tensor.numel())

    def _number(self, key: Hashable) -> int:
        return self._numbered.setdefault(key, len(self._numbered))


def _leaves(args: Any, kwargs: Any) -> list[Any]:
    return list(pytree.tree_leaves((args, kwargs)))


__all__ = ["Constants", "Origin"]
