# mypy: allow-subclassing-any
"""Deep copies of PyTorch models, including tensors that `copy.deepcopy` refuses."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from hwflow.errors import ImportFailed


def replica(model: nn.Module, tensors: Mapping[int, torch.Tensor] | None = None) -> nn.Module:
    """A copy of a model that shares nothing with it.

    A tensor that is part of an autograd graph (a weight that a hook computes, as those of `torch.nn.utils.weight_norm` and
    `torch.nn.utils.prune` do; a feature map that was kept) is copied without its history, which PyTorch does not copy.

    Args:
        tensors: replacements in the copy for tensors of the model, by their `id`.

    Raises:
        ImportFailed: where the model holds what cannot be copied; naming the module and the attribute.
    """
    memo: dict[int, Any] = dict(tensors or {})
    try:
        with _WithoutHistory():
            return copy.deepcopy(model, memo)
    except Exception as error:
        raise ImportFailed(
            f"{type(model).__name__} cannot be copied, and hwflow works on copies{_culprit(model)}: {type(error).__name__}: "
            f"{error}. Remove the attribute, or give its class a __deepcopy__."
        ) from error


class _WithoutHistory(TorchFunctionMode):
    """Copies tensors that are no leaves of an autograd graph as if they were."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            return memo.setdefault(id(tensor), tensor.detach().clone())
        return func(*args, **(kwargs or {}))


def _culprit(model: nn.Module) -> str:
    """The first attribute that cannot be copied alone."""
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if key in ("_modules", "_parameters", "_buffers"):
                continue
            try:
                with _WithoutHistory():
                    copy.deepcopy(value)
            except Exception:
                return f" (the attribute {'.'.join(filter(None, (name, key)))!r}, of type {type(value).__name__})"
    return ""


__all__ = ["replica"]
